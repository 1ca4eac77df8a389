from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simedit.errors import SimeditError
from simedit.given_mask import GivenMask

SOURCE = """
import numpy as np

bright = lambda frame: frame[..., 0] > 100
def grey(frame):
    return frame[..., 0]
def small(frame):
    return np.ones((2, 2), bool)
def broken(frame):
    raise SystemExit(f"no mask of {frame.shape}")
def spoils(frame):
    frame[:] = 0
    return frame[..., 0] == 0
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The working directory, with a module of functions and an image."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"masks_{tmp_path.name}.py").write_text(SOURCE)
    Image.fromarray(np.eye(4, 6, dtype=np.uint8) * 255).save("mask.png")
    return tmp_path


def frames() -> np.ndarray:
    return np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)


def test_an_image_is_the_mask_of_every_frame():
    mask = GivenMask("mask.png")
    assert mask.size == (4, 6)
    np.testing.assert_array_equal(mask(frames()), [np.eye(4, 6, dtype=bool)] * 2)
    before = mask.digest()
    Image.fromarray(np.full((4, 6), 255, np.uint8)).save("mask.png")
    assert GivenMask("mask.png").digest() != before


def test_a_function_is_asked_for_each_frame(folder):
    mask = GivenMask(f"masks_{folder.name}:bright")
    assert mask.size is None
    np.testing.assert_array_equal(mask(frames()), frames()[..., 0] > 100)
    before = mask.digest()
    (folder / f"masks_{folder.name}.py").write_text(SOURCE + "\n")
    assert mask.digest() != before


def test_a_function_gets_frames_of_its_own(folder):
    given = frames()
    GivenMask(f"masks_{folder.name}:spoils")(given)
    np.testing.assert_array_equal(given, frames())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("grey", r"must give bool \[4, 6\] for a frame, but gave uint8 \[4, 6\]"),
        ("small", r"must give bool \[4, 6\] for a frame, but gave bool \[2, 2\]"),
        ("broken", r"broken raised SystemExit: no mask of \(4, 6, 3\) \(masks_.*\.py, line 10\)"),
        ("brigth", "did you mean 'bright'"),
    ],
)
def test_what_is_no_mask_is_refused(folder, name, message):
    with pytest.raises(SimeditError, match=message):
        GivenMask(f"masks_{folder.name}:{name}")(frames())


@pytest.mark.parametrize("given", ["nowhere.png", "masks/some.py:find"])
def test_what_is_neither_is_refused(given):
    with pytest.raises(SimeditError, match=r"nowhere\.png|there is no such image, and a function must"):
        GivenMask(given)
