from __future__ import annotations

import sys

import pytest

from simedit import extras


def test_what_is_there_is_found_without_importing_it():
    assert extras.has("xml.sax.expatreader")
    assert not extras.has("no_such_package")


@pytest.mark.parametrize(("version", "named"), [((3, 12), False), ((3, 13), True), ((3, 14), True)])
def test_where_maniskill_has_no_build_the_way_out_is_named(monkeypatch, version, named):
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    told = extras.install("mani_skill")
    assert told.endswith("pip install 'simedit[sim]'")
    assert (f"for Python 3.{version[1]}" in told and "python3.12 -m venv" in told) == named
    assert extras.install("tensorflow") == "pip install 'simedit[rt1]'"


def test_the_twin_without_maniskill_says_how_to_get_it(monkeypatch):
    import gymnasium

    import simedit.envs  # noqa: F401 (registers the environment)
    from simedit.errors import SimeditError

    for name in [name for name in sys.modules if name.split(".")[0] == "mani_skill"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "simedit.envs.drawer.twin", raising=False)
    monkeypatch.setitem(sys.modules, "mani_skill", None)
    with pytest.raises(SimeditError, match=r"the drawer twin needs ManiSkill 3 .*simedit\[sim\]"):
        gymnasium.make("simedit/Drawer-v1")
