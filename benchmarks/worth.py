"""What are the lab's edits worth, are they of their material, and which metric says what policies will do?

    python benchmarks/worth.py edits runs/worth       # frames, masks and each editor's edits, as PNG; first
    python benchmarks/worth.py table runs/worth       # simedit-score of each style, and the mean over styles
    python benchmarks/worth.py confusion runs/worth   # on how many frames an edit looks like each style

    python benchmarks/which_metric.py runs/which      # the last question

Frames are of the twin, 320x256, and no training saw them. The editors: the lab's specialists, with whom the
others are compared; the same distilled; the base behind them alone; histogram matching and Reinhard's
transfer; the style image laid flat on the cabinet, and laid there in the frame's light; and no edit (raw).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from five_photographs import Judge
from PIL import Image

from simedit.errors import SimeditError, run_cli
from simedit.eval.editors import load_editor
from simedit.eval.scoring import cli
from simedit.eval.scoring.summary import summarise
from simedit.eval.terminal import print_table
from simedit.images import images_in, read_image, read_mask
from simedit.lab.quality import held_out
from simedit.library import SpecialistLibrary
from simedit.metrics.catalogue import KINDS
from simedit.packaged import library_folder
from simedit.pipeline import SpecialistPipeline, silence_loading
from simedit.specialist import Specialist
from simedit.training.ending import edits_of, untrained
from simedit.training.worth import colour_distance

FRAMES, SEED = 20, 6_000_000
"""How many, and a seed that neither a training nor `simedit-lab check` takes frames from."""
STYLES = ("gold", "leather", "white_marble", "black_marble", "steel", "stone", "wood")
WITHOUT_WEIGHTS = {
    "histogram": ("histogram", ()),
    "reinhard": ("reinhard", ()),
    "flat": ("flat", ()),
    "lit": ("flat", ("light=true",)),
}
"""Configs of editors, and what differs."""
EDITORS = ("specialists", "distilled", "base", *WITHOUT_WEIGHTS, "raw")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("edits", "table", "confusion"))
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    silence_loading()
    {"edits": edits, "table": table, "confusion": confusion}[args.command](args.folder)


def edits(folder: Path) -> None:
    """Write FOLDER/frames, masks, and edits/STYLE/EDITOR, a PNG for each frame.

    Raises:
        SimeditError: the folder is there.
    """
    if folder.exists():
        raise SimeditError(f"{folder} is there: give a new folder")
    frames, masks = held_out(FRAMES, SEED)
    _save(folder / "frames", frames)
    _save(folder / "masks", masks.astype(np.uint8) * 255)
    teachers, students = (
        [Specialist.load(library_folder(name) / style) for style in STYLES]
        for name in ("lab", "lab-distilled")
    )
    base = SpecialistPipeline.from_pretrained(teachers[0].card.base)
    alone = [untrained(one, base, one.card.style) for one in teachers]  # before a library changes it
    library = SpecialistLibrary(base)
    for editor, some in (("specialists", teachers), ("distilled", students), ("base", alone)):
        for style, found in edits_of(library, some, frames, masks).items():
            _save(folder / "edits" / style / editor, found)
    for editor, (config, overrides) in WITHOUT_WEIGHTS.items():
        plain = load_editor(config, STYLES, overrides=overrides)
        for style in STYLES:
            found = plain.edit(frames, styles=[style] * FRAMES, masks=masks, seeds=range(FRAMES))
            _save(folder / "edits" / style / editor, found)
    for style in STYLES:
        _save(folder / "edits" / style / "raw", frames)


def table(folder: Path) -> None:
    """`simedit-score` of each style into FOLDER/scores/STYLE; all styles together into FOLDER/scores.json.

    A frame's value there is its mean over the styles, for one frame in seven materials is not seven frames.
    """
    for style in STYLES:
        print(f"\n{style}")
        places = [f"{editor}={folder / 'edits' / style / editor}" for editor in EDITORS]
        given = ["--inputs", str(folder / "frames"), "--masks", str(folder / "masks"), "--edits", *places]
        code = cli.main([*given, "--style-images", f"lab:{style}", "--out", str(folder / "scores" / style)])
        if code:
            raise SystemExit(code)
    each = [json.loads((folder / "scores" / style / "scores.json").read_text()) for style in STYLES]
    found = together(each)
    print("\nAll styles: each frame's mean over them")
    cli.show(found)
    print("In how many of the styles by itself it is better or worse than the specialists:")
    rows = [[name, *(f"{better} / {worse}" for better, worse in of)] for name, of in verdicts(each).items()]
    print_table(["metric", *found["editors"][1:]], rows)
    (folder / "scores.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def together(each: list[dict[str, Any]]) -> dict[str, Any]:
    """`summarise` of each image's mean over several scores.json of the same images, editors and metrics;
    undefined where one of them is."""
    first = each[0]
    values = {
        name: np.mean(
            [[one["values"][name][editor] for editor in first["editors"]] for one in each], 0, dtype=float
        )
        for name in first["metrics"]
    }
    kinds = [KINDS[name] for name in first["metrics"]]
    return summarise(kinds, first["editors"], first["images"], values, first["left_out"])


def verdicts(each: list[dict[str, Any]]) -> dict[str, list[tuple[int, int]]]:
    """By metric, of each editor but the first, in how many scores.json it is better and worse than that."""
    first = each[0]

    def count(name: str, editor: str, verdict: str) -> int:
        return sum(one["differences"][name][editor]["verdict"] == verdict for one in each)

    return {
        name: [
            (count(name, editor, "better"), count(name, editor, "worse")) for editor in first["editors"][1:]
        ]
        for name in first["metrics"]
    }


def confusion(folder: Path) -> None:
    """Print, for each editor, which style its edits in each style are nearest to; FOLDER/confusion.json has
    the numbers of frames, [style painted][style seen].

    "lite" is the distance of `five_photographs.Judge`, "colour" the mean `colour_distance`, both to the five
    photographs of a style laid on the frame in its light; one of them laid there is what "lit" is.
    """
    frames, masks = _read(folder / "frames"), np.stack([read_mask(p) for p in _files(folder / "masks")])
    photographs = {style: Specialist.load(library_folder("lab") / style).style_images for style in STYLES}
    judge = Judge(frames, masks, photographs)
    found: dict[str, dict[str, list[list[int]]]] = {"lite": {}, "colour": {}}
    for editor in EDITORS[:-1]:
        by: dict[str, list[np.ndarray]] = {"lite": [], "colour": []}
        for style in STYLES:
            pictures = _read(folder / "edits" / style / editor)
            by["lite"].append(judge.distances(pictures))
            by["colour"].append(colours(pictures, masks, judge.references))
        for name, distances in by.items():
            found[name][editor] = seen(distances)
            own = int(np.trace(found[name][editor]))
            print(f"\n{editor}, by {name}: {own} of {len(frames) * len(STYLES)} edits nearest to their own")
            print_table(["painted \\ seen as", *STYLES], zip_rows(found[name][editor]))
    (folder / "confusion.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def seen(distances: list[np.ndarray]) -> list[list[int]]:
    """Of each painted style's distances, [frames, styles], on how many frames each style is the nearest."""
    return [np.bincount(of.argmin(1), minlength=of.shape[1]).tolist() for of in distances]


def colours(
    pictures: np.ndarray, masks: np.ndarray, references: Mapping[str, list[np.ndarray]]
) -> np.ndarray:
    """float [frames, styles]: the mean `colour_distance` to each style's references of that frame."""
    return np.array(
        [
            [np.mean([colour_distance(picture, one, mask) for one in of[i]]) for of in references.values()]
            for i, (picture, mask) in enumerate(zip(pictures, masks, strict=True))
        ]
    )


def zip_rows(counts: list[list[int]]) -> list[list[str]]:
    return [[style, *map(str, row)] for style, row in zip(STYLES, counts, strict=True)]


def _save(folder: Path, pictures: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{i:03}.png")


def _files(folder: Path) -> list[Path]:
    return [folder / name for name in images_in(folder)]


def _read(folder: Path) -> np.ndarray:
    return np.stack([read_image(file) for file in _files(folder)])


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
