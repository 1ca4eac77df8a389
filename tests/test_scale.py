"""benchmarks/scale.py: the simulation against what can be reckoned without one."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simedit.errors import SimeditError
from simedit.eval.trials import Trial

pytest.importorskip("simpy")
import simpy

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))  # its parts import each other
SCALE: Any = importlib.import_module("scale")
ACTORS: Any = importlib.import_module("scale_actors")


def times(**values: Any) -> Any:
    """Nothing takes any time but what is given."""
    figures = {name: {"value": 0.0, "source": "test"} for name in ACTORS.Times.model_fields}
    figures["study"] = "study"
    figures["steps"] = {"value": [10], "source": "test"}
    for name, value in values.items():
        figures[name]["value"] = value
    return ACTORS.Times(**figures)


def raw(count: int, domain: str = "raw", variant: str = "") -> list[Trial]:
    return [Trial("p", "open", f"a{i}", domain, variant, "", 0) for i in range(count)]


def edited(count: int) -> list[Trial]:
    return [Trial("p", "open", f"a{i}", "edited", "", "gold", 0) for i in range(count)]


ONE = ACTORS.Shape(cores=1, rollouts=1, gpu=False)
ALL = {
    "start": 3.0,
    "build": 7.0,
    "reset": 0.5,
    "step": 0.2,
    "act": 0.1,
    "edit": 0.4,
    "store": 0.01,
    "render": 0.05,
    "edit_call": 0.3,
    "edit_frame": 0.1,
    "slowdown": 0.2,
    "steps": [5, 8, 20],
}


def test_one_worker_without_edits_takes_the_sum_of_its_calls() -> None:
    found = ACTORS.simulate(raw(6), times(**{**ALL, "steps": [10]}), ONE, 1)
    assert found.seconds == pytest.approx(3 + 7 + 6 * (0.5 + 10 * 0.3 + 0.01))


def test_a_new_domain_or_variant_is_built_and_a_new_style_is_not() -> None:
    gold, wood = edited(1)[0], Trial("p", "open", "a", "edited", "", "wood", 0)
    places = [*raw(2), *raw(2, variant="dark"), gold, wood]
    assert ACTORS.simulate(places, times(build=7.0), ONE, 1).seconds == pytest.approx(3 * 7)


def test_on_a_core_every_frame_of_an_edited_trial_is_edited_and_the_first_as_well() -> None:
    assert ACTORS.simulate(edited(3), times(edit=0.4), ONE, 1).seconds == pytest.approx(3 * 11 * 0.4)
    assert ACTORS.simulate(raw(3), times(edit=0.4), ONE, 1).seconds == 1.0  # no time at all


def test_where_only_edits_take_time_the_editor_works_in_full_batches() -> None:
    shape = ACTORS.Shape(cores=16, rollouts=16, batch=4)
    found = ACTORS.simulate(edited(160), times(edit_call=1.0, edit_frame=0.25), shape, 1)
    frames = 160 * 11
    # Its first batch is of the one frame that is there: a hundredth of all.
    assert frames / found.seconds == pytest.approx(4 / (1 + 4 * 0.25), rel=0.01)
    assert found.gpus == pytest.approx(1)
    assert found.bottleneck == "GPUs"


def test_a_batch_is_never_larger_than_what_waits() -> None:
    shape = ACTORS.Shape(cores=8, rollouts=2, batch=8)
    found = ACTORS.simulate(edited(2), times(edit_call=1.0, step=1e-3), shape, 1)
    # One frame goes alone, and then each takes turns with the other: none ever waits together.
    assert found.seconds == pytest.approx(2 * 11, rel=0.01)


def test_cores_are_shared_by_more_workers_than_there_are() -> None:
    few = ACTORS.simulate(raw(8), times(step=1.0), ACTORS.Shape(2, 2, gpu=False), 1)
    many = ACTORS.simulate(raw(8), times(step=1.0), ACTORS.Shape(2, 8, gpu=False), 1)
    assert few.seconds == pytest.approx(8 * 10 / 2)
    assert many.seconds == pytest.approx(few.seconds)
    assert many.bottleneck == "cores"


def test_work_is_conserved_on_shared_cores() -> None:
    env = simpy.Environment()
    cores = ACTORS.Shared(env, 2)
    ended: dict[str, float] = {}

    def job(name: str, at: float, seconds: float) -> Any:
        yield env.timeout(at)
        yield cores.work(seconds)
        ended[name] = env.now

    for name, at, seconds in (("a", 0, 4), ("b", 0, 6), ("c", 1, 2)):
        env.process(job(name, at, seconds))
    env.run()
    # From 1 s on three share two cores: 2 s of work take 3 s. Then a has 1 s left, b 3 s.
    assert ended == pytest.approx({"c": 4.0, "a": 5.0, "b": 7.0})
    assert cores.used == pytest.approx(4 + 6 + 2)


def test_all_the_work_of_a_study_is_done_whatever_the_shape() -> None:
    given = times(**{**ALL, "slowdown": 0.0, "start": 0.0, "build": 0.0})
    wanted = raw(30)
    used = {
        round(found.cores * found.seconds * cores * count, 6)
        for cores, rollouts, count in ((1, 1, 1), (2, 5, 1), (4, 3, 3))
        for found in [ACTORS.simulate(wanted, given, ACTORS.Shape(cores, rollouts, gpu=False), count)]
    }
    assert len(used) == 1


def test_neighbours_slow_each_other_down() -> None:
    given, shape = times(step=1.0, slowdown=0.25), ACTORS.Shape(2, 2, gpu=False)
    assert ACTORS.simulate(raw(1), given, replace(shape, rollouts=1), 1).seconds == pytest.approx(10)
    assert ACTORS.simulate(raw(2), given, shape, 1).seconds == pytest.approx(12.5)


def test_what_other_programs_take_is_not_there() -> None:
    shape = ACTORS.Shape(2, 2, gpu=False, others=0.5)
    assert ACTORS.simulate(raw(2), times(step=1.0), shape, 1).seconds == pytest.approx(20 / 1.5)


def test_one_driver_stores_one_trial_at_a_time() -> None:
    found = ACTORS.simulate(raw(40), times(store=0.5, step=0.01), ACTORS.Shape(4, 4, gpu=False), 4)
    assert found.seconds == pytest.approx(40 * 0.5, rel=0.01)
    assert found.bottleneck == "driver"


def test_too_few_rollouts_keep_nothing_busy() -> None:
    shape = ACTORS.Shape(cores=8, rollouts=1)
    given = times(step=0.5, edit_call=0.5)
    found = ACTORS.simulate(edited(4), given, shape, 1)
    assert found.bottleneck == "too few rollouts"
    assert ACTORS.best(edited(40), given, shape).rollouts > 1


def test_twice_the_gpus_are_never_slower() -> None:
    wanted, given = [*raw(60), *edited(60)], times(**ALL)
    shape = ACTORS.Shape(cores=4, rollouts=3)
    seconds = [ACTORS.simulate(wanted, given, shape, count).seconds for count in (1, 2, 4, 8, 16, 32)]
    assert seconds == sorted(seconds, reverse=True)


def test_a_seed_gives_the_same_again_and_another_does_not() -> None:
    wanted, given, shape = edited(30), times(**ALL), ACTORS.Shape(cores=4, rollouts=3)
    first = ACTORS.simulate(wanted, given, shape, 2, seed=1)
    assert ACTORS.simulate(wanted, given, shape, 2, seed=1) == first
    assert ACTORS.simulate(wanted, given, shape, 2, seed=2) != first


def test_every_trial_is_played_once() -> None:
    assert len(ACTORS.simulate(edited(33), times(**ALL), ACTORS.Shape(4, 5), 3).done) == 33


def test_costs_and_rates_follow_from_the_hours() -> None:
    shape = ACTORS.Shape(1, 1, gpu=False)
    (row,) = SCALE.rows(raw(2), times(step=180.0), shape, [1], price=3.0)
    assert (row["hours"], row["trials_an_hour"]) == pytest.approx((1.0, 2.0))
    assert row["cost_per_1000"] == pytest.approx(1000 * 3 / 2)


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", ["scale.py", *options])
    SCALE.main()


def written(folder: Path, **assumed: bool) -> Path:
    given = times(**{**ALL, "steps": [3]}).model_dump()
    for name, value in assumed.items():
        given[name]["assumed"] = value
    file = folder / "times.json"
    file.write_text(json.dumps(given))
    return file


def study(folder: Path) -> Path:
    file = folder / "study.yaml"
    file.write_text(
        "policies: {plain: {kind: scripted}}\ndomains: [raw, edited]\nstyles: [gold]\n"
        "scenes: {drawer: [top], pose: [b1]}\nsuite: {kind: drawer, skin: primitive}\n"
    )
    return file


@pytest.mark.parametrize("assumed", [False, True])
def test_the_table_says_which_figures_are_assumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], assumed: bool
) -> None:
    common = ["--config", str(study(tmp_path)), "--count", "1", "--rollouts", "2"]
    common += ["--times", str(written(tmp_path, edit_frame=assumed)), "--json", str(tmp_path / "out.json")]
    run(monkeypatch, *common)
    assert ("assumed" in capsys.readouterr().out) == assumed
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["times"]["edit_frame"]["assumed"] == assumed
    assert [row["count"] for row in report["rows"]] == [1]
    run(monkeypatch, *common, "--cpu")
    assert "assumed" not in capsys.readouterr().out  # nothing there rests on the GPU's times
    other = tmp_path / "other.yaml"
    other.write_text(study(tmp_path).read_text())
    run(monkeypatch, *common, "--cpu", "--config", str(other))
    told = capsys.readouterr().out
    assert "assumed" in told
    assert "measured in study" in told


def test_the_file_that_ships_calls_what_a_gpu_takes_assumed() -> None:
    shipped = SCALE.load_config(ACTORS.Times, SCALE.TIMES)
    assert all(getattr(shipped, name).assumed for name in ACTORS.ON_GPU)
    assert not any(figure.assumed for figure in shipped.used(gpu=False).values())


def test_a_count_of_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SimeditError, match="must be 1 or more"):
        run(monkeypatch, "--rollouts", "0")
