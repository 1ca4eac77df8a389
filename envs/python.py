"""`suite: "package.module:callable"`: any suite that a function or class of the user's own makes."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Literal

from pydantic import JsonValue

from simedit import factories
from simedit.envs.suite import Places, Suite, SuiteKind, check_suite
from simedit.factories import FactoryName


@cache
def _made(factory: str, args: str) -> Suite:
    made = factories.call(factory, json.loads(args))
    check_suite(made, f"what {factory} makes")
    return made


class PythonSuite(SuiteKind):
    """What a callable gives: a `simedit.envs.suite.Suite`.

    It may also have `realities`, `editing()`, `problems(places)` and `absent(places)`, as
    `simedit.envs.suite.SuiteKind` says. Part of what a trial means are the settings here, the module's file
    (of one in a package, all .py files of the package's folder), and the files that strings of `args` name.

    Attributes:
        factory: "package.module:callable", found as Python finds modules, and in the working directory. It is
            called with `args` by keyword, once in each process.
    """

    kind: Literal["python"]
    factory: FactoryName
    args: dict[str, JsonValue] = {}

    def suite(self) -> Suite:
        return _made(self.factory, json.dumps(self.args))

    def problems(self, places: Places) -> list[str]:
        return self._own("problems", places, default=[])

    def absent(self, places: Places) -> dict[str, dict[str, str]]:
        return self._own("absent", places, default={})

    def meaning(self, places: Places) -> dict[str, Any]:
        return super().meaning(places) | factories.fingerprints(self.factory, self.args)

    def editing(self) -> dict[str, Any]:
        return self._own("editing", default={})

    @property
    def realities(self) -> tuple[str, ...]:
        return tuple(getattr(self.suite(), "realities", ()))

    def _own(self, name: str, *args: Any, default: Any) -> Any:
        found = getattr(self.suite(), name, None)
        return default if found is None else found(*args)
