"""Channels to providers that speak gRPC, and what their statuses mean for whoever waits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import grpc
import grpc.aio

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


@contextmanager
def failures(who: str) -> Iterator[None]:
    """Tell of what a gRPC call raises as ``ProviderError``; its sentence is not passed on."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise failure(who, error.code()) from error
    except asyncio.InvalidStateError as error:
        # The call was over before the request was written.
        raise unreachable(who) from error
    except (grpc.aio.UsageError, ValueError, TypeError) as error:
        raise unreadable(who) from error


def failure(who: str, code: grpc.StatusCode) -> ProviderError:
    """Return the error for a call that ended with ``code``."""
    told = code.name
    if code in _REFUSED:
        return ProviderRefusedError(f"{who} {_REFUSED[code]} ({told})")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return ProviderBusyError(f"{who} takes no more requests now ({told})")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ProviderTimeoutError(f"{who} took too long ({told})")
    if code is grpc.StatusCode.UNAVAILABLE:
        return unreachable(who)
    if code in _OF_THE_REQUEST:
        return ProviderError(f"{who} refuses the request ({told})", retryable=False, elsewhere=True)
    return ProviderError(f"{who} failed ({told})", retryable=True)
