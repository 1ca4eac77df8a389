"""simedit.training.pictures: what they show, found in their pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from simedit.errors import SimeditError
from simedit.training.pictures import save_curves, save_grid

GREEN, GREY, BLUE = (30, 160, 70), (190, 190, 190), (47, 126, 216)


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def colour(number: int) -> tuple[int, int, int]:
    """One that no text has."""
    return number, 0, 90


def pairs(n: int, edits: int = 2, height: int = 32, width: int = 48) -> dict[str, Any]:
    """Frames of one colour each, all colours different."""

    def flat(first: int, *shape: int) -> np.ndarray:
        colours = [colour(first + i) for i in range(int(np.prod(shape)))]
        frames = np.array(colours, np.uint8).reshape(*shape, 1, 1, 3)
        return np.broadcast_to(frames, (*shape, height, width, 3)).copy()

    return {"inputs": flat(0, n), "edits": flat(60, n, edits), "styles": flat(120, n)}


def places(picture: np.ndarray, wanted: tuple[int, int, int]) -> np.ndarray:
    """bool [H, W], where the picture, but for its headings, has exactly this colour."""
    found = np.all(picture == np.array(wanted), axis=-1)
    found[:35] = False
    return found


def near(picture: np.ndarray, wanted: tuple[int, int, int]) -> np.ndarray:
    """bool [H, W], where the picture has about this colour."""
    return np.asarray((np.abs(picture.astype(int) - wanted) < 40).all(-1))


def centre(where: np.ndarray) -> tuple[float, float]:
    y, x = np.nonzero(where)
    return (y.min() + y.max()) / 2, (x.min() + x.max()) / 2


def test_every_frame_is_shown_in_its_row_and_column(tmp_path: Path) -> None:
    n = 3
    save_grid(tmp_path / "grid.png", **pairs(n), winners=np.array([0, 1, -1]))
    picture = read(tmp_path / "grid.png")
    assert list(tmp_path.iterdir()) == [tmp_path / "grid.png"]
    grid = [[i, 60 + 2 * i, 61 + 2 * i, 120 + i] for i in range(n)]
    found = np.array([[centre(places(picture, colour(number))) for number in row] for row in grid])
    assert (found[..., 0] == found[:, :1, 0]).all()  # a row each
    assert (found[..., 1] == found[:1, :, 1]).all()  # a column each
    assert (np.diff(found[:, 0, 0]) > 100).all()
    assert (np.diff(found[0, :, 1]) > 200).all()
    for row in grid:
        for number in row:  # enlarged fivefold, in proportion, nothing lost
            assert places(picture, colour(number)).sum() == 32 * 48 * 5 * 5


@pytest.mark.parametrize("winner", [0, 1])
def test_the_winner_has_the_green_frame(tmp_path: Path, winner: int) -> None:
    save_grid(tmp_path / "grid.png", **pairs(1), winners=np.array([winner]))
    picture = read(tmp_path / "grid.png")
    for edit in (0, 1):
        frame = places(picture, GREEN if edit == winner else GREY)
        assert centre(frame) == centre(places(picture, colour(60 + edit)))
        assert frame.sum() > 4000


def test_of_more_edits_one_has_the_green_frame(tmp_path: Path) -> None:
    save_grid(tmp_path / "grid.png", **pairs(1, edits=4), winners=np.array([2]))
    picture = read(tmp_path / "grid.png")
    middles = [centre(places(picture, colour(number))) for number in (0, 60, 61, 62, 63, 120)]
    assert (np.diff([x for _, x in middles]) > 200).all()
    assert centre(places(picture, GREEN)) == middles[3]


def test_a_pair_that_is_not_learned_from_has_no_winner(tmp_path: Path) -> None:
    save_grid(tmp_path / "grid.png", **pairs(1), winners=np.array([-1]))
    picture = read(tmp_path / "grid.png")
    assert not places(picture, GREEN).any()
    assert places(picture, GREY).sum() > 8000


def test_labels_stand_between_the_rows(tmp_path: Path) -> None:
    save_grid(tmp_path / "plain.png", **pairs(2), winners=np.array([0, 1]))
    save_grid(
        tmp_path / "labels.png",
        **pairs(2),
        winners=np.array([0, 1]),
        labels=[["a 0.1, 0.2\nb", ""], ["", "c"]],
    )
    plain, labelled = read(tmp_path / "plain.png"), read(tmp_path / "labels.png")
    assert labelled.shape[0] > plain.shape[0] + 2 * 2 * 15
    bottom = np.nonzero(places(labelled, colour(0)).any(1))[0].max() + 10
    below = labelled[bottom : bottom + 45]
    assert (below.min(-1) < 100).any()


ARGUMENTS: Any = (
    ["structural", "semantic"],
    ("loss - ln 2", np.log(2)),
    {"clamped": "share of clamped ratios"},
)


def records(count: int) -> list[dict]:
    random = np.random.default_rng(0)
    keys = "structural semantic structural_winner semantic_winner total_margin loss clamped gradient_norm"
    return [
        {key: float(random.random()) for key in keys.split()}
        | {"step": step, "dropped": 1, "tied": 0, "pairs": 8}
        | {"seconds": {"sample": 3.0, "score": 1.0, "reference": 2.0, "update": 4.0}}
        for step in range(1, count + 1)
    ]


@pytest.mark.parametrize("count", [1, 2, 200])
def test_every_plot_shows_something(tmp_path: Path, count: int) -> None:
    save_curves(tmp_path / "curves.png", records(count), *ARGUMENTS)
    picture = read(tmp_path / "curves.png")
    height, width = (side // n for side, n in zip(picture.shape[:2], (2, 4), strict=True))
    for row in range(2):
        for column in range(4):
            # Inside the axes, below titles and legends.
            plot = picture[row * height : (row + 1) * height, column * width : (column + 1) * width]
            line = (209, 73, 91) if (row, column) == (0, 3) else BLUE
            assert near(plot, line).sum() > 20, (row, column)


def test_there_are_as_many_plots_as_there_is_to_show(tmp_path: Path) -> None:
    shown = [r | {"kl": 0.3, "third": 0.2, "third_winner": 0.1} for r in records(5)]
    scores, loss, watched = ARGUMENTS
    save_curves(tmp_path / "more.png", shown, [*scores, "third"], loss, watched | {"kl": "KL"})
    picture = read(tmp_path / "more.png")
    height, width = picture.shape[0] // 3, picture.shape[1] // 4
    last = [picture[2 * height :, i * width : (i + 1) * width] for i in range(4)]
    assert near(last[0], BLUE).sum() > 20
    assert near(last[1], BLUE).sum() > 20
    assert (last[2] == 255).all()
    assert (last[3] == 255).all()


def test_a_missing_number_is_not_drawn(tmp_path: Path) -> None:
    save_curves(tmp_path / "whole.png", records(5), *ARGUMENTS)
    gaps = [r | {"loss": None, "clamped": float("nan")} for r in records(5)]
    save_curves(tmp_path / "gaps.png", gaps, *ARGUMENTS)
    drawn = [read(tmp_path / name) for name in ("whole.png", "gaps.png")]
    height, width = drawn[0].shape[0] // 2, drawn[0].shape[1] // 4
    blue = [near(picture[height:, : 2 * width], BLUE).sum() for picture in drawn]
    assert blue[0] > 500
    assert blue[1] == 0


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    save_curves(tmp_path / "new" / "curves.png", records(2), *ARGUMENTS)
    assert (tmp_path / "new" / "curves.png").is_file()


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SimeditError, match="cannot write"):
        save_curves(tmp_path / "file" / "curves.png", records(1), *ARGUMENTS)
    with pytest.raises(SimeditError, match="cannot write"):
        save_grid(tmp_path / "file" / "grid.png", **pairs(1), winners=np.array([0]))
