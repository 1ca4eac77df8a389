from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from simedit.errors import SimeditError
from simedit.specialist import Card, Specialist
from simedit.training import checkpoint as checkpoints
from simedit.training.checkpoint import OPTIMIZER, PAIRS, PROGRESS, Checkpoint, Progress
from simedit.training.pairs import Pairs

LARGE = 40_000
"""Numbers in the weights: in float32, more than `disk_full` lets a file hold."""


def checkpoint(step: int, *, pairs: bool = False, updates: int = 0) -> Checkpoint:
    """One whose numbers follow from its step; only its optimizer's tensors are large."""
    random = torch.Generator().manual_seed(step)
    weights = {
        "unet.a": torch.randn(3, 2, generator=random),
        "style_attention.b": torch.randn(2, generator=random),
    }
    state = [
        {"step": torch.tensor(float(step)), "exp_avg": torch.randn(LARGE, generator=random)},
        {},  # of a parameter that never had a gradient
        {"step": torch.tensor(float(step)), "exp_avg": torch.randn(2, generator=random)},
    ]
    image = np.full((4, 5, 3), step, np.uint8)
    progress = Progress(step, 2, updates, {"loss": 0.1 + 0.2, "terms": 3.0})
    specialist = Specialist(Card(style="gold", instruction="make it gold"), weights, (image, image + 1))
    return Checkpoint(specialist, state, progress, small_pairs(step) if pairs else None)


def small_pairs(seed: int, n: int = 2) -> Pairs:
    random = torch.Generator().manual_seed(seed)
    return Pairs(
        latents=torch.randn(n, 2, 5, 4, 2, 2, generator=random).half(),
        log_probs=torch.randn(n, 2, 3, generator=random),
        image=torch.randn(n, 4, 2, 2, generator=random),
        wording=torch.arange(n),
        style=torch.arange(n),
        structural=torch.tensor([[torch.nan, 1.0]] * n),
        semantic=torch.randn(n, 2, generator=random),
    )


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one.nan_to_num(7), other.nan_to_num(7))


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    assert one.progress == other.progress
    assert one.specialist.card == other.specialist.card
    dicts = [
        (one.specialist.weights, other.specialist.weights),
        *zip(one.optimizer, other.optimizer, strict=True),
    ]
    for a, b in dicts:
        assert a.keys() == b.keys()
        assert all(same(a[key], b[key]) for key in a)
    for a, b in zip(one.specialist.style_images, other.specialist.style_images, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one.pairs is None) == (other.pairs is None)
    if one.pairs is not None and other.pairs is not None:
        assert all(same(getattr(one.pairs, f.name), getattr(other.pairs, f.name)) for f in fields(Pairs))


def names(folder: Path) -> list[str]:
    """All there is, hidden things included."""
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def disk_full(size: int = 50_000) -> Iterator[None]:
    """Inside, no file of this process grows beyond `size` bytes: the system refuses the write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("pairs", [False, True])
def test_what_is_saved_is_what_is_loaded(tmp_path: Path, pairs: bool) -> None:
    saved = checkpoint(3, pairs=pairs, updates=int(pairs))
    path = checkpoints.save(tmp_path, saved, keep=2)
    assert path.name == ("step_0003_interrupted" if pairs else "step_0003")
    assert_same(checkpoints.load(path), saved)


def test_no_update_and_no_pairs_yet_are_saved_as_such(tmp_path: Path) -> None:
    saved = replace(checkpoint(0), optimizer=[{}, {}, {}], pairs=small_pairs(0, n=0))
    found = checkpoints.load(checkpoints.save(tmp_path, saved, keep=2))
    assert found.optimizer == []
    assert found.pairs is not None
    assert len(found.pairs) == 0


def test_an_optimizer_goes_on_as_it_was() -> None:
    def optimizer() -> torch.optim.AdamW:
        return torch.optim.AdamW(
            [torch.zeros(3, requires_grad=True), torch.ones(2, requires_grad=True)], lr=0.1
        )

    def learn(of: torch.optim.AdamW, times: int) -> None:
        for k in range(times):
            of.param_groups[0]["params"][1].grad = torch.tensor([1.0, -0.5 * k])  # the first never has one
            of.step()

    whole, before, after = optimizer(), optimizer(), optimizer()
    learn(whole, 2)
    learn(before, 2)
    for old, new in zip(before.param_groups[0]["params"], after.param_groups[0]["params"], strict=True):
        new.data.copy_(old.data)
    state = checkpoints.optimizer_state(before)
    assert state[0] == {}
    checkpoints.set_optimizer_state(after, state)
    learn(whole, 2)
    learn(after, 2)
    for old, new in zip(whole.param_groups[0]["params"], after.param_groups[0]["params"], strict=True):
        assert torch.equal(old, new)


def test_only_the_newest_are_kept_and_interrupted_ones_go(tmp_path: Path) -> None:
    assert checkpoints.latest(tmp_path) is None
    checkpoints.save(tmp_path, checkpoint(0), keep=2)
    checkpoints.save(tmp_path, checkpoint(1), keep=2)
    interrupted = checkpoints.save(tmp_path, checkpoint(1, pairs=True), keep=2)
    assert names(tmp_path) == ["step_0001", "step_0001_interrupted"]
    assert checkpoints.latest(tmp_path) == interrupted
    again = checkpoint(1, pairs=True, updates=2)
    assert checkpoints.save(tmp_path, again, keep=2) == interrupted
    assert_same(checkpoints.load(interrupted), again)
    newest = checkpoints.save(tmp_path, checkpoint(2), keep=2)
    assert names(tmp_path) == ["step_0001", "step_0002"]
    assert checkpoints.latest(tmp_path) == newest


def test_whole_steps_by_number(tmp_path: Path) -> None:
    for step in (0, 1, 2):
        checkpoints.save(tmp_path, checkpoint(step), keep=9)
    checkpoints.save(tmp_path, checkpoint(2, pairs=True), keep=9)
    folders = {1: tmp_path / "step_0001", 2: tmp_path / "step_0002"}
    assert checkpoints.step_folders(tmp_path) == folders


def test_what_a_killed_process_left_half_written_is_ignored_and_goes(tmp_path: Path) -> None:
    first = checkpoints.save(tmp_path, checkpoint(1), keep=3)
    shutil.copytree(first, tmp_path / ".new-step_0002_interrupted")
    (tmp_path / "..new-step_0002-abc" / "new").mkdir(parents=True)
    (tmp_path / ".new-step_0002").mkdir()
    assert checkpoints.latest(tmp_path) == first
    checkpoints.save(tmp_path, checkpoint(2), keep=3)
    assert names(tmp_path) == ["step_0001", "step_0002"]


def test_a_kill_while_an_old_one_is_deleted_leaves_no_part_of_it(tmp_path: Path, monkeypatch) -> None:
    def killed(path, **_) -> None:
        if (progress := Path(path) / PROGRESS).exists():
            progress.unlink()
            raise KeyboardInterrupt

    checkpoints.save(tmp_path, checkpoint(0), keep=1)
    monkeypatch.setattr(checkpoints.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(tmp_path, checkpoint(1), keep=1)
    monkeypatch.undo()
    checkpoints.save(tmp_path, checkpoint(2), keep=1)
    assert names(tmp_path) == ["step_0002"]


@pytest.mark.parametrize("old", ["step_0001", "step_0002_interrupted"])
def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path, old: str) -> None:
    kept = checkpoint(int(old[5:9]), pairs="interrupted" in old)
    checkpoints.save(tmp_path, kept, keep=1)
    new = checkpoint(2, pairs="interrupted" in old, updates=1)
    with disk_full(), pytest.raises(SimeditError, match=f"cannot write the checkpoint.* {old}, is whole"):
        checkpoints.save(tmp_path, new, keep=1)
    assert names(tmp_path) == [old]
    assert_same(checkpoints.load(tmp_path / old), kept)
    checkpoints.save(tmp_path, new, keep=1)
    found = checkpoints.latest(tmp_path)
    assert found is not None
    assert_same(checkpoints.load(found), new)


def test_a_full_disk_at_the_first_checkpoint_leaves_nothing(tmp_path: Path) -> None:
    with disk_full(), pytest.raises(SimeditError, match=r"cannot write the checkpoint.*Make room\.$"):
        checkpoints.save(tmp_path, checkpoint(0), keep=1)
    assert names(tmp_path) == []


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize(
    "name", ["adapter.safetensors", OPTIMIZER, PROGRESS, PAIRS, "card.json", "style_0.png"]
)
def test_a_truncated_checkpoint_says_how_to_go_on(tmp_path: Path, name: str, share: float) -> None:
    file = checkpoints.save(tmp_path, checkpoint(1, pairs=True), keep=1) / name
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(SimeditError, match=r"is broken.*remove its folder to go on from the one before it"):
        checkpoints.load(file.parent)


@pytest.mark.parametrize("name", ["adapter.safetensors", OPTIMIZER, "card.json"])
def test_a_checkpoint_that_lacks_a_file_says_so(tmp_path: Path, name: str) -> None:
    file = checkpoints.save(tmp_path, checkpoint(1), keep=1) / name
    file.unlink()
    with pytest.raises(SimeditError, match="is broken"):
        checkpoints.load(file.parent)
