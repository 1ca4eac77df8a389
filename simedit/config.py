"""Typed YAML configs: frozen pydantic models, unknown keys refused with the nearest match."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from simedit.errors import SimeditError, unknown


class Config(BaseModel):
    """The base of every config: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


C = TypeVar("C", bound=Config)


def load_config(cls: type[C], path: str | Path, overrides: Sequence[str] = ()) -> C:
    """Read a YAML file into `cls`, after setting `overrides` such as `editor.steps=8`.

    Args:
        path: a YAML file holding one mapping.
        overrides: KEY=VALUE strings; a dot in KEY goes into a nested mapping, VALUE is YAML.

    Raises:
        SimeditError: no such file, not YAML, an unknown key (with the nearest match), a wrong type.
    """
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SimeditError(f"cannot read config {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SimeditError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise SimeditError(f"{path} must hold a mapping of settings, not {type(data).__name__}")
    for override in overrides:
        data = with_override(data, override)
    return parse_config(cls, data, where=str(path))


def parse_config(cls: type[C], data: Any, *, where: str) -> C:
    """Validate plain data into `cls`; errors name `where` and every offending key."""
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        raise SimeditError(f"{where}: " + "; ".join(_explain(cls, e) for e in error.errors())) from None


def check_set_once(args: Sequence[str]) -> None:
    """Check that a command line has one --set at most, for of two the parser drops the first.

    Raises:
        SimeditError: it has more.
    """
    if sum(arg.partition("=")[0] == "--set" for arg in args) > 1:
        raise SimeditError("give --set once, with all settings after it: --set steps=8 seed=1")


def with_override(data: dict[str, Any], override: str) -> dict[str, Any]:
    """Plain data with one KEY=VALUE set; a dot in KEY goes into a nested mapping, VALUE is YAML."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise SimeditError(f"override {override!r} must read KEY=VALUE, for example steps=8")
    head, dot, rest = key.partition(".")
    if not dot:
        try:
            return {**data, head: yaml.safe_load(value)}
        except yaml.YAMLError as error:
            raise SimeditError(f"override {override!r}: {value!r} is not valid YAML") from error
    inner = data.get(head)
    return {**data, head: with_override(inner if isinstance(inner, dict) else {}, f"{rest}={value}")}


def _explain(cls: type[BaseModel], error: Any) -> str:
    location = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{location}: this key is required"
    if error["type"] != "extra_forbidden":
        return f"{location}: {error['msg']} (got {error['input']!r})"
    fields = _fields_at(cls, error["loc"][:-1])
    prefix = location.rpartition(".")[0]
    return f"{prefix + ': ' if prefix else ''}{unknown('key', error['loc'][-1], fields)}"


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
