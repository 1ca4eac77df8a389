"""Functions and classes of a user's own, named in a config as "package.module:callable" with arguments."""

from __future__ import annotations

import inspect
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from simedit.digests import digest
from simedit.errors import SimeditError, raised_at, shortened, told, unknown


def _named(factory: str) -> str:
    module, _, name = factory.partition(":")
    if module.endswith(".py") or os.sep in module:
        raise ValueError('must name a module, not its file: "my_module:make" for my_module.py')
    if not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        raise ValueError('must read "package.module:callable", for example "my_module:make"')
    return factory


FactoryName = Annotated[str, AfterValidator(_named)]
"""The type of a config's field: "package.module:callable", found as Python finds modules, and in the working
directory."""


def find(factory: str) -> Callable[..., Any]:
    """The callable of that name.

    Raises:
        SimeditError: no such module or name there, a module that raises, or what cannot be called.
    """
    name, _, path = factory.partition(":")
    found: Any = module(name)
    for part in path.split("."):
        if not hasattr(found, part):
            known = [each for each in vars(found) if not each.startswith("_")]
            raise SimeditError(f"{_file(name)}: {unknown('name', part, known)}")
        found = getattr(found, part)
    if not callable(found):
        raise SimeditError(f"{factory} is no function or class, but {shortened(repr(found))}")
    return found


def call(factory: str, args: Mapping[str, Any]) -> Any:
    """What the callable gives.

    Raises:
        SimeditError: as `find`, or it raised.
    """
    try:
        return find(factory)(**args)
    except (KeyboardInterrupt, SimeditError):
        raise
    except BaseException as error:  # it may call sys.exit
        raise SimeditError(f"{factory} raised {told(error)}{raised_at(error)}") from error


def problems(factory: str, args: Mapping[str, Any] | None) -> list[str]:
    """What keeps it from being called, in a sentence each, as far as its signature tells.

    Args:
        args: by keyword; None where they are not known yet.
    """
    try:
        found = find(factory)
        return [] if args is None else _misfits(found, factory, args)
    except SimeditError as error:
        return [str(error)]


def fingerprints(factory: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """Of the module's file (in a package, all .py files of its folder), and of what strings of `args` name.

    Raises:
        SimeditError: as `find`, or a file cannot be read.
    """
    find(factory)
    found: dict[str, Any] = {"factories": sources(factory.partition(":")[0])}
    if files := {path: digest(Path(os.path.expanduser(path))) for path in _paths(args)}:
        found["files"] = files
    return found


def sources(name: str) -> str:
    """A digest of a module's file (in a package, of all .py files of its folder).

    Raises:
        SimeditError: as `module`, or a file cannot be read.
    """
    module(name)
    file = Path(_file(name))
    packed = "." in name or hasattr(sys.modules[name], "__path__")
    return digest(file.parent, file.parent.rglob("*.py")) if packed else digest(file)


def module(name: str) -> Any:
    """The module of that name, found as Python finds modules, and in the working directory.

    Raises:
        SimeditError: there is none, or it raises, or is no Python file.
    """
    here = os.getcwd()
    if here not in sys.path:
        # Last, for what else lies there must not stand in for packages that are yet to be imported.
        sys.path.append(here)
    try:
        found = import_module(name)
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
    if not getattr(found, "__file__", None):
        raise SimeditError(f"{name} is no Python file, so it cannot be told whether it changed")
    top = name.partition(".")[0]
    spec = PathFinder.find_spec(top, [here])
    if spec and spec.origin and not os.path.samefile(spec.origin, str(sys.modules[top].__file__)):
        raise SimeditError(f"{spec.origin} is hidden by {_file(top)}, of the same name: rename it")
    return found


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


def _misfits(factory: Callable[..., Any], name: str, args: Mapping[str, Any]) -> list[str]:
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


def _paths(args: Any) -> Iterator[str]:
    """The strings that name a file, or a folder in which the working directory does not lie."""
    if isinstance(args, Mapping | list):
        inner: Iterable[Any] = args.values() if isinstance(args, Mapping) else args
        for each in inner:
            yield from _paths(each)
    elif isinstance(args, str):
        path = os.path.expanduser(args)
        beside = os.path.isdir(path) and not Path.cwd().is_relative_to(os.path.realpath(path))
        if beside or os.path.isfile(path):
            yield args
