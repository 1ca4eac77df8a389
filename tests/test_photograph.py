from __future__ import annotations

import numpy as np
import pytest
import torch

from simedit.errors import SimeditError
from simedit.lab.pairs import FRONT
from simedit.photograph import PhotographEditor
from simedit.specialist import WEIGHTS, Specialist
from simedit.tiny import make_tiny_library
from simedit.training.data import fit
from simedit.training.painted import USUAL, frame_shading, paint

RANDOM = np.random.default_rng(0)
FRAMES = RANDOM.integers(0, 256, (3, 24, 32, 3)).astype(np.uint8)
MASKS = np.zeros((3, 24, 32), bool)
MASKS[0, 4:20, 6:26] = MASKS[1, :, :12] = True  # and an empty one
PHOTOGRAPHS = {name: RANDOM.integers(0, 256, (64, 48, 3)).astype(np.uint8) for name in ("gold", "wood")}
STYLES = ["gold", "wood", "gold"]


def edited(editor, frames=FRAMES, styles=STYLES, masks=MASKS, seeds=(0, 1, 2)):
    return editor.edit(frames, styles=styles, masks=masks, seeds=seeds)


def test_a_flat_photograph_shows_in_the_mask_as_it_is_and_the_frame_outside():
    edits = edited(PhotographEditor(PHOTOGRAPHS, light=False))
    assert np.array_equal(edits[~MASKS], FRAMES[~MASKS])
    inside = np.s_[5:19, 7:25]  # the mask's border takes its colour from further in
    assert np.array_equal(edits[0][inside], fit(PHOTOGRAPHS["gold"], 32, 24)[inside])
    assert np.array_equal(edits[1][:, :11], fit(PHOTOGRAPHS["wood"], 32, 24)[:, :11])
    assert np.array_equal(edits[2], FRAMES[2])


def test_in_the_frames_own_light_it_is_what_the_labs_base_learned_to_make():
    edits = edited(PhotographEditor(PHOTOGRAPHS))
    wanted = paint(FRAMES[0], MASKS[0], fit(PHOTOGRAPHS["gold"], 32, 24), frame_shading(FRAMES[0], FRONT))
    inside = np.s_[5:19, 7:25]
    assert np.array_equal(edits[0][inside], wanted[inside])
    assert np.array_equal(edits[~MASKS], FRAMES[~MASKS])
    assert USUAL == FRONT
    darker = edited(PhotographEditor(PHOTOGRAPHS, usual=1.0))[0][inside]
    assert darker.mean() < edits[0][inside].mean()


def test_seeds_and_neighbours_change_nothing_and_frames_stay_as_they_are():
    editor, before = PhotographEditor(PHOTOGRAPHS), FRAMES.copy()
    edits = edited(editor)
    assert np.array_equal(edits, edited(editor, seeds=(7, 8, 9)))
    assert np.array_equal(edits[1:2], edited(editor, FRAMES[1:2], STYLES[1:2], MASKS[1:2], (0,)))
    assert np.array_equal(FRAMES, before)
    assert edited(editor, FRAMES[:0], [], MASKS[:0], ()).shape == (0, 24, 32, 3)


def test_of_masks_by_region_it_takes_the_one_without():
    editor = PhotographEditor(PHOTOGRAPHS)
    assert np.array_equal(edited(editor, masks={"block": ~MASKS, "": MASKS}), edited(editor))
    with pytest.raises(SimeditError, match="'gold' has no region of its own"):
        edited(editor, masks={"block": MASKS})


def test_tensors_come_back_as_tensors():
    editor = PhotographEditor(PHOTOGRAPHS)
    edits = edited(editor, torch.from_numpy(FRAMES), masks=torch.from_numpy(MASKS))
    assert edits.dtype == torch.uint8
    assert np.array_equal(edits.numpy(), edited(editor))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"masks": None}, "laid on what a mask shows, and there is none"),
        ({"styles": ["gold", "wod", "gold"]}, "unknown style 'wod': did you mean 'wood'"),
        ({"styles": ["gold"]}, "3 frames need as many styles and seeds, got 1 and 3"),
        ({"masks": MASKS[:2]}, "masks must be bool"),
        ({"frames": FRAMES.astype(float)}, "frames must be uint8"),
    ],
)
def test_what_it_cannot_edit_is_refused(asked, message):
    with pytest.raises(SimeditError, match=message):
        edited(PhotographEditor(PHOTOGRAPHS), **asked)


def test_photographs_are_those_that_the_cards_name_and_no_weights_are_read(tmp_path):
    library = make_tiny_library(tmp_path, ["gold", "wood"])
    one = Specialist.load(library / "gold")
    two = tuple(PHOTOGRAPHS.values())
    Specialist(one.card.model_copy(update={"style_image": 1}), one.weights, two).save(library / "gold")
    (library / "gold" / WEIGHTS).write_bytes(b"nothing")
    editor = PhotographEditor.load(library, light=False)
    assert editor.styles == ("gold", "wood")
    inside = np.s_[5:19, 7:25]
    assert np.array_equal(edited(editor)[0][inside], fit(two[1], 32, 24)[inside])
    (library / "gold" / "style_1.png").write_bytes(b"no picture")
    with pytest.raises(SimeditError, match=r"cannot read .*style_1.png, copy it anew"):
        PhotographEditor.load(library)
    (library / "gold" / "style_1.png").unlink()
    with pytest.raises(SimeditError, match=r"copy it anew: style_1.png is missing"):
        PhotographEditor.load(library / "gold")
    with pytest.raises(SimeditError, match="two specialists of style 'wood'"):
        PhotographEditor.load([library / "wood", library / "wood"])
    with pytest.raises(SimeditError, match="no specialist at"):
        PhotographEditor.load(tmp_path / "absent")
