"""The command `simedit-edit`: a specialist, or another editor, applied to files."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from simedit.config import check_set_once, load_json
from simedit.digests import digest
from simedit.errors import SimeditError, run_cli
from simedit.files import Job, edit_images, edit_video, is_video, plan
from simedit.given_masks import GivenMasks
from simedit.lerobot import is_dataset
from simedit.lerobot.editing import DatasetJob, edit_dataset, plan_dataset
from simedit.memory import enough_memory
from simedit.packaged import CARD, RECIPE, specialist_folder
from simedit.progress import counting
from simedit.protocols import Editor
from simedit.recipe import looks_for_nouns, regions_of

DESCRIPTION = """\
Repaint an image, a folder of images, a video or a LeRobot dataset with a specialist, or with several by a
recipe, or with another editor: one that ships by its name, such as instruct-pix2pix, or of a config of yours.

  simedit-edit --specialist lab:gold in.mp4 out.mp4
  simedit-edit --specialist teak --steps 20 --mask cabinet.png photos/ edited/
  simedit-edit --specialist tabletop --mask background=bg.png --mask block=my_masks:block in.mp4 out.mp4
  simedit-edit --specialist lab:gold --camera observation.images.top dataset/ edited/
  simedit-edit --editor instruct-pix2pix --style gold --set steps=20 --mask cabinet.png in.png out.png

Every frame gets the same noise, so a video holds still where its scene does. Outputs are RGB of 8 bits: what
is transparent is laid on white, and a video's sound is dropped. A video's frames keep their times. A folder's
images are edited at any depth and keep their names; what else lies in it is named and left out.
Files appear when they are finished: Ctrl-C leaves no half of one.

Of a dataset (LeRobot v3) one camera is edited and all else stays, but for that camera's statistics; each
episode gets a noise of its own. It appears when it is finished. However work stops, the same command goes on
with it.
"""


def edit(
    input: Annotated[Path, tyro.conf.arg(metavar="INPUT")],
    output: Annotated[Path, tyro.conf.arg(metavar="OUTPUT")],
    /,
    specialist: str | None = None,
    editor: str | None = None,
    style: str | None = None,
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE ...")] = (),
    base: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    batch_size: int = 8,
    device: str | None = None,
    mask: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    camera: str | None = None,
    compile: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Edit files; `DESCRIPTION` says how.

    Args:
        input: What to edit: an image, a video, a folder of images or of a LeRobot dataset.
        output: A file of the same kind, or a folder.
        specialist: A specialist's or a recipe's folder, the name of one in ./specialists, or lab:gold and the
            other styles that ship, or lab-distilled:gold and so on, the same and faster.
        editor: In place of a specialist, the name of an editor that ships or a YAML file that describes one,
            as a study's `editor`.
        style: With --editor, what it shall look like: fills the place in its prompt, or names a style image.
        overrides: With --editor, settings in place of the config's, for example: steps=20 library=photos
        base: Directory or hub id of the InstructPix2Pix model, in place of the one on the specialist's card.
        steps: Denoising steps, in place of the card's: fewer are faster, and coarser.
        seed: Seed of the noise.
        batch_size: Frames edited at once; lower it when memory runs out.
        device: For example cuda:0 or cpu. By default cuda where there is one.
        mask: An image of the frames' size; only where it is white may anything change. Or a folder of such,
            with the names of a folder's images. Or a function of yours, "package.module:callable": given a
            frame, uint8 [H, W, 3], it gives that as bool [H, W]. Of a region of a recipe REGION=MASK; the
            option is given once for each.
        camera: Of a dataset, the camera to edit; needed where there are several.
        compile: For videos and datasets: faster edits, after seconds (OpenVINO, on the CPU) or minutes (on a
            GPU) for the first.
        overwrite: Replace outputs that exist.
    """
    for option, value in (("--steps", steps), ("--batch-size", batch_size)):
        if value is not None and value < 1:
            raise SimeditError(f"{option} must be 1 or more, got {value}")
    if not 0 <= seed < 2**63:
        raise SimeditError(f"--seed must be from 0 to 2^63 - 1, got {seed}")
    if (specialist is None) == (editor is None):
        raise SimeditError("give --specialist, or --editor with --style: one of the two")
    if editor is not None and (base or steps or compile):
        raise SimeditError(
            "--base, --steps and --compile are a specialist's: with --editor say --set steps=20"
        )
    if (style is None) != (editor is None) or (overrides and editor is None):
        raise SimeditError("--style goes with --editor, and is needed there; --set goes with it too")
    if camera is not None and not is_dataset(input):
        raise SimeditError(f"--camera is for LeRobot datasets, and {input} is none")
    jobs: list[Job | DatasetJob] = []

    def hint() -> str:
        at_once = min(batch_size, sum(job.frames for job in jobs))
        lower = f"lower --batch-size (now {batch_size}), " if at_once > 1 else ""
        largest = max((job.size for job in jobs), key=math.prod, default=None)
        what = "" if largest is None else f"{_size(largest)} pixels, {at_once} at once, are too many here: "
        return f"{what}{lower}give smaller frames, or choose another --device"

    with enough_memory(hint):
        dataset = None
        if is_dataset(input):
            dataset = plan_dataset(input, output, camera=camera, overwrite=overwrite)
        files = [] if dataset else plan(input, output, overwrite=overwrite)
        jobs += [dataset] if dataset else files
        masks = GivenMasks(mask)
        masks.check(jobs, input)
        if specialist is not None:
            chosen = _specialist(specialist, masks, base, steps, batch_size, device, compile)
        else:
            chosen = _editor(str(editor), str(style), masks, overrides, device)

        def repaint(
            frames: np.ndarray, sources: Sequence[Path] = (), seeds: Sequence[int] | None = None
        ) -> np.ndarray:
            n, shown = len(frames), masks(frames, sources)
            return chosen.editor.edit(
                frames, styles=[chosen.style] * n, masks=shown, seeds=seeds or [seed] * n
            )

        if dataset is not None:
            record = {**chosen.record, "masks": list(mask), "mask_digests": masks.digests()}
            edit_dataset(
                dataset,
                lambda frames, seeds: repaint(frames, seeds=seeds),
                record,
                seed=seed,
                batch_size=batch_size,
                title=chosen.style,
            )
            return
        edited = 0
        with counting(chosen.style, sum(job.frames for job in jobs)) as show:

            def done(count: int) -> None:
                nonlocal edited
                edited += count
                show(edited)

            if is_video(files[0].source):
                edit_video(files[0], repaint, batch_size=batch_size, done=done)
            else:
                edit_images(files, repaint, batch_size=batch_size, done=done)


@dataclass(frozen=True)
class _Chosen:
    """What edits, in which of its styles, and all that its edits depend on, as plain data."""

    editor: Editor
    style: str
    record: dict[str, Any]


def _specialist(
    given: str,
    masks: GivenMasks,
    base: str | None,
    steps: int | None,
    batch_size: int,
    device: str | None,
    compile: bool,
) -> _Chosen:
    folder = specialist_folder(given)
    masks.check_regions(given, regions_of(folder), looks_for_nouns(folder))
    # Imported here, so that help and mistakes in the arguments do not wait for torch.
    from simedit.library import SpecialistLibrary
    from simedit.pipeline import silence_loading

    silence_loading()
    library = SpecialistLibrary.load(
        folder, base=base, device=device, steps=steps, batch_size=batch_size, compile=compile
    )
    record = {
        **{"specialist": given, "specialist_digest": digest(folder)},
        **{"base": base, "steps": steps, "device": library.pipeline.device.type, "compile": compile},
        "card": load_json(folder / (RECIPE if (folder / RECIPE).is_file() else CARD)),
    }
    return _Chosen(library, library.styles[0], record)


def _editor(
    given: str, style: str, masks: GivenMasks, overrides: Sequence[str], device: str | None
) -> _Chosen:
    from simedit.eval.editors import find_editor  # here, for a specialist needs nothing of a study's

    kind = find_editor(given, overrides)
    if problems := kind.problems([style]):
        raise SimeditError(f"{given}: {'; '.join(problems)}")
    masks.check_regions(style, kind.regions([style]).get(style, ("",)), False)
    if kind.needs_mask and not masks.digests():
        raise SimeditError(f"{given} edits what a mask shows, and nothing else: give --mask")
    with tempfile.TemporaryDirectory() as scratch:
        folders = kind.folders([style], Path(scratch))
        files = kind.fingerprints(folders)
        record = {"editor": kind.model_dump(mode="json"), "editor_digests": files, "device": device}
        return _Chosen(kind.load(folders, device), style, record)


def main(args: Sequence[str] | None = None) -> int:
    """Run `simedit-edit` with `args` (default: the process's) and return its exit code."""

    def command() -> None:
        check_set_once(sys.argv[1:] if args is None else args)
        tyro.cli(edit, prog="simedit-edit", description=DESCRIPTION, args=args)

    return run_cli(command)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
