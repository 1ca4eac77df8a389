"""Where edits may show: one mask for a frame, or masks by region."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simedit.arrays import joined
from simedit.errors import SimeditError


def mapped(function: Callable[[Any], Any], masks: Any) -> Any:
    """Masks as an editor is given them, None, an array or some by region, with a function applied to each."""
    if isinstance(masks, Mapping):
        return {region: function(mask) for region, mask in masks.items()}
    return None if masks is None else function(masks)


def together(parts: Sequence[Any]) -> Any:
    """The masks of several calls of an editor, of the same regions, as those of one."""
    if isinstance(parts[0], Mapping):
        return {region: joined([part[region] for part in parts]) for region in parts[0]}
    return None if parts[0] is None else joined(list(parts))


def mask_of(masks: Any, region: str, style: str) -> Any:
    """The mask among an editor's that a pass asks for; None shows all of the frame.

    Args:
        masks: None, one for each frame, or a mapping from region to that.
        region: "" is the one mask, in a mapping its entry "".
        style: whose pass it is.

    Raises:
        SimeditError: it is not among them; the message names those that are.
    """
    by_region = isinstance(masks, Mapping)
    if not region and not by_region:
        return masks
    if by_region and region in masks:
        return masks[region]
    there = ", ".join(str(name) for name in masks if name) if by_region else ""
    if region:
        found = f"the masks there are: {there}" if there else "the masks are not by region"
        given = "there are no masks" if masks is None else found
        raise SimeditError(
            f"{style!r} edits the region {region!r}, but {given}. Give masks by region, a mapping such as "
            f"{{{region!r}: mask}}"
        )
    raise SimeditError(
        f"{style!r} has no region of its own, and the masks are by region ({there}): say which one is meant "
        "(EditObservation's region, a study's editor.region, a training's after.region, masks[''])"
    )
