"""What stands before rclone's S3 server: ranges have HTTP's status, and any host name finds it.

Up to version 1.75 rclone answers a request for a range with the range, and with the status of the
whole. Clients that look at it, as obstore does, take nothing from it. Besides, a bucket's name in
front of the host's would need a name server: as a proxy this takes whatever host it is asked for.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

NOTHING = r"(?!)"
"""Matches no request."""

_FRAMING = frozenset({"connection", "content-length", "transfer-encoding"})


class _Front(ThreadingHTTPServer):
    daemon_threads = True
    # As many come at once as tests have threads.
    request_queue_size = 64

    def __init__(self, port: int, behind: int, refused: str) -> None:
        self.behind = behind
        self.refused = refused
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    """Hands one request on. Who comes again comes by another connection: none is left open."""

    protocol_version = "HTTP/1.1"
    server: _Front

    def do_GET(self) -> None:
        self.close_connection = True
        connection = HTTPConnection("127.0.0.1", self.server.behind, timeout=60)
        try:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if re.match(self.server.refused, f"{self.command} {self.path}"):
                self.send_error(HTTPStatus.FORBIDDEN)
                return
            self._ask(connection, body)
            self._answer(connection.getresponse())
        except (OSError, HTTPException):
            # It is away, or was killed meanwhile: so is this.
            self.connection.shutdown(socket.SHUT_RDWR)
        finally:
            connection.close()

    def _ask(self, connection: HTTPConnection, body: bytes) -> None:
        # A proxy is asked for the whole address.
        asked = urlsplit(self.path)
        target = asked._replace(scheme="", netloc="").geturl()
        connection.putrequest(self.command, target, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _FRAMING | {"expect"}:
                connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)

    def _answer(self, answer: HTTPResponse) -> None:
        data = answer.read()
        status = answer.status
        if status == HTTPStatus.OK and "Content-Range" in answer.headers:
            status = HTTPStatus.PARTIAL_CONTENT
        length = answer.headers["Content-Length"] if self.command == "HEAD" else str(len(data))
        self.send_response_only(status)
        for name, value in answer.headers.items():
            if name.lower() not in _FRAMING:
                self.send_header(name, value)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", length or "0")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815


@contextmanager
def front(port: int, behind: int, refused: str = NOTHING) -> Iterator[None]:
    """Stand at `port`, before the server at `behind`, for the block.

    refused: an expression for the beginning of requests that are forbidden, method and path.
    """
    with _Front(port, behind, refused) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="s3-front")
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
