from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import small_fleet
import yaml

from simedit.errors import SimeditError
from simedit.eval.library import base_of, find_specialists
from simedit.eval.on_ray import ray_workers
from simedit.eval.remote import RemoteWorker
from simedit.eval.store import Store
from simedit.eval.study import run_study
from simedit.eval.trials import trials
from simedit.eval.worker import build
from simedit.tiny import make_tiny_library

pytest.importorskip("ray", reason="needs the extra: ray")
from simedit.eval import seat


def play(folder, study, workers, progress=lambda result, seconds: None):
    """The results, and how often something died."""
    with Store(folder, write=True) as store:
        queue = run_study(
            list(trials(study)), store=store, workers=workers, report=study.report, progress=progress
        )
        return store.results(), queue


def here(folder, study, specialists=()):
    """The results of one worker in this process."""
    return play(folder, study, [build(study, dict(specialists), tell=lambda *phase: None)])[0]


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield made
    made.shutdown()


def test_a_study_outlives_a_machine(cluster, tmp_path):
    node = cluster.add_node(num_cpus=2)
    study = small_fleet.study(env={"seconds": 0.05}, seeds=[0, 1, 2])
    played = []

    def interfere(result, seconds):
        played.append(result.trial)
        if len(played) == 4:
            cluster.remove_node(node, allow_graceful=False)

    with ray_workers(study, {}, 4, cluster.address) as workers:
        assert len(workers) == 4
        results, queue = play(tmp_path / "ray", study, workers, interfere)
    assert sorted(played, key=str) == sorted(trials(study), key=str)  # each once
    assert queue.deaths > 0
    assert results == here(tmp_path / "here", study)


@pytest.mark.parametrize(
    ("how", "where", "reason"),
    [
        ("loop", "act", r"no end of act within 10 s \(timeouts.act\)"),
        ("stop", "step", r"no (end of step|sign of life) within 10 s \(timeouts.step\)"),
        ("kill", "step", "exit code -9|actor died"),
    ],
)
@pytest.mark.parametrize("kind", ["process", "ray"])
def test_what_hangs_or_dies_costs_one_retry(cluster, tmp_path, monkeypatch, kind, how, where, reason):
    monkeypatch.setattr("simedit.eval.actors.SILENCE_S", 0.0)
    marks = {"how": how, "marks": str(tmp_path)}
    timeouts = {"first_frame": 120, where: 10}  # what else is slow on a busy machine is let be
    study = small_fleet.study(**{"env" if where == "step" else "policy": marks}, timeouts=timeouts)
    if kind == "ray":
        with ray_workers(study, {}, 1, cluster.address) as workers:
            results, queue = play(tmp_path / "run", study, workers)
    else:
        worker = RemoteWorker(partial(build, study, {}), study.timeouts)
        results, queue = play(tmp_path / "run", study, [worker])
    assert queue.deaths == 1
    assert re.search(reason, queue.last)
    assert results == here(tmp_path / "here", small_fleet.study())


@pytest.fixture(scope="module")
def specialists(tmp_path_factory):
    library = make_tiny_library(tmp_path_factory.mktemp("tiny"), ["gold", "wood"])
    return find_specialists(library, ["gold", "wood"])


EDITED = {
    "domains": ["raw", "edited"],
    "styles": ["gold", "wood"],
    "scenes": {"start": ["2"]},
    "editor": {"steps": 1, "compile": False, "composition": "none"},
    "max_steps": 2,
}


def test_rollouts_share_an_editor_that_is_replaced_when_it_dies(cluster, tmp_path, specialists):
    study = small_fleet.study(**EDITED, resources={"editor": {"cpu": 0}})
    alone = here(tmp_path / "here", study, specialists)
    played = []

    def interfere(result, seconds):
        played.append(result.trial)
        if sum(trial.domain == "edited" for trial in played) == 1:
            os.kill(workers[0]._shared._actor._place[1], signal.SIGKILL)

    with ray_workers(study, specialists, 2, cluster.address) as workers:
        assert workers[0]._shared is workers[1]._shared is not None
        results, queue = play(tmp_path / "ray", study, workers, interfere)
    assert results == alone
    assert queue.deaths > 0
    assert "the editor: " in queue.last


def test_an_editor_that_cannot_be_loaded_stops_the_study(cluster, tmp_path, specialists):
    broken = {style: shutil.copytree(folder, tmp_path / style) for style, folder in specialists.items()}
    (broken["wood"] / "card.json").write_text("{")
    settings = {**EDITED["editor"], "base": str(base_of(specialists.values()))}
    study = small_fleet.study(**{**EDITED, "editor": settings}, resources={"editor": {"cpu": 0}})
    with ray_workers(study, broken, 1, cluster.address) as workers, pytest.raises(SimeditError, match="card"):
        play(tmp_path / "run", study, workers)


def test_a_machine_is_sent_the_weights_that_it_lacks(cluster, tmp_path, specialists):
    moved = {
        style: shutil.copytree(folder, tmp_path / "there" / style) for style, folder in specialists.items()
    }
    base = shutil.copytree(base_of(specialists.values()), tmp_path / "there" / "base")
    study = small_fleet.study(**{**EDITED, "editor": {**EDITED["editor"], "base": str(base)}})
    expected = here(tmp_path / "here", study, moved)
    with ray_workers(study, moved, 1, cluster.address) as workers:
        for what in workers[0]._cluster.paths:
            workers[0]._cluster.files(what)
        planted = seat._kept(workers[0]._cluster.kit.weights["base"][1])
        planted.mkdir(parents=True, exist_ok=True)  # what lies there must be what was sent
        (planted / "model_index.json").write_text("{}")
        shutil.rmtree(tmp_path / "there")
        assert play(tmp_path / "ray", study, workers)[0] == expected


@pytest.mark.slow
def test_the_command_gives_the_report_of_one_machine_and_leaves_nothing_behind(tmp_path):
    study = small_fleet.study(**EDITED)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study.model_dump(mode="json")))
    command = [sys.executable, "-c", "from simedit.eval.cli import main; raise SystemExit(main())", "run"]
    shown = {}
    for name, more in (("one", ()), ("ray", ("--ray", "local"))):
        with subprocess.Popen(
            [*command, "--config", str(tmp_path / "study.yaml"), "--out", str(tmp_path / name), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(small_fleet.__file__).parent)},
            start_new_session=True,
        ) as process:
            shown[name], _ = process.communicate(timeout=300)  # ends when all who hold its pipes have ended
        assert process.returncode == 0, shown[name]
    assert shown["ray"].startswith("Ray: ")
    assert (tmp_path / "ray" / "report.json").read_bytes() == (tmp_path / "one" / "report.json").read_bytes()


@pytest.mark.parametrize(
    ("address", "message"),
    [("ray://there:1", "no Ray client"), ("127.0.0.1:1", "refused"), ("there", "at 'there'.*--head")],
)
def test_where_there_is_no_cluster(address, message):
    with pytest.raises(SimeditError, match=message), ray_workers(small_fleet.study(), {}, 1, address):
        pass


def test_a_seat_tells_only_of_the_call_that_it_works_on(monkeypatch):
    class Idler:
        def __init__(self, tell):
            self._tell = tell

        def work(self):
            before = held.phase()[1]
            self._tell("act", 5.0, "act")
            return before, held.phase()[1]

    monkeypatch.setattr(seat, "guard", lambda: None)
    held = seat.Seat(0, sees_all=False)
    held._owned = Idler(held._tell)
    for _ in range(2):
        assert held.phase()[1] is None
        assert held.call("work") == ("answer", (None, ("act", 5.0, "act")))
    assert held.phase()[1] is None
