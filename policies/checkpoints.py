"""The public RT-1 checkpoints and the sentence encoder they need: their names, and their download.

The checkpoints are the four that SimplerEnv evaluates. They lie in a public Google Cloud Storage bucket,
which is listed and served over plain HTTPS: no account, no gsutil.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import lzma
import os
import shutil
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from simedit.errors import SimeditError, unknown
from simedit.locks import locked

SERVER = "https://storage.googleapis.com"
BUCKET = "gdm-robotics-open-x-embodiment"
_TOP = "open_x_embodiment_and_rt_x_oss"
_EXPANDS = 20
"""An archive of more than so many times its size is none of floating-point weights."""
_ENCODER = "https://tfhub.dev/google/universal-sentence-encoder-large/5?tf-hub-format=compressed"


class Checkpoint(NamedTuple):
    """One download.

    Attributes:
        name: what to type.
        published: its name in the published tables.
        folder: where it comes to lie, inside the folder of all checkpoints.
        archive: "" for a folder of BUCKET, ".zip" for that folder zipped, or the https address of a tar.gz.
    """

    name: str
    published: str
    folder: str
    archive: str = ""


CHECKPOINTS = (
    Checkpoint("rt1-converged", "RT-1 (Converged)", "rt_1_tf_trained_for_000400120"),
    Checkpoint("rt1-15", "RT-1 (15%)", "rt_1_tf_trained_for_000058240"),
    Checkpoint("rt1-x", "RT-1-X", "rt_1_x_tf_trained_for_002272480_step", ".zip"),
    Checkpoint("rt1-begin", "RT-1 (Begin)", "rt_1_tf_trained_for_000001120"),
    Checkpoint("sentence-encoder", "Universal Sentence Encoder", "sentence_encoder", _ENCODER),
)


class _File(NamedTuple):
    url: str
    path: str  # inside the checkpoint's folder
    size: int  # bytes, 0 where the server does not say
    md5: str  # base64, "" where the server does not say


def find(name: str) -> Checkpoint:
    """The checkpoint of that name, published name or folder.

    Raises:
        SimeditError: there is none; names the nearest.
    """
    for checkpoint in CHECKPOINTS:
        if name in checkpoint[:3]:
            return checkpoint
    raise unknown("checkpoint", name, [checkpoint.name for checkpoint in CHECKPOINTS])


def check_saved_model(path: Path, hint: str) -> None:
    """Refuse a folder that lacks a part of a TensorFlow SavedModel; `hint` says what to do.

    Raises:
        SimeditError: names what is missing.
    """
    wanted = ("saved_model.pb", "variables/variables.index")
    missing = [name for name in wanted if not (path / name).is_file()]
    if not any(path.glob("variables/variables.data-*")):
        missing.append("variables/variables.data-*")
    if missing:
        what = f"lacks {', '.join(missing)}" if path.is_dir() else "does not exist"
        raise SimeditError(f"SavedModel folder {path} {what}: {hint}")


def fetch(name: str, out: str | Path, *, url: str | None = None) -> Path:
    """Download a checkpoint into its folder in `out`; if it is there already, say so and do nothing.

    Works in a folder beside the final one, named `.part`. Whatever stops it, the next call goes on from there
    and asks for the missing bytes alone. The final folder appears when all is there and verified: each file
    against the server's MD5, an archive also against the checksums in it.

    Args:
        name: see `find`.
        url: a server in place of SERVER; for the sentence encoder, an address of the archive.

    Returns:
        the folder, absolute.

    Raises:
        SimeditError: unknown name, no network, nothing at the address, too little disk space, a wrong
            checksum, or an archive that would write outside its folder.
    """
    checkpoint = find(name)
    final = Path(os.path.expanduser(out)).resolve() / checkpoint.folder
    if final.exists():
        check_saved_model(final, "delete it, then fetch it again")
        print(f"{final} is already there", file=sys.stderr)
        return final
    work = final.with_name(f"{final.name}.part")
    resume = f"what has come stays in {work}, and the same command goes on"
    try:
        files = _files(checkpoint, url)
        with locked(work, "simedit-eval checkpoints fetch"):
            _download_all(checkpoint, files, work)
            root = _unpack(work / files[0].path) if checkpoint.archive else work
            check_saved_model(root, f"{files[0].url} holds something else")
            (work / "lock").unlink()
            root.rename(final)
        shutil.rmtree(work, ignore_errors=True)
    except HTTPError as error:
        hint = resume if error.code >= 500 else "has it moved? --url takes another address"
        raise SimeditError(
            f"{error.url.split('?')[0]} answers {error.code} {error.reason}: {hint}"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = f"{error.reason} (is the network up?)" if isinstance(error, URLError) else error
        raise SimeditError(f"cannot download {checkpoint.name}: {reason}; {resume}") from error
    except KeyboardInterrupt:
        print(resume, file=sys.stderr)
        raise
    return final


def _files(checkpoint: Checkpoint, url: str | None) -> list[_File]:
    """What is to be downloaded; the server says how much it is."""
    if checkpoint.archive.startswith("https:"):
        address = url or checkpoint.archive
        with _open(address) as response:
            length = response.headers.get("Content-Length") or ""
            return [_File(address, "archive", int(length) if length.isdecimal() else 0, "")]
    server = (url or SERVER).rstrip("/")
    above = f"{_TOP}/" if checkpoint.archive else f"{_TOP}/{checkpoint.folder}/"
    query = {
        "prefix": f"{_TOP}/{checkpoint.folder}{checkpoint.archive or '/'}",
        "fields": "nextPageToken,items(name,size,md5Hash)",
    }
    files: list[_File] = []
    pages: set[str] = set()
    while "pageToken" not in query or query["pageToken"]:
        try:
            with _open(f"{server}/storage/v1/b/{BUCKET}/o?{urlencode(query)}") as response:
                page = json.load(response)
            items = [
                (str(i["name"]), int(i["size"]), str(i.get("md5Hash", ""))) for i in page.get("items", [])
            ]
            query["pageToken"] = str(page.get("nextPageToken", ""))
            if query["pageToken"] in pages:
                raise ValueError("one page for ever")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise SimeditError(f"{server} answers with something else than a list of files") from error
        pages.add(query["pageToken"])
        for name, size, md5 in items:
            if not name.endswith("/"):
                address = f"{server}/{BUCKET}/{quote(name)}"
                files.append(_File(address, _inside(name.removeprefix(above)), size, md5))
    if not files:
        raise SimeditError(f"{server} lists nothing under {BUCKET}/{query['prefix']}: has it moved?")
    return files


def _download_all(checkpoint: Checkpoint, files: list[_File], work: Path) -> None:
    total = sum(file.size for file in files)
    # A file has its name without .part only once it was verified.
    states = [work / f"{file.path}{state}" for file in files for state in ("", ".part")]
    here = sum(path.stat().st_size for path in states if path.is_file())
    size = f"{total / 1e6:.1f} MB" if total else "size unknown"
    print(f"{checkpoint.name}: {size}, of which {here / 1e6:.1f} MB are there already", file=sys.stderr)
    needed, free = total - here + (1.5 * total if checkpoint.archive else 0), shutil.disk_usage(work).free
    if free < needed:
        raise SimeditError(f"{work} has {free / 1e6:.0f} MB free, this needs about {needed / 1e6:.0f} MB")
    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total or None, completed=here)
        for file in files:
            if not (work / file.path).is_file():
                _download(file, work / file.path, lambda count: bar.advance(task, count))


def _download(file: _File, target: Path, advance: Callable[[int], None]) -> None:
    part = target.with_name(f"{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    start = part.stat().st_size if part.exists() else 0
    if not file.size or start < file.size:
        # Without a size nobody can tell a whole file from a part of one: begin again.
        headers = {"Range": f"bytes={start}-"} if start and file.size else {}
        with _open(file.url, headers) as response:
            there = response.headers.get("Content-Range", f"bytes {start}-")
            if response.status == 206 and not there.startswith(f"bytes {start}-"):
                raise ConnectionError(f"the server sent another part of {file.path} than was asked for")
            resumed = response.status == 206
            advance(0 if resumed else -start)
            with part.open("ab" if resumed else "wb") as stream:
                while block := response.read(1 << 16):
                    stream.write(block)
                    advance(len(block))
    if part.stat().st_size < file.size:
        raise ConnectionError(f"the connection broke in {file.path}")
    if (file.size and part.stat().st_size > file.size) or (file.md5 and _md5(part) != file.md5):
        part.unlink()
        raise SimeditError(f"{file.url} came with a wrong checksum and was deleted: fetch it again")
    part.rename(target)


def _open(address: str, headers: dict[str, str] | None = None) -> Any:
    try:
        return urlopen(Request(address, headers=headers or {}), timeout=60)
    except ValueError as error:
        raise SimeditError(f"{address!r} is no address: {error}") from error


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return base64.b64encode(digest.digest()).decode()


def _unpack(archive: Path) -> Path:
    """Unpack beside the archive and give the folder in it that holds the SavedModel."""
    folder, room = archive.with_name("unpacked"), _EXPANDS * archive.stat().st_size
    shutil.rmtree(folder, ignore_errors=True)
    try:
        for name, stream in _members(archive):
            target = folder / _inside(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                while block := stream.read(1 << 20):
                    if (room := room - len(block)) < 0:
                        raise ValueError(f"it holds more than {_EXPANDS} times its size")
                    out.write(block)
    except (
        *(zipfile.BadZipFile, gzip.BadGzipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError),
        *(ValueError, RuntimeError, struct.error, LookupError),  # encrypted, of unknown kinds, names
    ) as error:
        archive.unlink()
        shutil.rmtree(folder, ignore_errors=True)
        raise SimeditError(f"the archive came damaged ({error}) and was deleted: fetch it again") from error
    return next((found.parent for found in folder.rglob("saved_model.pb")), folder)


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The plain files of a zip or tar.gz; links are left out."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as members:
            for info in members.infolist():
                if not info.is_dir():
                    yield info.filename, members.open(info)
        return
    with tarfile.open(archive, "r:gz") as members:
        for member in members:
            stream = members.extractfile(member) if member.isfile() else None
            if stream:
                yield member.name, stream
        # What follows the last member holds the archive's checksum.
        while members.fileobj and members.fileobj.read(1 << 20):
            pass


def _inside(name: str) -> str:
    """The name itself, or an error where it points out of its folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise SimeditError(f"refused: a file named {name!r} would be written outside its folder")
    return name
