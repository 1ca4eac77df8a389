from __future__ import annotations

from pathlib import Path

import pytest
from small_gym import Suite

from simedit.envs.drawer.suite import DrawerSuite
from simedit.envs.suite import any_suite, check_suite, default_suite
from simedit.errors import SimeditError

ROOT = Path(__file__).parents[1]


def test_the_kinds_are_found_by_being_there():
    kinds = {str(kind.model_fields["kind"].annotation) for kind in any_suite().__origin__.__args__}
    assert kinds == {f"typing.Literal['{name}']" for name in ("drawer", "gym", "push_t", "python")}


def test_our_own_suites_do():
    check_suite(DrawerSuite(), "drawer")
    check_suite(Suite(), "mine")
    assert isinstance(default_suite(), DrawerSuite)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"tasks": ()}, "tasks must hold one name or more"),
        ({"tasks": ("a", "a")}, "tasks must hold one name or more, each once"),
        ({"tasks": ("a/b",)}, "tasks holds 'a/b': names are text without slashes"),
        ({"tasks": ("",)}, "tasks holds ''"),
        ({"tasks": (1,)}, "tasks holds 1"),
        ({"scenes": {}}, "scenes must map"),
        ({"scenes": ["a"]}, "scenes must map"),
        ({"scenes": {"side": ()}}, r"scenes\['side'\] must hold"),
        ({"scenes": {"seed": ("1",)}}, "no axis of scenes can be called 'seed'"),
        ({"scenes": {"side": ("a\n",)}}, r"scenes\['side'\] holds"),
        ({"domains": {"edited": ("",)}}, "the domain edited is every study's own"),
        ({"domains": {"": ("",)}}, "domains holds ''"),
        ({"tasks": "push"}, "tasks must be a list of names, not 'push'"),
        ({"tasks": 5}, "tasks must be a list of names"),
        ({"domains": {"raw": None}}, r"domains\['raw'\] must be a list of names"),
        ({"tasks": ("average",)}, "no task can be called average"),
        ({"make": 3}, "make cannot be called"),
        ({"max_steps": 0}, "max_steps must be a whole number"),
        ({"max_steps": 1.5}, "max_steps must be a whole number"),
        ({"max_steps": True}, "max_steps must be a whole number"),
    ],
)
def test_what_does_not_do_is_refused(parts, message):
    with pytest.raises(SimeditError, match=f"mine: {message}"):
        check_suite(Suite(**parts), "mine")


def test_what_measures_knows_no_suite():
    files = [*(ROOT / "eval").glob("*.py"), *(ROOT / "eval" / "data").glob("*.[cj]s*")]
    assert len(files) > 20
    assert [file.name for file in files if "drawer" in file.read_text(encoding="utf-8").lower()] == []
