"""How terminal and page say what was found: one line, and numbers of three digits that tell something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UP, DOWN = "\N{UPWARDS ARROW}", "\N{DOWNWARDS ARROW}"


def headline(found: Mapping[str, Any]) -> str:
    """What was compared, and, of two editors or more, who is better in how many metrics."""
    editors, metrics, n = found["editors"], found["metrics"], len(found["images"])
    images = f"{n} image{'s' * (n != 1)}, {len(metrics)} metric{'s' * (len(metrics) != 1)}"
    if len(editors) == 1:
        return f"{editors[0]}: {images}"

    def told(editor: str) -> str:
        verdicts = [of[editor]["verdict"] for of in found["differences"].values()]
        return f"{editor} better in {verdicts.count('better')}, worse in {verdicts.count('worse')}"

    return f"Against {editors[0]}: {'; '.join(map(told, editors[1:]))} ({images})"


def metric(found: Mapping[str, Any], name: str) -> str:
    """A metric's name and which way is better."""
    return f"{name} {UP if found['metrics'][name]['better'] == 'higher' else DOWN}"


def mean(entry: Mapping[str, Any]) -> tuple[str, str]:
    """A mean and its interval in brackets, "" without one."""
    return _with_ends(entry, "")


def difference(entry: Mapping[str, Any]) -> tuple[str, str]:
    """A difference, with its sign, and its interval, p and verdict; what is not known is left out."""
    value, ends = _with_ends(entry, "+")
    p = entry["p_holm"]
    told = "" if p is None else "p < 0.001" if p < 0.001 else f"p {p:.3f}"
    verdict = "" if entry["verdict"] == "open" else entry["verdict"]
    return value, " ".join(filter(None, (ends, told, verdict)))


def _with_ends(entry: Mapping[str, Any], sign: str) -> tuple[str, str]:
    if entry["mean"] is None:
        return "undefined", ""
    ends = entry["ci"] and f"[{', '.join(_number(end, sign) for end in entry['ci'])}]"
    return _number(entry["mean"], sign), ends or ""


def _number(value: float, sign: str) -> str:
    return format(value, f"{sign}.3g") if value else "0"
