from __future__ import annotations

from pathlib import Path

import pytest

from simedit.recipe import Recipe
from simedit.training.cli import main

CONFIG = """
name: tabletop
passes:
  - {specialist: gold, region: background}
  - {specialist: specialists/wood, region: block, prompt: make the block out of wood}
  - {specialist: gold}
"""


@pytest.fixture(autouse=True)
def folder(tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "specialists").mkdir()
    for name in ("base", "gold", "wood"):
        (tmp_path / "specialists" / name).symlink_to(tiny_root / name)
    Path("tabletop.yaml").write_text(CONFIG)
    return tmp_path


def test_a_config_becomes_a_recipe_among_the_specialists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "--config", "tabletop.yaml"]) == 0
    said = capsys.readouterr().out
    assert "recipe: specialists/tabletop\n" in said
    wanted = "--specialist specialists/tabletop --mask background=MASK --mask block=MASK --mask MASK in.png"
    assert wanted in said
    made = Recipe.load("specialists/tabletop")
    assert [one.region for one in made.passes] == ["background", "block", None]
    assert made.passes[1].prompted.card.instruction == "make the block out of wood"
    assert main(["recipe", "--config", "tabletop.yaml", "--set", "name=other", "--to", "there/it"]) == 0
    assert Recipe.load("there/it").name == "other"


def test_what_is_there_is_replaced_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "--config", "tabletop.yaml"]) == 0
    assert main(["recipe", "--config", "tabletop.yaml"]) == 2
    assert "specialists/tabletop exists already" in capsys.readouterr().err
    assert (
        main(["recipe", "--config", "tabletop.yaml", "--overwrite", "--set", "passes=[{specialist: wood}]"])
        == 0
    )
    assert len(Recipe.load("specialists/tabletop").passes) == 1
    assert main(["recipe", "--config", "tabletop.yaml", "--overwrite", "--to", "specialists/gold"]) == 2
    assert "gold exists and is not a recipe's folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "--config is missing"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--config", "tabletop.yaml", "--set", "passes=[{specialist: god}]"], "did you mean 'gold'"),
        (["--config", "tabletop.yaml", "--set", "pases=[]"], "did you mean 'passes'"),
        (["--config", "tabletop.yaml", "--set", "passes=[]"], "passes"),
    ],
)
def test_a_mistake_is_one_clear_line(capsys: pytest.CaptureFixture[str], args: list, message: str) -> None:
    assert main(["recipe", *args]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not Path("specialists/tabletop").exists()
