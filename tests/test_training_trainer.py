from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from fake_gpu import Gpu
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from simedit.errors import SimeditError
from simedit.library import SpecialistLibrary
from simedit.scores import Differentiable, Targets
from simedit.scores.semantic import Semantic
from simedit.scores.structural import Canny
from simedit.scores.texture import Texture
from simedit.settings import Scales
from simedit.specialist import Specialist
from simedit.tiny import tiny_pipeline
from simedit.training import checkpoint as checkpoints
from simedit.training.config import (
    CannyConfig,
    PaintedConfig,
    SamplingConfig,
    ScoresConfig,
    StyleConfig,
    TrainConfig,
    UpdateConfig,
)
from simedit.training.objectives import Objective
from simedit.training.objectives.d3po import D3PO
from simedit.training.objectives.dpo import DPO
from simedit.training.objectives.draft import DRaFT
from simedit.training.objectives.nft import NFT
from simedit.training.objectives.ppo import PPO
from simedit.training.policy import Policy
from simedit.training.sampler import Material
from simedit.training.trainer import Interrupted, Trainer
from simedit.training.update import Kept, accumulate
from simedit.training.warm_start import WarmStart

SIZE = 32
STYLES = tuple(
    np.random.default_rng(i).integers(0, 256, (40, 50, 3), np.uint8)  # of their own size
    for i in range(2)
)


class Frames:
    """Random frames whose mask is the left half."""

    def __init__(self, count: int, seed: int, width: int = SIZE, height: int = SIZE):
        self.frames = np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)
        self.mask = np.zeros((height, width), bool)
        self.mask[:, : width // 2] = True

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, np.ndarray | None]:
        return self.frames[index], self.mask

    def unseen(self, index: int, /) -> None:
        return None


def redness(edits: Tensor, targets: Targets) -> Tensor:
    """How little red there is in the region, [N, G]: the best edit is pure red."""
    inside = edits * targets.masks[:, None, None]
    red, green, blue = (inside.sum((-2, -1)) / targets.masks.sum((-2, -1))[:, None, None]).unbind(-1)
    return (green + blue) / 2 - red


def blueness(edits: Tensor, targets: Targets) -> Tensor:
    return -redness(edits, targets)


class Redness(Differentiable):
    def value(self, edits: Tensor, targets: Targets) -> Tensor:
        return redness(edits, targets)


SCORES = ScoresConfig(structural=CannyConfig(), structural_weight=0)
"""Of which `draft` can follow what weighs something."""


def indifferent(edits: Tensor, targets: Targets) -> Tensor:
    return torch.zeros(edits.shape[:2])


def _trainer(
    folder: Path,
    score: Callable[[Tensor, Targets], Tensor] = redness,
    *,
    structural: Callable[[Tensor, Targets], Tensor] = indifferent,
    seed: int = 0,
    update: dict[str, Any] | None = None,
    sampling: dict[str, Any] | None = None,
    show: Callable[[str, int, int], None] = lambda phase, done, of: None,
    device: str = "cpu",
    size: tuple[int, int] = (SIZE, SIZE),
    scales: Scales = Scales(image=1, style=1, text=1),  # noqa: B008 (frozen)
    **changes: Any,
) -> Trainer:
    config = TrainConfig(
        base="tiny",
        seed=seed,
        width=size[0],
        height=size[1],
        lora_rank=4,
        lora_alpha=4,
        style=StyleConfig(instruction="make it red", wordings=("paint it red",), scales=scales),
        sampling=SamplingConfig(**{"steps": 4, "batch_size": 3} | (sampling or {})),
        update=UpdateConfig(**{"batch_size": 2, "accumulation": 2, "learning_rate": 3e-3} | (update or {})),
        **{"steps": 2, "samples": 8, "precision": "fp32"} | changes,
    )
    inputs = Frames(12, seed, *size)
    material = Material(
        inputs=inputs,
        styles=STYLES,
        masks=lambda indices, frames, own: np.stack([mask for mask in own if mask is not None]),
        style_masks=[np.ones(style.shape[:2], bool) for style in STYLES],
        scores={"structural": structural, "semantic": score},
    )
    base = folder / "base"
    if not base.exists():
        tiny_pipeline(seed).save_pretrained(base)
    pipeline = tiny_pipeline(seed).to(device)
    if config.precision == "bf16":
        pipeline.to(torch.bfloat16)
    alone: Any = SimpleNamespace(
        device=torch.device(device),
        is_main_process=True,
        num_processes=1,
        process_index=0,
        gather=lambda rows: rows,
        reduce=lambda values, how: values,
        wait_for_everyone=lambda: None,
    )
    accelerator = None if device == "cpu" else alone
    return Trainer(
        config, "red", pipeline, str(base), material, folder / "run", accelerator=accelerator, show=show
    )


def _records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def _assert_same(one: Specialist, other: Specialist) -> None:
    assert one.weights.keys() == other.weights.keys()
    for key, value in one.weights.items():
        assert (other.weights[key] == value).all(), key


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Specialist]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    return folder, _trainer(folder, steps=3).run()


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint within the first step, with the first three of eight pairs."""
    trainer = _trainer(folder := tmp_path_factory.mktemp("interrupted"), steps=3)
    trainer.show = lambda phase, done, of: trainer.stop() if phase == "sample" else None
    with pytest.raises(Interrupted):
        trainer.run()
    return folder / "run" / "checkpoints" / "step_0000_interrupted"


def test_a_training_leaves_what_its_user_looks_for(uninterrupted: tuple[Path, Specialist]) -> None:
    folder, specialist = uninterrupted
    run = folder / "run"
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["step_0002", "step_0003"]
    for name in ("curves.png", "grid_0001.png", "grid_0002.png", "grid_0003.png"):
        with Image.open(run / name) as image:
            image.load()
    records = _records(folder)
    assert [record["step"] for record in records] == [1, 2, 3]
    assert all(record["pairs"] == 8 and record["updates"] == 2 for record in records)
    assert all(record["dropped"] == record["tied"] == 0 for record in records)
    assert records[0]["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert records[0]["semantic_winner"] < records[0]["semantic"]
    assert specialist.card.style == "red"
    assert specialist.card.instruction == "make it red"
    assert specialist.card.training is not None
    assert specialist.card.training["steps"] == 3
    _assert_same(Specialist.load(run / "checkpoints" / "step_0003"), specialist)


def test_a_checkpoint_is_a_specialist(uninterrupted: tuple[Path, Specialist]) -> None:
    library = SpecialistLibrary.load(uninterrupted[0] / "run" / "checkpoints" / "step_0002", device="cpu")
    frame = Frames(1, 5).frames
    assert library.edit(frame, styles=["red"], seeds=[0]).shape == frame.shape


def test_going_on_equals_never_having_stopped(uninterrupted: tuple[Path, Specialist], tmp_path: Path) -> None:
    _trainer(tmp_path, steps=2).run()
    trainer = _trainer(tmp_path, steps=3)
    found = checkpoints.latest(tmp_path / "run" / "checkpoints")
    assert found is not None
    trainer.resume(found)
    _assert_same(trainer.run(), uninterrupted[1])
    assert _records(tmp_path) == _records(uninterrupted[0])


@pytest.mark.parametrize(
    ("phase", "step", "done"), [("sample", 1, 3), ("reference", 1, 3), ("update", 0, 1), ("update", 1, 2)]
)
def test_a_training_asked_to_stop_goes_on_within_its_step(
    uninterrupted: tuple[Path, Specialist], tmp_path: Path, phase: str, step: int, done: int
) -> None:
    steps: list[int] = []

    def show(now: str, at: int, of: int) -> None:
        if now == "step":
            steps.append(at)
        elif (now, steps[-1], at) == (phase, step, done):
            trainer.stop()

    trainer = _trainer(tmp_path, steps=3, show=show)
    with pytest.raises(Interrupted):
        trainer.run()
    found = checkpoints.latest(tmp_path / "run" / "checkpoints")
    assert found is not None
    assert found.name == f"step_{step:04d}_interrupted"
    trainer = _trainer(tmp_path, steps=3)
    trainer.resume(found)
    _assert_same(trainer.run(), uninterrupted[1])
    assert _records(tmp_path) == _records(uninterrupted[0])
    assert not list((tmp_path / "run" / "checkpoints").glob("*_interrupted"))


Layouts = list[tuple[tuple[int, ...], ...]]


@pytest.fixture
def layouts(monkeypatch: pytest.MonkeyPatch) -> Layouts:
    """The strides of all tensors that updates work on: kernels are chosen by them, which shows in the last
    bits on some processors only. No pictures are made, for they take longer than all else."""
    seen: Layouts = []

    class Watched(Trainer):
        def _apply(self) -> float:
            moments = [value for state in self.optimizer.state.values() for value in state.values()]
            seen[-1] += tuple(tensor.stride() for tensor in (*self.policy.parameters, *moments))
            return super()._apply()

    def watched(setting: Any, objective: Any, kept: Kept, **options: Any) -> Any:
        encoded = vars(setting.encode(kept.rollout))
        tensors = (*kept.rollout.tensors().values(), *encoded.values(), *kept.prepared.values())
        seen.append(tuple(tensor.stride() for tensor in tensors))
        return accumulate(setting, objective, kept, **options)

    monkeypatch.setattr("test_training_trainer.Trainer", Watched)
    monkeypatch.setattr("simedit.training.trainer.accumulate", watched)
    for picture in ("save_grid", "save_curves"):
        monkeypatch.setattr(f"simedit.training.trainer.{picture}", lambda *_: None)
    return seen


@pytest.mark.parametrize(
    "size", [(32, 32), (64, 48), (96, 96), (160, 128), pytest.param((160, 160), marks=pytest.mark.slow)]
)
def test_stopping_at_every_chance_changes_no_bit(
    tmp_path: Path, layouts: Layouts, size: tuple[int, int]
) -> None:
    options: Any = {
        "size": size,
        "scales": Scales(),
        "samples": 4,
        "sampling": {"steps": 3, "batch_size": 2},
        "update": {"batch_size": 1, "accumulation": 1, "gradient_checkpointing": False},
    }
    whole = _trainer(tmp_path / "whole", **options)
    expected, uninterrupted = whole.run(), layouts.copy()
    layouts.clear()
    chances: list[tuple[int, str, int]] = []

    def show(phase: str, done: int, of: int) -> None:
        if phase not in ("step", "stopping"):
            chance = (trainer.done.step, phase, done)
            if chance not in chances:  # after a stop, references are computed again
                chances.append(chance)
                trainer.stop()

    while True:
        trainer = _trainer(tmp_path, show=show, **options)
        if (found := checkpoints.latest(tmp_path / "run" / "checkpoints")) is not None:
            trainer.resume(found)
        with contextlib.suppress(Interrupted):
            specialist = trainer.run()
            break
    assert [phase for _, phase, _ in chances] == [
        *["sample"] * 2,
        *["update"] * 4,
        *["sample"] * 2,
        *["reference"] * 2,
        *["update"] * 4,
    ]
    assert layouts == uninterrupted
    _assert_same(specialist, expected)
    moments = (checkpoints.optimizer_state(one.optimizer) for one in (trainer, whole))
    for one, other in zip(*moments, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert _records(tmp_path) == _records(tmp_path / "whole")


def _stopped_at_every_chance(folder: Path, options: Any) -> tuple[Specialist, list[tuple[int, str, int]]]:
    """What such a training makes, checked against one that never stops; (step, phase, done) of each stop."""
    expected = _trainer(folder / "whole", **options).run()
    chances: list[tuple[int, str, int]] = []

    def show(phase: str, done: int, of: int) -> None:
        if phase in ("sample", "reference", "update"):
            chance = (trainer.done.step, phase, done)
            if chance not in chances:
                chances.append(chance)
                trainer.stop()

    while True:
        trainer = _trainer(folder, show=show, **options)
        if (found := checkpoints.latest(folder / "run" / "checkpoints")) is not None:
            trainer.resume(found)
        with contextlib.suppress(Interrupted):
            specialist = trainer.run()
            break
    _assert_same(specialist, expected)
    assert _records(folder) == _records(folder / "whole")
    return specialist, chances


class Following(DPO):
    """An objective that keeps what each step ended with."""

    copies: ClassVar[tuple[str, ...]] = ("before",)

    def finish(self, policy: Policy, step: int) -> None:
        policy.keep("before")


@pytest.mark.parametrize("warm_start", [None, PaintedConfig(steps=1, batch_size=1)])
def test_an_objective_with_a_copy_of_its_own_and_three_edits_stopped_at_every_chance_changes_no_bit(
    tmp_path: Path, layouts: Layouts, warm_start: PaintedConfig | None
) -> None:
    options: Any = {
        "objective": Following(levels=2),
        "warm_start": warm_start,
        "samples": 4,
        "sampling": {"steps": 3, "batch_size": 2, "edits": 3},
        "update": {"batch_size": 2, "accumulation": 1},
    }
    specialist, chances = _stopped_at_every_chance(tmp_path, options)
    assert len(chances) == 2 * 6
    records = _records(tmp_path)
    assert all(0 <= record["in_order"] <= 1 for record in records)
    assert records[0]["loss"] != pytest.approx(records[1]["loss"])
    saved = checkpoints.load(tmp_path / "run" / "checkpoints" / "step_0002")
    assert saved.copies.keys() == {"before"} | ({"reference"} if warm_start else set())
    for name, value in saved.copies["before"].items():
        assert torch.equal(value, specialist.weights[name])
    before = checkpoints.load(tmp_path / "run" / "checkpoints" / "step_0001").copies["before"]
    assert any(not torch.equal(value, before[name]) for name, value in specialist.weights.items())
    (tmp_path / "run" / "checkpoints" / "step_0002" / "before.safetensors").unlink()
    with pytest.raises(SimeditError, match="is broken"):
        _trainer(tmp_path, **options).resume(tmp_path / "run" / "checkpoints" / "step_0002")


@pytest.mark.parametrize(
    ("objective", "more", "phases"),
    [
        (NFT(levels=2, lag=0.2), {}, ["sample", "reference", "update"]),
        (DRaFT(last=2), {"scores": SCORES, "score": Redness()}, ["sample", "update"]),
    ],
)
def test_other_objectives_stopped_at_every_chance_change_no_bit(
    tmp_path: Path, layouts: Layouts, objective: Objective, more: dict[str, Any], phases: list[str]
) -> None:
    options: Any = {
        "objective": objective,
        "samples": 4,
        "sampling": {"steps": 3, "batch_size": 2, "edits": 3},
        "update": {"batch_size": 1, "accumulation": 2},
        **more,
    }
    specialist, chances = _stopped_at_every_chance(tmp_path, options)
    assert [phase for _, phase, _ in chances] == 2 * [phase for phase in phases for _ in range(2)]
    saved = checkpoints.load(tmp_path / "run" / "checkpoints" / "step_0002")
    assert saved.copies.keys() == set(objective.copies)
    assert all(weight.any() for name, weight in specialist.weights.items() if "lora_B" in name)


def test_the_old_policy_samples_and_lags_behind(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, objective=NFT(levels=2, lag=0.2), steps=2)
    specialist = trainer.run()
    saved = [checkpoints.load(tmp_path / "run" / "checkpoints" / f"step_000{step}") for step in (1, 2)]
    first, second = (one.copies["old"] for one in saved)
    for name, now in specialist.weights.items():
        torch.testing.assert_close(second[name], 0.4 * first[name] + 0.6 * now)
    draws, seconds = trainer._draws(0), {"sample": 0.0, "score": 0.0}
    before = trainer.sampler.batch(draws, seconds)
    with torch.no_grad():
        for parameter in trainer.policy.parameters:
            parameter += 1
    after = trainer.sampler.batch(draws, seconds)
    assert torch.equal(after.latents, before.latents)
    with trainer.policy.being("old"):  # the policy that was moved is then the copy
        moved = trainer.sampler.batch(draws, seconds)
    assert not torch.equal(moved.latents, before.latents)


def test_the_scores_that_weigh_something_have_gradients(tmp_path: Path) -> None:
    scores = SCORES.model_copy(update={"alpha": 0.5})
    trainer = _trainer(tmp_path, Redness(), objective=DRaFT(), scores=scores, samples=4)
    rollout = trainer.sampler.batch(trainer._draws(0), {"sample": 0.0, "score": 0.0})
    assert rollout.input.tolist() == [draw.input for draw in trainer._draws(0)]
    latents = rollout.latents[:, :, -1].float().requires_grad_()
    found = trainer.sampler.value(rollout.input, rollout.style, latents)
    torch.testing.assert_close(found.detach(), 0.5 * rollout.scores["semantic"])
    found.sum().backward()
    assert latents.grad is not None
    assert latents.grad.flatten(2).any(-1).all()


def test_following_the_scores_gradients_lowers_them(tmp_path: Path) -> None:
    trainer = _trainer(
        tmp_path,
        Redness(),
        objective=DRaFT(last=2),
        scores=SCORES,
        steps=6,
        samples=16,
        sampling={"batch_size": 8},
        update={"batch_size": 4, "accumulation": 1, "learning_rate": 4e-3},
    )
    trainer.run()
    semantic = [record["semantic"] for record in _records(tmp_path)]
    assert semantic[-1] < semantic[0] - 0.02


PROMPTS: Any = {
    "objective": PPO(kl=0.1),
    "scores": ScoresConfig(baseline="prompt", buffer_size=9, min_count=5),
    "samples": 4,
    "steps": 3,
    "sampling": {"sampler": "ddim", "steps": 4, "window": 2, "batch_size": 2, "edits": 3},
    "update": {"batch_size": 2, "accumulation": 1, "epochs": 2},
}


def test_prompts_statistics_and_a_window_stopped_at_every_chance_change_no_bit(
    tmp_path: Path, layouts: Layouts
) -> None:
    whole = _trainer(tmp_path / "whole", **PROMPTS)
    expected = whole.run()
    chances: list[tuple[int, str, int]] = []
    windows: dict[int, list[int]] = {}

    def show(phase: str, done: int, of: int) -> None:
        if phase in ("sample", "reference", "update"):
            windows[trainer.done.step] = trainer.sampler.schedule.noisy_steps
            if (chance := (trainer.done.step, phase, done)) not in chances:
                chances.append(chance)
                trainer.stop()

    while True:
        trainer = _trainer(tmp_path, show=show, **PROMPTS)
        if (found := checkpoints.latest(tmp_path / "run" / "checkpoints")) is not None:
            trainer.resume(found)
        with contextlib.suppress(Interrupted):
            specialist = trainer.run()
            break
    assert len(chances) == 3 * (2 + 2 + 4)
    assert windows == {0: [0, 1], 1: [1, 2], 2: [0, 1]}
    _assert_same(specialist, expected)
    moments = (checkpoints.optimizer_state(one.optimizer) for one in (trainer, whole))
    for one, other in zip(*moments, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert _records(tmp_path) == _records(tmp_path / "whole")
    records = _records(tmp_path)
    assert all(record["updates"] == 4 and record["clipped"] > 0 for record in records)
    assert all(record["kl_reference"] > 0 for record in records)
    assert specialist.card.sampler == "ddim"
    last = tmp_path / "run" / "checkpoints" / "step_0003"
    newest = checkpoints.load(last).newest
    assert newest.keys() == {f"{name}.{i}" for name in ("structural", "semantic") for i in range(2)}
    assert sum(len(newest[f"semantic.{i}"]) for i in range(2)) == 2 * 9


@pytest.mark.parametrize("damage", ["missing", "of others", "long"])
def test_statistics_that_are_not_this_trainings_are_refused(tmp_path: Path, damage: str) -> None:
    _trainer(tmp_path, **PROMPTS | {"steps": 1}).run()
    last = tmp_path / "run" / "checkpoints" / "step_0001"
    scores = load_file(last / "scores.safetensors")
    (last / "scores.safetensors").unlink()
    if damage != "missing":
        scores["semantic.2" if damage == "of others" else "semantic.0"] = torch.ones(10)
        save_file(scores, last / "scores.safetensors")
    with pytest.raises(SimeditError, match=r"broken.*scores\.safetensors does not hold"):
        _trainer(tmp_path, **PROMPTS).resume(last)


def test_of_a_window_no_more_is_kept_than_is_learned_from(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, sampling={"steps": 6, "window": 2, "edits": 3})
    whole = _trainer(tmp_path / "whole", sampling={"steps": 6, "edits": 3})
    for step in (0, 3):
        trainer.sampler.at(step)
        some = [t.sampler.batch(t._draws(step)[:2], {"sample": 0, "score": 0}) for t in (trainer, whole)]
        assert [tuple(one.latents.shape[:3]) for one in some] == [(2, 3, 4), (2, 3, 7)]
        assert some[0].log_probs.shape == (2, 3, 2)
        latents = some[0].latents
        # Where the window begins, edits have not parted, but for rounding.
        torch.testing.assert_close(latents[:, 1:, 0], latents[:, :1, 0].expand(-1, 2, -1, -1, -1))
        assert (latents[:, 1, 1] != latents[:, 0, 1]).any()
        same = torch.equal(latents[:, :, :3], some[1].latents[:, :, :3])
        assert same == (step == 0)  # as without a window as long as both draw noise


WARM: Any = {
    "warm_start": PaintedConfig(steps=4, batch_size=3, learning_rate=3e-3),
    "steps": 1,
    "samples": 4,
    "sampling": {"steps": 3, "batch_size": 2},
}


def test_a_warm_start_stopped_at_every_chance_changes_no_bit(tmp_path: Path) -> None:
    whole = _trainer(tmp_path / "whole", **WARM)
    expected, chances = whole.run(), []

    def show(phase: str, done: int, of: int) -> None:
        if phase == "warm start" and done and done not in chances:
            chances.append(done)
            trainer.stop()

    while True:
        trainer = _trainer(tmp_path, show=show, **WARM)
        if (found := checkpoints.latest(tmp_path / "run" / "checkpoints")) is not None:
            trainer.resume(found)
        with contextlib.suppress(Interrupted):
            specialist = trainer.run()
            break
    assert chances == [1, 2, 3]
    _assert_same(specialist, expected)
    assert _records(tmp_path) == _records(tmp_path / "whole")
    assert specialist.card.training is not None
    assert specialist.card.training["warm_start"] == 4


@pytest.mark.parametrize(
    "objective",
    [
        D3PO(),
        pytest.param(NFT(levels=2), marks=pytest.mark.slow),
        pytest.param(DRaFT(last=2), marks=pytest.mark.slow),
    ],
)
def test_a_gpu_trains_as_the_cpu_does_also_after_a_stop(
    tmp_path: Path, gpu: Gpu, objective: Objective
) -> None:
    options: Any = WARM | {"steps": 2, "precision": "bf16", "update": {"gradient_checkpointing": True}}
    options |= {"structural": Canny(), "score": Semantic(Texture()), "objective": objective}
    options |= {"scores": SCORES} if objective.differentiates else {}
    expected = _trainer(tmp_path / "cpu", **options).run()
    stops = [("warm start", 2), ("sample", 2), ("reference", 2), ("update", 1)]
    stops = [stop for stop in stops if stop[0] != "reference" or objective.work(2, 2).reference]

    def show(phase: str, done: int, of: int) -> None:
        if stops and (phase, done) == stops[0]:
            stops.pop(0)
            trainer.stop()

    while True:
        trainer = _trainer(tmp_path / "gpu", show=show, device="cuda", **options)
        if (found := checkpoints.latest(tmp_path / "gpu" / "run" / "checkpoints")) is not None:
            trainer.resume(found)
        with contextlib.suppress(Interrupted):
            specialist = trainer.run()
            break
    assert stops == []
    assert {parameter.device.type for parameter in trainer.policy.parameters} == {"cuda"}
    one, other = (_records(tmp_path / where)[0] for where in ("cpu", "gpu"))
    if gpu.real:  # which of two edits is better may turn on rounding
        for name in ("structural", "semantic", "loss"):
            assert other[name] == pytest.approx(one[name], rel=0.1), name
        assert all(value.isfinite().all() for value in specialist.weights.values())
    else:
        _assert_same(specialist, expected)
        assert other == one | {"peak_memory": 0}


def test_feedback_refers_to_the_warm_start_also_after_a_stop(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, **WARM)
    trainer.show = lambda phase, done, of: trainer.stop() if phase == "sample" else None
    with pytest.raises(Interrupted):
        trainer.run()
    found = checkpoints.latest(tmp_path / "run" / "checkpoints")
    assert found is not None
    kept = checkpoints.load(found)
    assert kept.copies.keys() == {"reference"}
    _assert_same(replace(kept.specialist, weights=kept.copies["reference"]), kept.specialist)
    again = _trainer(tmp_path, **WARM)
    again.resume(found)
    with torch.no_grad():
        for parameter in again.policy.parameters:
            parameter += 1
    with again.policy.reference():
        _assert_same(replace(kept.specialist, weights=again.policy.weights()), kept.specialist)
    (found / "reference.safetensors").unlink()
    with pytest.raises(SimeditError, match="steps of a warm start"):
        _trainer(tmp_path, **WARM).resume(found)


def test_a_warm_start_alone_learns_to_paint(tmp_path: Path) -> None:
    options = WARM | {"steps": 0, "warm_start": PaintedConfig(steps=100, batch_size=4, learning_rate=3e-3)}
    trainer = _trainer(tmp_path, **options)

    def loss() -> float:
        warm = WarmStart(trainer.config, trainer.policy, trainer.sampler, trainer.material)
        with torch.no_grad():
            return sum(float(warm.loss(1000 + i, range(4))) for i in range(4))

    before = loss()
    specialist = trainer.run()
    assert loss() < 0.9 * before
    assert specialist.card.training is not None
    assert (specialist.card.training["steps"], specialist.card.training["warm_start"]) == (0, 100)
    assert (tmp_path / "run" / "checkpoints" / "step_0000" / "card.json").exists()


def test_the_seconds_before_a_stop_count(tmp_path: Path) -> None:
    def show(phase: str, done: int, of: int) -> None:
        if phase == "update":
            trainer.stop()

    trainer = _trainer(tmp_path, steps=1, show=show)
    with pytest.raises(Interrupted):
        trainer.run()
    found = checkpoints.latest(tmp_path / "run" / "checkpoints")
    assert found is not None
    before = checkpoints.load(found).progress.seconds
    trainer = _trainer(tmp_path, steps=1)
    trainer.resume(found)
    trainer.run()
    (line,) = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    after = json.loads(line)["seconds"]
    assert before["sample"] == after["sample"] > 0
    assert 0 < before["update"] < after["update"]


@pytest.mark.parametrize(
    ("what", "step"), [("Log.write", 1), ("Log._save", 3), ("save_curves", 3), ("save_grid", 2)]
)
def test_what_cannot_be_written_loses_nothing(
    uninterrupted: tuple[Path, Specialist], tmp_path: Path, monkeypatch, what: str, step: int
) -> None:
    def fail(*args: Any) -> None:
        if trainer.done.step == (step - 1 if what == "save_grid" else step):
            raise SimeditError("cannot write: it is full")
        original(*args)

    owner, _, name = f"simedit.training.trainer.{what}".rpartition(".")
    original = getattr(resolve_name(owner), name)
    trainer = _trainer(tmp_path, steps=3)
    with monkeypatch.context() as patch:
        patch.setattr(f"{owner}.{name}", fail)
        with pytest.raises(SimeditError, match="it is full"):
            trainer.run()
    found = checkpoints.latest(tmp_path / "run" / "checkpoints")
    assert found is not None
    assert found.name == (f"step_{step - 1:04d}_interrupted" if what == "save_grid" else f"step_{step:04d}")
    trainer = _trainer(tmp_path, steps=3)
    trainer.resume(found)
    _assert_same(trainer.run(), uninterrupted[1])
    assert _records(tmp_path) == _records(uninterrupted[0])
    run, whole = (sorted(p.name for p in (f / "run").glob("*.*")) for f in (tmp_path, uninterrupted[0]))
    assert run == whole


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path, monkeypatch) -> None:
    trainer = _trainer(tmp_path, steps=3)
    step = trainer.optimizer.step

    def overflow() -> None:
        step()
        if trainer.done.step == 1:
            trainer.policy.parameters[0].data.fill_(torch.nan)

    monkeypatch.setattr(trainer.optimizer, "step", overflow)
    with pytest.raises(SimeditError, match="not finite"):
        trainer.run()
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_0000", "step_0001"]


DAMAGES: dict[str, Callable[[Tensor], Tensor]] = {
    "shape": lambda value: value[:, :1].contiguous(),
    "type": lambda value: value.double(),
    "number": lambda value: value[:1].clone(),
}


@pytest.mark.parametrize(
    ("field", "how"),
    [("latents", "shape"), ("latents", "type"), ("image", "shape"), ("log_probs", "number")],
)
def test_pairs_that_are_not_this_trainings_are_refused(
    interrupted: Path, tmp_path: Path, field: str, how: str
) -> None:
    path = shutil.copytree(interrupted, tmp_path / interrupted.name)
    pairs = load_file(path / "pairs.safetensors")
    save_file(pairs | {field: DAMAGES[how](pairs[field])}, path / "pairs.safetensors")
    with pytest.raises(SimeditError, match=rf"_interrupted is broken \(its edits' {field} is"):
        _trainer(tmp_path, steps=3).resume(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pairs: {"style": 1 - pairs["style"]}, "not those that this training draws"),
        (lambda pairs: {"style": pairs["style"] + 10**12}, "not those that this training draws"),
        (lambda pairs: {"more": pairs["style"] + 1}, "this training's differ in more"),
        (lambda pairs: {name: torch.cat([value] * 3) for name, value in pairs.items()}, "not those that"),
    ],
)
def test_other_pairs_are_refused(interrupted: Path, tmp_path: Path, change: Any, message: str) -> None:
    path = shutil.copytree(interrupted, tmp_path / interrupted.name)
    pairs = load_file(path / "pairs.safetensors")
    save_file(pairs | change(pairs), path / "pairs.safetensors")
    with pytest.raises(SimeditError, match=f"_interrupted is broken.*{message}"):
        _trainer(tmp_path, steps=3).resume(path)


def test_edits_of_before_they_knew_their_inputs_are_refused(interrupted: Path, tmp_path: Path) -> None:
    path = shutil.copytree(interrupted, tmp_path / interrupted.name)
    pairs = load_file(path / "pairs.safetensors")
    del pairs["input"]
    save_file(pairs, path / "pairs.safetensors")
    with pytest.raises(SimeditError, match=r"is broken \(its edits lack input, as .* go on from"):
        _trainer(tmp_path, steps=3).resume(path)


@pytest.mark.parametrize(
    "progress",
    ['{"step": 0, "updates": 1}', '{"step": 0, "sums": {"x": 1}}', '{"step": 0, "seconds": {"x": 1}}'],
)
def test_progress_that_cannot_be_is_refused(interrupted: Path, tmp_path: Path, progress: str) -> None:
    path = shutil.copytree(interrupted, tmp_path / interrupted.name)
    (path / "progress.json").write_text(progress)
    with pytest.raises(SimeditError, match="_interrupted is broken"):
        _trainer(tmp_path, steps=3).resume(path)


def test_an_optimizer_of_another_training_is_refused(
    uninterrupted: tuple[Path, Specialist], tmp_path: Path
) -> None:
    path = tmp_path / "step_0002"
    shutil.copytree(uninterrupted[0] / "run" / "checkpoints" / "step_0002", path)
    save_file({"0.exp_avg": torch.zeros(3)}, path / "optimizer.safetensors")
    with pytest.raises(SimeditError, match=r"step_0002 is broken.*its optimizer's parameter 0"):
        _trainer(tmp_path, steps=3).resume(path)


def test_neither_batch_sizes_nor_checkpointing_change_what_is_learned(
    uninterrupted: tuple[Path, Specialist], tmp_path: Path
) -> None:
    other = _trainer(
        tmp_path,
        steps=3,
        sampling={"batch_size": 1},
        update={"batch_size": 4, "accumulation": 1, "gradient_checkpointing": False},
    ).run()
    for key, value in uninterrupted[1].weights.items():
        torch.testing.assert_close(other.weights[key], value, atol=2e-3, rtol=0)


def test_pairs_without_a_score_are_dropped_and_counted(tmp_path: Path) -> None:
    def broken(edits: Tensor, targets: Targets) -> Tensor:
        scores = redness(edits, targets)
        if len(calls) == 2:
            scores[0, 1] = torch.nan
        calls.append(None)
        return scores

    calls: list[None] = []
    specialist = _trainer(
        tmp_path, broken, samples=12, sampling={"batch_size": 4}, update={"accumulation": 3}
    ).run()
    assert [record["dropped"] for record in _records(tmp_path)] == [1, 0]
    assert all(weight.isfinite().all() for weight in specialist.weights.values())


def test_too_many_pairs_without_a_score_stop_the_training(tmp_path: Path) -> None:
    def broken(edits: Tensor, targets: Targets) -> Tensor:
        return redness(edits, targets) * torch.tensor([torch.nan, 1])

    with pytest.raises(SimeditError, match=r"8 of 8 inputs of step 1 have no score"):
        _trainer(tmp_path, broken).run()


def test_pairs_as_good_as_each_other_teach_nothing(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, indifferent, steps=1)
    before = trainer.specialist()
    _assert_same(trainer.run(), before)
    assert _records(tmp_path)[0]["tied"] == 8


def test_a_gradient_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path)
    for parameter in trainer.policy.parameters:
        parameter.register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(SimeditError, match="the gradient is not finite"):
        trainer.run()


def test_another_number_of_processes_is_refused(
    uninterrupted: tuple[Path, Specialist], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "step_0002"
    shutil.copytree(uninterrupted[0] / "run" / "checkpoints" / "step_0002", checkpoint)
    (checkpoint / "progress.json").write_text('{"step": 2, "processes": 4}')
    with pytest.raises(SimeditError, match="trained by 4 processes, here are 1"):
        _trainer(tmp_path, steps=3).resume(checkpoint)


def test_half_of_the_timesteps_can_be_learned_from(tmp_path: Path) -> None:
    specialist = _trainer(tmp_path, objective=D3PO(timesteps=0.5), update={"epochs": 2}).run()
    assert all(record["updates"] == 4 for record in _records(tmp_path))
    assert all(weight.isfinite().all() for weight in specialist.weights.values())


@pytest.mark.slow
@pytest.mark.parametrize(("score", "seed"), [(redness, 0), (blueness, 1)])
def test_ten_steps_teach_what_the_score_asks_for(
    tmp_path: Path, score: Callable[[Tensor, Targets], Tensor], seed: int
) -> None:
    """Trained edits beat the base's, with the same noise, on at least 80 % of inputs never seen."""
    trainer = _trainer(
        tmp_path,
        score,
        seed=seed,
        steps=10,
        samples=64,
        sampling={"steps": 6, "batch_size": 16},
        update={"batch_size": 8, "accumulation": 1, "learning_rate": 4e-3, "gradient_checkpointing": False},
    )
    untrained = trainer.specialist()
    trained = trainer.run()
    held_out, count = Frames(50, 1000 + seed), 50
    frames = torch.from_numpy(held_out.frames).permute(0, 3, 1, 2) / 255
    targets = Targets(
        frames, torch.from_numpy(held_out.mask).expand(count, -1, -1), frames, torch.ones(count, 1, 1)
    )
    scores = []
    for specialist in (untrained, trained):
        library = SpecialistLibrary(tiny_pipeline(seed), batch_size=25)
        library.add(specialist)
        edits = library.edit(held_out.frames, styles=["red"] * count, seeds=range(count))
        scores.append(score(torch.from_numpy(edits).permute(0, 3, 1, 2)[:, None] / 255, targets))
    wins = (scores[1] < scores[0]).float().mean()
    assert wins >= 0.8
