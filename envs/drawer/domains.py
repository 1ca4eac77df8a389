"""Visual domains: what each variant means as a scene, and where the robot stands in it (SIMPLER's values)."""

from __future__ import annotations

from dataclasses import dataclass

from simedit.envs.drawer.assets import CABINETS, ROBOT_VARIANTS
from simedit.envs.drawer.poses import POSES, Pose


@dataclass(frozen=True)
class Scene:
    """How a scene looks: keyword arguments of `simedit.envs.drawer.twin.DrawerEnv`, which explains them."""

    overlay: bool = False
    robot_variant: str = ""
    cabinet: str = CABINETS[0]
    room: str = ""
    light: str = "simple"


def _aggregated(
    room: str = "frl_apartment_stage_simple", light: str = "base", cabinet: str = "mk_station"
) -> Scene:
    return Scene(cabinet=cabinet, room=room, light=light)


VARIANTS: dict[str, dict[str, Scene]] = {
    "raw": {"": Scene()},
    "vismatch": {name or "plain": Scene(overlay=True, robot_variant=name or "") for name in ROBOT_VARIANTS},
    "varagg": {
        "base": _aggregated(),
        "modern_bedroom": _aggregated(room="modern_bedroom_no_roof"),
        "modern_office": _aggregated(room="modern_office_no_roof"),
        "brighter": _aggregated(light="brighter"),
        "darker": _aggregated(light="darker"),
        "mk_station2": _aggregated(cabinet="mk_station2"),
        "mk_station3": _aggregated(cabinet="mk_station3"),
    },
    "proxy_real": {"": Scene()},
}
"""Each domain's variants by name, over which its rates are averaged; "" where there is but one.

The lab's proxy_real photographs the plain scene in a kitchen that the seed draws: see
`simedit.envs.drawer.proxy_real`.

Source: SIMPLER (arXiv 2405.05941), its scripts for Visual Matching and Variant Aggregation.
"""

_GRID = {
    row + column: Pose(x, y, 0.0)
    for row, y in zip("abc", (-0.2, 0.0, 0.2), strict=True)
    for column, x in zip("012", (0.65, 0.75, 0.85), strict=True)
}


def poses(domain: str) -> dict[str, Pose]:
    """The nine poses of a domain by name: varagg's even grid, elsewhere those of the photographs."""
    return _GRID if domain == "varagg" else POSES
