from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import SIDE

from simedit.errors import SimeditError
from simedit.pipeline import SpecialistPipeline
from simedit.settings import Scales
from simedit.specialist import Specialist
from simedit.tiny import make_tiny_library, tiny_pipeline
from simedit.training.config import DistilledConfig, SamplingConfig, StyleConfig, TrainConfig
from simedit.training.data import draws
from simedit.training.distillation import Distillation, widened
from simedit.training.policy import Encoded, Policy
from simedit.training.sampler import Material
from simedit.training.trainer import Interrupted, Trainer

GUIDED = Scales(image=1.5, style=2, text=3)
NO_GUIDANCE = Scales(image=1, style=1, text=1)


class Frames:
    """Four frames of two colours; the left half is edited."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, np.ndarray | None]:
        frame = np.full((SIDE, SIDE, 3), 40 + 50 * index, np.uint8)
        frame[:, : SIDE // 2] = (200, 40 * index, 90)
        mask = np.zeros((SIDE, SIDE), bool)
        mask[:, : SIDE // 2] = True
        return frame, mask

    def unseen(self, index: int, /) -> None:
        return None


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Specialist:
    gold = Specialist.load(make_tiny_library(tmp_path_factory.mktemp("tiny"), ["gold"]) / "gold")
    return replace(gold, card=gold.card.model_copy(update={"scales": GUIDED, "steps": 3}))


def trainer(teacher: Specialist, folder: Path, *, few: int = 1, rank: int = 4, **changes: int) -> Trainer:
    material = Material(
        inputs=Frames(),
        styles=(teacher.style_images[teacher.card.style_image],),
        masks=lambda indices, frames, own: np.stack([mask for mask in own if mask is not None]),
        style_masks=[np.ones(image.shape[:2], bool) for image in teacher.style_images],
        scores={
            "structural": lambda edits, targets: torch.zeros(edits.shape[:2]),
            "semantic": lambda edits, targets: edits[..., 0, 0, 0],
        },
    )
    config = TrainConfig(
        base="tiny",
        steps=0,
        width=SIDE,
        height=SIDE,
        precision="fp32",
        lora_rank=rank,
        lora_alpha=rank,
        style=StyleConfig(instruction=teacher.card.instruction, scales=NO_GUIDANCE),
        warm_start=DistilledConfig(
            teacher="gold", **{"edits": 4, "steps": 60, "learning_rate": 2e-2, **changes}
        ),
        sampling=SamplingConfig(steps=few, batch_size=3),
    )
    pipeline = tiny_pipeline()
    pipeline.save_pretrained(folder / "base")
    return Trainer(config, "fast", pipeline, str(folder / "base"), material, folder / "run", teacher=teacher)


def lessons(found: Trainer) -> Distillation:
    assert found.teacher is not None
    return Distillation(
        found.config, found.policy, found.sampler, found.material, found.teacher, found.folder, found.run_id
    )


@pytest.mark.parametrize("few", [1, 2])
def test_a_student_comes_nearer_to_its_teacher(teacher: Specialist, tmp_path: Path, few: int) -> None:
    training = trainer(teacher, tmp_path, few=few)
    student = training.run()
    assert (student.card.steps, student.card.sampler) == (few, "consistency")
    assert (student.card.style, student.card.scales) == ("fast", NO_GUIDANCE)
    assert student.card.training is not None
    assert student.card.training["warm_start"] == 60
    assert student.card.training["teacher"]["scales"] == GUIDED.model_dump()
    found = lessons(training)
    with torch.no_grad():
        after = [float(found.loss(1000 + step, range(4))) for step in range(3)]
        with training.policy.reference():
            kept = [float(found.loss(1000 + step, range(4))) for step in range(3)]
        assert kept == after  # what comes next, feedback, begins at the student
        training.policy.load(teacher)
        before = [float(found.loss(1000 + step, range(4))) for step in range(3)]
    assert sum(after) < 0.85 * sum(before)


def test_lessons_are_the_teachers_edits(teacher: Specialist, tmp_path: Path) -> None:
    """As the pipeline itself makes them, with guidance."""
    found = lessons(training := trainer(teacher, tmp_path))
    assert [*found.prepare(range(4))] == [0, 3, 4]
    seconds = [path.stat().st_mtime_ns for path in sorted((tmp_path / "run" / "teacher").iterdir())]
    assert [*lessons(training).prepare(range(4))] == [4]
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "run" / "teacher").iterdir())] == seconds
    pipeline = tiny_pipeline()
    alone = Policy(pipeline, rank=4, alpha=4, seed=0, scales=GUIDED)
    alone.load(teacher)
    draw = draws(0, 0, 4, 4, 1, len(teacher.style_images))[2]
    frame = torch.from_numpy(Frames()[draw.input][0]).permute(2, 0, 1)[None] / 255
    style = training.sampler.style(torch.tensor([draw.style]))
    with torch.no_grad():
        image = pipeline.encode_images(frame)
        encoded = Encoded(pipeline.encode_text([teacher.card.instruction]), image, style)
        edit = _sampled(pipeline, alone, encoded, draw.noise_seed)
    lesson = found._read([2])
    torch.testing.assert_close(lesson.edit, edit, atol=1e-4, rtol=1e-4)
    assert lesson.shown[0, 0, 0].tolist() == [1, 0]


def _sampled(pipeline: SpecialistPipeline, policy: Policy, encoded: Encoded, seed: int) -> torch.Tensor:
    from simedit.pipeline import denoise, noise

    draw = noise([torch.Generator().manual_seed(seed)], encoded.image.shape[1:], encoded.image.device)
    schedule = pipeline.schedule("euler_ancestral", 3)
    return denoise(policy.unet, policy.conditioning(encoded), schedule, draw)


@pytest.mark.parametrize("phase", ["teacher", "distillation"])
def test_going_on_after_a_stop_changes_no_bit(teacher: Specialist, tmp_path: Path, phase: str) -> None:
    wanted = trainer(teacher, tmp_path / "whole", steps=4).run()
    stopped = trainer(teacher, tmp_path / "stopped", steps=4)
    stopped.show = lambda now, done, of: stopped.stop() if (now, done) == (phase, 3) else None
    with pytest.raises(Interrupted):
        stopped.run()
    again = trainer(teacher, tmp_path / "stopped", steps=4)
    again.resume(tmp_path / "stopped" / "run" / "checkpoints" / "step_0000")
    told: list[tuple[str, int]] = []
    again.show = lambda now, done, of: told.append((now, done))
    found = again.run()
    assert told[0] == ("teacher", 3 if phase == "teacher" else 4)
    for key, value in wanted.weights.items():
        assert torch.equal(found.weights[key], value), key


def test_edits_of_another_training_are_made_anew_and_broken_ones_named(
    teacher: Specialist, tmp_path: Path
) -> None:
    training = trainer(teacher, tmp_path)
    assert [*lessons(training).prepare(range(2))][-1] == 2
    training.run_id = "another"
    assert [*lessons(training).prepare(range(2))] == [0, 2]
    (broken := tmp_path / "run" / "teacher" / "00001.safetensors").write_bytes(b"no tensors")
    with pytest.raises(SimeditError, match=r"cannot read .*00001.safetensors, remove it"):
        [*lessons(training).prepare(range(2))]
    broken.unlink()
    with pytest.raises(SimeditError, match=r"00001.safetensors is gone: go on once more"):
        lessons(training)._read([1])


def test_a_wider_adapter_does_the_same_at_first(teacher: Specialist) -> None:
    wide = widened(teacher, 6, 6)
    assert wide.card.lora_rank == 6
    x, found = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0)), []
    for one in (teacher, wide):
        rank = one.card.lora_rank
        policy = Policy(tiny_pipeline(), rank=rank, alpha=rank, seed=0, scales=GUIDED)
        policy.load(one)
        text = policy.pipeline.encode_text([one.card.instruction])
        with torch.no_grad():
            found.append(policy.predict(policy.conditioning(Encoded(text, x, x)), x, 500.0))
    torch.testing.assert_close(found[0], found[1])
    grown = [v for k, v in wide.weights.items() if "lora_A" in k]
    assert all(v[4:].abs().sum() > 0 for v in grown)  # else they would never learn
    with pytest.raises(SimeditError, match="lora_rank is 2, but gold's is 4: give that or more"):
        widened(teacher, 2, 2)
    with pytest.raises(SimeditError, match="lora_alpha must be 8 at lora_rank 8, as strong as gold's"):
        widened(teacher, 8, 4)
