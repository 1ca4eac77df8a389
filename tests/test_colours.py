from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from skimage import exposure

from simedit.colours import TRANSFERS, ColourEditor, match_histograms, reinhard
from simedit.errors import SimeditError

RANDOM = np.random.default_rng(0)
FRAMES = RANDOM.integers(30, 120, (2, 24, 32, 3)).astype(np.uint8)
MASKS = np.zeros((2, 24, 32), bool)
MASKS[0, 4:20, 6:26] = True  # and an empty one
GOLD = (RANDOM.normal((200, 150, 40), (20, 15, 8), (40, 30, 3)).clip(0, 255)).astype(np.uint8)


def pixels(picture):
    return picture.reshape(-1, 3)


def test_matched_histograms_are_those_of_scikit_image():
    wanted = exposure.match_histograms(FRAMES[0].astype(float), GOLD.astype(float), channel_axis=-1)
    found = match_histograms(pixels(FRAMES[0]), pixels(GOLD))
    np.testing.assert_allclose(found, pixels(wanted), atol=1e-9)


def test_reinhard_gives_the_mean_and_spread_of_the_other_in_its_space():
    """Two greys: l alone varies, the logarithms of a to d move to those of the other two."""
    ours = np.repeat(np.array([[51, 51, 51], [102, 102, 102]], np.uint8), 3, axis=0)
    theirs = np.array([[60, 60, 60], [200, 200, 200]], np.uint8)
    np.testing.assert_allclose(reinhard(ours, theirs), np.repeat(theirs, 3, axis=0), rtol=2e-3)
    np.testing.assert_allclose(reinhard(pixels(GOLD), pixels(GOLD)), pixels(GOLD), atol=0.5)


@pytest.mark.parametrize("transfer", TRANSFERS)
class TestEdits:
    def test_inside_the_mask_come_the_colours_and_outside_nothing_changes(self, transfer):
        editor = ColourEditor({"gold": GOLD}, transfer=transfer)
        edits = editor.edit(FRAMES, styles=["gold", "gold"], masks=MASKS, seeds=[0, 1])
        assert np.array_equal(edits[~MASKS], FRAMES[~MASKS])
        inside = edits[0, 6:18, 8:24]  # the mask's border is made of what is further inside
        assert np.abs(inside.mean((0, 1)) - GOLD.mean((0, 1))).max() < 8
        assert np.array_equal(edits[1], FRAMES[1])
        whole = editor.edit(FRAMES, styles=["gold", "gold"], seeds=[7, 8])
        assert np.abs(pixels(whole[1]).mean(0) - GOLD.mean((0, 1))).max() < 8
        assert np.array_equal(whole[1:], editor.edit(FRAMES[1:], styles=["gold"], seeds=[0]))

    def test_one_colour_and_black_are_no_trouble(self, transfer):
        editor = ColourEditor({"black": np.zeros((4, 4, 3), np.uint8)}, transfer=transfer)
        flat = np.full((1, 8, 8, 3), 90, np.uint8)
        assert editor.edit(flat, styles=["black"], seeds=[0]).max() <= 1


def test_styles_are_a_folders_pictures(tmp_path):
    Image.fromarray(GOLD).save(tmp_path / "gold.png")
    Image.fromarray(np.dstack([GOLD, np.zeros(GOLD.shape[:2], np.uint8)])).save(tmp_path / "glass.png")
    (tmp_path / "notes.txt").touch()
    editor = ColourEditor.load(tmp_path, transfer="histogram")
    assert editor.styles == ("glass", "gold")
    edits = editor.edit(FRAMES, styles=["gold", "glass"], seeds=[0, 0])
    assert edits[1].min() == 255  # what is transparent lies on white
    Image.fromarray(GOLD).save(tmp_path / "gold.jpg")
    with pytest.raises(SimeditError, match=r"two pictures of style 'gold': leave out .*gold.png"):
        ColourEditor.load(tmp_path, transfer="histogram")
    (tmp_path / "glass.png").write_bytes(b"none")
    with pytest.raises(SimeditError, match=r"cannot read .*glass.png"):
        ColourEditor.load(tmp_path / "glass.png", transfer="histogram")


def test_an_unknown_transfer_is_refused():
    with pytest.raises(SimeditError, match="'reinhart': did you mean 'reinhard'"):
        ColourEditor({}, transfer="reinhart")
