"""Recorded demonstrations: what they hold, and that recording resumes."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from simedit.envs.drawer.kitchens import KITCHENS
from simedit.envs.drawer.poses import succeeded
from simedit.errors import SimeditError
from simedit.lab.demonstrations import HEIGHT, WIDTH, Demonstration, record

pytest.importorskip("mani_skill", reason="needs the extra: sim")

pytestmark = pytest.mark.slow  # episodes of real physics


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demonstrations")
    assert sorted(path.name for path in record(folder, 2, cores=2, moved=1)) == ["00000.npz", "00001.npz"]
    return folder


@pytest.fixture(params=[0, 1], ids=["open", "close"])
def shown(folder: Path, request: pytest.FixtureRequest) -> Demonstration:
    return Demonstration.load(folder / f"{request.param:05d}.npz")


def test_shapes(shown):
    steps = len(shown.done)
    assert 15 < steps <= 60
    assert shown.frames.shape == (1, steps, HEIGHT, WIDTH, 3)
    assert shown.moved_frames.shape == (steps, HEIGHT, WIDTH, 3)
    assert shown.frames.dtype == shown.moved_frames.dtype == np.uint8
    assert shown.done.shape == shown.right.shape == (steps, 7)
    for name in ("tcp", "handle", "moved_tcp", "moved_handle"):
        assert getattr(shown, name).shape == (steps, 4, 4)
    assert {*shown.kitchens, *shown.moved_kitchens} <= set(KITCHENS)
    assert len(shown.moved_kitchens) == len(shown.extension) == len(shown.moved_extension) == steps


def test_it_shows_how_the_task_is_done(shown):
    task, drawer, _ = str(shown.instruction).split()
    assert drawer == "top"
    assert not succeeded(task, shown.extension[0])
    assert succeeded(task, shown.extension[-1])
    assert shown.over.tolist() == sorted(shown.over)
    assert shown.over.sum() == 3


def test_frames_follow_the_episode(shown):
    moved = np.abs(np.diff(shown.frames[0].astype(int), axis=0)).mean((1, 2, 3))
    assert moved.max() > 3  # the arm passes by
    assert moved.min() > 0.5  # every frame has its own grain


def test_moved_frames_are_near_their_steps(shown):
    for name, most in (("tcp", 0.2), ("handle", 0.1)):
        distances = getattr(shown, f"moved_{name}")[:, :3, 3] - getattr(shown, name)[:, :3, 3]
        lengths = np.linalg.norm(distances, axis=-1)
        assert np.median(lengths) > 0.003
        assert lengths.max() < most
    np.testing.assert_allclose(shown.moved_extension, shown.extension, atol=1e-5)


def test_what_is_there_is_not_made_again(folder, tmp_path):
    first = tmp_path / "00000.npz"
    first.write_bytes((folder / "00000.npz").read_bytes())
    before = first.stat().st_mtime_ns
    again = list(record(tmp_path, 2, cores=1, moved=1))
    assert first.stat().st_mtime_ns == before
    one, other = Demonstration.load(folder / "00001.npz"), Demonstration.load(again[1])
    for field in fields(Demonstration):  # an episode does not depend on those before it
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_broken_file(tmp_path):
    path = tmp_path / "00000.npz"
    for content in (b"", b"no archive"):
        path.write_bytes(content)
        with pytest.raises(SimeditError, match=r"cannot read the demonstration .*00000\.npz"):
            Demonstration.load(path)
    with pytest.raises(SimeditError, match="cannot read"):
        Demonstration.load(tmp_path / "none.npz")
