"""A real HTTP server on this machine that gives its files well or badly, and remembers what it was asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What one path sends. Lists are used up, one item a request; then the file is sent as it is."""

    content: bytes
    etag: str | None = '"1"'
    last_modified: str | None = None
    ranges: bool = True  # whether Range is heeded
    if_range: bool = True  # whether If-Range is heeded
    statuses: list[int] = field(default_factory=list)  # sent in place of the file
    cuts: list[int] = field(default_factory=list)  # bytes of the body after which the connection ends
    ignores_start: bool = False  # sends 206 with the whole file, whatever part was asked for
    lie: int = 0  # added to the true Content-Length
    headers: dict[str, str] = field(default_factory=dict)  # more of them
    pause: float = 0.0  # seconds between blocks
    gate: threading.Event | None = None  # after the first half of the body, wait for it


@dataclass
class Asked:
    """One request: its headers, the status and the number of body bytes it got."""

    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


class FileServer(ThreadingHTTPServer):
    """Serves `files` by path; `asked` lists every request in order."""

    daemon_threads = True

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.asked: list[Asked] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def paths(self) -> list[str]:
        """What was asked for."""
        return [asked.path for asked in self.asked]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is no news."""


@contextmanager
def running_server() -> Iterator[FileServer]:
    server = FileServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        for served in server.files.values():
            if served.gate:
                served.gate.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FileServer

    def do_GET(self) -> None:
        asked = Asked(self.path, dict(self.headers.items()))
        self.server.asked.append(asked)
        served = self.server.files.get(self.path)
        if served is None or served.statuses:
            return self._refuse(asked, 404 if served is None else served.statuses.pop(0), served)
        start = self._start(served)
        if start >= len(served.content) > 0:
            return self._refuse(asked, 416, served)
        first = 0 if served.ignores_start else start
        body = served.content[first:]
        asked.status = 206 if start else 200
        self.send_response(asked.status)
        if start:
            end = len(served.content)
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{end}")
        self.send_header("Content-Length", str(len(body) + served.lie))
        self._send_headers(served)
        self._send_body(body, served, asked)
        return None

    def _start(self, served: Served) -> int:
        asked_range = self.headers.get("Range", "")
        if not (served.ranges and asked_range):
            return 0
        same = self.headers.get("If-Range") in (served.etag, served.last_modified)
        return int(asked_range.removeprefix("bytes=").rstrip("-")) if same or not served.if_range else 0

    def _send_headers(self, served: Served) -> None:
        if served.etag:
            self.send_header("ETag", served.etag)
        if served.last_modified:
            self.send_header("Last-Modified", served.last_modified)
        for name, value in served.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_body(self, body: bytes, served: Served, asked: Asked) -> None:
        cut = served.cuts.pop(0) if served.cuts else None
        body = body[:cut]
        block = max(1, len(body) // 8)
        for offset in range(0, len(body), block):
            self.wfile.write(body[offset : offset + block])
            asked.sent += len(body[offset : offset + block])
            time.sleep(served.pause)
            if served.gate and asked.sent >= len(body) // 2:
                served.gate.wait(60)
        if cut is not None or served.lie:
            self.close_connection = True

    def _refuse(self, asked: Asked, status: int, served: Served | None) -> None:
        asked.status = status
        self.send_response(status)
        self.send_header("Content-Length", "0")
        for name, value in (served.headers if served else {}).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing on the screen."""
