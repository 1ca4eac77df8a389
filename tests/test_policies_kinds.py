from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import TypeAdapter

from simedit.policies.kinds import AnyPolicy, PolicyKind

KINDS = TypeAdapter(AnyPolicy)


def of(**settings) -> PolicyKind:
    return KINDS.validate_python(settings)


@pytest.mark.parametrize(
    ("settings", "uses_images"),
    [
        ({"kind": "scripted", "noise": 0.1}, False),
        ({"kind": "rt1", "checkpoint": "absent"}, True),
        ({"kind": "cloned", "checkpoint": "lab:last"}, True),
    ],
)
def test_a_kind_knows_whether_it_looks_before_it_is_loaded(settings, uses_images):
    assert of(**settings).uses_images == uses_images


def test_kinds_bring_nothing_heavy():
    # Every command that reads a study imports them all.
    script = "import sys, simedit.policies.kinds; print({'torch', 'tensorflow'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_cloned_policy_of_the_lab_is_playable_and_one_that_is_absent_says_so(tmp_path):
    assert of(kind="cloned", checkpoint="lab:last").problems() == []
    (problem,) = of(kind="cloned", checkpoint=str(tmp_path)).problems()
    assert "it holds no config.json" in problem
    (problem,) = of(kind="cloned", checkpoint="lab:lst").problems()
    assert "did you mean 'last'" in problem


def test_what_rt1_lacks_is_told_all_at_once():
    found = " | ".join(of(kind="rt1", checkpoint="absent").problems())
    assert "simedit-eval checkpoints fetch" in found
    assert "needs embeddings" in found
    found = " | ".join(of(kind="rt1", checkpoint="absent", embeddings="table.json").problems())
    assert "no table of embeddings at" in found
