"""How a Redis-compatible server is reached, and what its failures are called here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

from redis import asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from services.common.errors import Unavailable

PREFIX = "parley:"
"""Before the name of every key: the server may be others' as well."""

# A call that takes longer is given up: whoever asks has another way, and takes it.
_CONNECT_SECONDS = 1.0
_ANSWER_SECONDS = 2.0
# Full policy: one more waits for a connection, as long as for an answer.
_CONNECTIONS = 16

Redis = redis.Redis
"""The client. Its calls are awaited by `answered` alone, which bounds and types their failures."""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Redis]:
    """Yield a client of the server at `url`. It need not be there yet, nor stay.

    A connection that broke is made anew by the next call; a call is never made twice.
    """
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=_CONNECTIONS,
        timeout=_ANSWER_SECONDS,
        socket_connect_timeout=_CONNECT_SECONDS,
        # `answered` has one. The client's own goes by `asyncio.wait_for`, in which Python 3.11
        # loses a cancellation that comes in the moment of the answer: what was cancelled went on.
        socket_timeout=None,
        # Sent again, an event would be there twice; and whoever calls knows better how long to try.
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        protocol=2,
    )
    client = Redis(connection_pool=pool)
    try:
        yield client
    finally:
        await client.aclose()
        await pool.aclose()


async def answered(call: Awaitable[Any]) -> Any:
    """Return what the server answers to a call of the client's.

    Raises:
        Unavailable: PEER_UNAVAILABLE, it does not answer in time, or not as it should; the cause
            says how.
    """
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await call
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable(
            "Redis does not answer as it should.",
            reason="PEER_UNAVAILABLE",
            retry_after=1.0,
            metadata={"peer": "redis"},
        ) from error
