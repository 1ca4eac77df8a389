"""The command `simedit-score`: what edits are worth, by many metrics."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from simedit.errors import SimeditError, run_cli

# Everything heavy is imported where it is used, so that help and mistakes do not wait for torch.
if TYPE_CHECKING:
    import numpy as np

    from simedit.eval.scoring.pictures import Case
    from simedit.metrics import Metric

DESCRIPTION = """\
Compare editors by their pictures: does an edit keep what it should, and look as it should?

  simedit-score --inputs frames --edits mine=edited theirs=other --masks masks --style-images teak --out s
  simedit-score --inputs frames --specialist lab:gold lab-distilled:gold --style-images lab:gold --out s
  simedit-score --inputs frames --edits mine=edited --prompt "a golden cabinet" --source-prompt "a cabinet"
      --metrics clip_text clip_direction --weights clip=models/clip --out s

Files are matched by name, whatever their suffix: frames/a.png, edited/a.jpg, masks/a.png. Every other editor
is compared with the first one, image by image; give the inputs as an editor (--edits raw=frames) to see what
no edit at all would score.

OUT gets index.html (tables, and the pictures from worst to best), scores.json, and scores.csv with a line an
edit.

  keeps the input       edge_f1 canny depth mse_outside ssim lpips dists
  meets style images    colour texture lite_patches clip_patches dinov2_patches dreamsim_patches
  meets a caption       clip_text clip_direction pickscore hpsv2

Without --metrics there are those that need no download; what is left out is named, with the reason.
"""


_WRITTEN = {"index.html", "scores.json", "scores.csv", "edits"}


def score(
    inputs: Path,
    out: Path,
    edits: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=FOLDER ...")] = (),
    specialist: tuple[str, ...] = (),
    masks: Path | None = None,
    style_images: str | None = None,
    prompt: str = "",
    source_prompt: str = "",
    metrics: tuple[str, ...] = (),
    weights: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODEL=FOLDER ...")] = (),
    seed: int = 0,
    device: str | None = None,
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Score edits; `DESCRIPTION` says how.

    Args:
        inputs: The folder of the frames before the edit.
        out: The folder to write, new or of an earlier simedit-score.
        edits: Folders of edits, each under its editor's name; the others are compared with the first.
        specialist: Specialists that edit the inputs, after those of --edits: a folder, the name of one in
            ./specialists, or lab:gold and so on. Their edits stay in OUT/edits.
        masks: The folder of the masks, white where the edit is meant to be. Without it, everywhere.
        style_images: The folder of the photographs that edits should look like, or a specialist, whose own
            are taken. By default those of the one --specialist.
        prompt: What the edits should show, as a caption.
        source_prompt: What the inputs show, as a caption.
        metrics: Which to compute, or "all". What a metric needs is fetched if need be.
        weights: Where weights are: MODEL is one of clip, depth, dinov2, dreamsim, hpsv2, pickscore; FOLDER a
            folder or a hub id.
        seed: Seed of the specialists' noise.
        device: For example cuda:0 or cpu. By default cuda where there is one.
        json: Print scores.json's content instead of tables.
    """
    named = _named(edits, "--edits", "gold=edited/gold")
    given = _named(weights, "--weights", "clip=models/clip")
    made = {name.replace("/", "-").replace(":", "-"): name for name in specialist}
    if not named and not made:
        raise SimeditError("nothing to score: give --edits NAME=FOLDER or --specialist NAME")
    if len({*named, *made}) < len(edits) + len(specialist):
        raise SimeditError(f"two editors have one name: {', '.join([*edits, *specialist])}")
    if out.exists() and not (out.is_dir() and {path.name for path in out.iterdir()} <= _WRITTEN):
        raise SimeditError(f"{out} is there and of no simedit-score: give another --out")

    import torch

    from simedit.eval.scoring.editing import edited, style_pictures
    from simedit.eval.scoring.page import page_html
    from simedit.eval.scoring.pictures import matched
    from simedit.eval.scoring.summary import summarise
    from simedit.library import usable
    from simedit.metrics.catalogue import chosen, load

    device = str(usable(device or ("cuda" if torch.cuda.is_available() else "cpu")))
    told = (style_pictures(style_images, specialist), prompt, source_prompt)
    folders = {editor: Path(folder) for editor, folder in named.items()}
    cases = matched(inputs, folders, masks)
    for case in cases:  # what does not fit is met before any work
        scene, _ = case.read(*told)
    kinds, left_out = chosen(metrics, scene, given)
    loaded, failed = load(kinds, metrics, given, device)
    kinds, left_out = [kind for kind in kinds if kind.name in loaded], left_out | failed
    if not kinds:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise SimeditError(f"no metric can be computed. {reasons}")
    for editor, name in made.items():
        folders[editor] = out / "edits" / editor
        edited(name, cases, folders[editor], seed=seed, device=device)
    cases = matched(inputs, folders, masks)
    values = _measured(cases, loaded, told)
    found = summarise(kinds, list(folders), [case.name for case in cases], values, left_out)
    _write(out, found, page_html(found, lambda i: cases[i].read(*told)))
    if json:
        return print(dumps(found, indent=2))
    show(found)
    print(f"pictures: {out / 'index.html'}")


def main(args: Sequence[str] | None = None) -> int:
    """Run `simedit-score` with `args` (default: the process's) and return its exit code."""
    return run_cli(lambda: tyro.cli(score, prog="simedit-score", description=DESCRIPTION, args=args))


def _named(given: Sequence[str], option: str, example: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not (equals and name and value):
            raise SimeditError(f"{option} {each!r} must read NAME=FOLDER, for example {example}")
        if found.setdefault(name, value) != value:
            raise SimeditError(f"{option} has {name} twice: give each a name of its own")
    return found


def _measured(
    cases: Sequence[Case], metrics: Mapping[str, Metric], told: tuple[Any, str, str]
) -> dict[str, np.ndarray]:
    """By metric, float [editors, images]."""
    import numpy as np

    from simedit.progress import counting

    found: dict[str, list[np.ndarray]] = {name: [] for name in metrics}
    with counting("scoring", len(cases)) as show:
        for i, case in enumerate(cases):
            scene, edits = case.read(*told)
            for name, metric in metrics.items():
                try:
                    found[name].append(metric(edits, scene))
                except SimeditError as error:
                    raise SimeditError(f"{case.input}: {error}") from error
            show(i + 1)
    return {name: np.stack(rows, 1) for name, rows in found.items()}


def _write(out: Path, found: Mapping[str, Any], page: str) -> None:
    """index.html, scores.csv and scores.json, each whole or not at all."""
    from simedit.drafts import whole

    rows = [["image", "editor", *found["metrics"]]]
    for i, image in enumerate(found["images"]):
        for editor in found["editors"]:
            held = (of[editor][i] for of in found["values"].values())
            rows.append([image, editor, *("" if value is None else repr(value) for value in held)])
    with whole(out / "scores.csv") as draft, draft.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    for name, text in {"index.html": page, "scores.json": dumps(found, indent=1) + "\n"}.items():
        with whole(out / name) as draft:
            draft.write_text(text, encoding="utf-8")


def show(found: Mapping[str, Any]) -> None:
    """Print what `summarise` found, as the command does."""
    from simedit.eval.caveats import printable
    from simedit.eval.scoring import words
    from simedit.eval.terminal import print_table

    print(printable(words.headline(found)))
    for warning in found["warnings"]:
        print(f"  ! {printable(warning)}")
    for name, why in found["left_out"].items():
        print(f"  left out: {name}: {printable(why)}")

    def rows(part: str, told: Callable[[Mapping[str, Any]], tuple[str, str]]) -> list[list[str]]:
        return [
            [words.metric(found, name), *(" ".join(filter(None, told(entry))) for entry in of.values())]
            for name, of in found[part].items()
        ]

    first, *others = map(printable, found["editors"])
    print_table(["metric", first, *others], rows("means", words.mean))
    if others:
        print(f"Each less {first}, image by image (p two-sided, after Holm's correction for the editors):")
        print_table(["metric", *others], rows("differences", words.difference))


if __name__ == "__main__":
    raise SystemExit(main())
