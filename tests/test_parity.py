"""benchmarks/parity.py, and that the twin keeps to the original in the recordings at hand."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
SIMPLER = ROOT.parent / "shared" / "simpler"
SCRIPT = ROOT / "benchmarks" / "parity.py"

pytest.importorskip("mani_skill")
_SPEC = importlib.util.spec_from_file_location("parity", SCRIPT)
assert _SPEC is not None
assert _SPEC.loader is not None
PARITY: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(PARITY)


def parity(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(folder), "--asset-root", str(SIMPLER / "assets"), *options]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.skipif(not SIMPLER.is_dir(), reason=f"no recordings of SIMPLER at {SIMPLER}")
def test_the_twin_keeps_to_the_original(tmp_path: Path) -> None:
    names = (
        "expert_close_middle_b1",
        "expert_open_bottom_a1",
        "random_close_bottom_b0",
        "random_open_top_c0",
    )
    for name in names:
        for path in (SIMPLER / "reference").glob(f"{name}*"):
            shutil.copy(path, tmp_path)
    (tmp_path / "notes.npz").write_bytes(b"not a recording, not by its name either")
    done = parity(tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert sorted(report["files"]) == sorted(names)
    total = report["total"]
    assert total["free_steps"] + total["contact_steps"] == 2 * 60 + 2 * 25
    assert total["contact_steps"] == sum(total[f"{kind}_steps"] for kind in ("fingers", "touch", "jammed"))
    assert total["tcp_mm_free_median"] <= 0.1
    assert total["tcp_mm_free_p95"] <= 0.2
    assert total["tcp_mm_contact_median"] <= 2
    assert total["drawer_mm_contact_median"] <= 1
    assert (total["outcome_agree"], total["outcome_total"]) == (2, 2)
    assert total["psnr_db_min"] >= 35
    assert min(total["cabinet_iou_min"], total["robot_iou_min"]) >= 0.999


@pytest.mark.parametrize(
    ("touched", "moved", "told", "went", "kind"),
    [
        (set(), False, 0.1, 0.09, "free"),
        (set(), False, 0.1, 0.0, "free"),  # no inverse kinematics: nothing holds the hand
        ({"fingers"}, False, 0.1, 0.09, "fingers"),
        ({"fingers"}, False, 0.0, 0.0, "fingers"),
        ({"other"}, False, 0.1, 0.09, "touch"),
        ({"fingers", "other"}, False, 0.1, 0.09, "touch"),
        ({"fingers"}, True, 0.1, 0.09, "touch"),
        (set(), True, 0.1, 0.09, "touch"),
        # A hand hooked to an edge: told 0.1 m, it stays, with open fingers and no drawer moving.
        ({"other"}, False, 0.1, 0.002, "jammed"),
        ({"fingers"}, False, 0.1, 0.002, "jammed"),
        ({"other"}, False, 0.005, 0.0, "touch"),
    ],
)
def test_a_jammed_step_is_no_free_one(touched, moved, told, went, kind) -> None:
    assert PARITY.kind_of_step(touched, moved, told, went) == kind


def test_figures_are_given_for_each_kind() -> None:
    found = {f"{what}_free": [1.0, 3.0] for what in ("tcp_mm", "rotation_deg", "drawer_mm")}
    found |= {key.replace("free", kind): [10.0] for key in found for kind in ("contact", "jammed")}
    report = PARITY.summary(found)
    assert [report[f"{kind}_steps"] for kind in PARITY.KINDS] == [2, 1, 0, 0, 1]
    assert (report["tcp_mm_free_median"], report["tcp_mm_jammed_p95"]) == (2, 10)
    assert report["tcp_mm_touch_median"] is None


@pytest.mark.skipif(not SIMPLER.is_dir(), reason=f"no meshes of SIMPLER at {SIMPLER}")
def test_what_the_robot_presses_on_is_seen() -> None:
    env = PARITY.make_twin(SIMPLER / "assets", 16, 16)
    env.reset(options={"task": "open", "drawer": "top", "pose": "a0"})
    close = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)
    with PARITY.touching(env.unwrapped) as touched:
        env.step(-close)
        assert touched == set()
        for _ in range(4):
            env.step(close)
        assert touched == {"fingers"}
    # Pushing a drawer shut.
    env.reset(options={"task": "close", "drawer": "top", "pose": "a0"})
    controller, extension = PARITY.RecordedController("close"), 0.2
    with PARITY.touching(env.unwrapped) as touched:
        while extension > 0.19 and (state := env.unwrapped.privileged_state()):
            *_, info = env.step(controller.act(state))
            extension = float(info["drawer_extension"])
    assert "other" in touched
    alone = set(touched)
    env.step(-close)
    assert touched == alone
    env.close()


def test_a_folder_without_recordings_and_a_broken_one_are_refused(tmp_path: Path) -> None:
    empty = parity(tmp_path)
    assert (empty.returncode, empty.stdout) == (2, "")
    assert "holds no recording" in empty.stderr
    (tmp_path / "expert_open_top_a0.npz").write_bytes(b"PK cut short")
    broken = parity(tmp_path)
    assert broken.returncode == 2
    assert "expert_open_top_a0.npz is no recording" in broken.stderr
