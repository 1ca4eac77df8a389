"""What a server's metadata tells: who it is, and whether a mapping fits it."""

from __future__ import annotations

from typing import Any

import numpy as np

from simedit.errors import SimeditError
from simedit.policies.mappings import Mapping

_PASSING = {"harness_version"}
"""What of vla-eval's HELLO says nothing of the policy."""


def identity(metadata: dict[Any, Any]) -> dict[str, Any]:
    """Who a server says it is, as JSON values: all of its metadata but what passes."""
    return {str(key): _plain(value) for key, value in metadata.items() if key not in _PASSING}


def differ(one: dict[str, Any], other: dict[str, Any]) -> str:
    """The keys in which two identities differ."""
    return ", ".join(sorted(key for key in {*one, *other} if one.get(key) != other.get(key)))


def check_fit(mapping: Mapping, metadata: dict[Any, Any]) -> None:
    """Hold a mapping against what a server says that it wants and gives, where it says so.

    Read are the `needs` of a server of simedit and the specs of vla-eval's.

    Raises:
        SimeditError: they do not fit.
    """
    for need in wanted(metadata):
        if (need == "frame" and not mapping.images) or (
            need != "frame" and getattr(mapping, need, None) is None
        ):
            raise SimeditError(
                f"the server's policy needs {need}, which the mapping does not send: use mapping: simedit"
            )
    observed = _specs(metadata, "observation_spec")
    if "state" in observed and not mapping.states:
        form = observed["state"].get("format")
        raise SimeditError(f"the server wants a state ({form}), the mapping sends none")
    acted = _specs(metadata, "action_spec")
    numbers = [spec["dims"] for spec in acted.values() if isinstance(spec.get("dims"), int)]
    columns = mapping.action.columns or ()
    known = columns and acted and len(numbers) == len(acted) and 0 not in numbers
    if known and sum(numbers) != len(columns):
        raise SimeditError(
            f"the server's actions are {sum(numbers)} numbers ({', '.join(acted)}), the mapping expects "
            f"{len(columns)}: {' '.join(columns)}"
        )


def wanted(metadata: dict[Any, Any]) -> tuple[str, ...]:
    """What a server of simedit needs to see; () of others."""
    needs = metadata.get("needs", ())
    return tuple(map(str, needs)) if isinstance(needs, list | tuple) else ()


def _specs(metadata: dict[Any, Any], key: str) -> dict[str, dict[str, Any]]:
    found = metadata.get(key)
    specs = found.items() if isinstance(found, dict) else ()
    return {str(name): spec for name, spec in specs if isinstance(spec, dict)}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    return value if isinstance(value, str | int | float | bool | None) else repr(value)
