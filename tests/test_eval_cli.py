from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
import small_drawer

from simedit.eval.cli import main
from simedit.tiny import make_tiny_library

STUDY = """
policies:
  one: {kind: scripted}
  two: {kind: scripted, noise: 0.05, delay: 1}
domains: [raw, edited]
styles: [gold]
drawers: [top]
poses: [b1]
max_steps: 3
env: {width: 64, height: 48}
editor: {steps: 1}
report: {videos: 1, strips: 1}
"""
REAL = "source: my lab\npolicies: {one: {open: 0.9, close: 1}, two: {open: 0.5, close: 0.4}}\n"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A config and its real rates in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SIMEDIT_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "real.yaml").write_text(REAL)
    (tmp_path / "study.yaml").write_text(STUDY + "real: {source: real.yaml}\n")
    return "study.yaml"


def refused(capsys, *arguments):
    """The message with which a command is refused."""
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return shown.err


def test_published_as_json(capsys):
    assert main(["published", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], list(found["domains"])) == (1, ["varagg", "vismatch", "paper"])
    assert main(["published"]) == 0
    assert "0.130" in capsys.readouterr().out


def test_help_is_quick_and_has_examples():
    start = time.monotonic()
    script = """
import sys
from simedit.eval.cli import main
try:
    main(["--help"])
finally:
    print(sorted(sys.modules))
"""
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout
    assert "simedit-eval run --config configs/eval/demo.yaml --out runs/demo" in shown
    assert not any(f"'{name}'" in shown for name in ("torch", "gymnasium", "scipy", "matplotlib"))
    assert time.monotonic() - start < 20


def test_report_and_status_of_a_run_folder(tmp_path, capsys):
    small_drawer.run(tmp_path)
    before = (tmp_path / "report.json").read_bytes()
    assert main(["report", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(before)
    assert (tmp_path / "report.json").read_bytes() == before
    assert main(["status", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["wanted"], found["finished"], len(found["groups"])) == (108, 108, 6)
    assert main(["status", str(tmp_path)]) == 0
    assert "able" in capsys.readouterr().out


def test_folders_without_a_run(tmp_path, capsys):
    assert "holds no results" in refused(capsys, "report", str(tmp_path))
    assert "holds no results" in refused(capsys, "status", str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("polices={}", "did you mean 'policies'"),
        ("real.source=absent.yaml", "no file"),
        ("policies.three={kind: scripted}", "unknown policy 'three'"),
        ("editor.library=absent", "no specialists in"),
        ("env.skin=simpler", "no asset root"),
        ("editor.over=vismatch", "no asset root"),
        ("policies.two={kind: rt1, checkpoint: absent}", "no RT-1 checkpoint at"),
        ("policies.two={kind: rt1, checkpoint: absent}", "no sentence embeddings"),
    ],
)
def test_what_is_missing_is_said_before_anything_starts(study, tmp_path, capsys, setting, message):
    assert message in refused(capsys, "run", "--config", study, "--out", "run", "--set", setting)
    assert not (tmp_path / "run").exists()


def test_everything_missing_is_said_at_once(study, capsys):
    settings = ["real.source=absent.yaml", "editor.library=absent", "env.skin=simpler"]
    shown = refused(capsys, "run", "--config", study, "--out", "run", "--set", *settings)
    assert all(word in shown for word in ("absent.yaml", "no specialists", "no asset root"))


def test_styles_that_a_library_lacks_are_named(study, tmp_path, capsys):
    make_tiny_library(tmp_path / "library", ["gold"])
    settings = ["editor.library=library", "styles=[gold,gild]"]
    assert "did you mean 'gold'" in refused(
        capsys, "run", "--config", study, "--out", "run", "--set", *settings
    )


def test_an_out_folder_that_is_a_file_is_refused(study, tmp_path, capsys):
    (tmp_path / "run").write_text("in the way")
    assert "cannot write to run" in refused(capsys, "run", "--config", study, "--out", "run")


def test_a_dry_run_counts_without_weights_and_starts_nothing(study, tmp_path, capsys):
    settings = ["policies.two={kind: rt1, checkpoint: absent}", "seeds=[0,1,2]", "max_steps=113"]
    assert main(["run", "--config", study, "--out", "run", "--dry-run", "--set", *settings]) == 0
    shown = capsys.readouterr().out
    assert "trials: 24 wanted, 0 stored, 24 to run" in shown
    assert f"frames to edit: at most {12 * 114}" in shown
    assert "no RT-1 checkpoint" in shown
    assert not (tmp_path / "run").exists()


def test_assets_check_names_what_is_missing(study, tmp_path, capsys):
    (tmp_path / "assets").mkdir()
    assert "lacks" in refused(capsys, "assets", "check", "--asset-root", "assets")


@pytest.mark.slow
def test_a_study_in_the_twin_from_dry_run_to_report(study, tmp_path, capsys):
    pytest.importorskip("mani_skill")
    assert main(["run", "--config", study, "--out", "run", "--dry-run"]) == 0
    assert "s a control step in the domain edited" in capsys.readouterr().out
    assert main(["run", "--config", study, "--out", "run"]) == 0
    shown = capsys.readouterr()
    assert "say nothing about reality yet" in shown.out
    assert "\r" not in shown.err  # no live bar in a log
    summary = json.loads((tmp_path / "run" / "report.json").read_text())
    assert summary["trials"] == {"wanted": 8, "finished": 8, "errors": 0, "missing": 0}
    assert len(summary["warnings"]) >= 2
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    before = (tmp_path / "run" / "report.json").read_bytes()
    assert main(["run", "--config", study, "--out", "run"]) == 0
    assert (tmp_path / "run" / "report.json").read_bytes() == before
    assert "max_steps: 3 there, 4 now" in refused(
        capsys, "run", "--config", study, "--out", "run", "--set", "max_steps=4"
    )
