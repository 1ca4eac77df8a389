from __future__ import annotations

from pathlib import Path

import pytest

from simedit.lab.cli import main
from simedit.tiny import tiny_pipeline

TINY = (
    "steps=1",
    "samples=2",
    "sampling.steps=2",
    "update={batch_size: 2, accumulation: 1}",
    "inputs.frames=2",
)


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "simedit-lab train-style copper" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main(["train-style", "--help"])
    assert "the lab's base, which ships with simedit" in " ".join(capsys.readouterr().out.split())


def test_an_unknown_setting_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--out", str(tmp_path / "b"), "--set", "scene=3"]) == 2
    assert "did you mean 'scenes'" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_one_more_style(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mani_skill", reason="needs the extra: sim")
    monkeypatch.chdir(tmp_path)
    tiny_pipeline().save_pretrained(tmp_path / "base")
    monkeypatch.setattr("simedit.packaged.lab_data", lambda name: tmp_path / name)
    assert main(["train-style", "coper"]) == 2
    error = capsys.readouterr().err
    assert "did you mean 'copper'" in error
    assert "--style-images" in error
    assert main(["train-style", "copper", "--set", *TINY]) == 0
    assert (tmp_path / "specialists" / "copper" / "card.json").exists()
    assert len(list((tmp_path / "runs" / "train" / "copper" / "photographs").iterdir())) == 5
