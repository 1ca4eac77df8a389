"""`suite: "package.module:callable"`: any suite that a function or class of the user's own makes."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Literal

from pydantic import JsonValue

from simedit import factories
from simedit.envs.suite import Places, Suite, SuiteKind, check_suite
from simedit.errors import SimeditError, raised_at, shortened, told
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
        found = getattr(self.suite(), "realities", ())
        return (found,) if isinstance(found, str) else tuple(found)

    def _own(self, name: str, *args: Any, default: Any) -> Any:
        found = getattr(self.suite(), name, None)
        try:
            answer = default if found is None else found(*args)
        except (KeyboardInterrupt, SimeditError):
            raise
        except BaseException as error:
            raise SimeditError(
                f"{name}() of what {self.factory} makes raised {told(error)}{raised_at(error)}"
            ) from error
        if not isinstance(answer, type(default)):
            raise SimeditError(
                f"{name}() of what {self.factory} makes gave {shortened(repr(answer))}, and no "
                f"{type(default).__name__}"
            )
        return answer
