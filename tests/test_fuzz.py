"""Files of other people, damaged: a loader takes them or says in a sentence what is wrong.

A few inputs of each loader, always the same; `scripts/fuzz.py` tries them for as long as one likes.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from fuzz_loaders import LOADERS, damage, load, template
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

SLOW = {"specialist": 8, "base": 4, "video": 4, "recording": 6, "run": 12, "cloned": 12, "photographs": 12}
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
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False))
    def taken_or_refused(random: Random) -> None:
        note("; ".join(damage(name, good, tmp_path / "input", random)))
        load(name, tmp_path / "input")

    taken_or_refused()
