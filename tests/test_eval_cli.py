from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import small_drawer
import torch
from object_server import serving

from simedit.config import load_config
from simedit.eval.checks import find_problems
from simedit.eval.cli import main
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.fingerprints import current_meaning
from simedit.eval.store import Store
from simedit.eval.trials import Result, trials
from simedit.eval.worker import build
from simedit.policies.checkpoints import BUCKET
from simedit.policies.cloned import Network, NetworkConfig
from simedit.policies.networks import save
from simedit.tiny import make_tiny_library

SHARED = Path(__file__).resolve().parents[2] / "shared" / "simpler" / "assets"
STUDY = """
policies:
  one: {kind: scripted}
  two: {kind: scripted, noise: 0.05, delay: 1}
domains: [raw, edited]
styles: [gold]
scenes: {drawer: [top], pose: [b1]}
max_steps: 3
suite: {kind: drawer, width: 64, height: 48}
editor: {steps: 1}
report: {videos: 1, strips: 1}
"""
REAL = "source: my lab\npolicies: {one: {open: 0.9, close: 1}, two: {open: 0.5, close: 0.4}}\n"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A config and its real rates in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SIMEDIT_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "real.yaml").write_text(REAL)
    (tmp_path / "study.yaml").write_text(STUDY + "real: {source: real.yaml}\n")
    return "study.yaml"


def refused(capsys, *arguments):
    """The message with which a command is refused."""
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return shown.err


def test_published_as_json(capsys):
    assert main(["published", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], list(found["domains"])) == (2, ["varagg", "vismatch", "paper"])
    assert main(["published"]) == 0
    assert "0.130" in capsys.readouterr().out


def test_help_waits_for_nothing_heavy_and_has_examples():
    script = """
import sys
from simedit.eval.cli import main
try:
    main(["--help"])
finally:
    print(sorted(sys.modules))
"""
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout
    assert "simedit-eval run --config demo --out runs/demo" in shown
    assert not any(f"'{name}'" in shown for name in ("torch", "gymnasium", "scipy", "matplotlib"))


def test_the_configs_that_ship_are_listed_shown_and_copied(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["configs"]) == 0
    assert {"demo", "canny", "rain"} <= set(capsys.readouterr().out.split())
    assert main(["configs", "demo"]) == 0
    shown = capsys.readouterr().out
    assert main(["configs", "demo", "--out", "mine.yaml"]) == 0
    assert Path("mine.yaml").read_text(encoding="utf-8") == shown
    for args, message in (
        (["demo", "--out", "mine.yaml"], "mine.yaml exists"),
        (["dmo"], "did you mean 'demo'"),
        (["--out", "all.yaml"], "give its NAME too"),
    ):
        capsys.readouterr()
        assert main(["configs", *args]) == 2
        assert message in capsys.readouterr().err


def test_report_and_status_of_a_run_folder(tmp_path, capsys):
    small_drawer.run(tmp_path)
    before = (tmp_path / "report.json").read_bytes()
    assert main(["report", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(before)
    assert (tmp_path / "report.json").read_bytes() == before
    assert main(["status", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["wanted"], found["finished"], len(found["groups"])) == (108, 108, 6)
    assert main(["status", str(tmp_path)]) == 0
    assert "able" in capsys.readouterr().out


def test_status_without_a_folder_lists_the_published_protocols(capsys):
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["published"]["varagg"] == 378
    assert main(["status"]) == 0
    assert "1134" in capsys.readouterr().out


def test_folders_without_a_run(tmp_path, capsys):
    assert "holds no results" in refused(capsys, "report", str(tmp_path))
    assert "holds no results" in refused(capsys, "status", str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("polices={}", "did you mean 'policies'"),
        ("real.source=absent.yaml", "no file"),
        ("policies.three={kind: scripted}", "unknown policy 'three'"),
        ("editor.library=absent", "no specialists in"),
        ("suite.skin=simpler", "no asset root"),
        ("editor.over=vismatch", "no asset root"),
        ("suite.simulator=original", "the original simulator needs SimplerEnv"),
        ("policies.two={kind: rt1, checkpoint: absent}", "does not exist: `simedit-eval checkpoints fetch"),
        ("policies.two={kind: rt1, checkpoint: absent}", "needs embeddings"),
        ("policies.two={kind: cloned, checkpoint: absent}", "absent is no cloned policy: it holds no config"),
    ],
)
def test_what_is_missing_is_said_before_anything_starts(study, tmp_path, capsys, setting, message):
    assert message in refused(capsys, "run", "--config", study, "--out", "run", "--set", setting)
    assert not (tmp_path / "run").exists()


def test_the_labs_photographs_need_no_files(study, tmp_path):
    pytest.importorskip("mani_skill", reason="needs the extra: sim")
    changes = ["domains=[vismatch]", "variants={vismatch: [plain]}", "suite.photographs=proxy_real"]
    config = resolved(load_config(StudyConfig, Path(study), changes))
    assert find_problems(config, tmp_path / "run") == ([], {})
    stage = build(config, {}, tell=lambda *phase: None).stage
    env = stage.env(next(iter(trials(config))))
    frame = env.reset(seed=0, options={"task": "open", "scene": ("top", "b1")})[0]["sensor_data"][
        "overhead_camera"
    ]["rgb"][0]
    frame = np.asarray(frame)
    assert frame.shape == (48, 64, 3)
    # The floor is a kitchen's; without the photograph it is white.
    assert np.ptp(frame[-8:, :8].astype(int)) > 10
    stage.close()


def test_everything_missing_is_said_at_once(study, capsys):
    settings = ["real.source=absent.yaml", "editor.library=absent", "suite.skin=simpler"]
    shown = refused(capsys, "run", "--config", study, "--out", "run", "--set", *settings)
    assert all(word in shown for word in ("absent.yaml", "no specialists", "no asset root"))


def test_styles_that_a_library_lacks_are_named(study, tmp_path, capsys):
    make_tiny_library(tmp_path / "library", ["gold"])
    settings = ["editor.library=library", "styles=[gold,gild]"]
    assert "did you mean 'gold'" in refused(
        capsys, "run", "--config", study, "--out", "run", "--set", *settings
    )


def test_an_out_folder_that_is_a_file_is_refused(study, tmp_path, capsys):
    (tmp_path / "run").write_text("in the way")
    assert "cannot write to run" in refused(capsys, "run", "--config", study, "--out", "run")


def test_a_dry_run_counts_without_weights_and_starts_nothing(study, tmp_path, capsys):
    settings = ["policies.two={kind: rt1, checkpoint: absent}", "seeds=[0,1,2]", "max_steps=113"]
    assert main(["run", "--config", study, "--out", "run", "--dry-run", "--set", *settings]) == 0
    shown = capsys.readouterr().out
    assert "trials: 24 wanted, 0 stored, 24 to run" in shown
    assert f"frames to edit: at most {12 * 114}" in shown
    assert "absent does not exist" in shown
    assert not (tmp_path / "run").exists()


def test_assets_check_names_what_is_missing(study, tmp_path, capsys):
    (tmp_path / "assets").mkdir()
    assert "lacks" in refused(capsys, "assets", "check", "--asset-root", "assets")


def test_checkpoints_are_listed_and_fetched(study, capsys):
    parts = ("saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001")
    folder = "rt_1_tf_trained_for_000058240"
    with serving(BUCKET) as server:
        top = "open_x_embodiment_and_rt_x_oss"
        server.objects = {f"{top}/{folder}/{part}": part.encode() for part in parts}
        assert main(["checkpoints", "fetch", "rt1-15", "--url", server.url]) == 0
    assert capsys.readouterr().out.strip().endswith(f"checkpoints/{folder}")
    assert main(["checkpoints", "list"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    wanted = ["rt1-converged", "rt1-15", "rt1-x", "rt1-begin", "sentence-encoder"]
    assert [row[0] for row in rows] == wanted
    assert [row[-2] for row in rows] == ["absent", "here", "absent", "absent", "absent"]
    assert "did you mean 'rt1-x'" in refused(capsys, "checkpoints", "fetch", "rt-x")
    assert "one name" in refused(capsys, "checkpoints", "fetch", "all", "--url", "http://127.0.0.1:1")


@pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs TensorFlow: pip install 'simedit[rt1]'")
def test_a_table_of_embeddings_stands_in_for_the_encoder(study, tmp_path, capsys):
    from small_rt1 import Encoder, tf

    assert "does not exist" in refused(capsys, "checkpoints", "embed")
    tf.saved_model.save(Encoder(), str(tmp_path / "encoder"))
    assert main(["checkpoints", "embed", "--encoder", "encoder", "--out", "table.json"]) == 0
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["close middle drawer"] == pytest.approx([0.19] * 512)
    assert len(table) == 6


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no SIMPLER assets at {SHARED}")
def test_absent_rooms_are_named_and_a_study_of_them_alone_is_refused(study, capsys):
    settings = [
        "domains=[varagg]",
        "suite.skin=simpler",
        f"suite.asset_root={SHARED}",
        "editor.library=absent",
    ]
    common = ["run", "--config", study, "--out", "run", "--set", *settings]
    # The refused checkpoint keeps the dry run from measuring, which takes long.
    assert main([*common, "policies.two={kind: rt1, checkpoint: absent}", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "8 trials are not run, for their files are absent: varagg/modern_bedroom (data/" in shown
    assert "trials: 20 wanted" in shown
    assert "no trial is left to run" in refused(capsys, *common, "variants.varagg=[modern_office]")


def test_a_dry_run_says_what_a_run_would_of_a_folder_of_other_settings(study, tmp_path, capsys):
    pytest.importorskip("mani_skill", reason="needs the extra: sim")
    config = resolved(load_config(StudyConfig, Path(study), ["domains=[raw]"]))
    with Store(tmp_path / "run", write=True) as store:
        store.agree(current_meaning(config, {}))
        store.put(Result(next(trials(config)), "success"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    common = ["run", "--config", study, "--out", "run", "--set", "domains=[raw]", "max_steps=4"]
    dry = refused(capsys, *common[:-3], "--dry-run", *common[-3:])
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    assert "max_steps: 3 there, 4 now" in dry
    assert refused(capsys, *common) == dry


def test_a_dry_run_of_a_finished_study_measures_nothing(study, tmp_path, capsys):
    pytest.importorskip("mani_skill", reason="needs the extra: sim")
    config = resolved(load_config(StudyConfig, Path(study), ["domains=[raw]"]))
    with Store(tmp_path / "run", write=True) as store:
        for trial in trials(config):
            store.put(Result(trial, "success"))
    assert main(["run", "--config", study, "--out", "run", "--dry-run", "--set", "domains=[raw]"]) == 0
    shown = capsys.readouterr().out
    assert "4 stored, 0 to run" in shown
    assert "measured" not in shown


@pytest.mark.parametrize("styles", ["[../../gold]", "[/tmp/gold]", "[gold/../../../x]"])
def test_no_style_is_written_outside_the_run_folder(study, tmp_path, capsys, styles):
    before = sorted(tmp_path.rglob("*"))
    assert "name" in refused(capsys, "run", "--config", study, "--out", "run", "--set", f"styles={styles}")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_a_study_in_the_twin_from_dry_run_to_report(study, tmp_path, capsys):
    pytest.importorskip("mani_skill")
    assert main(["run", "--config", study, "--out", "run", "--dry-run"]) == 0
    assert "s a control step in the domain edited" in capsys.readouterr().out
    assert main(["run", "--config", study, "--out", "run"]) == 0
    shown = capsys.readouterr()
    assert "say nothing about reality yet" in shown.out
    assert "\r" not in shown.err  # no live bar in a log
    summary = json.loads((tmp_path / "run" / "report.json").read_text())
    assert summary["trials"] == {"wanted": 8, "finished": 8, "errors": 0, "absent": 0, "missing": 0}
    assert len(summary["warnings"]) >= 2
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    before = (tmp_path / "run" / "report.json").read_bytes()
    assert main(["run", "--config", study, "--out", "run"]) == 0
    assert (tmp_path / "run" / "report.json").read_bytes() == before
    assert main(["run", "--config", study, "--out", "two", "--num-envs", "2"]) == 0
    assert (tmp_path / "two" / "report.json").read_bytes() == before
    assert "must be 1 or more" in refused(
        capsys, "run", "--config", study, "--out", "none", "--num-envs", "0"
    )
    assert "max_steps: 3 there, 4 now" in refused(
        capsys, "run", "--config", study, "--out", "run", "--set", "max_steps=4"
    )


@pytest.mark.slow
def test_what_a_policy_sees_and_does_is_the_same_among_four_environments(study, tmp_path):
    pytest.importorskip("mani_skill")
    torch.manual_seed(0)
    save(Network(NetworkConfig()), NetworkConfig(), tmp_path / "looks")
    settings = [
        "policies={looks: {kind: cloned, checkpoint: looks}}",
        "domains=[edited]",
        "scenes.pose=[b1,a1]",
    ]
    settings += ["styles=[gold,wood]", "report={videos: 8, strips: 8}", "real.source=none"]
    settings += ["editor.compile=false"]  # to convert takes four processes minutes; two do so above
    for count in ("1", "4"):
        common = ["run", "--config", study, "--out", count, "--num-envs", count]
        assert main([*common, "--set", *settings]) == 0
    one, four = (
        {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.mp4"))}
        for folder in (tmp_path / "1", tmp_path / "4")
    )
    assert len(one) > 4
    assert one == four
    reports = [json.loads((tmp_path / count / "report.json").read_text()) for count in ("1", "4")]
    assert reports[0] == reports[1]


def test_shards_by_the_command_line(study, capsys):
    """A dry run counts the shard's trials; shards of one folder are refused, and so is what is no shard."""
    pytest.importorskip("mani_skill", reason="needs the extra: sim")
    run = ["run", "--config", study, "--out", "shard", "--set", "domains=[raw]"]
    assert "--shard is K/N" in refused(capsys, *run, "--shard", "5/4")
    small_drawer.run(Path("shard"), shard="1/4")
    assert "is the folder of shard 1/4" in refused(capsys, *run, "--shard", "2/4")
    assert (
        main(
            [
                *run[:3],
                "--out",
                "new",
                "--shard",
                "2/3",
                "--dry-run",
                "--set",
                "policies.one.kind=scripted",
                "domains=[raw]",
                "policies.two={kind: rt1, checkpoint: absent}",
            ]
        )
        == 0
    )
    assert "trials in shard 2/3: 1 wanted, 0 stored, 1 to run" in capsys.readouterr().out
    assert "is the folder of shard 1/4" in refused(capsys, *run, "--shard", "2/4", "--dry-run")
    small_drawer.run(Path("other"), shard="2/4")
    assert main(["merge", "out", "shard", "other"]) == 0
    assert "report: out/report.html" in capsys.readouterr().out
    assert "no run folder and not empty" in refused(capsys, "merge", ".", "shard")
    assert main(["status", "shard", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == 0
