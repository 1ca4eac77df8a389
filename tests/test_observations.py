"""Where observations hold their images, and what is said of those that cannot be edited."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from simedit.errors import SimeditError
from simedit.observations import beside, find_image_key, get_path, image_keys, keys_of, replaced

IMAGE = spaces.Box(0, 255, (12, 16, 3), np.uint8)
CAMERAS = spaces.Dict(
    {
        "observation/left": IMAGE,
        "observation/right": IMAGE,
        "wrist": spaces.Dict({"cam/rgb": IMAGE, "depth": spaces.Box(0, 1, (12, 16), np.float32)}),
        "state": spaces.Box(-1, 1, (7,), np.float32),
    }
)


def test_keys_may_have_slashes() -> None:
    paths = ["observation/left", "observation/right", "wrist/cam/rgb"]
    assert sorted(image_keys(CAMERAS)) == paths
    assert [keys_of(CAMERAS, path) for path in paths] == [
        ("observation/left",),
        ("observation/right",),
        ("wrist", "cam/rgb"),
    ]
    assert get_path(CAMERAS, "wrist/cam/rgb") is IMAGE
    assert set(beside(CAMERAS, "wrist/cam/rgb")) == {"cam/rgb", "depth"}
    assert set(beside(CAMERAS, "observation/left")) == set(CAMERAS)
    assert beside(IMAGE, "") == {}
    assert keys_of({"a": {"b": 1}, "a/b": {"c": 2}}, "a/b/c") == ("a/b", "c")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("imag/a", r"unknown key \(of the path 'imag/a'\) 'imag'.*did you mean 'image'"),
        ("image/a/b", "'b'"),
        ("image/", r"unknown key.*''"),
        ("/image", r"unknown key.*''"),
    ],
)
def test_paths_that_lead_nowhere(path: str, message: str) -> None:
    with pytest.raises(SimeditError, match=message):
        get_path({"image": {"a": 1}}, path)


def test_a_changed_copy_shares_the_rest() -> None:
    before = {"a": {"b": 1, "c": [2]}, "d": [3]}
    after = replaced(before, ("a",), {"b": 5, "e": 6})
    assert after == {"a": {"b": 5, "c": [2], "e": 6}, "d": [3]}
    assert before["a"] == {"b": 1, "c": [2]}
    assert after["d"] is before["d"]
    assert after["a"]["c"] is before["a"]["c"]


@pytest.mark.parametrize(
    ("shape", "dtype", "why"),
    [
        ((12, 16, 3), np.float32, "floats"),
        ((3, 12, 16), np.uint8, "channels first"),
        ((4, 3, 12, 16), np.uint8, "channels first"),
        ((12, 16, 1), np.uint8, "grey"),
        ((12, 16), np.uint8, "grey"),
        ((12, 16, 4), np.uint8, "four channels"),
        ((576,), np.uint8, "flat"),
        ((2, 576), np.uint8, "flat"),
    ],
)
def test_what_nearly_is_an_image_is_refused_with_the_reason(
    shape: tuple[int, ...], dtype: type, why: str
) -> None:
    space = spaces.Box(0, 255, shape, dtype)
    array = np.zeros(shape, dtype)
    message = rf"'pixels' is (torch\.)?{space.dtype} \[{', '.join(map(str, shape))}\] \({why}"
    for seen in (space, array, torch.from_numpy(array)):
        with pytest.raises(SimeditError, match=message):
            find_image_key({"pixels": seen})


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_what_is_nothing_like_an_image_is_not_named(dtype: type) -> None:
    with pytest.raises(SimeditError, match=r"nothing here is uint8 .*3\]$"):
        find_image_key({"state": np.zeros(7, dtype), "done": True, "text": "go"})


def test_a_shorter_key_is_tried_where_the_longer_leads_nowhere() -> None:
    space = spaces.Dict({"a/b": CAMERAS["state"], "a": spaces.Dict({"b": spaces.Dict({"rgb": IMAGE})})})
    assert keys_of(space, find_image_key(space)) == ("a", "b", "rgb")
    with pytest.raises(SimeditError, match="'a/b' means several entries"):
        keys_of(space, "a/b")
