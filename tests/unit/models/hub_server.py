"""A model hub on this machine that can be told to misbehave."""

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass
class Offer:
    """What the hub does for one path."""

    body: bytes
    cut_after: list[int] = field(default_factory=list)
    """For each request in turn: close the connection after that many bytes."""
    statuses: list[int] = field(default_factory=list)
    """For each request in turn: answer with that error status."""
    honours_range: bool = True
    announces_length: bool = True
    wrong_range: bool = False


class HubServer:
    """Serves `offers` by path and remembers the Range header of every request."""

    def __init__(self) -> None:
        self.offers: dict[str, Offer] = {}
        self.ranges: dict[str, list[str | None]] = defaultdict(list)
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def offer(self, path: str, body: bytes) -> Offer:
        self.offers[path] = Offer(body)
        return self.offers[path]


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.hub.ranges[self.path].append(wanted)
        offer = self.hub.offers.get(self.path)
        if offer is None or offer.statuses:
            self.send_error(offer.statuses.pop(0) if offer else 404)
            return
        start = 0
        if wanted and offer.honours_range:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(offer.body):
                self.send_error(416)
                return
            self.send_response(206)
            shown = start + 1 if offer.wrong_range else start
            total = len(offer.body)
            self.send_header("Content-Range", f"bytes {shown}-{total - 1}/{total}")
        else:
            self.send_response(200)
        body = offer.body[start:]
        if offer.announces_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if offer.cut_after:
            body = body[: offer.cut_after.pop(0)]
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""
