from __future__ import annotations

import struct

import pytest

from simedit.envs.drawer.assets import ROOMS, room_mesh
from simedit.errors import SimeditError
from simedit.eval.absent import absent_variants, describe, is_absent, playable
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.trials import trials


def config(root, **changes):
    settings = {
        "policies": {"a": {"kind": "scripted"}},
        "domains": ["vismatch", "varagg"],
        "suite": {"kind": "drawer", "skin": "simpler", "asset_root": str(root)},
    }
    return resolved(StudyConfig.model_validate({**settings, **changes}))


@pytest.fixture
def root(tmp_path):
    """An asset root that has the base room and half of another."""
    whole = b"glTF" + struct.pack("<II", 2, 16) + b"abcd"
    for name, data in ((ROOMS[0], whole), (ROOMS[1], whole[:-1])):
        path = tmp_path / room_mesh(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path


def test_variants_without_their_room_are_found_and_their_trials_left_out(root):
    study = config(root)
    absent = absent_variants(study)
    assert absent == {"varagg": {"modern_bedroom": room_mesh(ROOMS[1]), "modern_office": room_mesh(ROOMS[2])}}
    assert f"varagg/modern_office ({room_mesh(ROOMS[2])})" in describe(absent)
    wanted = list(trials(study))
    left = playable(wanted, absent)
    assert len(left) == len(wanted) - 2 * 54
    assert [t for t in wanted if not is_absent(t, absent)] == left
    assert {t.variant for t in wanted} - {t.variant for t in left} == {"modern_bedroom", "modern_office"}


def test_rooms_that_nobody_wants_are_not_missed(root):
    assert absent_variants(config(root, variants={"varagg": ["base", "darker"]})) == {}
    assert absent_variants(config("nowhere", domains=["vismatch"])) == {}
    assert absent_variants(config("nowhere", domains=["varagg"], suite={"kind": "drawer"})) == {}
    with pytest.raises(SimeditError, match="nowhere is not a folder"):
        absent_variants(config("nowhere"))
