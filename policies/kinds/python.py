"""`kind: python`: any policy that a function of the user's own makes."""

from __future__ import annotations

import inspect
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue

from simedit.digests import digest
from simedit.errors import SimeditError, raised_at, shortened, told, unknown
from simedit.policies.kinds import PolicyKind
from simedit.policies.player import Player
from simedit.protocols import Policy


def _named(factory: str) -> str:
    module, _, name = factory.partition(":")
    if module.endswith(".py") or os.sep in module:
        raise ValueError('must name a module, not its file: "my_policy:make" for my_policy.py')
    if not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        raise ValueError('must read "package.module:callable", for example "my_policy:make"')
    return factory


class Python(PolicyKind):
    """What a callable gives: an object with `reset(instruction, *, seed)` and `act(seen)`.

    `simedit.protocols.Policy` says what `act` sees and may return. Part of what a trial means are the
    settings here, the module's file (of one in a package, all .py files of the package's folder), and the
    files and folders that strings of `args` name.

    Attributes:
        factory: "package.module:callable", found as Python finds modules, and in the working directory. It is
            called once for each environment of a run, with `args` by keyword.
        execute: how many steps of a chunk are played before the policy is asked again; None plays each to its
            end.
        blind: it does not look at frames, so its success says nothing about them.
    """

    kind: Literal["python"]
    factory: Annotated[str, AfterValidator(_named)]
    args: dict[str, JsonValue] = {}
    execute: int | None = Field(default=None, gt=0)
    blind: bool = False

    @property
    def uses_images(self) -> bool:
        return not self.blind

    def problems(self) -> list[str]:
        try:
            factory = self._callable()
        except SimeditError as error:
            return [str(error)]
        return _misfits(factory, self.factory, self.args)

    def meaning(self) -> dict[str, Any]:
        self._callable()
        name = self.factory.partition(":")[0]
        file = Path(str(sys.modules[name].__file__))
        packed = "." in name or hasattr(sys.modules[name], "__path__")
        found: dict[str, Any] = {
            "factories": digest(file.parent, file.parent.rglob("*.py")) if packed else digest(file)
        }
        if files := {path: digest(Path(os.path.expanduser(path))) for path in _paths(self.args)}:
            found["files"] = files
        return found

    def load(self, state: Callable[[], Any]) -> Policy:
        try:
            made = self._callable()(**self.args)
        except (KeyboardInterrupt, SimeditError):
            raise
        except BaseException as error:  # it may call sys.exit
            raise SimeditError(f"{self.factory} raised {told(error)}{raised_at(error)}") from error
        player = Player(made, execute=self.execute)
        if not player.uses_images and self.uses_images:
            raise SimeditError(f"what {self.factory} makes has uses_images = False: set blind: true")
        return player

    def _callable(self) -> Callable[..., Any]:
        name, _, path = self.factory.partition(":")
        found: Any = _module(name)
        for part in path.split("."):
            if not hasattr(found, part):
                known = [each for each in vars(found) if not each.startswith("_")]
                raise SimeditError(f"{_file(name)}: {unknown('name', part, known)}")
            found = getattr(found, part)
        if not callable(found):
            raise SimeditError(f"{self.factory} is no function or class, but {shortened(repr(found))}")
        return found


def _module(name: str) -> Any:
    here = os.getcwd()
    if here not in sys.path:
        # Last, for what else lies there must not stand in for packages that are yet to be imported.
        sys.path.append(here)
    try:
        module = import_module(name)
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise _missing(error.name, here) from None
        raise SimeditError(f"cannot import {name}: {told(error)}{raised_at(error)}") from error
    except BaseException as error:  # whatever its lines do, sys.exit included
        said = told(error).splitlines()[-1]
        line = f" ({error.filename}, line {error.lineno})" if isinstance(error, SyntaxError) else ""
        raise SimeditError(f"cannot import {name}: {said}{line or raised_at(error)}") from error
    if not getattr(module, "__file__", None):
        raise SimeditError(f"{name} is no Python file, so it cannot be told whether it changed")
    top = name.partition(".")[0]
    spec = PathFinder.find_spec(top, [here])
    if spec and spec.origin and not os.path.samefile(spec.origin, str(sys.modules[top].__file__)):
        raise SimeditError(f"{spec.origin} is hidden by {_file(top)}, of the same name: rename it")
    return module


def _file(name: str) -> str:
    return str(sys.modules[name].__file__)


def _missing(name: str, here: str) -> SimeditError:
    outer, _, last = name.rpartition(".")
    if not outer:
        error = unknown("module", name, [found.name for found in pkgutil.iter_modules([here])])
        return SimeditError(f"{error}: looked for in {here} and among what is installed")
    folders = getattr(sys.modules[outer], "__path__", [])
    return SimeditError(
        f"{outer}: {unknown('module', last, [found.name for found in pkgutil.iter_modules(folders)])}"
    )


def _misfits(factory: Callable[..., Any], name: str, args: dict[str, Any]) -> list[str]:
    """What of `args` the factory cannot take, as far as its signature tells."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return []
    parameters = signature.parameters.values()
    takes = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for key in args:
            if key not in takes:
                return [f"args: {unknown(f'argument of {name}', key, takes)}"]
    try:
        signature.bind(**args)
    except TypeError as error:
        return [f"args: {name}: {error}"]
    return []


def _paths(args: JsonValue) -> Iterator[str]:
    """The strings that name a file, or a folder in which the working directory does not lie."""
    if isinstance(args, dict | list):
        inner: Iterable[Any] = args.values() if isinstance(args, dict) else args
        for each in inner:
            yield from _paths(each)
    elif isinstance(args, str):
        path = os.path.expanduser(args)
        beside = os.path.isdir(path) and not Path.cwd().is_relative_to(os.path.realpath(path))
        if beside or os.path.isfile(path):
            yield args
