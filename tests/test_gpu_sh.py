"""benchmarks/gpu.sh and rows.py: steps that fail, end and are killed, with nothing measured."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STUB = f"""#!/bin/bash
case "$*" in
    "benchmarks/rows.py "*) exec {sys.executable} "$@" ;;
    -) printf 'absent: %s\\ntorch'"'"'s CUDA: 13.0 Some GPU\\n' "$ABSENT" ;;
    "-c import simedit.eval" | "-m pip "* | scripts/check_render.py) ;;
    *)
        echo "$SIMEDIT_STEP" >> "$PLAYED"
        echo "{{\\"step\\": \\"$SIMEDIT_STEP\\", \\"seconds\\": 0.5}}" >> "$SIMEDIT_ROWS"
        echo "said \\"$SIMEDIT_STEP\\""
        [[ $FAILS != *" $SIMEDIT_STEP "* ]] ;;
esac
"""
"""A Python in which every benchmark ends at once."""
STEPS = ["tests", "edit-320", "training", "twin", "edit-512", "num-envs", "ray", "suite"]


def _run(folder: Path, *options: str, fails: str = "", absent: str = "") -> tuple[list[str], str]:
    """The steps that were begun, and what was printed."""
    stub, played = folder / "python", folder / "played"
    stub.write_text(STUB, encoding="utf-8")
    stub.chmod(0o755)
    played.write_text("", encoding="utf-8")
    told = {"PYTHON": stub, "TMPDIR": folder, "PLAYED": played, "FAILS": f" {fails} ", "ABSENT": absent}
    command = [ROOT / "benchmarks" / "gpu.sh", "--out", folder / "out", *options]
    done = subprocess.run(
        list(map(str, command)),
        env=os.environ | {name: str(value) for name, value in told.items()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (2 if done.stderr else 0), done.stderr
    return played.read_text(encoding="utf-8").split(), done.stdout + done.stderr


@pytest.mark.parametrize("size", [(), ("--tiny",)])
def test_what_is_done_is_left_out_and_what_failed_comes_last(tmp_path: Path, size: tuple[str, ...]) -> None:
    played, said = _run(tmp_path, *size, "training", "suite", fails="training")
    assert played == ["training", "suite"]
    assert "training: failed (1) after" in said
    results = tmp_path / "out" / "results.jsonl"
    with results.open("a", encoding="utf-8") as file:  # as a run that was killed leaves it
        file.write('{"step": "twin", "status": "begun"}\n{"step": "twin", "sec')
    played, _ = _run(tmp_path, *size, absent="ray")
    assert played == ["tests", "edit-320", "edit-512", "num-envs", "training", "twin"]
    assert _run(tmp_path, *size)[0] == ["ray"]
    played, said = _run(tmp_path, *size)
    assert played == []
    assert said.count("skipped, done before") == len(STEPS)
    device = "cpu" if size else "Some GPU"
    table = (tmp_path / "out" / "tables.md").read_text(encoding="utf-8")
    assert table in said
    for step in STEPS:
        assert re.search(rf'\*\*{step}\*\*, done, \d+ s, {device}, said "{step}", `python ', table)
    assert table.count("| seconds |\n| --- |\n| 0.5 |\n") == len(STEPS)


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    assert "--minutes must be a whole number" in _run(tmp_path, "--minutes", "0")[1]
    assert "unknown: edit; steps are tests edit-320" in _run(tmp_path, "edit")[1]
    played, said = _run(tmp_path, "ray", "training", absent="ruckig peft")
    assert played == []
    assert "training: skipped, there is no peft" in said
    assert (
        json.loads((tmp_path / "out" / "results.jsonl").read_text().splitlines()[-1])["status"] == "skipped"
    )
