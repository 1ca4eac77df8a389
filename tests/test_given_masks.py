from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simedit.errors import SimeditError
from simedit.files import plan
from simedit.given_masks import GivenMasks
from simedit.images import read_image


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: images, of which each has a mask, and a module of functions."""
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(("a", "deep/b")):
        for kind in ("in", "masks"):
            Path(kind, name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 6, 3), 10 * i, np.uint8)).save(f"in/{name}.jpg", quality=100)
        Image.fromarray(np.eye(4, 6, k=i, dtype=np.uint8) * 255).save(f"masks/{name}.png")
    Image.new("L", (6, 4), 255).save("all.png")
    (tmp_path / f"found_{tmp_path.name}.py").write_text("dark = lambda frame: frame[..., 0] < 5\n")
    return tmp_path


def found(*given: str) -> object:
    masks, jobs = GivenMasks(given), plan(Path("in"), Path("out"))
    masks.check(jobs, Path("in"))
    sources = [job.source for job in jobs]
    return masks(np.stack([read_image(source) for source in sources]), sources)


def test_none_one_or_several_by_region(folder: Path) -> None:
    assert found() is None
    np.testing.assert_array_equal(found("all.png"), np.ones((2, 4, 6), bool))
    several = found("all.png", f"dark=found_{folder.name}:dark", "own=masks")
    assert isinstance(several, dict)
    assert list(several) == ["", "dark", "own"]
    np.testing.assert_array_equal(several["dark"].all((1, 2)), [True, False])
    np.testing.assert_array_equal(several["own"], [np.eye(4, 6, k=i, dtype=bool) for i in range(2)])


def test_a_file_whose_name_has_an_equals_sign_is_one() -> None:
    Path("all.png").rename("all=1.png")
    np.testing.assert_array_equal(found("all=1.png"), np.ones((2, 4, 6), bool))


def test_one_image_has_its_mask_in_a_folder() -> None:
    masks, jobs = GivenMasks(["masks"]), plan(Path("in/a.jpg"), Path("out.jpg"))
    masks.check(jobs, Path("in/a.jpg"))
    np.testing.assert_array_equal(masks(np.zeros((1, 4, 6, 3), np.uint8), [jobs[0].source]), [np.eye(4, 6)])


def test_digests_follow_files() -> None:
    before = GivenMasks(["own=masks", "all.png"]).digests()
    Image.new("L", (6, 4), 255).save("masks/a.png")
    after = GivenMasks(["own=masks", "all.png"]).digests()
    assert before[""] == after[""]
    assert before["own"] != after["own"]


def test_what_does_not_fit_is_refused() -> None:
    Image.new("L", (5, 4), 255).save("masks/a.png")
    with pytest.raises(SimeditError, match=r"the mask masks/a\.png is 5x4, but in/a\.jpg is 6x4"):
        found("own=masks")
    Path("masks/a.png").unlink()
    with pytest.raises(SimeditError, match=r"masks has no mask for a\.jpg"):
        found("masks")
    Image.new("L", (5, 4), 255).save("small.png")
    with pytest.raises(SimeditError, match=r"the mask small\.png is 5x4"):
        found("small.png")


def test_regions_are_those_that_are_edited() -> None:
    masks = GivenMasks(["a=all.png", "all.png"])
    masks.check_regions("x", ("", "a"), looks=False)
    masks.check_regions("x", ("a",), looks=True)
    with pytest.raises(SimeditError, match="'x' edits the regions a alone: name each --mask"):
        masks.check_regions("x", ("a",), looks=False)
    with pytest.raises(SimeditError, match="'x' edits the region 'b': give --mask b="):
        masks.check_regions("x", ("a", "b"), looks=False)
