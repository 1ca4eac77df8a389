from __future__ import annotations

import numpy as np
import pytest

from simedit.lerobot.statistics import NAMES, of_frames, of_values, sampled, tally, together


def frames(count: int, height: int = 20, width: int = 30) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("frames", "count"), [(1, 1), (7, 7), (100, 100), (300, 100), (1000, 177), (20_000, 1681)]
)
def test_as_many_frames_are_sampled_as_lerobot_takes(frames, count):
    found = sampled(frames)
    assert (len(found), found[0], found[-1]) == (count, 0, frames - 1)
    assert (np.diff(found) > 0).all()


def test_of_frames_are_those_of_all_pixels_by_channel():
    images = frames(6)
    found = of_frames(sum(tally(image) for image in images), len(images))
    assert tuple(found) == (*NAMES[:4], *NAMES[5:], "count")
    assert {name: value.shape for name, value in found.items()} == {
        name: (1,) if name == "count" else (3, 1, 1) for name in NAMES
    }
    assert found["count"] == 6
    pixels = images.reshape(-1, 3) / 255
    for name, wanted in (
        *(("min", pixels.min(0)), ("max", pixels.max(0)), ("mean", pixels.mean(0)), ("std", pixels.std(0))),
        *((f"q{q:02d}", np.percentile(pixels, q, axis=0)) for q in (1, 10, 50, 90, 99)),
    ):
        tolerance = 1.5 / 255 if name.startswith("q") else 1e-12
        np.testing.assert_allclose(found[name].ravel(), wanted, atol=tolerance, err_msg=name)


def test_large_frames_are_thinned_out():
    image = frames(1, 320, 640)[0]
    np.testing.assert_array_equal(tally(image), tally(np.ascontiguousarray(image[::4, ::4])))
    assert tally(image).sum(axis=1).tolist() == [80 * 160] * 3
    assert tally(frames(1, 299, 200)[0]).sum() == 299 * 200 * 3


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, bool])
def test_of_values_are_by_dimension(kind):
    values = (np.random.default_rng(2).normal(size=(50, 3)) * 4).astype(kind)
    found = of_values(values)
    assert {name: value.shape for name, value in found.items()} == {
        name: (1,) if name == "count" else (3,) for name in NAMES
    }
    exact = values.astype(float)
    np.testing.assert_array_equal(found["min"], values.min(0))
    np.testing.assert_allclose(found["std"], exact.std(0), rtol=1e-12)
    assert (found["q10"] <= found["q50"]).all()
    assert of_values(values[:, 0])["mean"].shape == (1,)


def test_one_value_has_statistics():
    found = of_values(np.array([[2.0]]))
    assert {name: value.item() for name, value in found.items()} == {
        name: {"std": 0, "count": 1}.get(name, 2) for name in NAMES
    }


def test_together_they_are_those_of_all_episodes():
    values = np.random.default_rng(3).normal(size=(70, 2))
    parts = values[:20], values[20:35] + 3, values[35:]
    found = together([of_values(part) for part in parts])
    whole = np.concatenate(parts)
    for name, wanted in (
        ("min", whole.min(0)),
        ("max", whole.max(0)),
        ("mean", whole.mean(0)),
        ("std", whole.std(0)),
    ):
        np.testing.assert_allclose(found[name], wanted, rtol=1e-12, err_msg=name)
    assert found["count"].tolist() == [70]
    medians = [of_values(part)["q50"] for part in parts]
    np.testing.assert_allclose(found["q50"], np.average(medians, axis=0, weights=[20, 15, 35]))
