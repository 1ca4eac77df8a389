"""Each example runs as it stands, at small sizes, and makes what it says."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import foreign_python
import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = sorted(path.name for path in EXAMPLES.glob("*.py"))


def run(name: str, *args: str, cwd: Path) -> str:
    """What the example prints."""
    command = [sys.executable, str(EXAMPLES / name), *args]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short_and_helps(name: str, tmp_path: Path) -> None:
    lines = (EXAMPLES / name).read_text(encoding="utf-8").splitlines()
    assert len(lines) < 60
    assert f"python examples/{name}" in lines[2]
    if name == "vector_env.py":
        pytest.importorskip("gymnasium", minversion="1.1")
    said = run(name, "--help", cwd=tmp_path)
    assert "usage:" in said
    assert "(required)" in said or name == "evaluate.py"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
class TestTheyRun:
    """Each writes where it is told and nowhere else."""

    @pytest.fixture(autouse=True)
    def simulator(self) -> None:
        pytest.importorskip("mani_skill", reason="needs the extra: sim")

    def test_wrap_env(self, tmp_path: Path) -> None:
        said = run(
            "wrap_env.py", "--out", "a.png", "--styles", "gold", "wood", "--height", "128", cwd=tmp_path
        )
        assert "gold:" in said
        assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
        assert Image.open(tmp_path / "a.png").size == (2 * 160 + 4, 2 * (128 + 24))

    @pytest.mark.parametrize("mode", ["sync", "async"])
    def test_vector_env(self, mode: str, tmp_path: Path) -> None:
        run("vector_env.py", "--out", "a.png", "--mode", mode, "--height", "64", cwd=tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
        assert Image.open(tmp_path / "a.png").size == (2 * 80 + 4, 64 + 24)

    def test_own_env(self, tmp_path: Path) -> None:
        run("own_env.py", "--out", "a.png", cwd=tmp_path)
        picture = np.asarray(Image.open(tmp_path / "a.png"))
        assert (picture[:21] == 230).all()
        assert (picture[21:] != 150).any(-1).mean() > 0.9
        assert [path.name for path in tmp_path.iterdir()] == ["a.png"]

    def test_recipe(self, tmp_path: Path) -> None:
        run("recipe.py", "--out", "a.png", "--height", "128", cwd=tmp_path)
        raw, first, both = np.split(np.asarray(Image.open(tmp_path / "a.png")).astype(int), 3, axis=1)
        body, drawers = ((one != other).any(-1) for one, other in ((raw, first), (first, both)))
        assert body.mean() > 0.05
        assert drawers.mean() > 0.05
        assert not (body & drawers).any()  # each pass in its own region
        assert [path.name for path in tmp_path.iterdir()] == ["a.png"]

    def test_evaluate(self, tmp_path: Path) -> None:
        table = run("evaluate.py", "--steps", "1", cwd=tmp_path).splitlines()
        assert [line.split()[0] for line in table] == ["scenes", "raw", "wood", "proxy-real"]
        assert not list(tmp_path.iterdir())

    def test_own_policy(self, tmp_path: Path) -> None:
        said = run("own_policy.py", "--out", "own", "--steps", "2", cwd=tmp_path)
        assert "report: own/report.html" in said
        report = json.loads((tmp_path / "own" / "report.json").read_text(encoding="utf-8"))
        assert (report["trials"]["finished"], report["trials"]["errors"]) == (2, 0)
        assert [path.name for path in tmp_path.iterdir()] == ["own"]

    def test_score_edits(self, tmp_path: Path) -> None:
        said = run("score_edits.py", "--out", "scores", "--frames", "2", cwd=tmp_path)
        assert "Against laid: raw better" in said
        assert (tmp_path / "scores" / "scores" / "index.html").is_file()
        assert [path.name for path in tmp_path.iterdir()] == ["scores"]

    def test_train_from_photos(self, tmp_path: Path) -> None:
        pytest.importorskip("skimage", reason="needs scikit-image, of the extra dev")
        small = ["width=80", "height=64", "warm_start.steps=1", "warm_start.batch_size=1", "inputs.frames=2"]
        said = run("train_from_photos.py", "--out", "brick", "--set", *small, cwd=tmp_path)
        assert "wrote brick/edit.png" in said
        assert len(list((tmp_path / "brick" / "photos").iterdir())) == 5
        assert (tmp_path / "brick" / "specialist" / "card.json").is_file()
        assert [path.name for path in tmp_path.iterdir()] == ["brick"]

    def test_edit_video(self, tmp_path: Path) -> None:
        run("edit_video.py", "--out", "a.mp4", "--frames", "2", cwd=tmp_path)
        assert iio.improps(tmp_path / "a.mp4", plugin="FFMPEG").shape[1:] == (256, 640, 3)
        run(
            "edit_video.py",
            "--out",
            "b.mp4",
            "--video",
            "a.mp4",
            "--frames",
            "1",
            "--style",
            "wood",
            cwd=tmp_path,
        )
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]

    def test_other_editors(self, tmp_path: Path) -> None:
        frame = np.full((32, 40, 3), 150, np.uint8)
        mask = np.zeros((32, 40), np.uint8)
        mask[:, :20] = 255
        Image.fromarray(frame).save(tmp_path / "in.png")
        Image.fromarray(mask).save(tmp_path / "mask.png")
        said = run(
            "other_editors.py", "--image", "in.png", "--mask", "mask.png", "--out", "all.png", cwd=tmp_path
        )
        assert [line.partition(":")[0] for line in said.splitlines()] == ["histogram", "reinhard", "flat"]
        assert Image.open(tmp_path / "all.png").size == (4 * 40, 32)

    def test_simpler_script(self, tmp_path: Path) -> None:
        said = run("simpler_script.py", "--out", "a.mp4", "--steps", "1", cwd=tmp_path)
        assert "close bottom drawer: not done after 1 steps" in said
        assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]

    def test_the_edited_drawers_among_vla_evals_benchmarks(self, tmp_path: Path) -> None:
        python = foreign_python.interpreter("vla-eval", "simedit", "mani_skill")
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = found.getsockname()[1]
        folder = EXAMPLES / "vla-eval"
        server = [python, str(folder / "lab_policy.py"), "--address", f"127.0.0.1:{port}"]
        run = [python, "-m", "vla_eval.cli.main", "run", "--config", str(folder / "eval.yaml")]
        small = ["--benchmark-field", "max_steps=2", "--benchmark-field", "max_tasks=2"]
        where = ["--server-url", f"ws://127.0.0.1:{port}", "--output-dir", str(tmp_path)]
        env = {**os.environ, "PYTHONPATH": str(folder)}
        with subprocess.Popen(server, cwd=tmp_path, stderr=subprocess.DEVNULL) as serving:
            try:
                done = subprocess.run(
                    [*run, *small, *where], cwd=tmp_path, env=env, capture_output=True, text=True
                )
            finally:
                serving.kill()
        assert done.returncode == 0, done.stderr
        assert "Spec validation passed" in done.stderr
        (result,) = tmp_path.glob("*_aggregate.json")
        tasks = json.loads(result.read_text())["tasks"]
        episodes = [episode for task in tasks for episode in task["episodes"]]
        assert [episode["name"] for episode in episodes] == ["open middle b1 wood", "open top b1 wood"]
        for episode in episodes:
            assert (episode["steps"], episode["metrics"]["success"]) == (2, False)
            assert 0 <= episode["metrics"]["progress"] < 0.5
            assert "failure_reason" not in episode


def test_the_slurm_array_gives_each_task_its_shard_and_merges_them(tmp_path: Path) -> None:
    script = EXAMPLES / "slurm_array.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    (tmp_path / "bin").mkdir()
    told = tmp_path / "bin" / "simedit-eval"
    told.write_text('#!/bin/bash\necho "$@"\n')
    told.chmod(0o755)
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": "3"}

    def said(what: str) -> str:
        command = ["bash", str(script), "my study.yaml", "runs/a b", what]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert said("16") == "run --config my study.yaml --shard 3/16 --out runs/a b-shards/3-of-16"
    for number in (1, 2):
        (tmp_path / f"runs/a b-shards/{number}-of-2").mkdir(parents=True)
    assert said("merge") == "merge runs/a b runs/a b-shards/1-of-2/ runs/a b-shards/2-of-2/"
