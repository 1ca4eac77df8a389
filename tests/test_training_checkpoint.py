from __future__ import annotations

import contextlib
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from simedit.errors import SimeditError
from simedit.specialist import Card, Specialist
from simedit.training import checkpoint as checkpoints
from simedit.training.checkpoint import OPTIMIZER, PAIRS, PROGRESS, UNFINISHED, Checkpoint, Progress
from simedit.training.rollout import Rollout

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
    image = np.full((4, 5, 3), step % 200, np.uint8)
    progress = Progress(step, 2, updates, {"loss": 0.1 + 0.2, "terms": 3.0})
    specialist = Specialist(Card(style="gold", instruction="make it gold"), weights, (image, image + 1))
    copies = {
        "reference": {"unet.a": torch.ones(3, 2)},
        "averaged": {k: v.clone() for k, v in weights.items()},
    }
    newest = {"semantic.0": torch.randn(3, generator=random), "semantic.1": torch.ones(0)} if step else {}
    return Checkpoint(specialist, state, progress, small_rollout(step) if pairs else None, copies, newest)


def small_rollout(seed: int, n: int = 2) -> Rollout:
    random = torch.Generator().manual_seed(seed)
    return Rollout(
        latents=torch.randn(n, 2, 5, 4, 2, 2, generator=random).half(),
        log_probs=torch.randn(n, 2, 3, generator=random),
        image=torch.randn(n, 4, 2, 2, generator=random),
        input=torch.arange(n),
        wording=torch.arange(n),
        style=torch.arange(n),
        scores={"structural": torch.tensor([[torch.nan, 1.0]] * n), "b": torch.randn(n, 2, generator=random)},
    )


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one.nan_to_num(7), other.nan_to_num(7))


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    assert one.progress == other.progress
    assert one.specialist.card == other.specialist.card
    dicts = [
        (one.specialist.weights, other.specialist.weights),
        *zip(one.optimizer, other.optimizer, strict=True),
        *((one.copies[name], other.copies[name]) for name in one.copies.keys() | other.copies.keys()),
        (one.newest, other.newest),
    ]
    for a, b in dicts:
        assert a.keys() == b.keys()
        assert all(same(a[key], b[key]) for key in a)
    for a, b in zip(one.specialist.style_images, other.specialist.style_images, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one.rollout is None) == (other.rollout is None)
    if one.rollout is not None and other.rollout is not None:
        assert_same_tensors(one.rollout.tensors(), other.rollout.tensors())


def assert_same_tensors(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(same(one[name], other[name]) for name in one)


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
    saved = replace(checkpoint(0), optimizer=[{}, {}, {}], rollout=small_rollout(0, n=0))
    found = checkpoints.load(checkpoints.save(tmp_path, saved, keep=2))
    assert found.optimizer == []
    assert found.rollout is not None
    assert len(found.rollout) == 0


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


def test_only_what_the_training_made_is_counted_or_removed(tmp_path: Path) -> None:
    first = checkpoints.save(tmp_path, checkpoint(2), keep=1)
    elsewhere = shutil.copytree(first, tmp_path.with_name(f"{tmp_path.name}-elsewhere") / "step_0009")
    copies = (
        *("step_0002_best", "step_2", "step_00002", "step_0001 copy", "step_0003.bak", "xstep_0003"),
        *(".step_0003", ".git", ".new-step_0002", ".old-step_0001", "step_\u0660\u0660\u0660\u0663"),
    )
    for name in copies:
        shutil.copytree(first, tmp_path / name)
    (tmp_path / "step_0008").mkdir()
    (tmp_path / "step_0007").write_text("no folder")
    (tmp_path / "step_0009").symlink_to(elsewhere)
    assert checkpoints.latest(tmp_path) == first
    assert checkpoints.step_folders(tmp_path) == {2: first}
    for step in (3, 4):
        checkpoints.save(tmp_path, checkpoint(step), keep=1)
    kept = sorted([*copies, "step_0004", "step_0007", "step_0008", "step_0009"])
    assert names(tmp_path) == kept
    assert (elsewhere / PROGRESS).exists()


def test_beyond_9999_steps_the_newest_is_kept(tmp_path: Path) -> None:
    for step in (9998, 9999, 10000, 10001):
        checkpoints.save(tmp_path, checkpoint(step), keep=2)
        assert checkpoints.latest(tmp_path) == tmp_path / f"step_{step}"
    assert names(tmp_path) == ["step_10000", "step_10001"]
    assert list(checkpoints.step_folders(tmp_path)) == [10000, 10001]


def test_what_a_killed_process_left_half_written_is_ignored_and_goes(tmp_path: Path) -> None:
    first = checkpoints.save(tmp_path, checkpoint(1), keep=3)
    shutil.copytree(first, tmp_path / UNFINISHED / "step_0002")
    (tmp_path / UNFINISHED / ".step_0003-abc" / "new").mkdir(parents=True)
    assert checkpoints.latest(tmp_path) == first
    checkpoints.save(tmp_path, checkpoint(2), keep=3)
    assert names(tmp_path) == ["step_0001", "step_0002"]


@pytest.mark.parametrize("renames", range(5))
def test_a_kill_at_any_rename_loses_no_checkpoint(tmp_path: Path, monkeypatch, renames: int) -> None:
    """An interrupted one is replaced by a further one, and the whole one goes."""

    def rename(path: Path, target: Path) -> Path:
        if target.is_relative_to(tmp_path) and len(done) == renames:
            raise KeyboardInterrupt
        if target.is_relative_to(tmp_path):
            done.append(path)
        return original(path, target)

    checkpoints.save(tmp_path, old := checkpoint(1, pairs=True), keep=1)
    done: list[Path] = []
    original = Path.rename
    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(Path, "rename", rename)
        checkpoints.save(tmp_path, new := checkpoint(1, pairs=True, updates=1), keep=1)
    checkpoints.tidy(tmp_path)
    assert names(tmp_path) == ["step_0001_interrupted"]
    found = checkpoints.load(tmp_path / "step_0001_interrupted")
    assert_same(found, new if found.progress.updates else old)
    assert (found.progress.updates == 1) == (len(done) >= 4)  # the specialist's own are the first two


def test_a_kill_while_an_old_one_is_deleted_leaves_no_part_of_it(tmp_path: Path, monkeypatch) -> None:
    def killed(path, **_) -> None:
        for progress in Path(path).glob(f"gone-*/{PROGRESS}"):
            progress.unlink()
            raise KeyboardInterrupt

    checkpoints.save(tmp_path, checkpoint(0), keep=1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(tmp_path, checkpoint(1), keep=1)
    assert checkpoints.latest(tmp_path) == tmp_path / "step_0001"
    checkpoints.tidy(tmp_path)
    assert names(tmp_path) == ["step_0001"]


def test_the_way_to_a_base_in_a_folder_holds_where_the_checkpoint_ends_up(tmp_path: Path) -> None:
    one = checkpoint(1)
    card = one.specialist.card.model_copy(update={"base": str(tmp_path / "base")})
    path = checkpoints.save(
        tmp_path / "run" / "checkpoints", replace(one, specialist=replace(one.specialist, card=card)), keep=1
    )
    assert '"../../../base"' in (path / "card.json").read_text(encoding="utf-8")
    assert checkpoints.load(path).specialist.card.base == str(tmp_path / "base")


def test_files_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    path = checkpoints.save(tmp_path, checkpoint(1, pairs=True), keep=1)
    modes = {(path / name).stat().st_mode & 0o777 for name in (OPTIMIZER, PAIRS, PROGRESS)}
    assert modes == {(tmp_path / PROGRESS).open("w").close() or (tmp_path / PROGRESS).stat().st_mode & 0o777}


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), SimeditError("no (os error 13)")]
)
def test_the_reason_is_told_as_it_is(tmp_path: Path, monkeypatch, error: Exception) -> None:
    def save(*_: object) -> None:
        raise error

    checkpoints.save(tmp_path, checkpoint(0), keep=1)
    monkeypatch.setattr(Specialist, "save", save)
    with pytest.raises(SimeditError) as caught:
        checkpoints.save(tmp_path, checkpoint(1), keep=1)
    assert "room" not in str(caught.value)
    said = "Permission denied" if isinstance(error, OSError) else "no (os error 13)"
    assert str(caught.value).endswith(f"{said}. The one before it, step_0000, is whole.")


NOT_FINITE = {
    "unet.a": lambda one: one.specialist.weights["unet.a"],
    "0.exp_avg": lambda one: one.optimizer[0]["exp_avg"],
}


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("where", NOT_FINITE)
def test_what_is_not_finite_is_neither_saved_nor_loaded(
    tmp_path: Path, monkeypatch, where: str, value: float
) -> None:
    checkpoints.save(tmp_path, checkpoint(0), keep=1)
    bad = checkpoint(1)
    NOT_FINITE[where](bad).view(-1)[0] = value
    with pytest.raises(
        SimeditError, match=rf"after step 1 1 of the weights are not finite, such as .*{where}"
    ):
        checkpoints.save(tmp_path, bad, keep=1)
    assert names(tmp_path) == ["step_0000"]
    path = checkpoints.save(tmp_path, checkpoint(1), keep=1)
    file, key = (OPTIMIZER, where) if where[0] == "0" else ("adapter.safetensors", where)
    tensors = load_file(path / file)
    tensors[key].view(-1)[0] = value
    save_file(tensors, path / file)
    with pytest.raises(SimeditError, match=r"step_0001 is broken.*not finite"):
        checkpoints.load(path)


@pytest.mark.parametrize(
    "progress",
    [
        *(
            "",
            "[",
            "[" * 100_000,
            "[]",
            "3",
            "null",
            "{}",
            '{"step": "1"}',
            '{"step": 1.5}',
            '{"step": true}',
        ),
        *('{"step": -1}', '{"step": 2}', '{"step": 1, "processes": 0}', '{"step": 1, "updates": -1}'),
        *(
            '{"step": 1, "sums": {"loss": NaN}}',
            '{"step": 1, "sums": {"loss": "x"}}',
            '{"step": 1, "sums": 3}',
        ),
        *('{"step": 1, "record": {"step": 2}}', '{"step": 1, "record": {}}', '{"step": 1, "record": [1]}'),
        *('{"step": 1, "other": 1}', f'{{"step": {"9" * 5000}}}', '{"step": 1, "seconds": {"sample": null}}'),
    ],
)
def test_damaged_progress_is_named(tmp_path: Path, progress: str) -> None:
    path = checkpoints.save(tmp_path, checkpoint(1), keep=1)
    (path / PROGRESS).write_text(progress)
    with pytest.raises(SimeditError, match="step_0001 is broken") as caught:
        checkpoints.load(path)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("key", ["exp_avg", "x.exp_avg", "-1.exp_avg", "99999999999.exp_avg"])
def test_a_damaged_optimizer_is_named(tmp_path: Path, key: str) -> None:
    path = checkpoints.save(tmp_path, checkpoint(1), keep=1)
    save_file({key: torch.zeros(2)}, path / OPTIMIZER)
    with pytest.raises(SimeditError, match="step_0001 is broken"):
        checkpoints.load(path)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ([{}, {}, {}], "3 parameters, not 2"),
        ([{"step": torch.tensor(1.0)}], "parameter 0 holds"),
        (
            [{"step": torch.tensor(1.0), "exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(2)}],
            "parameter 0",
        ),
        (
            [{"step": torch.tensor(1), "exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3)}],
            "not in float32",
        ),
    ],
)
def test_a_state_of_another_optimizer_is_refused(state: list[dict[str, torch.Tensor]], message: str) -> None:
    optimizer = torch.optim.AdamW([torch.zeros(3, requires_grad=True), torch.ones(2, requires_grad=True)])
    with pytest.raises(SimeditError, match=message):
        checkpoints.set_optimizer_state(optimizer, state)


def test_moments_get_their_parameters_order_in_memory() -> None:
    parameter = torch.rand(4, 3, 2, 2).to(memory_format=torch.channels_last).requires_grad_()
    optimizer = torch.optim.AdamW([parameter])
    moments = {
        "step": torch.tensor(1.0),
        "exp_avg": torch.rand(4, 3, 2, 2),
        "exp_avg_sq": torch.rand(4, 3, 2, 2),
    }
    checkpoints.set_optimizer_state(optimizer, [moments])
    for key, value in optimizer.state[parameter].items():
        assert torch.equal(value, moments[key])
        assert key == "step" or value.stride() == parameter.stride()


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
