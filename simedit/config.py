"""Typed YAML configs: frozen pydantic models, unknown keys refused with the nearest match.

Configs, cards and tables come from other people too: whatever is in one is read, or refused in a sentence.
"""

from __future__ import annotations

import ast
import json
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from simedit.errors import SimeditError, shortened, unknown

_LARGEST, _DEPTH = 1 << 17, 30
"""Bounds of a YAML file: its bytes, what aliases repeat counted each time, and its nesting."""
_LARGEST_JSON = 1 << 24
_TOLD = 4
"""How many mistakes of a config are named."""


class Config(BaseModel):
    """The base of every config: frozen, finite, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


C = TypeVar("C", bound=Config)


def load_config(cls: type[C], path: str | Path, overrides: Sequence[str] = ()) -> C:
    """Read a YAML file into `cls`, after setting `overrides` such as `editor.steps=8`.

    Args:
        path: a YAML file holding one mapping.
        overrides: KEY=VALUE strings; a dot in KEY goes into a nested mapping, VALUE is YAML.

    Raises:
        SimeditError: no such file, not YAML, a key given twice, an unknown key (with the nearest match), a
            wrong type.
    """
    data = load_mapping(path)
    for override in overrides:
        data = with_override(data, override)
    return parse_config(cls, data, where=str(path))


def load_mapping(path: str | Path) -> dict[str, Any]:
    """The mapping that a YAML file holds, as it is written.

    Raises:
        SimeditError: no such file, not YAML, no mapping, or a key given twice.
    """
    data = parse_yaml(_read(Path(path), "config ", most=_LARGEST), where=str(path))
    if not isinstance(data, dict):
        found = "is empty: it" if data is None else f"holds a {type(data).__name__}: it"
        raise SimeditError(f"{path} {found} must hold a mapping of settings, KEY: VALUE")
    return data


def load_json(path: str | Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        SimeditError: it cannot be read, is larger than 16 MiB, holds no object, or `parse_json` refuses it.
    """
    data = parse_json(_read(Path(path), most=_LARGEST_JSON), where=str(path))
    if not isinstance(data, dict):
        raise SimeditError(f"{path} must hold a JSON object, not a {type(data).__name__}")
    return data


def parse_json(text: str | bytes, *, where: str) -> Any:
    """The value of a JSON text.

    Raises:
        SimeditError: not JSON, a key given twice, or what Python's parser takes beyond JSON: NaN, Infinity,
            halves of characters. Names `where`.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()
    # Of a text that others wrote: a ValueError mostly, but deep nesting, say, is a RecursionError.
    except Exception as error:
        raise SimeditError(f"{where} is not valid JSON: {shortened(error)}") from error
    return value


def parse_yaml(text: str, *, where: str) -> Any:
    """The plain value of a YAML document; None of an empty one.

    Raises:
        SimeditError: not YAML, a key given twice, or aliases or nesting beyond any config's. Names `where`.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _Check(loader).node(node)
        return loader.construct_document(node)
    # Of a text that others wrote: YAML's constructors raise whatever int(), float() and dates do.
    except Exception as error:
        raise SimeditError(f"{where} is not valid YAML: {_problem(error)}") from error


def parse_config(cls: type[C], data: Any, *, where: str) -> C:
    """Validate plain data into `cls`; errors name `where` and the offending keys."""
    try:
        config = cls.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False)
        more = f"; and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
        told = "; ".join(_explain(cls, e) for e in found[:_TOLD])
        raise SimeditError(f"{where}: {told}{more}") from None
    _check_switches(data, config.model_dump(), where)
    return config


def check_set_once(args: Sequence[str]) -> None:
    """Check that a command line has one --set at most, for of two the parser drops the first.

    Raises:
        SimeditError: it has more.
    """
    if sum(arg.partition("=")[0] == "--set" for arg in args) > 1:
        raise SimeditError("give --set once, with all settings after it: --set steps=8 seed=1")


def with_override(data: dict[str, Any], override: str) -> dict[str, Any]:
    """Plain data with one KEY=VALUE set; a dot in KEY goes into a nested mapping, VALUE is YAML.

    Raises:
        SimeditError: no KEY=VALUE, a VALUE that is not YAML, or a KEY that goes into what is no mapping.
    """
    key, equals, value = override.partition("=")
    *outer, last = key.split(".")
    if not equals or not last or not all(outer):
        raise SimeditError(f"override {shortened(repr(override))} must read KEY=VALUE, for example steps=8")
    if len(outer) > _DEPTH:
        raise SimeditError(f"override {shortened(repr(override))}: no setting lies that deep")
    inner = whole = dict(data)
    for i, part in enumerate(outer):
        found = inner.get(part)
        if not isinstance(found, dict | None):
            at = shortened(".".join(outer[: i + 1]))
            raise SimeditError(
                f"override {shortened(repr(override))}: {at} is {_shown(found)}, which holds no "
                f"settings: set all of {at}"
            )
        inner[part] = dict(found or {})
        inner = inner[part]
    inner[last] = parse_yaml(value, where=f"override {shortened(repr(override))}: {shortened(repr(value))}")
    return whole


def _read(path: Path, kind: str = "", *, most: int) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise SimeditError(f"cannot read {kind}{path}: none of its kind needs more than {most >> 10} KiB")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise SimeditError(f"cannot read {kind}{path}: {error.strerror or error}") from error
    except ValueError as error:  # not UTF-8, or a name with a NUL in it
        raise SimeditError(f"cannot read {kind}{shortened(path)}: {shortened(error)}") from error


class _Check:
    """Walks a YAML document before its values are made, which expands its aliases."""

    def __init__(self, loader: yaml.SafeLoader) -> None:
        self._loader = loader
        self._size = 0

    def node(self, node: yaml.Node, depth: int = 0) -> None:
        self._size += 1 + (len(node.value) if isinstance(node, yaml.ScalarNode) else 0)
        if self._size > _LARGEST:
            raise ValueError("its aliases repeat more than any config needs")
        if depth > _DEPTH:
            raise ValueError(f"it is nested more than {_DEPTH} deep, which no config needs")
        if isinstance(node, yaml.MappingNode):
            self._refuse_doubles(node)
        if isinstance(node, yaml.ScalarNode):
            node.value.encode()  # halves of characters cannot be printed or written
        else:
            for child in node.value:
                for one in child if isinstance(child, tuple) else (child,):
                    self.node(one, depth + 1)

    def _refuse_doubles(self, node: yaml.MappingNode) -> None:
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                merge = key.tag == "tag:yaml.org,2002:merge"
                name = "<<" if merge else self._loader.construct_object(key)
                line = key.start_mark.line + 1
                if name in lines:
                    key = shortened(repr(name))
                    raise ValueError(f"line {line}: the key {key} is in line {lines[name]} already")
                lines[name] = line


def _problem(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {shortened(error.problem, 200)}"
    return "it is nested too deep" if isinstance(error, RecursionError) else shortened(error, 200)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {shortened(repr(twice))} stands in it twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _check_switches(data: Any, parsed: Any, where: str) -> None:
    """pydantic takes true for 1, of a setting that was meant to be a number."""
    if isinstance(data, bool) and not isinstance(parsed, bool):
        raise SimeditError(f"{where}: must be a number, not {str(data).lower()}")
    if isinstance(data, dict) and isinstance(parsed, dict):
        for key in data.keys() & parsed.keys():
            _check_switches(data[key], parsed[key], f"{where}: {shortened(key)}")
    elif isinstance(data, list | tuple) and isinstance(parsed, list | tuple):
        for i, (one, other) in enumerate(zip(data, parsed, strict=False)):
            _check_switches(one, other, f"{where}: {i}")


def _explain(cls: type[BaseModel], error: Any) -> str:
    location = ".".join(shortened(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{location}: this key is required"
    if error["type"] == "union_tag_not_found" and isinstance(error["input"], dict):
        return f"{location}: the key {error['ctx']['discriminator']} is required"
    if error["type"] == "union_tag_invalid":
        found = error["ctx"]
        known = ast.literal_eval(f"[{found['expected_tags']}]")
        return f"{location}: {unknown(ast.literal_eval(found['discriminator']), found['tag'], known)}"
    if error["type"] == "extra_forbidden":
        fields = _fields_at(cls, error["loc"][:-1])
        prefix = location.rpartition(".")[0]
        return f"{prefix + ': ' if prefix else ''}{unknown('key', error['loc'][-1], fields)}"
    problem = shortened(error["msg"].removeprefix("Value error, "), 500)
    # Of a whole section the message says what is wrong with it.
    got = "" if isinstance(error["input"], dict) else f" (got {_shown(error['input'])})"
    return f"{location}: {problem}{got}" if location else f"{problem}{got}"


def _shown(value: Any) -> str:
    try:
        return shortened(reprlib.repr(value), 200)
    except ValueError:  # of a number of more digits than Python writes
        return "a huge number"


def _fields_at(cls: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The keys known at `loc`, found in the JSON schema so that lists and unions need no special case."""
    schema = cls.model_json_schema()
    nodes = _options(schema, schema)
    for part in loc:
        children = [child for node in nodes for child in _children(node, part)]
        nodes = [option for child in children for option in _options(schema, child)]
    return sorted({key for node in nodes for key in node.get("properties", {})})


def _children(node: dict[str, Any], part: str | int) -> list[dict[str, Any]]:
    if isinstance(part, int):
        return [node["items"]] if "items" in node else []
    if part in node.get("properties", {}):
        return [node["properties"][part]]
    # pydantic puts the name or the discriminator of a union's member into the location.
    if part in (node.get("title"), node.get("properties", {}).get("kind", {}).get("const")):
        return [node]
    extra = node.get("additionalProperties")
    return [extra] if isinstance(extra, dict) else []


def _options(schema: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    """`node` itself, or the members of its union, with references followed."""
    if "$ref" in node:
        return _options(schema, schema["$defs"][node["$ref"].rsplit("/", 1)[-1]])
    members = node.get("anyOf", []) + node.get("oneOf", [])
    return [option for member in members for option in _options(schema, member)] or [node]
