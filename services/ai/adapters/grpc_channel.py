"""Channels to providers that speak gRPC, and what their statuses mean for whoever waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from services.ai.adapters.http_failures import unreachable, unreadable
from services.ai.capabilities import (
    ProviderBusyError,
    ProviderError,
    ProviderRefusedError,
    ProviderTimeoutError,
)

_OPTIONS = (
    # A learner would wait for gRPC's own patience with an address that is away.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.enable_retries", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)
# How long a refusal may take to come before sound is sent: nobody waits for that who has only begun
# to speak.
_REFUSAL_S = 0.05
CALL_IS_OVER: tuple[type[Exception], ...] = (grpc.RpcError, asyncio.InvalidStateError)
"""What grpc.aio raises where a call has ended."""
# What another try may not have, and a mended setting would.
_REFUSED = {
    grpc.StatusCode.UNAUTHENTICATED: "does not accept the key or the account",
    grpc.StatusCode.PERMISSION_DENIED: "does not accept the key or the account",
    grpc.StatusCode.NOT_FOUND: "does not know the model or the address",
    grpc.StatusCode.UNIMPLEMENTED: "does not know the model or the address",
}
_OF_THE_REQUEST = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION})


def channel_to(base_url: str) -> grpc.aio.Channel:
    """Return a channel to an address as the engine file has it: https for TLS, http without."""
    parts = urlsplit(base_url)
    secure = parts.scheme == "https"
    target = parts.netloc if parts.port else f"{parts.netloc}:{443 if secure else 80}"
    if secure:
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options=_OPTIONS)
    return grpc.aio.insecure_channel(target, options=_OPTIONS)


class LateChannel:
    """A channel that is made when it is first asked for: it belongs to the loop it is made in."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._channel: grpc.aio.Channel | None = None

    def get(self) -> grpc.aio.Channel:
        """Return the channel."""
        if self._channel is None:
            self._channel = channel_to(self._base_url)
        return self._channel

    async def aclose(self) -> None:
        """Close it where it was made."""
        if self._channel is not None:
            await self._channel.close()


async def exchange(
    who: str,
    call: Any,
    requests: AsyncIterator[Any],
    over: tuple[type[Exception], ...] = CALL_IS_OVER,
) -> AsyncGenerator[Any, None]:
    """Write ``requests`` to a stream in both directions, and yield what it answers.

    ``call`` is grpc.aio's or Google's wrapper around it, begun without requests: fed with an
    iterator, it hides the status of a refusal behind the write that it cut short. ``over`` is what
    it raises at a call that has ended. Closing the generator ends the call. Raises
    ``ProviderError``.
    """
    ended = asyncio.ensure_future(call.code())

    async def write() -> None:
        first = True
        try:
            async for request in requests:
                await call.write(request)
                if first:
                    # A write that meets a refusal on its way hides it behind an INTERNAL of grpc's
                    # own. Who refuses does so at the first message.
                    await asyncio.wait({ended}, timeout=_REFUSAL_S)
                    first = False
                if ended.done():
                    return
            await call.done_writing()
        except over:
            # It is over; the status says why.
            return

    writing = asyncio.create_task(write())
    try:
        while (response := await _next(call, over)) is not grpc.aio.EOF:
            if response is None:
                # grpc's word for a message that cannot be read.
                raise unreadable(who)
            yield response
        code = await ended
        if code is not grpc.StatusCode.OK:
            raise failure(who, code, _retry_after_s(await call.trailing_metadata()))
        await writing
    finally:
        writing.cancel()
        call.cancel()
        await asyncio.gather(writing, ended, return_exceptions=True)


async def _next(call: Any, over: tuple[type[Exception], ...]) -> Any:
    try:
        return await call.read()
    except over:
        return grpc.aio.EOF


def _retry_after_s(trailing: Any) -> float | None:
    """Return how long a failed call asks to be left alone (google.rpc.RetryInfo), or None."""
    for name, value in trailing or ():
        if name != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        try:
            status = status_pb2.Status.FromString(value)
        except DecodeError:
            continue
        info = error_details_pb2.RetryInfo()
        for detail in status.details:
            if detail.Unpack(info):
                return float(info.retry_delay.ToTimedelta().total_seconds())
    return None


def failure(who: str, code: grpc.StatusCode, retry_after_s: float | None = None) -> ProviderError:
    """Return the error for a call that ended with ``code``."""
    told = code.name
    if code in _REFUSED:
        return ProviderRefusedError(f"{who} {_REFUSED[code]} ({told})")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return ProviderBusyError(f"{who} takes no more requests now ({told})", retry_after_s)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ProviderTimeoutError(f"{who} took too long ({told})")
    if code is grpc.StatusCode.UNAVAILABLE:
        return unreachable(who)
    if code in _OF_THE_REQUEST:
        return ProviderError(f"{who} refuses the request ({told})", retryable=False, elsewhere=True)
    return ProviderError(f"{who} failed ({told})", retryable=True)
