"""Work beside: what it says arrives, either side's failure ends both, and cores are shared meanwhile."""

from __future__ import annotations

import os
import signal
import threading
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

from simedit.errors import SimeditError
from simedit.lab.beside import beside, cores, take_cores


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)


def _say_and_print(tell) -> None:
    tell("one", 1.5)
    print("on the log")
    tell("two")


def _fail(tell) -> None:
    raise SimeditError("no demonstrations")


def _die(tell) -> None:
    os._exit(3)


def _wait(folder: Path, tell) -> None:
    try:
        tell("begun")
        threading.Event().wait()
    finally:
        (folder / "ended").touch()


def test_what_it_says_arrives_and_what_it_prints_is_logged(tmp_path: Path) -> None:
    heard: list[tuple] = []
    with beside(_say_and_print, lambda *said: heard.append(said), tmp_path / "log"):
        pass
    assert heard == [("one", 1.5), ("two",)]
    assert (tmp_path / "log").read_text() == "on the log\n"


@pytest.mark.parametrize(("work", "message"), [(_fail, "no demonstrations"), (_die, "exit code 3: see")])
def test_its_failure_ends_the_body(work, message: str, tmp_path: Path) -> None:
    def both() -> None:
        with beside(work, print, tmp_path / "log"):
            threading.Event().wait(60)
            raise AssertionError("nobody interrupted this")

    with pytest.raises(SimeditError, match=message):
        both()


def test_the_bodys_failure_ends_it(tmp_path: Path) -> None:
    begun = threading.Event()

    def both() -> None:
        with beside(partial(_wait, tmp_path), lambda said: begun.set(), tmp_path / "log"):
            assert begun.wait(60)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        both()
    assert (tmp_path / "ended").exists()  # it was interrupted and not killed


def _ask(folder: Path) -> None:
    def tell(said: str) -> None:
        (folder / said).touch()

    with beside(partial(_wait, folder), tell, folder / "log"):
        threading.Event().wait()


def test_it_ends_with_who_asked(tmp_path: Path) -> None:
    context = get_context("spawn")
    asker = context.Process(target=_ask, args=(tmp_path,))
    asker.start()
    while not (tmp_path / "begun").exists():
        asker.join(0.1)
    os.kill(asker.pid or 0, signal.SIGKILL)
    asker.join()
    while not (tmp_path / "ended").exists():
        threading.Event().wait(0.1)


def test_cores_are_shared_while_both_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch  # not above: the processes that are begun here need none

    used: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    over = threading.Event()

    def hear(*said: object) -> None:
        if said == ("two",):
            assert cores() == 2
            take_cores()
            over.set()

    assert cores() == 4
    take_cores()
    assert used == []  # where nothing goes on beside, torch is left alone
    with beside(_say_and_print, hear, tmp_path / "log"):
        assert over.wait(60)
    assert used == [2]
    assert cores() == 4
