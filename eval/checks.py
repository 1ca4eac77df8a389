"""What would keep a study from running, found before anything is loaded or built."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from simedit.errors import SimeditError, unknown
from simedit.eval.absent import absent_variants
from simedit.eval.config import StudyConfig
from simedit.eval.estimate import disk_bytes
from simedit.eval.published import load_real
from simedit.eval.trials import Trial
from simedit.segmentation import masks_by_region


def find_problems(study: StudyConfig, out: Path) -> tuple[list[str], dict[str, dict[str, str]]]:
    """What keeps a study from starting in the folder `out`, and its absent variants (`absent_variants`)."""
    found: list[str] = []

    def check(step: Callable[..., object], *arguments: object) -> None:
        try:
            step(*arguments)
        except SimeditError as error:
            found.append(str(error))

    if os.path.exists(out) and not os.path.isdir(out):
        found.append(f"cannot write to {out}: it is no folder")
    check(load_real, study.real, study.suite, list(study.policies), study.tasks)
    check(lambda: found.extend(study.suite.problems(study.places())))
    found += _of_policies(study)
    if "edited" in study.domains:
        check(lambda: found.extend(study.editor.problems(study.styles)))
        check(_of_masks, study)
        check(lambda: found.extend(_of_regions(study)))
    absent: dict[str, dict[str, str]] = {}
    check(lambda: absent.update(absent_variants(study)))
    return list(dict.fromkeys(found)), absent


def _of_masks(study: StudyConfig) -> None:
    if study.editor.composition == "mask" and study.suite.editing().get("mask", "") is None:
        without = (
            "" if study.editor.needs_mask else ", or set editor.composition: none, which shows the whole edit"
        )
        raise SimeditError(f"suite.mask does not say where edits may show: name a mask{without}")


def _of_regions(study: StudyConfig) -> list[str]:
    """What keeps styles from being edited where the suite says."""
    given, editor = study.suite.editing(), study.editor
    keys = given.get("image_key")
    keys = [keys] if isinstance(keys, str) else keys or []
    masks = masks_by_region(given.get("mask", "segmentation"), keys or [""])
    there = sorted(region for region in next(iter(masks.values())) if region)
    if editor.region and editor.region not in there:
        return [f"editor.region: {unknown('region of the suite', editor.region, there)}"]
    found = []
    for style, regions in editor.regions(study.styles).items():
        missing = [region for region in regions if region and region not in there]
        if missing and editor.composition == "none":
            found.append(f"{style!r} edits regions: editor.composition must be mask")
        elif missing:
            found.append(
                f"{style!r} edits the region {', '.join(map(repr, missing))}, of which the suite has no mask "
                f"(it has: {', '.join(there) or 'one for all'})"
            )
        elif "" in regions and there and not editor.region and editor.composition == "mask":
            found.append(
                f"{style!r} has no region of its own, and the suite's masks are by region: set editor.region "
                f"to one of {', '.join(there)}"
            )
    return found


def _of_policies(study: StudyConfig) -> list[str]:
    """Each problem with the policies that have it."""
    having: dict[str, list[str]] = {}
    for name, policy in study.policies.items():
        for problem in policy.problems():
            having.setdefault(problem, []).append(repr(name))
    return [
        f"{'policies' if len(names) > 1 else 'policy'} {', '.join(names)}: {problem}"
        for problem, names in having.items()
    ]


def check_disk(study: StudyConfig, todo: Sequence[Trial], out: Path) -> None:
    """Refuse to begin where the disk has too little room.

    Raises:
        SimeditError: says how much is free and how much is needed.
    """
    needed, free = disk_bytes(study, todo) / 1e6, shutil.disk_usage(out).free / 1e6
    if free < needed:
        raise SimeditError(f"{out} has {free:.0f} MB free, this study needs about {needed:.0f} MB")
