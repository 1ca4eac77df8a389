"""benchmarks/parity.py, and that the twin keeps to the original in the recordings at hand."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SIMPLER = ROOT.parent / "shared" / "simpler"
SCRIPT = ROOT / "benchmarks" / "parity.py"

pytest.importorskip("mani_skill")


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
    assert total["tcp_mm_free_median"] <= 0.1
    assert total["tcp_mm_free_p95"] <= 0.2
    assert total["tcp_mm_contact_median"] <= 2
    assert total["drawer_mm_contact_median"] <= 1
    assert (total["outcome_agree"], total["outcome_total"]) == (2, 2)
    assert total["psnr_db_min"] >= 35
    assert min(total["cabinet_iou_min"], total["robot_iou_min"]) >= 0.999


def test_a_folder_without_recordings_and_a_broken_one_are_refused(tmp_path: Path) -> None:
    empty = parity(tmp_path)
    assert (empty.returncode, empty.stdout) == (2, "")
    assert "holds no recording" in empty.stderr
    (tmp_path / "expert_open_top_a0.npz").write_bytes(b"PK cut short")
    broken = parity(tmp_path)
    assert broken.returncode == 2
    assert "expert_open_top_a0.npz is no recording" in broken.stderr
