from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import small_drawer
from full_disk import full_disk
from small_drawer import CONFIG, FACTS, REAL, changed

from simedit.errors import SimeditError
from simedit.eval import merge as module
from simedit.eval.merge import merge
from simedit.eval.recording import chosen_trials, strip_path, video_path
from simedit.eval.run_folder import check_shard, keep, keep_player, kept, players
from simedit.eval.shards import Shard
from simedit.eval.store import Store
from simedit.eval.trials import Result, Trial, trials

WANTED = list(trials(CONFIG))
PLAYER = {"simedit": "9", "processor": "abacus"}
MEANING = {"max_steps": 6, "specialists.gold": "a1"}
REPORTS = ("report.json", "report.html")


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> Path:
    """A study in one folder, `whole`, and in its three shards, `1` to `3`."""
    folder = tmp_path_factory.mktemp("played")
    small_drawer.run(folder / "whole")
    for number in (1, 2, 3):
        small_drawer.run(folder / str(number), shard=f"{number}/3")
    return folder


@pytest.fixture
def parts(played, tmp_path) -> list[Path]:
    """Copies of the shards."""
    for number in "123":
        shutil.copytree(played / number, tmp_path / number)
    return [tmp_path / number for number in "123"]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def stored(folder: Path):
    with Store(folder, write=False) as store:
        return store.results(), store.meaning(), players(store), kept(store)


def make(folder: Path, *results: Result, config=CONFIG, meaning=MEANING, player=PLAYER, facts=FACTS) -> Path:
    """A run folder that holds these results."""
    with Store(folder, write=True) as store:
        keep(store, config, REAL, facts)
        keep_player(store, player)
        store.agree(meaning)
        for result in results:
            store.put(result)
    return folder


def done(trial: Trial, **more) -> Result:
    return Result(trial, "success", **{"steps": 3, "progress": 0.5, "frame_hash": "ab", **more})


def test_shards_together_are_the_run_that_was_never_split(played, tmp_path):
    before = {number: bytes_of(played / number) for number in "123"}
    merge(tmp_path / "out", [played / "2", played / "3", played / "1"])
    assert stored(tmp_path / "out") == stored(played / "whole")
    for name in REPORTS:
        assert (tmp_path / "out" / name).read_bytes() == (played / "whole" / name).read_bytes()
    whole, out = bytes_of(played / "whole"), bytes_of(tmp_path / "out")
    recordings = {name for name in whole if name.startswith("media/")}
    assert len(recordings) == 3
    assert {name: out[name] for name in out if name.startswith("media/")} == {n: whole[n] for n in recordings}
    assert {number: bytes_of(played / number) for number in "123"} == before


def test_recordings_are_those_of_the_whole_study(played):
    strips, videos = chosen_trials(WANTED, 2), chosen_trials(WANTED, 1)
    chosen = {strip_path(Path(), t).name for t in strips} | {video_path(Path(), t).name for t in videos}
    found = [path.name for number in "123" for path in (played / number).glob("media/*")]
    assert sorted(found) == sorted(chosen)


def test_a_shard_says_that_it_is_a_part(played):
    text = (played / "2" / "report.json").read_text()
    assert f"This is shard 2/3, {len(WANTED) // 3} of the study's {len(WANTED)} trials: the whole" in text
    assert "have not run yet" not in text


def test_once_more_changes_nothing_and_a_shard_may_come_late(parts, played, tmp_path):
    out = tmp_path / "out"
    assert merge(out, parts[:2])["trials"]["missing"] == len(WANTED) // 3
    assert "have not run yet; the same command goes on" in (out / "report.json").read_text()
    merge(out, parts[2:])
    before, files = stored(out), {name: (out / name).read_bytes() for name in REPORTS}
    merge(out, [*parts, out])
    assert stored(out) == before
    assert {name: (out / name).read_bytes() for name in REPORTS} == files
    assert files["report.html"] == (played / "whole" / "report.html").read_bytes()


def test_a_run_goes_on_where_trials_are_missing(parts, played, tmp_path):
    merge(tmp_path / "out", parts[1:])
    small_drawer.run(tmp_path / "out")
    assert stored(tmp_path / "out") == stored(played / "whole")
    for name in REPORTS:
        assert (tmp_path / "out" / name).read_bytes() == (played / "whole" / name).read_bytes()


def test_an_error_gives_way_to_a_result_from_either_side(tmp_path):
    one, two, three = WANTED[:3]
    a = make(tmp_path / "a", Result(one, "error", message="died"), done(two))
    b = make(
        tmp_path / "b", done(one), Result(two, "error", message="hung"), Result(three, "error", message="x")
    )
    merge(tmp_path / "out", [a, b])
    results = stored(tmp_path / "out")[0]
    assert results == {one: done(one), two: done(two), three: Result(three, "error", message="x")}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"outcome": "failure"}, "outcome success and failure"),
        ({"steps": 4}, "steps 3 and 4"),
        ({"progress": 0.5 + 2**-53}, "progress 0.5 and 0.5000000000000001"),
        ({"frame_hash": "cd"}, "frame_hash ab and cd"),
        ({"start": (1.0,)}, "start None and"),
        ({"measures": {"x": 1.0}}, "measures"),
    ],
)
def test_trials_that_ended_differently_are_named_and_nothing_is_made(tmp_path, change, named):
    a = make(tmp_path / "a", *(done(trial) for trial in WANTED[:8]))
    b = make(tmp_path / "b", *(replace(done(trial), **change) for trial in WANTED[:8]))
    with pytest.raises(SimeditError, match="8 trials ended differently") as refused:
        merge(tmp_path / "out", [a, b])
    for part in (named, "able close top a0 raw seed 0", str(a), str(b), "and 3 more"):
        assert part in str(refused.value)
    assert not (tmp_path / "out").exists()
    before = bytes_of(a)
    with pytest.raises(SimeditError, match="ended differently"):
        merge(a, [b])
    assert stored(a)[0] == {trial: done(trial) for trial in WANTED[:8]}
    assert bytes_of(a).keys() == before.keys()


def test_other_weights_are_refused_by_name(tmp_path):
    a = make(tmp_path / "a", done(WANTED[0]), meaning={"max_steps": 6})
    b = make(tmp_path / "b", done(WANTED[1]))
    c = make(tmp_path / "c", done(WANTED[2]), meaning=MEANING | {"specialists.gold": "b2"})
    with pytest.raises(SimeditError, match=r"specialists\.gold: b2 there, a1 in the latter") as refused:
        merge(tmp_path / "out", [a, b, c])
    assert str(b) in str(refused.value)
    assert str(c) in str(refused.value)
    merge(tmp_path / "out", [a, b])
    assert stored(tmp_path / "out")[1] == MEANING
    with pytest.raises(SimeditError, match=r"specialists\.gold"):
        merge(tmp_path / "out", [c])


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (changed(CONFIG, seeds=[0, 1]), r"seeds: \[0, 1\] there, \[0\]"),
        (changed(CONFIG, count_policy_errors_as="failure"), "count_policy_errors_as"),
        (changed(CONFIG, policies=dict(reversed(CONFIG.policies.items()))), "policies"),
        (changed(CONFIG, report=CONFIG.report.model_copy(update={"strips": 3})), "report"),
        (changed(CONFIG, editor=CONFIG.editor.model_copy(update={"seeds": [4]})), r"editor\.seeds"),
    ],
)
def test_another_study_is_refused_by_name(tmp_path, config, named):
    a, b = make(tmp_path / "a"), make(tmp_path / "b", config=config)
    with pytest.raises(SimeditError, match=f"another study than .*{named}"):
        merge(tmp_path / "out", [a, b])


def test_what_makes_no_difference_may_differ(tmp_path):
    """Machines keep their library elsewhere and wait longer."""
    editor = CONFIG.editor.model_copy(update={"library": "/elsewhere", "compile": True})
    timeouts = CONFIG.timeouts.model_copy(update={"step": 5.0})
    b = make(tmp_path / "b", config=changed(CONFIG, editor=editor, timeouts=timeouts))
    merge(tmp_path / "out", [make(tmp_path / "a"), b])


def test_players_of_all_are_kept_and_absence_is_what_all_lack(tmp_path):
    other = PLAYER | {"processor": "slide rule"}
    lacking = replace(FACTS, absent={"raw": {"": "x.glb"}}, shard="1/2")
    a = make(tmp_path / "a", done(WANTED[0]), facts=lacking)
    b = make(tmp_path / "b", done(WANTED[1]), player=other)
    assert "processor abacus and slide rule" in str(merge(tmp_path / "out", [a, b])["warnings"])
    _, _, found, (_, _, facts) = stored(tmp_path / "out")
    assert found == [PLAYER, other]
    assert facts == FACTS
    merge(tmp_path / "alone", [a])
    assert stored(tmp_path / "alone")[3][2] == replace(lacking, shard="")


def test_what_kept_no_record_of_itself_is_said(tmp_path):
    a, b = make(tmp_path / "a", done(WANTED[0])), make(tmp_path / "b", done(WANTED[1]))
    with sqlite3.connect(b / "results.sqlite") as db:
        db.execute("DELETE FROM meta WHERE key = 'played_with'")
    assert "kept no record of itself" in str(merge(tmp_path / "out", [a, b])["warnings"])


def test_what_is_no_run_folder_is_refused(tmp_path):
    a = make(tmp_path / "a", done(WANTED[0]))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").touch()
    with pytest.raises(SimeditError, match="foreign holds no results"):
        merge(tmp_path / "out", [a, tmp_path / "foreign"])
    with pytest.raises(SimeditError, match="foreign is no run folder and not empty"):
        merge(tmp_path / "foreign", [a])
    with pytest.raises(SimeditError, match="name the run folders"):
        merge(tmp_path / "out", [])
    assert sorted(path.name for path in (tmp_path / "foreign").iterdir()) == ["thesis.tex"]
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_refused(tmp_path):
    a = make(tmp_path / "a", done(WANTED[0]))
    with Store(tmp_path / "out", write=True), pytest.raises(SimeditError, match="writes to"):
        merge(tmp_path / "out", [a])


@pytest.mark.parametrize("failing", ["_copy_recordings", "keep_players", "write_report"])
def test_cut_off_anywhere_it_is_as_before_or_whole_and_goes_on(parts, played, tmp_path, monkeypatch, failing):
    out = tmp_path / "out"
    merge(out, parts[:1])
    before = stored(out)

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, failing, cut)
        with pytest.raises(KeyboardInterrupt):
            merge(out, parts[1:])
    assert stored(out) == (stored(played / "whole") if failing == "write_report" else before)
    merge(out, parts[1:])
    assert stored(out) == stored(played / "whole")


def test_killed_within_the_transaction_it_is_as_before(parts, tmp_path):
    out = tmp_path / "out"
    merge(out, parts[:1])
    before = stored(out)
    killed = f"""
import os, signal
from pathlib import Path
from simedit.eval.merge import merge
from simedit.eval.shards import Shard
from simedit.eval.store import Store
put, count = Store.put, []
def dying(self, result):
    count.append(put(self, result))
    if len(count) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
Store.put = dying
merge(Path({str(out)!r}), [Path({str(parts[1])!r})])
"""
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == -9
    assert stored(out) == before


def test_a_full_disk_is_one_sentence_and_changes_nothing(tmp_path):
    a = make(tmp_path / "a", done(WANTED[0]))
    b = make(tmp_path / "b", *(Result(t, "error", message="x" * 2000) for t in WANTED[1:]))
    merge(tmp_path / "out", [a])
    before = stored(tmp_path / "out")
    with full_disk(50_000), pytest.raises(SimeditError, match=r"cannot use .*results\.sqlite"):
        merge(tmp_path / "out", [b])
    assert stored(tmp_path / "out") == before


def test_a_link_brings_no_file_from_elsewhere(tmp_path):
    a = make(tmp_path / "a", done(WANTED[0]))
    (tmp_path / "secret").write_text("secret")
    strip_path(a, WANTED[0]).parent.mkdir()
    strip_path(a, WANTED[0]).symlink_to(tmp_path / "secret")
    video_path(a, WANTED[0]).write_bytes(b"film")
    merge(tmp_path / "out", [a])
    assert [path.name for path in (tmp_path / "out" / "media").iterdir()] == [video_path(a, WANTED[0]).name]


def test_a_folder_of_a_shard_takes_no_other(tmp_path):
    make(tmp_path / "a", facts=replace(FACTS, shard="1/3"))
    make(tmp_path / "b")
    with Store(tmp_path / "a", write=True) as store:
        check_shard(store, Shard(1, 3))
        with pytest.raises(SimeditError, match=r"a is the folder of shard 1/3.*a-2-of-3"):
            check_shard(store, Shard(2, 3))
    with Store(tmp_path / "b", write=True) as store, pytest.raises(SimeditError, match="of a whole study"):
        check_shard(store, Shard(1, 3))
    with Store(tmp_path / "c", write=True) as store:
        check_shard(store, Shard(1, 3))
