"""A small HTTP server on the loopback that lists and serves objects as Google Cloud Storage does."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit


class ObjectServer(ThreadingHTTPServer):
    """Serves `objects` at /BUCKET/NAME and at /NAME, and lists them with their sizes and MD5s, two to a page.

    Attributes:
        objects: names to contents.
        cut: break the connection after so many bytes of an object.
        during: called in the middle of a broken answer, before the connection breaks.
        ranges: whether Range headers are honoured.
        lie: names whose MD5 is listed wrong.
        signed: whether MD5s are listed.
        sized: whether answers say how long they are.
        asked: (name, Range header) of every object that was asked for.
    """

    def __init__(self, bucket: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bucket = bucket
        self.objects: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        self.during = lambda: None
        self.ranges, self.signed, self.sized = True, True, True
        self.lie: set[str] = set()
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: ObjectServer

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path == f"/storage/v1/b/{self.server.bucket}/o":
            self._answer(200, json.dumps(self._page(parse_qs(address.query))).encode())
            return
        name = unquote(address.path).removeprefix("/").removeprefix(f"{self.server.bucket}/")
        if name not in self.server.objects:
            self._answer(404, b"no such object")
            return
        asked = self.headers.get("Range")
        self.server.asked.append((name, asked))
        data, status = self.server.objects[name], 200
        if asked and self.server.ranges:
            data, status = data[int(asked.removeprefix("bytes=").removesuffix("-")) :], 206
        self._answer(status, data, self.server.cut.pop(name, None))

    def _page(self, query: dict[str, list[str]]) -> dict[str, object]:
        names = sorted(name for name in self.server.objects if name.startswith(query["prefix"][0]))
        start = int(query.get("pageToken", ["0"])[0])
        items = []
        for name in names[start : start + 2]:
            data = self.server.objects[name]
            item = {"name": name, "size": str(len(data))}
            if self.server.signed:
                listed = b"something else" if name in self.server.lie else data
                item["md5Hash"] = base64.b64encode(hashlib.md5(listed).digest()).decode()
            items.append(item)
        more = {"nextPageToken": str(start + 2)} if start + 2 < len(names) else {}
        return {"items": items, **more} if items else {}

    def _answer(self, status: int, data: bytes, cut: int | None = None) -> None:
        self.send_response(status)
        if self.server.sized:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[:cut])
        if cut is not None:
            self.wfile.flush()
            self.server.during()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(bucket: str) -> Iterator[ObjectServer]:
    """A running server of that bucket, without objects at first."""
    with ObjectServer(bucket) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
