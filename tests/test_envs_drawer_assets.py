from __future__ import annotations

import os
import re
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from simedit.envs.drawer import assets
from simedit.envs.drawer.poses import POSES
from simedit.errors import SimeditError

SHARED = Path(__file__).resolve().parents[2] / "shared" / "simpler" / "assets"
MESHES = f"{Path(assets.robot_urdf()).parent}/meshes"


def _png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0\1\2\3")) + chunk(b"IEND", b"")


def _write(root: Path, name: str, data: bytes) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small asset root: the real names, one mesh of each kind."""
    root = tmp_path / "root"
    urdf = "<robot><link><visual><geometry><mesh filename='{}'/></geometry></visual></link></robot>"
    for variant in assets.ROBOT_VARIANTS:
        _write(root, assets.robot_urdf(variant), urdf.format("meshes/arm.obj").encode())
    for cabinet in assets.CABINETS:
        _write(root, assets.cabinet_urdf(cabinet), urdf.format("models/stone_tabletop.glb").encode())
    for pose in POSES:
        _write(root, assets.photograph(pose), _png())
    _write(root, f"{MESHES}/arm.obj", b"mtllib arm paint.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    _write(root, f"{MESHES}/arm paint.mtl", b"newmtl a\n  map_Kd ../arm.png\n")
    _write(root, f"{Path(MESHES).parent}/arm.png", _png())
    _write(root, "data/custom/models/stone_tabletop.glb", b"glTF" + struct.pack("<II", 2, 16) + b"abcd")
    for room in assets.ROOMS:
        _write(root, assets.room_mesh(room), (root / "data/custom/models/stone_tabletop.glb").read_bytes())
    _write(root, "data/hab2_bench_assets/stages/modern_office.glb", b"another room")
    _write(root, "data/custom/models/apple.glb", b"nothing to do with drawers")
    return root


def _commit(root: Path) -> str:
    """Make `root` a git repository of one commit that serves partial clones."""
    who = ["-c", "user.name=t", "-c", "user.email=t@t"]
    serve = [["config", f"uploadpack.{key}", "true"] for key in ("allowFilter", "allowAnySHA1InWant")]
    commands = [["init", "-q"], *serve, ["add", "-A"], [*who, "commit", "-qm", "assets"]]
    for command in [*commands, ["rev-parse", "HEAD"]]:
        done = subprocess.run(["git", "-C", root, *command], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_verify_follows_references(root: Path) -> None:
    checked = assets.verify(root)
    assert len(checked) == 4 + 4 + 9 + 4
    assert f"{MESHES}/arm paint.mtl" in checked
    assert f"{Path(MESHES).parent}/arm.png" in checked


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs SIMPLER's assets in ../shared")
def test_verify_real_assets() -> None:
    checked = assets.verify(SHARED)
    assert len(checked) > 100
    assert all((SHARED / name).is_file() for name in checked)
    assert sum("recolor_tabletop_visual_matching_2" in name for name in checked) > 10


@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
@pytest.mark.parametrize(
    "name",
    [
        assets.robot_urdf("recolor_cabinet_visual_matching_1"),
        assets.photograph("b1"),
        f"{MESHES}/arm.obj",
        f"{MESHES}/arm paint.mtl",
        "data/custom/models/stone_tabletop.glb",
    ],
)
def test_cut_files_count_as_missing(root: Path, name: str, kept: float) -> None:
    data = (root / name).read_bytes()
    (root / name).write_bytes(data[: int(kept * len(data))])
    with pytest.raises(SimeditError, match=re.escape(name) + r" \((empty|cut short)"):
        assets.verify(root)


@pytest.mark.parametrize(
    ("urdf", "reason"),
    [
        (b"<robot><mesh/></robot>", "a mesh without a filename"),
        (b"<robot><mesh filename=''/></robot>", "a mesh without a filename"),
        (b"<?xml version='1.0' encoding='nonsense'?><robot/>", "not XML"),
        (b"<robot>", "not XML"),
        (b"<robot><mesh filename='../../../../../../../../etc/passwd'/></robot>", "outside the asset root"),
        (b"<robot><mesh filename='/etc/passwd'/></robot>", "outside the asset root"),
        (b"<robot><mesh filename='models'/></robot>", "no plain file"),
        (b"<robot><mesh filename='no.obj'/></robot>", r"no\.obj \(missing\)"),
    ],
)
def test_a_broken_urdf_says_what_is_wrong(root: Path, urdf: bytes, reason: str) -> None:
    _write(root, assets.cabinet_urdf(), urdf)
    with pytest.raises(SimeditError, match=rf"lacks .*{reason}"):
        assets.require(root, [assets.cabinet_urdf()])


def test_what_is_no_plain_file_is_not_waited_for(root: Path) -> None:
    (root / MESHES / "arm.obj").unlink()
    os.mkfifo(root / MESHES / "arm.obj")
    with pytest.raises(SimeditError, match=r"arm\.obj \(no plain file\)"):
        assets.verify(root)


def test_require_names_what_is_missing(root: Path) -> None:
    (root / f"{MESHES}/arm.obj").unlink()
    assets.require(root, [assets.cabinet_urdf(), assets.photograph("a0")])
    with pytest.raises(SimeditError, match=r"meshes/arm.obj \(missing\): run `simedit-eval assets fetch`"):
        assets.require(root, [assets.robot_urdf()])
    _write(root, f"{MESHES}/arm.obj", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(SimeditError, match="LFS pointer"):
        assets.verify(root)
    for pose in POSES:
        (root / assets.photograph(pose)).unlink()
    with pytest.raises(SimeditError, match=r"open_drawer_b1.png \(missing\) and 5 more: run"):
        assets.verify(root)


def test_rooms_may_be_missing_and_are_named(root: Path) -> None:
    apartment, bedroom, office = map(assets.room_mesh, assets.ROOMS)
    checked = assets.verify(root)
    assert apartment not in checked
    (root / apartment).write_bytes(b"glTF")
    (root / bedroom).unlink()
    assert assets.missing(root, map(assets.room_mesh, assets.ROOMS)) == {
        apartment: "cut short",
        bedroom: "missing",
    }
    assert assets.verify(root) == checked
    assert assets.missing(root, [office, assets.photograph("a0")]) == {}


def test_resolve_order(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SIMEDIT_ASSETS", raising=False)
    with pytest.raises(SimeditError, match="no asset root is known: run `simedit-eval assets fetch`"):
        assets.resolve_asset_root(None)
    assets.default_root().mkdir(parents=True)
    assert assets.resolve_asset_root(None) == tmp_path / "cache" / "simedit" / "simpler"
    monkeypatch.setenv("SIMEDIT_ASSETS", str(root))
    assert assets.resolve_asset_root(None) == root
    assert assets.resolve_asset_root(str(tmp_path)) == tmp_path
    with pytest.raises(SimeditError, match="nowhere is not a folder"):
        assets.resolve_asset_root("nowhere")


def test_fetch(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit = _commit(root)
    dest = tmp_path / "cache" / "simpler"
    assert assets.fetch(dest, url=root.as_uri(), commit=commit) == dest
    assert assets.verify(dest) == assets.verify(root)
    assert not (dest / "data/custom/models/apple.glb").exists()
    rooms = (dest / assets.room_mesh(assets.ROOMS[0])).parent.iterdir()
    assert sorted(file.stem for file in rooms) == list(assets.ROOMS)
    assert [p.name for p in dest.parent.iterdir()] == ["simpler"]
    assert "already" not in capsys.readouterr().err

    assets.fetch(dest, url="file:///gone", commit=commit)
    assert f"already holds SIMPLER's assets at {commit[:12]}\n" in capsys.readouterr().err
    (dest / assets.room_mesh(assets.ROOMS[2])).unlink()
    assets.fetch(dest, url="file:///gone", commit=commit)
    assert "without data/hab2_bench_assets/stages/modern_office_no_roof.glb" in capsys.readouterr().err

    with pytest.raises(SimeditError, match=f"in the way: it is {commit}, not {'0' * 40}"):
        assets.fetch(dest, url=root.as_uri(), commit="0" * 40)
    (dest / assets.photograph("a0")).write_bytes(b"")
    with pytest.raises(SimeditError, match=r"a0.png \(empty\)"):
        assets.fetch(dest, url=root.as_uri(), commit=commit)


def test_fetch_leaves_other_folders_alone(root: Path) -> None:
    with pytest.raises(SimeditError, match="it is no git checkout"):
        assets.fetch(root, url="file:///gone", commit="0" * 40)
    assets.verify(root)


def test_failed_fetch_leaves_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / assets.photograph("c2")).unlink()
    commit = _commit(root)
    dest = tmp_path / "cache" / "simpler"
    with pytest.raises(SimeditError, match=r"c2.png \(missing\)"):
        assets.fetch(dest, url=root.as_uri(), commit=commit)
    with pytest.raises(SimeditError, match=r"fetch .* failed: .*1{40}"):
        assets.fetch(dest, url=root.as_uri(), commit="1" * 40)
    with pytest.raises(SimeditError, match="is the network up"):
        assets.fetch(dest, url=(tmp_path / "gone").as_uri(), commit=commit)
    with pytest.raises(SimeditError, match="not a full commit id"):
        assets.fetch(dest, url=root.as_uri(), commit="main")
    assert list(dest.parent.iterdir()) == []

    monkeypatch.setenv("PATH", str(tmp_path / "no-commands"))
    with pytest.raises(SimeditError, match="install git"):
        assets.fetch(dest, url=root.as_uri(), commit=commit)
    assert list(dest.parent.iterdir()) == []


def test_interrupted_fetch_leaves_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = _commit(root)
    dest = tmp_path / "cache" / "simpler"
    # A git that, asked to check out, sends its caller the signal of Ctrl-C and hangs.
    git = tmp_path / "bin" / "git"
    _write(git.parent, "git", b'#!/bin/sh\ncase "$*" in *checkout\\ --*) kill -INT $PPID; sleep 30;; esac\n')
    with git.open("a") as script:
        script.write(f'PATH="{os.environ["PATH"]}" exec git "$@"\n')
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{git.parent}:{os.environ['PATH']}")
    with pytest.raises(KeyboardInterrupt):
        assets.fetch(dest, url=root.as_uri(), commit=commit)
    assert list(dest.parent.iterdir()) == []


def test_fetch_refuses_an_unwritable_place(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SimeditError, match=r"cannot fetch assets into .*file/simpler: File exists"):
        assets.fetch(tmp_path / "file" / "simpler", url=root.as_uri(), commit=_commit(root))
