"""The masks of a command's --mask options: one for all, or by region; from images, functions or folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from simedit.digests import digest
from simedit.errors import SimeditError, unknown
from simedit.files import Job, is_video
from simedit.given_mask import GivenMask
from simedit.images import masks_beside, read_mask
from simedit.lerobot.editing import DatasetJob
from simedit.names import check_name


class GivenMasks:
    """Where frames may change, by region; "" is the mask of passes without a region.

    Args:
        given: each "WHAT" or "REGION=WHAT": what `GivenMask` takes, or a folder of masks, white where the
            edit may show, with the images' names.

    Raises:
        SimeditError: two of one region, or one that cannot be had.
    """

    def __init__(self, given: Sequence[str]):
        self._masks: dict[str, GivenMask | Path] = {}
        for one in given:
            region, equals, what = one.partition("=")
            if not equals or Path(one).exists():
                region, what = "", one
            else:
                check_name(region, "region of --mask")
            if region in self._masks:
                of = f"of the region {region!r}" if region else "without a name"
                raise SimeditError(f"there are two --mask {of}")
            self._masks[region] = Path(what) if Path(what).is_dir() else GivenMask(what)
        self._files: dict[str, dict[Path, Path]] = {}

    def check(self, jobs: Sequence[Job | DatasetJob], source: Path) -> None:
        """Check that they fit what is to be edited, and find the masks of folders.

        Args:
            source: the file or folder that the jobs are of.

        Raises:
            SimeditError: a mask is of another size, or missing, or a folder of masks is given for what is
                no image and no folder of them.
        """
        for region, mask in self._masks.items():
            if isinstance(mask, Path):
                self._files[region] = _beside(mask, jobs, source)
            elif mask.size is not None:
                for job in jobs:
                    _check_size(Path(mask.given), mask.size, job)

    def check_regions(self, style: str, needed: Sequence[str], looks: bool) -> None:
        """Check that they are those that a recipe or specialist edits.

        Args:
            style: its name.
            needed: `simedit.recipe.regions_of` it.
            looks: whether it also looks for regions itself, in the one mask if there is one.

        Raises:
            SimeditError: one is missing, or has no use.
        """
        missing = [region for region in needed if region and region not in self._masks]
        if missing:
            wanted = " ".join(f"--mask {region}=..." for region in missing)
            raise SimeditError(f"{style!r} edits the region {', '.join(map(repr, missing))}: give {wanted}")
        if any(self._masks) and not any(needed):
            raise SimeditError(f"{style!r} has no regions: give its --mask without a name")
        for region in self._masks:
            if region and region not in needed:
                raise unknown(f"region of {style!r}", region, filter(None, needed))
        if "" in self._masks and "" not in needed and not looks:
            raise SimeditError(f"{style!r} edits the regions {', '.join(needed)} alone: name each --mask")

    def digests(self) -> dict[str, str]:
        """A fingerprint of each region's mask."""
        return {
            region: digest(mask) if isinstance(mask, Path) else mask.digest()
            for region, mask in self._masks.items()
        }

    def __call__(self, frames: np.ndarray, sources: Sequence[Path] = ()) -> np.ndarray | Mapping | None:
        """An editor's `masks` for frames, uint8 [N, H, W, 3].

        Args:
            sources: the file that each frame is.

        Raises:
            SimeditError: a function raised, or gave what is no mask.
        """
        found = {
            region: np.stack([read_mask(self._files[region][file], may_be_empty=True) for file in sources])
            if isinstance(mask, Path)
            else mask(frames)
            for region, mask in self._masks.items()
        }
        return found[""] if set(found) == {""} else found or None


def _beside(masks: Path, jobs: Sequence[Job | DatasetJob], source: Path) -> dict[Path, Path]:
    """The mask's file of each image."""
    if any(isinstance(job, DatasetJob) or is_video(job.source) for job in jobs):
        raise SimeditError(
            f"{masks} is a folder, but frames of videos and datasets have no names: "
            "give an image or a function"
        )
    if source.is_dir():
        found = masks_beside(source, [job.source.relative_to(source) for job in jobs], masks)
    else:
        found = masks_beside(source, [Path(source.name)], masks)
    for job, file in zip(jobs, found, strict=True):
        _check_size(file, read_mask(file, may_be_empty=True).shape, job)
    return {job.source: file for job, file in zip(jobs, found, strict=True)}


def _check_size(file: Path, shape: tuple[int, ...], job: Job | DatasetJob) -> None:
    if tuple(shape) != job.size:
        sizes = [f"{width}x{height}" for height, width in (shape, job.size)]
        raise SimeditError(f"the mask {file} is {sizes[0]}, but {job.source} is {sizes[1]}")
