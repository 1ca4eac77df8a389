from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from full_disk import full_disk

from simedit.drafts import whole
from simedit.errors import SimeditError


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_file_appears_whole_at_the_end_with_the_usual_permissions(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    umask = os.umask(0o027)
    try:
        with whole(path) as draft:
            assert draft.parent == path.parent
            assert draft.name.startswith(".")
            assert draft.suffix == ".txt"
            draft.write_text("one")
            assert not path.exists()
    finally:
        os.umask(umask)
    assert path.read_text() == "one"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SimeditError])
def test_a_bad_end_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("before")

    def fail() -> None:
        with whole(path) as draft:
            draft.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "before"
    assert names(tmp_path) == ["a.txt"]


def test_an_interrupt_just_as_the_draft_is_made_leaves_none(tmp_path, monkeypatch):
    opened = os.open

    def interrupted(name, flags, *rest):
        os.close(opened(name, flags, *rest))
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "open", interrupted)
    with pytest.raises(KeyboardInterrupt), whole(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []


def test_a_full_disk_is_said_and_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")
    with (
        full_disk(1000),
        pytest.raises(SimeditError, match=r"cannot write .*a\.bin: File too large"),
        whole(path) as draft,
    ):
        draft.write_bytes(bytes(5000))
    assert path.read_bytes() == b"before"
    assert names(tmp_path) == ["a.bin"]


def test_drafts_of_one_name_or_stem_do_not_meet(tmp_path):
    paths = [tmp_path / "a.txt", tmp_path / "a.txt", tmp_path / "a.md", tmp_path / ".a.txt"]
    with whole(paths[0]) as one, whole(paths[1]) as two, whole(paths[2]) as three, whole(paths[3]) as four:
        assert len({one, two, three, four}) == 4
        for number, draft in enumerate((one, two, three, four)):
            draft.write_text(str(number))
    assert [path.read_text() for path in paths] == ["0", "0", "2", "3"]  # the last to end stays
    assert names(tmp_path) == [".a.txt", "a.md", "a.txt"]


def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    script = f"""if True:
        import os, signal
        from pathlib import Path
        from simedit.drafts import whole
        with whole(Path({str(tmp_path / "a.txt")!r})) as draft:
            draft.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", script], check=False)
    (left,) = names(tmp_path)
    with whole(tmp_path / "b.txt") as draft:  # of another name
        assert left in names(tmp_path)
    with whole(tmp_path / "a.txt") as draft:
        assert left not in names(tmp_path)
        with whole(tmp_path / "a.txt"):
            assert draft.exists()
        draft.write_text("whole")
    assert names(tmp_path) == ["a.txt", "b.txt"]


@pytest.mark.parametrize(
    "name", ["x" * 251 + ".txt", "é" * 120 + ".txt", os.fsdecode(b"\xff\xfe.txt"), "-a\n:b.txt"]
)
def test_every_name_that_the_file_system_takes(tmp_path, name):
    with whole(tmp_path / name) as draft:
        draft.write_text("x")
    assert names(tmp_path) == [name]


def test_a_link_stays_one(tmp_path):
    (tmp_path / "real.txt").write_text("before")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with whole(tmp_path / "link.txt") as draft:
        draft.write_text("after")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "after"


def test_what_is_no_plain_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "null").symlink_to("/dev/null")
    (tmp_path / "folder").mkdir()
    for name, what in (("fifo", "no plain file"), ("null", "no plain file"), ("folder", "a folder")):
        with (
            pytest.raises(SimeditError, match=f"cannot write .*{name}: it is {what}"),
            whole(tmp_path / name),
        ):
            pass
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SimeditError, match="cannot write"), whole(tmp_path / "file" / "a.txt"):
        pass
    assert len(names(tmp_path)) == 4
