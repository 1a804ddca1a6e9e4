"""Envoy's administration: HTTP over a Unix socket, which no page in a browser can reach."""

from __future__ import annotations

import socket
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

_SECONDS = 2.0


class AdministrationError(Exception):
    """Nobody answers there, or not as asked; the message says what."""


class _Connection(HTTPConnection):
    """HTTP to whoever listens on a Unix socket."""

    def __init__(self, path: Path, seconds: float) -> None:
        # The name is for the header alone.
        super().__init__("gateway", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        """Open the socket in the place of a TCP connection."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(path: Path, what: str, *, method: str = "GET", seconds: float = _SECONDS) -> bytes:
    """Return what the Envoy whose socket is `path` answers to `what`, such as `/ready`.

    Args:
        path: the socket (`GatewaySettings.admin_socket`).
        what: path and query of https://www.envoyproxy.io/docs/envoy/latest/operations/admin.
        method: POST for what changes something.
        seconds: the longest silence.

    Raises:
        AdministrationError: nobody answers, or not with 200.
    """
    connection = _Connection(path, seconds)
    try:
        connection.request(method, what)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, HTTPException) as error:
        raise AdministrationError(f"{path} does not answer {what}: {error}") from error
    finally:
        connection.close()
    if answer.status != HTTPStatus.OK:
        raise AdministrationError(f"{path} answers {what} with {answer.status}")
    return body
