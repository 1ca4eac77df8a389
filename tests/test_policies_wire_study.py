"""What becomes of a study when a policy's server does not live as long."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import foreign_python
import pytest
import wire_servers
from pydantic import TypeAdapter
from small_drawer import CONFIG, FACTS, REAL, SmallDrawer, make_env
from wire_servers import Puller, foreign, openpi, ours

from simedit.errors import SimeditError
from simedit.eval.compare import is_policy_error
from simedit.eval.rollout import Stage
from simedit.eval.run_folder import keep, write_report
from simedit.eval.store import Store
from simedit.eval.study import DEATHS_IN_A_ROW, run_study
from simedit.eval.trials import trials
from simedit.eval.worker import Worker
from simedit.policies.kinds import AnyPolicy
from simedit.protocols import PolicyAway

SMALL = CONFIG.model_copy(update={"policies": {"fair": CONFIG.policies["fair"]}, "domains": ["raw"]})


class Watched(SmallDrawer):
    """Calls `during` with the number of each step of all episodes."""

    steps = 0
    during = staticmethod(lambda step: None)

    def step(self, action):
        Watched.steps += 1
        Watched.during(Watched.steps)
        return super().step(action)


@pytest.fixture(autouse=True)
def watched(monkeypatch):
    monkeypatch.setattr(Watched, "steps", 0)
    monkeypatch.setattr(Watched, "during", staticmethod(lambda step: None))
    return monkeypatch


VLA_EVAL = {
    "protocol": "vla_eval",
    "mapping": {"images": [{"key": ["images", "primary"]}], "instruction": "task_description"},
}


def at(url, connect=30.0, **settings):
    settings = {"kind": "server", "protocol": "openpi", "url": url, "mapping": "simedit", **settings}
    kind = TypeAdapter(AnyPolicy).validate_python({**settings, "timeouts": {"connect": connect}})
    return kind.load(lambda: None)


def play(folder, policy, config=SMALL):
    """Run what is missing; how often each trial ended for good."""
    ended = Counter()
    stage = Stage(lambda domain, _: make_env(domain, Watched()))
    with Store(folder, write=True) as store:
        keep(store, config, REAL, FACTS)
        try:
            run_study(
                list(trials(config)),
                store=store,
                workers=[Worker(stage, {"fair": policy}, config.max_steps)],
                report=config.report,
                progress=lambda result, _: ended.update([result.trial]),
            )
        finally:
            write_report(store)
    return ended


def results(folder):
    with Store(folder, write=False) as store:
        return store.results()


def report(folder):
    return (folder / "report.json").read_bytes()


def test_a_policy_behind_a_server_is_the_one_in_the_process(tmp_path):
    play(tmp_path / "here", Puller())
    with ours(Puller) as server:
        policy = at(server.url)
        play(tmp_path / "there", policy)
        policy.close()
    assert results(tmp_path / "here") == results(tmp_path / "there")
    assert report(tmp_path / "here") == report(tmp_path / "there")
    assert {result.outcome for result in results(tmp_path / "here").values()} == {"success", "failure"}


@pytest.mark.slow
def test_a_policy_behind_vla_evals_real_model_server_is_the_one_in_the_process(tmp_path):
    python = foreign_python.interpreter("vla-eval")
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    script = Path(__file__).with_name("vla_eval_server.py")
    with subprocess.Popen([python, str(script), str(port)]) as server:
        try:
            policy = at(f"ws://127.0.0.1:{port}", connect=120.0, **VLA_EVAL)
            assert policy.identity["model_server"] == "PullerServer"
            play(tmp_path / "there", policy)
            policy.close()
        finally:
            server.kill()
    play(tmp_path / "here", Puller())
    assert results(tmp_path / "there") == results(tmp_path / "here")
    assert report(tmp_path / "there") == report(tmp_path / "here")


@pytest.mark.slow
def test_a_server_killed_in_mid_episode_and_started_again_changes_nothing(tmp_path, watched):
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    command = [sys.executable, str(Path(wire_servers.__file__)), str(port)]
    running = [subprocess.Popen(command)]

    def kill(step):
        if step in (9, 20):  # neither an episode's first nor its last
            running[-1].kill()
            running[-1].wait()
            running.append(subprocess.Popen(command))

    try:
        policy = at(f"ws://127.0.0.1:{port}", connect=120.0)
        watched.setattr(Watched, "during", staticmethod(kill))
        ended = play(tmp_path / "killed", policy)
        policy.close()
    finally:
        running[-1].kill()
        running[-1].wait()
    assert len(running) == 3
    assert set(ended) == set(trials(SMALL))
    assert set(ended.values()) == {1}
    play(tmp_path / "whole", Puller())
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    assert report(tmp_path / "killed") == report(tmp_path / "whole")


def test_a_server_that_stays_away_stops_the_study_and_the_next_run_goes_on(tmp_path, watched):
    with ours(Puller) as server:
        policy = at(server.url, connect=0.2)
        watched.setattr(Watched, "during", staticmethod(lambda step: step == 15 and server.close()))
        with pytest.raises(
            PolicyAway, match=r"stopped: the server of policy 'fair': no policy's server at"
        ) as told:
            play(tmp_path / "stopped", policy)
    assert "Finished trials are stored; the same command goes on from here" in str(told.value)
    found = list(results(tmp_path / "stopped").values())
    assert [result.outcome == "error" for result in found] == [False, False, True]
    assert not any(map(is_policy_error, found))  # however a study counts those
    watched.setattr(Watched, "during", staticmethod(lambda step: None))
    with ours(Puller) as server:
        policy = at(server.url)
        ended = play(tmp_path / "stopped", policy)
        policy.close()
    assert len(ended) == len(list(trials(SMALL))) - 2
    play(tmp_path / "whole", Puller())
    assert report(tmp_path / "stopped") == report(tmp_path / "whole")


def test_a_server_that_dies_over_every_trial_stops_the_study(tmp_path):
    asked = []

    def talk(connection):
        openpi(lambda _: asked.append(1) or connection.socket.shutdown(socket.SHUT_RDWR))(connection)

    with foreign(talk) as url, pytest.raises(SimeditError, match=r"died in 8 of 8 attempts.*went away"):
        play(tmp_path, at(url))
    assert len(asked) == DEATHS_IN_A_ROW == 8


def test_what_the_policy_itself_does_wrong_costs_that_trial_and_is_its_error(tmp_path):
    class Wrong(Puller):
        def reset(self, instruction, *, seed=0):
            self._wrong = "bottom" in instruction
            super().reset(instruction, seed=seed)

        def act(self, frame):
            if self._wrong:
                raise RuntimeError("lost sight of it")
            return super().act(frame)

    with ours(Wrong) as server:
        policy = at(server.url)
        play(tmp_path, policy)
        policy.close()
    found = results(tmp_path)
    wrong = {trial.scene.split("/")[0] for trial, result in found.items() if result.outcome == "error"}
    assert wrong == {"bottom"}
    errors = [result for result in found.values() if result.outcome == "error"]
    assert len(errors) == len(found) // 2
    assert all(map(is_policy_error, errors))
    assert {result.message for result in errors} == {
        "policy 'fair': its server says RuntimeError: lost sight of it (step 1)"
    }
