"""How the vendors' clients that speak HTTP are used.

They ask twice only what nobody can have begun, follow nobody elsewhere, where key and speech would
go along, and read no headers from the environment.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeVar

import httpx2

from services.ai.engine_file import RemotePart

T = TypeVar("T")

_CONNECTED = "parley_connected"
# What the library says where a connection ended without a byte of an answer; of an answer that is
# no HTTP it says something else, by the same exception.
_NO_ANSWER = "Server disconnected"

_environment = Lock()


@contextmanager
def without(variable: str) -> Iterator[None]:
    """Take an environment variable away meanwhile.

    A vendor's client adds the headers of one to every request, with no argument that forbids it.
    """
    with _environment:
        value = os.environ.pop(variable, None)
        try:
            yield
        finally:
            if value is not None:
                os.environ[variable] = value


def http_arguments(part: RemotePart) -> dict[str, Any]:
    """Return what a vendor's own HTTP client is made with, for ``begun`` among others."""
    return {
        "timeout": httpx2.Timeout(part.first_timeout_s, connect=part.connect_timeout_s),
        "follow_redirects": False,
        "event_hooks": {"request": [_note_connecting]},
    }


async def _note_connecting(request: httpx2.Request) -> None:
    """Have the request know whether a connection was made for it."""

    async def trace(event: str, _: object) -> None:
        if event.endswith("connect_tcp.started"):
            request.extensions[_CONNECTED] = True

    request.extensions["trace"] = trace


async def begun(request: Callable[[], Awaitable[T]]) -> T:
    """Make a request, once more where the provider cannot have begun it, as far as one can tell.

    That is where no connection was made, and where a kept one ended without an answer: servers
    close those while nothing is asked, and that looks the same as being closed over the request.
    What was sent on a new connection is not sent again, since it may have been carried out, and
    nor is what was answered with anything, or not in time.

    The client must be made with ``http_arguments``. Raises what the client raises.
    """
    try:
        return await request()
    except Exception as error:
        if not _cannot_have_begun(error.__cause__):
            raise
    return await request()


def _cannot_have_begun(cause: BaseException | None) -> bool:
    if isinstance(cause, httpx2.ConnectError):
        return True
    if isinstance(cause, httpx2.RemoteProtocolError):
        ended = str(cause).startswith(_NO_ANSWER)
    else:
        ended = isinstance(cause, httpx2.ReadError | httpx2.WriteError)
    return (
        ended
        and isinstance(cause, httpx2.RequestError)
        and _CONNECTED not in cause.request.extensions
    )
