"""The Push-T study, small: every stage is done, and what it says follows from what was measured."""

import json

import numpy as np
import pytest
import torch
import yaml

from simedit.errors import SimeditError

pytest.importorskip("gym_pusht")
pytest.importorskip("pyarrow")

from simedit.lab.push_t import cloning, study
from simedit.lab.push_t.cloning import Coloured, errors, new_network, one_pass
from simedit.lab.push_t.demonstrations import Demonstrator, record
from simedit.lab.push_t.measures import crossing, estimate
from simedit.lab.push_t.plan import Data, Plan, Source
from simedit.lab.push_t.report import sentences
from simedit.lab.push_t.seen import load_seen, positions
from simedit.policies.flow import FlowConfig

SMALL = FlowConfig(size=32, channels=[8, 8], points=4, hidden=16, blocks=1, chunk=4, execute=2, steps=2)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    record(root / "raw", 2, 0, real=False)
    record(root / "real", 2, 0, real=True)
    return root


def test_raw_and_real_pictures_are_of_the_same_episodes(datasets):
    raw, real = (load_seen(Source(dataset=datasets / name), SMALL) for name in ("raw", "real"))
    assert torch.equal(raw.actions, real.actions)
    assert torch.equal(raw.state, real.state)
    assert raw.frames.float().mean() > 200 > real.frames.float().mean()
    assert np.unique(raw.episodes).tolist() == [0, 1]
    assert len(raw.first(1)) == (raw.episodes == 0).sum()


def test_chunks_end_with_their_episode(datasets):
    seen = load_seen(Source(dataset=datasets / "raw"), SMALL)
    last = np.flatnonzero(seen.episodes == 0)[-1]
    assert (seen.actions[last] == seen.actions[last][0]).all()
    assert torch.equal(seen.actions[last - 1][1], seen.actions[last][0])
    assert torch.equal(seen.actions[0][1], seen.actions[1][0])


def test_a_disturbed_episode_shows_the_experts_own_action():
    episode = Demonstrator().play(3)
    assert episode.solved
    assert episode.frames.shape == (len(episode.actions), 128, 128, 3)
    assert episode.actions.dtype == np.float32


def test_errors_are_those_of_what_is_drawn(datasets):
    seen, network = load_seen(Source(dataset=datasets / "real"), SMALL), new_network(SMALL, 0)
    found = errors(network, seen, execute=2)
    assert found.shape == (2,)
    network.draw = lambda features, state, noise: torch.zeros_like(noise)
    expected = seen.actions[:, :2].square().mean((1, 2)).numpy()
    assert errors(network, seen, execute=2)[0] == pytest.approx(expected[seen.episodes == 0].mean())


def test_a_pass_learns_from_each_frame_once(datasets, monkeypatch):
    seen, rows = load_seen(Source(dataset=datasets / "real"), SMALL), []
    kept = cloning._loss
    monkeypatch.setattr(cloning, "_loss", lambda n, s, r, *rest: rows.append(r) or kept(n, s, r, *rest))
    counts = list(one_pass(new_network(SMALL, 0), seen, batch=16, seed=0, every=50))
    assert counts[-1] == len(seen)
    assert torch.cat(rows).sort().values.tolist() == list(range(len(seen)))


def test_regions_are_coloured_each_alike():
    regions = torch.zeros(2, 8, 8, dtype=torch.uint8)
    regions[:, 4:] = 1
    frames = torch.full((2, 8, 8, 3), 128, dtype=torch.uint8)
    look = Coloured(regions)
    drawn = look(frames, torch.arange(2), np.random.default_rng(0))
    within, between = drawn[0, :4].std((0, 1)).mean(), (drawn[0, :4].mean() - drawn[0, 4:].mean()).abs()
    assert drawn.shape == frames.shape
    assert between > within


def test_an_interval_holds_its_mean_and_knows_its_seeds():
    random = np.random.default_rng(0)
    values = random.normal(1, 0.1, (3, 40))
    alike = estimate(np.repeat(values.mean(0, keepdims=True), 3, 0))
    apart = estimate(values + np.array([[-0.3], [0], [0.3]]))
    for one in (alike, apart):
        assert one.low <= one.mean <= one.high
    assert apart.high - apart.low > 3 * (alike.high - alike.low)
    assert estimate(np.zeros((2, 5))).low == 0


def test_where_a_curve_crosses():
    assert crossing([10, 20, 30], [4.0, 2.0, 1.0], 3.0) == 15
    assert crossing([10, 20], [4.0, 2.0], 5.0) == 10
    assert crossing([10, 20], [4.0, 2.0], 1.0) is None


def test_no_more_is_said_than_was_found():
    def less(mean, low, high):
        return {"less_than_raw": {"mean": mean, "low": low, "high": high}}

    content = {
        "plan": {"data": None},
        "arms": {"raw": {}, "edited": less(0.1, 0.05, 0.2), "laid": less(0.1, -0.1, 0.3)},
        "curve": {"seen": [10, 2000]},
        "edited_is_worth": [1234.0, None],
    }
    edited, laid, worth = sentences(content)
    assert "less than" in edited
    assert "not told apart from" in laid
    assert worth.endswith("1,234, over 2,000 samples of proxy-real")


@pytest.mark.slow
def test_the_study_from_nothing(tmp_path, capsys, monkeypatch):
    from simedit.lab.cli import main

    settings = ["episodes=2", "held_out=2", "pool=2", "tuned=1", "policies=2", "steps=2"]
    settings += ["tuned_steps=2", "starts=1", f"network={SMALL.model_dump_json()}"]
    settings += ["training=[steps=0,warm_start.steps=1,warm_start.batch_size=1,inputs.frames=8]"]
    command = ["push-t", "--out", str(tmp_path / "out"), "--set", *settings]
    assert main(command) == 0
    told = capsys.readouterr().out
    content = json.loads((tmp_path / "out/report.json").read_text())
    assert set(content["arms"]) == {"untrained", "raw", "colours", "laid", "edited", "proxy_real"}
    for arm in content["arms"].values():
        for one in arm.values():
            assert one["low"] <= one["mean"] <= one["high"]
    assert 0 <= content["arms"]["edited"]["coverage"]["mean"] <= 1
    for name in ("figure.png", "strip.png"):
        assert (tmp_path / "out" / name).stat().st_size > 10_000
    assert "random weights" in told
    assert main(command) == 0  # all is there
    assert told.endswith(capsys.readouterr().out)

    own, made = tmp_path / "own", tmp_path / "out"
    data = {name: {"dataset": str(made / "datasets" / name)} for name in ("raw", "pool", "held_out")}
    data["held_out"] |= {"signs": [1, -1], "crop": [0, 0, 120]}
    config = {"data": data | {"recipe": str(made / "data/tabletop")}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    command = ["push-t", "--out", str(own), "--config", str(tmp_path / "own.yaml"), "--set", *settings[:-1]]
    assert main([*command, "data.raw.camera=observation.image", "--dry-run"]) == 0
    assert "nothing is missing" in capsys.readouterr().out
    assert not own.exists()
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "samples of the real data" in told
    arms = json.loads((own / "report.json").read_text())["arms"]
    assert "success" not in arms["edited"]
    assert arms["edited"]["zero_shot"] != content["arms"]["edited"]["zero_shot"]
    state, _, _ = positions(Source(dataset=made / "datasets/raw"))
    policy = json.loads((own / "data/policies/raw_0/config.json").read_text())
    assert policy["mean"] == pytest.approx(state.mean(0).tolist())  # so that it can be played in gym-pusht

    def shipped(name):
        name = name.removeprefix("push_t/")
        return made / "data" / (name if name == study.RECIPE else f"policies/{name}")

    monkeypatch.setattr(study, "lab_data", shipped)
    command = ["push-t", "--out", str(tmp_path / "shipped"), "--set", *settings[:-1], "shipped=true"]
    assert main(command) == 0
    assert not (tmp_path / "shipped/policies").exists()  # where trainings leave their state
    found = json.loads((tmp_path / "shipped/report.json").read_text())["arms"]
    assert [*found] == ["untrained", "raw", "edited"]
    for arm, values in found.items():
        assert values["zero_shot"]["mean"] == pytest.approx(
            content["arms"][arm]["zero_shot"]["mean"], rel=0.02
        )


def test_columns_are_chosen_turned_and_added(datasets):
    own = Source(dataset=datasets / "raw")
    state, action, episodes = positions(own)
    turned = positions(own.model_copy(update={"numbers": (1, 0), "signs": (1, -1), "relative": True}))
    assert np.array_equal(turned[0], state[:, ::-1] * [1, -1])
    assert np.array_equal(turned[1], (state + action)[:, ::-1] * [1, -1])
    second = load_seen(own.model_copy(update={"first": 1}), SMALL)
    assert np.array_equal(second.episodes, episodes[episodes >= 1])
    both = load_seen(own, SMALL)
    assert torch.equal(second.frames, both.frames[-len(second) :])
    assert torch.equal(second.actions, both.actions[-len(second) :])
    assert errors(new_network(SMALL, 0), second, execute=2).shape == (1,)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"state": "observation.stat"}, "unknown column 'observation.stat': did you mean"),
        ({"numbers": (0, 7)}, "no numbers"),
        ({"camera": "observation.top"}, "unknown camera"),
        ({"first": 2}, "has no episode 2, its last is 1"),
        ({"crop": (100, 0, 64)}, "goes beyond the frames"),
        ({"dataset": "nowhere", "hub": "lerobot/pusht"}, "hf download --repo-type dataset lerobot/pusht"),
    ],
)
def test_what_a_dataset_lacks_is_said_before_work_starts(datasets, tmp_path, capsys, change, told):
    from simedit.lab.cli import main

    own = {name: {"dataset": str(datasets / name)} for name in ("raw", "real")}
    data = {"raw": own["raw"], "pool": own["real"], "held_out": own["real"] | {"first": 1} | change}
    config = {"data": data | {"recipe": "nowhere"}, "pool": 1, "held_out": 2}
    (tmp_path / "own.yaml").write_text(json.dumps(config, default=str))
    command = ["push-t", "--config", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "out")]
    assert main([*command, "--dry-run"]) == 0
    seen = " ".join(capsys.readouterr().out.split())
    assert told in seen
    assert "the recipe nowhere is not there" in seen
    assert "cannot begin: 2 missing" in seen
    assert main(command) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_episodes_to_judge_by_are_not_learned_from(datasets):
    both = Source(dataset=datasets / "real")
    data = Data(raw=both, pool=both, held_out=both, recipe=datasets)
    with pytest.raises(ValueError, match="episodes in common"):
        Plan(data=data, pool=1, held_out=2)


def test_the_full_size_study_says_what_is_missing(tmp_path, capsys, monkeypatch):
    from simedit.lab.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["push-t", "--config", "push_t", "--out", "out", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "hf download --repo-type dataset lerobot/pusht --local-dir data/pusht" in told
    assert "simedit-train --config push_t_background" in told


def test_another_plan_for_the_same_folder_is_refused(tmp_path, capsys):
    from simedit.lab.stages import keep_plan

    keep_plan(tmp_path, Plan())
    with pytest.raises(SimeditError, match="begun with other settings"):
        keep_plan(tmp_path, Plan(seed=1))
