from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from small_arms import SKILL, play, study, usual
from small_drawer import REAL

from simedit.eval.arms import read_arms
from simedit.eval.cli import main
from simedit.eval.evidence import TESTED, Draws, advantages, claim, claims, evidence
from simedit.eval.published import Rates
from simedit.eval.run_folder import keep_players
from simedit.eval.store import Store

COUNTED = Rates.model_validate(
    {
        "source": "made up",
        "policies": {name: {"open": f"{k}/27", "close": f"{k}/27"} for name, k in SKILL.items()},
    }
)


def shuffled(trial):
    """As usual in gold; in wood, and as rendered, fair and able have changed places."""
    names = {"able": "fair", "fair": "able"}
    if trial.style == "gold":
        return usual(trial)
    return usual(type(trial)(names.get(trial.policy, trial.policy), *list(vars(trial).values())[1:]))


@pytest.fixture(scope="module", autouse=True)
def few():
    with pytest.MonkeyPatch.context() as patched:
        for name, draws in (("DRAWS", 2000), ("WORTH_DRAWS", 60), ("EVALUATIONS", 200)):
            patched.setattr(f"simedit.eval.evidence.{name}", draws)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return play(tmp_path_factory.mktemp("evidence") / "run", shuffled, real=COUNTED)


@pytest.fixture(scope="module")
def found(folder):
    arms = read_arms([f"{folder}:raw", f"{folder}:edited", f"{folder}:edited/gold"])
    return evidence(arms, [("edited/gold", "raw"), ("edited", "raw")])


def test_errors_are_simulated_less_real_with_their_intervals(found):
    raw, edited, gold = found["arms"]
    assert list(raw["blocks"]) == ["open", "close", "average"]
    able = raw["blocks"]["open"]["policies"]["able"]
    assert (able["sim"], able["real"], able["n"]) == (pytest.approx(17 / 27), pytest.approx(24 / 27), 27)
    assert able["error"] == pytest.approx(-7 / 27)
    assert able["error_ci"][0] < able["error"] < able["error_ci"][1] < 0.05
    # Of a difference of independent rates, by hand: 1.96 sqrt(.63 .37 / 27 + .89 .11 / 27)
    assert able["error_ci"][1] - able["error_ci"][0] == pytest.approx(2 * 1.96 * 0.111, rel=0.2)
    block = raw["blocks"]["average"]
    assert block["mae"] == pytest.approx(14 / 27 / 3)
    assert block["bias"] == pytest.approx(0)
    assert block["mmrv"] == pytest.approx((7 + 7) / 27 / 3)
    assert gold["blocks"]["average"]["mmrv"] == 0
    assert gold["blocks"]["average"]["mae"] == pytest.approx(0)
    assert edited["blocks"]["average"]["policies"]["able"]["n"] == 2 * 2 * 27


def test_advantages_are_differences_above_0_where_the_first_predicts_better(found):
    gold, edited = found["contrasts"]
    block = gold["blocks"]["average"]
    assert block["mmrv"]["advantage"] == pytest.approx(14 / 27 / 3)
    raw = found["arms"][0]["blocks"]["average"]
    assert block["pearson_r"]["advantage"] == pytest.approx(1 - raw["pearson_r"])
    assert block["mae"]["advantage"] == pytest.approx(14 / 27 / 3)
    for metric in ("mmrv", "pearson_r", "mae"):
        low, high = block[metric]["ci"]
        assert low <= block[metric]["advantage"] <= high
        assert 0 < block[metric]["p"] < 0.2
    assert "one_style" not in gold
    # Together the styles tie; by themselves one is better, and one as raw.
    alone = edited["one_style"]["average"]
    assert alone["mmrv"]["advantage"] == pytest.approx(14 / 27 / 3 / 2)
    assert block["saved"]["mae"]["worth"][0] is None
    assert block["saved"]["mae"]["trials"] is None
    assert block["saved"]["mae"]["worth"][1] < 10


def test_what_is_the_same_has_no_advantage(folder):
    arms = read_arms([f"{folder}:raw", f"again={folder}:raw"])
    (contrast,) = evidence(arms, [("again", "raw")])["contrasts"]
    for block in contrast["blocks"].values():
        for metric in ("mmrv", "pearson_r", "mae"):
            assert block[metric]["advantage"] == 0
            assert block[metric]["ci"] == [0, 0]
            assert block[metric]["p"] == 1
            assert block["saved"][metric]["trials"] == 0
    assert claims(contrast) == {"mmrv": False, "pearson_r": False}
    assert claim(contrast) == "again is not shown to predict better than raw."


def test_a_claim_needs_a_corrected_p_and_each_style_by_itself():
    def contrast(p, alone=None):
        blocks = {"average": {m: {"p_holm": p} for m in TESTED}}
        blocks["average"]["mmrv"]["advantage"] = blocks["average"]["pearson_r"]["advantage"] = 0.1
        styles = (
            {} if alone is None else {"one_style": {"average": {m: {"advantage": alone} for m in TESTED}}}
        )
        return {"arm": "a", "against": "b", "blocks": blocks, **styles}

    assert claim(contrast(0.01)) == "a is shown to predict better than b in MMRV and r."
    assert claim(contrast(0.01, 0.02)) == "a is shown to predict better than b in MMRV and r."
    assert claim(contrast(0.01, -0.02)) == "a is not shown to predict better than b."
    assert claim(contrast(0.06)) == "a is not shown to predict better than b."


def test_policies_and_situations_are_uncertain_and_repeats_of_a_situation_are_not_more():
    random = np.random.default_rng(0)
    chances = np.linspace(0.1, 0.9, 8)[:, None]
    policies = {str(p): {"open": float(c)} for p, c in enumerate(chances[:, 0].round(3))}
    real = Rates.model_validate({"source": "test", "policies": policies})
    names = list(real.policies)
    won = np.stack([random.random((8, 27)) < chances, random.random((8, 27)) < np.roll(chances, 2)]).astype(
        int
    )

    def width(repeats):
        drawn = Draws({"open": (repeats * won, np.full_like(won, repeats))}, real, names, 4000)
        ci = advantages(drawn, ["open"])["pearson_r"]["ci"]
        return ci[1] - ci[0]

    assert width(5) == pytest.approx(width(1), rel=0.05)
    drawn = Draws({"open": (won, np.ones_like(won))}, real, names, 4000)
    drawn.weights = np.full_like(drawn.weights, 1 / 8)
    ci = advantages(drawn, ["open"])["pearson_r"]["ci"]
    assert ci[1] - ci[0] < 0.9 * width(1)


def test_what_a_reader_must_know_is_said(tmp_path):
    def part(trial):
        return None if (trial.domain, trial.scene) == ("raw", "top/a0") else usual(trial)

    more = study(policies={**study().model_dump()["policies"], "other": {"kind": "scripted"}})
    real = REAL.model_dump()
    real["policies"]["other"] = {"open": 0.5, "close": 0.5}
    one = play(tmp_path / "one", part)
    two = play(
        tmp_path / "two",
        lambda t: usual(t) if t.policy in SKILL else "failure",
        config=more,
        real=Rates.model_validate(real),
    )
    with Store(two, write=True) as store:
        keep_players(store, [{"torch": "2.12"}, {"torch": "2.13"}])
    told = evidence(read_arms([f"{one}:raw", f"{two}:edited"]), [])["warnings"]
    assert "Not all trials were played with the same: torch 2.12 and 2.13." in told
    assert told[0].startswith('No robot measured the rates called "a stand-in"')
    assert "raw is not finished: 156 of 162 trials are." in told
    assert "Policies of edited that not every arm has are left out: other." in told
    assert told[-1] == "Real rates without counts are taken as exact: able, fair, poor."


def test_the_command_prints_tables_or_json_and_draws(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    arms = [f"{folder}:raw", f"{folder}:edited/gold"]
    assert main(["evidence", *arms, "--out", str(tmp_path / "a.png")]) == 0
    shown = capsys.readouterr().out
    assert "edited/gold" in shown
    assert "-0.26 [" in shown
    assert "predict better than raw" in shown
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 800
    assert main(["evidence", *arms, "--json", "--out", str(tmp_path / "b.png")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [arm["name"] for arm in printed["arms"]] == ["raw", "edited/gold"]
    assert printed["contrasts"][0]["against"] == "raw"


def test_what_cannot_be_shown_is_one_line(folder, tmp_path, capsys):
    for arms, said in (
        ([], "error: there is no arm"),
        ([f"{tmp_path}/absent:raw"], f"error: {tmp_path}/absent holds no results"),
        ([f"{folder}:raw", f"{folder}:raw"], "error: two arms are called 'raw'"),
    ):
        assert main(["evidence", *arms, "--out", str(tmp_path / "c.png")]) == 2
        shown = capsys.readouterr().err
        assert shown.startswith(said)
        assert shown.count("\n") == 1
    assert not (tmp_path / "c.png").exists()
