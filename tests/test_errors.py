"""What a command line's user sees of an error, and which errors keep their traceback."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from typing import IO

import pytest
from rich.console import Console

from simedit.errors import SimeditError, run_cli, shortened, unknown


def raising(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


def deserted() -> IO[str]:
    """A stream that nothing reads."""
    read, write = os.pipe()
    os.close(read)
    return os.fdopen(write, "w")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SimeditError("no such thing"), "error: no such thing"),
        (SimeditError("style \x1b[2Jgold\n  - more"), "error: style \\x1b[2Jgold\n  - more"),
        (OSError(errno.ENOSPC, "No space left on device"), "error: cannot go on: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), "cannot use a/b: Permission denied"),
        (OSError(errno.EROFS, "Read-only file system", b"a"), "Read-only file system"),
        (MemoryError(), "error: out of memory: smaller frames and batches need less"),
        (MemoryError("Unable to allocate 9 TiB"), "out of memory (Unable to allocate 9 TiB)"),
        (RuntimeError("[enforce fail at x] . DefaultCPUAllocator: can't allocate memory"), "out of memory ("),
        (
            RuntimeError("CUDA out of memory. Tried to allocate\nmore"),
            "(CUDA out of memory. Tried to allocate)",
        ),
    ],
)
def test_what_the_user_or_the_machine_caused_is_one_sentence(error, message, capsys):
    assert run_cli(raising(error)) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        RuntimeError("shapes differ"),
        FileNotFoundError(errno.ENOENT, "No such file", "x"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),  # to a process of ours: the output is read
    ],
)
def test_a_bug_keeps_its_traceback(error, capsys):
    with pytest.raises(type(error)):
        run_cli(raising(error))


def test_interrupts_and_exits(capsys):
    assert run_cli(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "interrupted\n"
    with pytest.raises(SystemExit):
        run_cli(raising(SystemExit(2)))
    assert run_cli(lambda: None) == 0


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_closed_pipe_ends_a_command_quietly(size, monkeypatch, capfd):
    stream = deserted()  # pytest sets its own after fixtures
    monkeypatch.setattr(sys, "stdout", stream)
    assert run_cli(lambda: print("x" * size)) == 141
    stream.close()  # what is left in its buffer goes nowhere
    assert capfd.readouterr().err == ""


def test_a_closed_pipe_that_rich_meets(monkeypatch):
    stream = deserted()
    monkeypatch.setattr(sys, "stdout", stream)
    assert run_cli(lambda: Console(file=sys.stdout).print("x")) == 141
    stream.close()


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_full_device_is_named(size, monkeypatch, capfd):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert run_cli(lambda: print("x" * size)) == 2
    assert "No space left on device" in capfd.readouterr().err


def test_without_any_stream(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert run_cli(lambda: print("x")) == 0
    assert run_cli(raising(SimeditError("x"))) == 2


def test_a_terminal_that_cannot_show_a_name(monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    assert run_cli(lambda: print("Gläser \N{GRINNING FACE}")) == 0
    assert narrow.detach().getvalue() == b"Gl\\xe4ser \\U0001f600\n"  # pyright: ignore[reportAttributeAccessIssue]


def test_help_into_a_closed_pipe():
    """The interpreter itself has nothing left to flush, or it would complain."""
    command = (
        f"{sys.executable} -c 'from simedit.cli import main; raise SystemExit(main([\"--help\"]))' | true"
    )
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (141, "")


def test_names_are_shortened():
    assert shortened("gold") == "gold"
    assert shortened("g" * 101) == "g" * 100 + "..."
    assert shortened(int("f" * 5000, 16)) == "a huge number"
    assert len(str(unknown("style", "g" * 100_000, ["gold"]))) < 200
    many = str(unknown("policy", "teek", ["teak", *(f"p{i:03}" for i in range(60))]))
    assert "did you mean 'teak'" in many
    assert "p049 and 11 more)" in many
    assert len(str(unknown("style", "x", ["g" * 9999] * 60))) < 1200
