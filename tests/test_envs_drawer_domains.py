"""Tests of simedit.envs.drawer.domains."""

from __future__ import annotations

import pytest

from simedit.envs.drawer.assets import CABINETS, ROBOT_VARIANTS, ROOMS
from simedit.envs.drawer.domains import VARIANTS, Scene, poses
from simedit.envs.drawer.poses import POSES


def test_the_published_variants() -> None:
    assert {domain: len(variants) for domain, variants in VARIANTS.items()} == {
        "raw": 1,
        "vismatch": 4,
        "varagg": 7,
        "proxy_real": 1,
    }
    for domain, variants in VARIANTS.items():
        assert {look.overlay for look in variants.values()} == {domain == "vismatch"}
    assert {look.robot_variant for look in VARIANTS["vismatch"].values()} == {v or "" for v in ROBOT_VARIANTS}
    aggregated = VARIANTS["varagg"].values()
    assert {look.room for look in aggregated} == set(ROOMS)
    assert {look.cabinet for look in aggregated} == set(CABINETS) - {"mk_station_recolor"}
    assert {look.light for look in aggregated} == {"base", "brighter", "darker"}


@pytest.mark.parametrize("variant", sorted(set(VARIANTS["varagg"]) - {"base"}))
def test_a_variant_of_variant_aggregation_differs_from_its_base_in_one_thing(variant: str) -> None:
    base, look = (vars(VARIANTS["varagg"][name]) for name in ("base", variant))
    assert sum(base[key] != look[key] for key in base) == 1


def test_edited_frames_lie_over_the_plain_robot() -> None:
    assert VARIANTS["raw"][""] == VARIANTS["proxy_real"][""] == Scene()
    assert VARIANTS["vismatch"]["plain"] == Scene(overlay=True)
    assert next(iter(VARIANTS)) == "raw"  # what edits lie over unless a study says otherwise
    assert next(iter(VARIANTS["vismatch"])) == "plain"


def test_variant_aggregation_has_an_even_grid_under_the_same_names() -> None:
    grid = poses("varagg")
    assert list(grid) == list(POSES)
    assert {pose.x for pose in grid.values()} == {0.65, 0.75, 0.85}
    assert {pose.y for pose in grid.values()} == {-0.2, 0.0, 0.2}
    assert {pose.yaw for pose in grid.values()} == {0.0}
    # Each name stands near the photographed pose of that name.
    assert all(abs(grid[name].x - POSES[name].x) < 0.04 for name in POSES)
    assert all(abs(grid[name].y - POSES[name].y) < 0.04 for name in POSES)
    assert poses("vismatch") is poses("raw") is poses("proxy_real") is POSES
