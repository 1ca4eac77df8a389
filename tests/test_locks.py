"""One writer for a folder."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simedit.errors import SimeditError
from simedit.locks import locked


def test_a_second_writer_is_refused_by_name_until_the_first_has_gone(tmp_path: Path) -> None:
    refused = pytest.raises(SimeditError, match=f"simedit-eval \\(process {os.getpid()}\\)")
    with locked(tmp_path, "simedit-eval"), refused, locked(tmp_path, "simedit-eval"):
        pass
    with locked(tmp_path, "simedit-eval"):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from simedit.locks import locked\n"
        "with locked(Path(sys.argv[1]), 'x'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path], check=False).returncode == -9
    with locked(tmp_path, "x"):
        pass


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SimeditError, match="Choose another --out"), locked(tmp_path / "file" / "run", "x"):
        pass


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(SimeditError, match=r"cannot lock .*No locks available"), locked(tmp_path, "x"):
        pass
