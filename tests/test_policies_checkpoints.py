from __future__ import annotations

import io
import shutil
import signal
import socket
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from object_server import ObjectServer, serving

from simedit.config import load_config
from simedit.envs.drawer.suite import DrawerSuite
from simedit.errors import SimeditError
from simedit.eval.config import StudyConfig
from simedit.eval.published import load_published
from simedit.locks import locked
from simedit.policies.checkpoints import BUCKET, CHECKPOINTS, fetch, find
from simedit.policies.kinds.rt1 import RT1

TOP = "open_x_embodiment_and_rt_x_oss"
FOLDER = "rt_1_tf_trained_for_000058240"
ZIP = "rt_1_x_tf_trained_for_002272480_step"
RNG = np.random.default_rng(0)
MODEL = {
    "saved_model.pb": RNG.bytes(300_000),
    "policy_specs.pbtxt": b"specs",
    "assets/empty": b"",
    "variables/variables.index": RNG.bytes(1000),
    "variables/variables.data-00000-of-00001": RNG.bytes(200_000),
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    """A server with the 15 % checkpoint as a folder."""
    monkeypatch.setenv("no_proxy", "*")
    with serving(BUCKET) as server:
        server.objects = {f"{TOP}/{FOLDER}/{path}": data for path, data in MODEL.items()}
        server.objects |= {f"{TOP}/{FOLDER}/": b"", f"{TOP}/{FOLDER}_other/saved_model.pb": b"not asked for"}
        yield server


def held(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return stream.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def test_a_folder_comes_whole_and_only_once(server: ObjectServer, tmp_path: Path, capsys) -> None:
    found = fetch("rt1-15", tmp_path / "new", url=server.url)
    assert found == tmp_path / "new" / FOLDER
    assert held(tmp_path / "new") == {f"{FOLDER}/{path}": data for path, data in MODEL.items()}
    assert len(server.asked) == len(MODEL)
    assert "rt1-15: 0.5 MB" in capsys.readouterr().err
    server.shutdown()
    assert fetch("RT-1 (15%)", tmp_path / "new", url=server.url) == found
    assert "already there" in capsys.readouterr().err


def test_a_broken_connection_is_resumed(server: ObjectServer, tmp_path: Path) -> None:
    data = f"{TOP}/{FOLDER}/variables/variables.data-00000-of-00001"
    server.cut[data] = 70_001
    with pytest.raises(SimeditError, match=r"connection broke in variables/.*the same command goes on"):
        fetch("rt1-15", tmp_path, url=server.url)
    assert not (tmp_path / FOLDER).exists()
    done = [name for name, _ in server.asked if name != data]
    server.asked.clear()
    fetch("rt1-15", tmp_path, url=server.url)
    assert (data, "bytes=70001-") in server.asked
    assert not {name for name, _ in server.asked} & set(done)
    assert held(tmp_path / FOLDER) == MODEL


def test_a_server_that_ignores_ranges_sends_all_again(server: ObjectServer, tmp_path: Path) -> None:
    server.ranges = False
    server.cut[f"{TOP}/{FOLDER}/saved_model.pb"] = 100_000
    with pytest.raises(SimeditError, match="connection broke"):
        fetch("rt1-15", tmp_path, url=server.url)
    fetch("rt1-15", tmp_path, url=server.url)
    assert held(tmp_path / FOLDER) == MODEL


def test_another_file_half_way_is_noticed(server: ObjectServer, tmp_path: Path) -> None:
    name = f"{TOP}/{FOLDER}/saved_model.pb"
    server.cut[name] = 100_000
    with pytest.raises(SimeditError, match="connection broke"):
        fetch("rt1-15", tmp_path, url=server.url)
    server.objects[name] = server.objects[name][::-1]
    with pytest.raises(SimeditError, match=r"saved_model\.pb came with a wrong checksum and was deleted"):
        fetch("rt1-15", tmp_path, url=server.url)
    fetch("rt1-15", tmp_path, url=server.url)
    assert (tmp_path / FOLDER / "saved_model.pb").read_bytes() == MODEL["saved_model.pb"][::-1]


def test_a_wrong_checksum_is_refused_and_the_file_deleted(server: ObjectServer, tmp_path: Path) -> None:
    server.lie.add(f"{TOP}/{FOLDER}/saved_model.pb")
    with pytest.raises(SimeditError, match=r"saved_model\.pb came with a wrong checksum"):
        fetch("rt1-15", tmp_path, url=server.url)
    assert not list(tmp_path.rglob("saved_model.pb*"))
    assert not (tmp_path / FOLDER).exists()
    server.signed = False  # Cloud Storage lists no MD5 for an object put together from parts
    fetch("rt1-15", tmp_path, url=server.url)
    assert held(tmp_path / FOLDER) == MODEL


def test_a_zip_is_unpacked(server: ObjectServer, tmp_path: Path) -> None:
    server.objects[f"{TOP}/{ZIP}.zip"] = zipped({f"{ZIP}/{path}": data for path, data in MODEL.items()})
    assert fetch("rt1-x", tmp_path, url=server.url) == tmp_path / ZIP
    assert held(tmp_path) == {f"{ZIP}/{path}": data for path, data in MODEL.items()}


@pytest.mark.parametrize("member", ["../outside", "/outside", "a/../../outside"])
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_an_archive_must_stay_in_its_folder(server: ObjectServer, tmp_path: Path, pack, member: str) -> None:
    name = "rt1-x" if pack is zipped else "sentence-encoder"
    server.objects[f"{TOP}/{ZIP}.zip"] = server.objects["archive"] = pack({**MODEL, member: b"x"})
    url = server.url if pack is zipped else f"{server.url}/archive"
    with pytest.raises(SimeditError, match="outside its folder"):
        fetch(name, tmp_path / "a" / "b", url=url)
    assert not list(tmp_path.rglob("outside*"))
    assert not Path("/outside").exists()
    assert not (tmp_path / "a" / "b" / find(name).folder).exists()


@pytest.mark.parametrize("sized", [True, False])
def test_the_sentence_encoder_comes_as_an_archive(server: ObjectServer, tmp_path: Path, sized: bool) -> None:
    server.sized = sized
    server.objects["encoder.tar.gz"] = tarred(MODEL)
    server.cut["encoder.tar.gz"] = 50_000  # that is the question for the size
    fetch("sentence-encoder", tmp_path, url=f"{server.url}/encoder.tar.gz")
    assert held(tmp_path / "sentence_encoder") == MODEL
    assert list(tmp_path.iterdir()) == [tmp_path / "sentence_encoder"]


def test_a_damaged_archive_is_deleted(server: ObjectServer, tmp_path: Path) -> None:
    whole = tarred(MODEL)
    for damaged in (whole[:-5], whole[:-8] + b"12345678", whole[:1000] + b"12345678" + whole[1008:], b"text"):
        server.objects["encoder.tar.gz"] = damaged
        with pytest.raises(SimeditError, match=r"came damaged .* and was deleted"):
            fetch("sentence-encoder", tmp_path, url=f"{server.url}/encoder.tar.gz")
        assert not list(tmp_path.rglob("archive*"))
    server.objects["encoder.tar.gz"] = tarred({"readme": b"no model"})
    with pytest.raises(SimeditError, match=r"lacks saved_model\.pb.* holds something else"):
        fetch("sentence-encoder", tmp_path, url=f"{server.url}/encoder.tar.gz")
    assert not (tmp_path / "sentence_encoder").exists()


def test_an_archive_that_swells_is_refused(server: ObjectServer, tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{ZIP}/saved_model.pb", bytes(10_000_000))
    server.objects = {f"{TOP}/{ZIP}.zip": stream.getvalue()}
    with pytest.raises(SimeditError, match="more than 20 times its size"):
        fetch("rt1-x", tmp_path, url=server.url)
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) < 1000


@pytest.mark.parametrize("harm", ["encrypted", "method", "name"])
def test_archives_that_cannot_be_unpacked_are_named(server: ObjectServer, tmp_path: Path, harm: str) -> None:
    data = bytearray(zipped({f"{ZIP}/saved_model.pb": b"x"}))
    local, central = data.index(b"PK\3\4"), data.index(b"PK\1\2")
    for start, offset in ((local, 0), (central, 2)):
        if harm == "encrypted":
            data[start + 6 + offset] |= 1
        elif harm == "method":
            data[start + 8 + offset] = 97
        else:
            place = data.index(b"saved_model", start)
            data[place : place + 2] = b"\n/" if start == local else b"no"
    server.objects = {f"{TOP}/{ZIP}.zip": bytes(data)}
    with pytest.raises(SimeditError, match="the archive came damaged"):
        fetch("rt1-x", tmp_path, url=server.url)


@pytest.mark.parametrize(
    "page",
    [[], {"items": 3}, {"items": [{}]}, {"items": [{"name": "a", "size": "x"}]}, {"nextPageToken": "again"}],
)
def test_an_answer_that_is_no_list_of_files(server: ObjectServer, tmp_path: Path, monkeypatch, page) -> None:
    monkeypatch.setattr("object_server._Handler._page", lambda *_: page)
    with pytest.raises(SimeditError, match="something else than a list of files"):
        fetch("rt1-15", tmp_path, url=server.url)


def test_an_address_that_is_none(tmp_path: Path) -> None:
    for name in ("rt1-15", "sentence-encoder"):
        with pytest.raises(SimeditError, match="is no address"):
            fetch(name, tmp_path, url="nonsense")


def test_another_download_of_the_same_waits_for_nobody(server: ObjectServer, tmp_path: Path) -> None:
    with (
        locked(tmp_path / f"{FOLDER}.part", "simedit-eval checkpoints fetch"),
        pytest.raises(SimeditError, match="another simedit-eval checkpoints fetch"),
    ):
        fetch("rt1-15", tmp_path, url=server.url)
    fetch("rt1-15", tmp_path, url=server.url)
    assert held(tmp_path / FOLDER) == MODEL


def test_too_little_disk_space_is_said_before_the_download(server, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=400_000))
    with pytest.raises(SimeditError, match="has 0 MB free, this needs about 1 MB"):
        fetch("rt1-15", tmp_path, url=server.url)
    assert server.asked == []


def test_ctrl_c_leaves_what_has_come(server: ObjectServer, tmp_path: Path, capsys) -> None:
    name = f"{TOP}/{FOLDER}/saved_model.pb"
    part = tmp_path / f"{FOLDER}.part" / "saved_model.pb.part"

    def press() -> None:
        deadline = time.monotonic() + 10
        while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(0.2)

    server.cut[name], server.during = 250_000, press
    with pytest.raises(KeyboardInterrupt):
        fetch("rt1-15", tmp_path, url=server.url)
    assert "the same command goes on" in capsys.readouterr().err
    size = part.stat().st_size
    assert 0 < size < len(MODEL["saved_model.pb"])
    assert not (tmp_path / FOLDER).exists()
    server.asked.clear()
    fetch("rt1-15", tmp_path, url=server.url)
    assert (name, f"bytes={size}-") in server.asked
    assert held(tmp_path / FOLDER) == MODEL


def test_what_cannot_be_fetched_is_said_in_one_line(server: ObjectServer, tmp_path: Path) -> None:
    with pytest.raises(SimeditError, match="did you mean 'rt1-15'"):
        fetch("rt1-5", tmp_path)
    with pytest.raises(SimeditError, match=r"lists nothing under .*000001120/: has it moved"):
        fetch("rt1-begin", tmp_path, url=server.url)
    with pytest.raises(SimeditError, match=r"answers 404 .*--url"):
        fetch("sentence-encoder", tmp_path, url=f"{server.url}/absent")
    (tmp_path / "file").touch()
    with pytest.raises(SimeditError, match=r"cannot write to .*Not a directory. Choose another --out"):
        fetch("rt1-15", tmp_path / "file", url=server.url)
    (tmp_path / FOLDER).mkdir()
    with pytest.raises(SimeditError, match=r"lacks saved_model\.pb.*: delete it"):
        fetch("rt1-15", tmp_path, url=server.url)
    server.objects = {f"{TOP}/{FOLDER}/../x": b"x"}
    with pytest.raises(SimeditError, match=r"refused: a file named '\.\./x'"):
        fetch("rt1-15", tmp_path / "new", url=server.url)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(SimeditError, match=r"cannot download rt1-x: .*refused.*is the network up"):
        fetch("rt1-x", tmp_path, url=f"http://127.0.0.1:{port}")


def test_names_are_those_of_the_published_tables_and_the_config() -> None:
    rt1 = CHECKPOINTS[:4]
    assert [checkpoint.published for checkpoint in rt1] == list(load_published(DrawerSuite()).real.policies)
    for checkpoint in CHECKPOINTS:
        assert find(checkpoint.published) is find(checkpoint.folder) is find(checkpoint.name) is checkpoint
    study = load_config(StudyConfig, Path(__file__).parents[1] / "configs" / "eval" / "paper.yaml", ())
    for checkpoint in rt1:
        policy = study.policies[checkpoint.published]
        assert isinstance(policy, RT1)
        assert policy.checkpoint == f"checkpoints/{checkpoint.folder}"


@pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs TensorFlow: pip install 'simedit[rt1]'")
def test_what_was_fetched_acts(server: ObjectServer, tmp_path: Path) -> None:
    from small_rt1 import EchoPolicy, Encoder, tf

    from simedit.policies.rt1 import RT1Policy

    tf.saved_model.save(EchoPolicy(), str(tmp_path / "echo"))
    tf.saved_model.save(Encoder(), str(tmp_path / "encoder"))
    server.objects = {f"{TOP}/{FOLDER}/{path}": data for path, data in held(tmp_path / "echo").items()}
    server.objects["encoder.tar.gz"] = tarred(held(tmp_path / "encoder"))
    policy = RT1Policy(
        fetch("rt1-15", tmp_path / "new", url=server.url),
        embeddings=fetch("sentence-encoder", tmp_path / "new", url=f"{server.url}/encoder.tar.gz"),
    )
    policy.reset("open top drawer")
    action = policy.act(np.full((256, 320, 3), 51, np.uint8))
    np.testing.assert_allclose(action.to_array(), [0.2, 0.2, 0.2, 1, -1, 1, 0.15], atol=1e-6)
