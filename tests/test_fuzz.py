"""Files of other people, damaged: a loader takes them or says in a sentence what is wrong.

A few inputs of each loader, always the same; `scripts/fuzz.py` tries them for as long as one likes.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzz_loaders import LOADERS, Loader, damage, load, template
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from simedit.errors import SimeditError

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "fuzz.py"
spec: Any = importlib.util.spec_from_file_location("search", SCRIPT)
search: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(search)

SLOW = {
    "base": 4,
    "video": 3,
    "dataset": 4,
    "recording": 4,
    "specialist": 8,
    "recipe": 8,
    "run": 8,
    "runs": 6,
    "arms": 8,
    "assets": 12,
    "photographs": 12,
}
"""Inputs where one takes more than some milliseconds."""
LEFT_OUT = {"footprint"}  # seconds each


@pytest.mark.parametrize("name", sorted(LOADERS.keys() - LEFT_OUT))
def test_damaged_files_are_taken_or_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    good = template(name, tmp_path / "good")

    @settings(
        max_examples=SLOW.get(name, 25),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],  # a fault's damage is told, and to shrink it takes minutes
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False))
    def taken_or_refused(random: Random) -> None:
        note("; ".join(damage(name, good, tmp_path / "input", random)))
        load(name, tmp_path / "input")

    taken_or_refused()


@pytest.mark.parametrize(
    ("ending", "outcome", "shown"),
    [
        (None, "accepted", ""),
        (SimeditError("it is broken"), "clean", ""),
        (SimeditError("x" * 3000), "traceback", "Fault at "),
        (KeyError("step"), "traceback", "KeyError at "),
        (RuntimeWarning("invalid value"), "traceback", "RuntimeWarning at "),
    ],
)
def test_the_search_tells_faults_from_errors(monkeypatch, tmp_path, ending, outcome, shown) -> None:
    def make(folder: Path) -> None:
        (folder / "a.json").write_text("{}")

    def end(folder: Path) -> None:
        if isinstance(ending, Warning):
            warnings.warn(ending, stacklevel=1)
        elif ending is not None:
            raise ending

    good = tmp_path / "good"
    good.mkdir()
    make(good)
    monkeypatch.setitem(LOADERS, "odd", Loader(make, end))
    report = search.attempt("odd", 0, good, tmp_path, tmp_path / "out")
    assert report[:3] == ("odd", 0, outcome)
    assert shown in report[3]
    assert (tmp_path / "out" / "odd-0").is_dir() == (outcome == "traceback")
