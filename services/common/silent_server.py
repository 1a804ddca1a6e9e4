"""Connections to PostgreSQL that notice when the server says nothing any more.

A server that is stopped, or behind a line that is half open, refuses nothing: whoever waits for it
waits for ever, and tells nobody. The system notices only what is not even acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from psycopg import AsyncConnection

_log = structlog.get_logger(__name__)

ANSWERS_WITHIN_S = 10.0
"""A statement takes milliseconds, the slowest that a learner waits for less than a second. So much
more is for a disk that is busy and for others' locks; a learner whose turn is not stored hears of
it after that.
"""

# What asks whether an old connection still works asks nothing that could take time.
_PING_WITHIN_S = 2.0


class _Connection(AsyncConnection[Any]):
    """Hangs up when the server has said nothing for `answers_within_s` to what it was told."""

    answers_within_s = ANSWERS_WITHIN_S

    async def wait(self, *args: Any, **kwargs: Any) -> Any:
        """Wait for the server, as all that the driver does with a connection does."""
        # Of what we do the driver's own commits are SQLAlchemy's pings alone.
        within = self.answers_within_s
        within = min(within, _PING_WITHIN_S) if self.autocommit else within
        hanging_up = asyncio.get_running_loop().call_later(within, self._hang_up, within)
        try:
            return await super().wait(*args, **kwargs)
        finally:
            hanging_up.cancel()

    def _hang_up(self, within: float) -> None:
        """End the line under whoever waits: for them the server is gone, which is an error.

        Cancelling them instead would have the driver ask the server to stop, and wait for that.
        """
        _log.warning("database_silent", waited_s=within)
        if self.pgconn.socket >= 0:
            with socket.socket(fileno=os.dup(self.pgconn.socket)) as line:
                line.shutdown(socket.SHUT_RDWR)


def connecting(answers_within_s: float) -> Callable[..., Awaitable[AsyncConnection[Any]]]:
    """Return what connects as psycopg does; see `ANSWERS_WITHIN_S`."""

    async def connect(*args: Any, **kwargs: Any) -> AsyncConnection[Any]:
        connection = await _Connection.connect(*args, **kwargs)
        connection.answers_within_s = answers_within_s
        return connection

    return connect
