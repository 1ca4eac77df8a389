from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import small_drawer
from small_drawer import CONFIG, SmallDrawer, changed, make_env, movers

from simedit.errors import SimeditError
from simedit.eval.recording import chosen_trials, strip_path, video_path
from simedit.eval.rollout import Stage
from simedit.eval.store import Store
from simedit.eval.study import ATTEMPTS, DEATHS_IN_A_ROW, remaining, run_study
from simedit.eval.trials import Result, trials

FEW = changed(CONFIG, domains=["raw"], scenes={"pose": ["a0"], "drawer": ["top"]})


def run(store, env=SmallDrawer, config=FEW, **instead):
    """Run a study; `instead` gives policies in place of some of the usual ones. Returns the new results."""
    stage = Stage(lambda domain, _: make_env(domain, env()))
    seen = []
    run_study(
        list(trials(config)),
        store=store,
        workers=[movers(stage, config, **instead)],
        report=config.report,
        progress=lambda result, seconds: seen.append(result),
    )
    return seen


def outcomes(store):
    return [result.outcome for result in store.results().values()]


def test_a_study_stores_every_trial_and_a_second_run_does_nothing(tmp_path):
    with Store(tmp_path, write=True) as store:
        assert len(run(store)) == 6
        assert set(store.results()) == set(trials(FEW))
        assert run(store) == []
        more = FEW.model_copy(update={"seeds": [0, 1]})
        assert {result.trial.seed for result in run(store, config=more)} == {1}


def test_pictures_of_the_chosen_trials_are_kept(tmp_path):
    small_drawer.run(tmp_path)
    wanted = list(trials(CONFIG))
    assert all(strip_path(tmp_path, t).exists() for t in chosen_trials(wanted, CONFIG.report.strips))
    assert all(video_path(tmp_path, t).exists() for t in chosen_trials(wanted, CONFIG.report.videos))


def dying(times: int, where=lambda options: True):
    """An environment that dies in the middle of the first `times` episodes `where` it gets so far."""
    left = [times]

    class Dying(SmallDrawer):
        def reset(self, *, seed=None, options=None):
            self.doomed = where(options)
            return super().reset(seed=seed, options=options)

        def step(self, action):
            result = super().step(action)
            if left[0] and self.doomed and self.extension > 0.15:
                left[0] -= 1
                raise RuntimeError("device lost")
            return result

    return Dying


def opening(options):
    return options["task"] == "open"


def test_a_trial_whose_environment_dies_is_tried_again(tmp_path):
    with Store(tmp_path / "dying", write=True) as store, Store(tmp_path / "well", write=True) as other:
        seen = run(store, dying(ATTEMPTS - 1))
        run(other)
        assert store.results() == other.results()
        assert len(seen) == len(other.results())  # each is told of once


ONE = FEW.model_copy(update={"tasks": ["open"], "policies": {"able": CONFIG.policies["able"]}})


def test_a_trial_whose_environment_always_dies_is_an_error_until_it_does_not(tmp_path):
    config = ONE.model_copy(update={"tasks": ["close", "open"]})
    with Store(tmp_path, write=True) as store:
        seen = run(store, dying(ATTEMPTS, opening), config)
        assert [result.outcome for result in seen] == ["success", "error"]
        (error,) = (result for result in store.results().values() if result.outcome == "error")
        assert "device lost" in error.message
        assert remaining(list(trials(config)), store.results()) == [error.trial]
        run(store, config=config)
        assert "error" not in outcomes(store)


def test_an_environment_that_keeps_dying_stops_the_run_and_the_next_goes_on_elsewhere(tmp_path):
    class Dead(SmallDrawer):
        def step(self, action):
            raise RuntimeError("device lost")

    config = FEW.model_copy(update={"seeds": list(range(20))})
    with Store(tmp_path, write=True) as store:
        for start in (1, 2):
            with pytest.raises(SimeditError, match=r"died in 8 of 8 attempts, last in .*: device lost"):
                run(store, Dead, config)
            assert outcomes(store) == ["error"] * DEATHS_IN_A_ROW * start


def test_deaths_that_all_recover_stop_nothing_however_many(tmp_path):
    resets, deaths = [0], Counter()

    class Shaky(SmallDrawer):
        def reset(self, *, seed=None, options=None):
            resets[0] += 1
            if resets[0] % 4 == 0 and deaths[seed] < ATTEMPTS - 1:
                deaths[seed] += 1
                raise RuntimeError("renderer lost")
            return super().reset(seed=seed, options=options)

    config = FEW.model_copy(update={"seeds": list(range(20)), "max_steps": 1})
    with Store(tmp_path / "shaky", write=True) as store, Store(tmp_path / "well", write=True) as other:
        seen = run(store, Shaky, config)
        run(other, config=config)
        assert store.results() == other.results()
        assert deaths.total() > 30  # 20 stopped a study
        assert len(seen) == 120


def test_far_more_deaths_than_trials_that_live_stop_the_run(tmp_path):
    resets = [0]

    class Failing(SmallDrawer):
        def reset(self, *, seed=None, options=None):
            resets[0] += 1
            if resets[0] % 4:
                raise RuntimeError("renderer lost")
            return super().reset(seed=seed, options=options)

    config = FEW.model_copy(update={"seeds": list(range(20)), "max_steps": 1})
    with Store(tmp_path, write=True) as store, pytest.raises(SimeditError, match="died in 20 of 26 attempts"):
        run(store, Failing, config)


@pytest.mark.parametrize("seeds", [1, 20])
def test_a_broken_pose_keeps_nothing_else_from_being_played(tmp_path, seeds):
    class Broken(SmallDrawer):
        def reset(self, *, seed=None, options=None):
            if options["pose"] == "a0":
                raise RuntimeError("no such place")
            return super().reset(seed=seed, options=options)

    config = CONFIG.model_copy(update={"domains": ["raw"], "seeds": list(range(seeds)), "max_steps": 1})
    with Store(tmp_path, write=True) as store:
        run(store, Broken, config)
        results = store.results()
        assert set(results) == set(trials(config))
        assert {t.scene[-2:] for t, r in results.items() if r.outcome == "error"} == {"a0"}
        assert all(r.outcome != "error" for t, r in results.items() if t.scene[-2:] != "a0")
        with pytest.raises(SimeditError, match="no such place"):  # nothing else is left
            run(store, Broken, config)
        more = config.model_copy(update={"seeds": list(range(seeds + 1))})
        fresh = run(store, Broken, more)
        assert {r.trial.seed for r in fresh if r.trial.scene[-2:] != "a0"} == {seeds}


def test_an_edit_that_is_refused_stops_the_study(tmp_path, monkeypatch):
    def refuse(self, frames, **settings):
        raise SimeditError("the edit is not finite")

    monkeypatch.setattr(small_drawer.Painter, "edit", refuse)
    config = CONFIG.model_copy(update={"domains": ["edited"]})
    with Store(tmp_path, write=True) as store:
        with pytest.raises(SimeditError, match="not finite"):
            run(store, config=config)
        assert store.results() == {}


def test_an_environment_that_cannot_be_built_stops_the_run_too(tmp_path):
    class Unbuildable(SmallDrawer):
        def __init__(self):
            raise RuntimeError("no renderer")

    config = FEW.model_copy(update={"seeds": list(range(20))})
    with Store(tmp_path, write=True) as store, pytest.raises(SimeditError, match="no renderer"):
        run(store, Unbuildable, config)


def test_a_broken_policy_spoils_its_own_trials_alone(tmp_path):
    class Broken:
        uses_images = False

        def reset(self, instruction, *, seed=0):
            raise RuntimeError("no weights")

    with Store(tmp_path, write=True) as store:
        run(store, fair=Broken())
        errors = {r.trial.policy for r in store.results().values() if r.outcome == "error"}
    assert errors == {"fair"}


@pytest.mark.slow
def test_a_run_killed_at_three_moments_ends_like_an_undisturbed_one(tmp_path):
    script, wanted = Path(small_drawer.__file__), set(trials(CONFIG))
    small_drawer.run(tmp_path / "whole")
    moments = random.Random(0)
    folder, counts = tmp_path / "killed", [0]
    for _ in range(3):
        with subprocess.Popen([sys.executable, str(script), str(folder), "0.01"]) as process:
            deadline = time.monotonic() + 120
            while stored(folder) <= counts[-1]:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(moments.uniform(0, 1.0))
            process.kill()
        assert process.returncode == -signal.SIGKILL
        counts.append(stored(folder))
    assert 0 < counts[1] < counts[2] < counts[3] < len(wanted)
    subprocess.run([sys.executable, str(script), str(folder)], check=True)
    assert stored(folder) == len(wanted)
    with Store(folder, write=False) as store:
        assert set(store.results()) == wanted
        assert "error" not in outcomes(store)
    killed, whole = ((path / "report.json").read_bytes() for path in (folder, tmp_path / "whole"))
    assert killed == whole


def stored(folder: Path) -> int:
    path = folder / "results.sqlite"
    if not path.exists():
        return 0
    with sqlite3.connect(path, timeout=30) as db:
        try:
            return db.execute("SELECT count(*) FROM results").fetchone()[0]
        except sqlite3.OperationalError:  # the table is not there yet
            return 0


def test_what_remains_is_fresh_trials_first_and_errors_last():
    wanted = list(trials(FEW))
    done = {wanted[0]: Result(wanted[0], "failure"), wanted[2]: Result(wanted[2], "error")}
    assert remaining(wanted, done) == [wanted[1], *wanted[3:], wanted[2]]
