"""simedit.training.log: one record a step, none lost and none twice."""

from __future__ import annotations

import importlib.util
import json
import resource
from pathlib import Path

import pytest

from simedit.errors import SimeditError
from simedit.training.log import Log


def record(step: int, loss: float = 0.5) -> dict:
    return {"step": step, "loss": loss, "seconds": {"sample": 1.5, "update": 2.0}, "peak_memory": None}


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def filled(folder: Path, steps: int) -> Log:
    log = Log(folder, 1)
    for step in range(1, steps + 1):
        log.write(record(step))
    return log


def test_a_line_for_each_record(tmp_path: Path) -> None:
    log = filled(tmp_path / "new" / "run", 3)
    assert lines(tmp_path / "new" / "run") == log.records == [record(1), record(2), record(3)]
    assert {p.name for p in (tmp_path / "new" / "run").iterdir()} <= {"metrics.jsonl", "tensorboard"}


def test_what_is_no_number_becomes_null(tmp_path: Path) -> None:
    log = Log(tmp_path, 1)
    log.write({"step": 1, "loss": float("nan"), "seconds": {"score": float("inf")}})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert lines(tmp_path) == log.records == [{"step": 1, "loss": None, "seconds": {"score": None}}]


def test_going_on_drops_what_is_done_again(tmp_path: Path) -> None:
    filled(tmp_path, 4)
    log = Log(tmp_path, 3)
    assert [r["step"] for r in lines(tmp_path)] == [1, 2]
    log.write(record(3, loss=0.25))
    assert [r["step"] for r in log.records] == [1, 2, 3]
    assert lines(tmp_path)[-1]["loss"] == 0.25
    Log(tmp_path, 1)
    assert lines(tmp_path) == []


@pytest.mark.parametrize("torn", ['{"step": 3, "lo', "\x00\x00", "3", '{"loss": 1}'])
def test_a_torn_last_line_is_dropped(tmp_path: Path, torn: str) -> None:
    filled(tmp_path, 2)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(torn)
    assert [r["step"] for r in Log(tmp_path, 4).records] == [1, 2]
    assert len(lines(tmp_path)) == 2


def test_a_line_may_lack_all_but_its_step(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 3, "seconds": {}}\n')
    assert Log(tmp_path, 4).records == [{"step": 1}, {"step": 3, "seconds": {}}]


@pytest.mark.parametrize(
    "line",
    [
        *('{"step": "1"}', '{"step": 1.0}', '{"step": true}', '{"step": 0}', '{"step": null}', "[]", "null"),
        *('{"step": 1, "loss": "x"}', '{"step": 1, "seconds": 3}', '{"step": 1, "seconds": {"sample": "x"}}'),
        *('{"step": 1, "loss": {}}', '{"step": 1, "loss": []}', "[" * 100_000),
        *(f'{{"step": 1, "loss": {"9" * 400}}}', f'{{"step": {"9" * 5000}}}'),
    ],
)
def test_a_line_of_other_things_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(f"{line}\n{json.dumps(record(2))}\n")
    with pytest.raises(SimeditError, match=r"metrics\.jsonl is broken at line 1") as caught:
        Log(tmp_path, 3)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("steps", [(1, 1), (2, 1)])
def test_a_step_that_is_there_twice_is_an_error(tmp_path: Path, steps: tuple[int, int]) -> None:
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record(step)) + "\n" for step in steps))
    with pytest.raises(SimeditError, match=rf"holds step 1 at line 2 after step {steps[0]}"):
        Log(tmp_path, 3)


def test_numbers_that_are_not_finite_become_null_when_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": NaN, "seconds": {"sample": Infinity}}\n')
    assert Log(tmp_path, 2).records == [{"step": 1, "loss": None, "seconds": {"sample": None}}]


def test_a_broken_line_before_the_last_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(f"{json.dumps(record(1))}\nbroken\n{json.dumps(record(2))}\n")
    with pytest.raises(SimeditError, match="broken at line 2"):
        Log(tmp_path, 3)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SimeditError, match="cannot read"):
        Log(tmp_path / "file", 1)


def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    log = filled(tmp_path, 3)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(SimeditError, match=r"cannot write .*metrics\.jsonl"):
            log.write(record(4))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [r["step"] for r in lines(tmp_path)] == [1, 2, 3]
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_tensorboard_only_where_it_is_installed(tmp_path: Path) -> None:
    log = filled(tmp_path, 1)
    assert log.tensorboard == (importlib.util.find_spec("tensorboard") is not None)
    assert (tmp_path / "tensorboard").exists() == log.tensorboard


def test_tensorboard_scalars(tmp_path: Path) -> None:
    module = "tensorboard.backend.event_processing.event_accumulator"
    accumulator = pytest.importorskip(module, reason="tensorboard is not installed")
    filled(tmp_path, 3)
    Log(tmp_path, 3).write(record(3, loss=0.25))
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["loss", "seconds/sample", "seconds/update"]
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 0.5), (2, 0.5), (3, 0.25)]
