"""How a service calls another.

    stub = HistoryServiceStub(runtime.peers.channel("history"))
    with rpc_errors("history"):
        await stub.Ingest(request)

Every call carries the request id, this service's identity, the learner's token when there is one,
and the time that is left; a unary call without any limit gets the peers' own. There are no client
interceptors: in grpc.aio those put a task and a queue under every message of a stream.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from services.common.call_context import caller_or_none, remaining_seconds, request_id
from services.common.limits import DEFAULT_LIMITS, Limits
from services.common.peer_tls import PeerTls, target_options
from services.common.service_identity import ServiceSigner

Metadata = Sequence[tuple[str, str | bytes]]

REQUEST_ID_KEY = "x-request-id"

_ATTEMPTS = 3


def channel_options(
    limits: Limits = DEFAULT_LIMITS, idempotent: Iterable[str] = ()
) -> list[tuple[str, Any]]:
    """Return the options of a channel to a Parley service.

    Args:
        limits: the message sizes.
        idempotent: unary methods (`parley.user.v1.UserService/GetProfile`) that are tried again,
            after 50 ms and then 100 ms, when the peer is UNAVAILABLE.
    """
    return [
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", limits.max_message_bytes),
        ("grpc.max_metadata_size", limits.max_metadata_bytes),
        # A dead peer whose machine vanished is noticed after 20 + 5 s, even with no call open.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # A restarted peer is found quickly: gRPC's own first pause is a second, growing to two
        # minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.enable_retries", 1),
        ("grpc.service_config", json.dumps(_service_config(idempotent))),
    ]


class Peers:
    """The channels to the other services, one each, opened when first asked for."""

    def __init__(
        self,
        addresses: Mapping[str, str],
        signer: ServiceSigner,
        limits: Limits = DEFAULT_LIMITS,
        idempotent: Mapping[str, Sequence[str]] | None = None,
        tls: PeerTls | None = None,
    ) -> None:
        self._addresses = dict(addresses)
        self._signer = signer
        self._limits = limits
        self._idempotent = dict(idempotent or {})
        self._credentials = tls.channel_credentials() if tls else None
        self._channels: dict[str, PeerChannel] = {}

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        addresses: Mapping[str, str],
        signer: ServiceSigner,
        limits: Limits = DEFAULT_LIMITS,
        tls: PeerTls | None = None,
    ) -> AsyncIterator[Peers]:
        """Yield peers whose channels are closed when the block is left.

        Raises:
            KeyFileError: the files of `tls` cannot be used.
        """
        peers = cls(addresses, signer, limits, tls=tls)
        try:
            yield peers
        finally:
            await peers.close()

    def channel(self, name: str, idempotent: Sequence[str] = ()) -> PeerChannel:
        """Return the channel to the service `name`; what is passed first for `idempotent` counts.

        Raises:
            KeyError: no address of such a service was given.
        """
        found = self._channels.get(name)
        if found is None:
            options = channel_options(self._limits, idempotent)
            opened = self._open(name, options)
            found = PeerChannel(opened, name, self._signer, self._limits.peer_deadline_seconds)
            self._channels[name] = found
        return found

    def _open(self, name: str, options: list[tuple[str, Any]]) -> grpc.aio.Channel:
        address = self._addresses[name]
        if self._credentials is None:
            return grpc.aio.insecure_channel(address, options=options)
        named = [*options, *target_options(name)]
        return grpc.aio.secure_channel(address, self._credentials, options=named)

    async def close(self) -> None:
        """Close every channel; calls in progress are cancelled."""
        channels, self._channels = list(self._channels.values()), {}
        for each in channels:
            await each.close()


class PeerChannel(grpc.aio.Channel):
    """A channel whose calls carry what is known about the call in progress."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        callee: str,
        signer: ServiceSigner | None,
        deadline_seconds: float,
    ) -> None:
        self._channel = channel
        self.callee = callee
        self._signer = signer
        self._deadline_seconds = deadline_seconds

    def outgoing_metadata(self, extra: Metadata | None = None) -> list[tuple[str, str | bytes]]:
        """Return the metadata of a call made now; `extra` wins over what would be added."""
        metadata = list(extra or ())
        given = {key for key, _ in metadata}
        if self._signer is not None:
            metadata.append(self._signer.metadata(self.callee))
        current, learner = request_id(), caller_or_none()
        if current and REQUEST_ID_KEY not in given:
            metadata.append((REQUEST_ID_KEY, current))
        if learner is not None and "authorization" not in given:
            metadata.append(("authorization", f"Bearer {learner.token}"))
        return metadata

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the callable of a unary method; it has a deadline even when none is given."""
        return self._carrying(self._channel.unary_unary(method, *args, **kwargs), unary=True)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the callable of a server-streaming method."""
        return self._carrying(self._channel.unary_stream(method, *args, **kwargs), unary=False)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the callable of a client-streaming method."""
        return self._carrying(self._channel.stream_unary(method, *args, **kwargs), unary=False)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the callable of a bidirectional method."""
        return self._carrying(self._channel.stream_stream(method, *args, **kwargs), unary=False)

    def _carrying(self, call: Callable[..., Any], *, unary: bool) -> Callable[..., Any]:
        def carrying(
            *args: Any,
            timeout: float | None = None,
            metadata: Metadata | None = None,
            **kwargs: Any,
        ) -> Any:
            limits = [timeout, remaining_seconds()]
            if unary and timeout is None:
                limits.append(self._deadline_seconds)
            timeout = min((each for each in limits if each is not None), default=None)
            carried = grpc.aio.Metadata(*self.outgoing_metadata(metadata))
            return call(*args, timeout=timeout, metadata=carried, **kwargs)

        return carrying

    async def __aenter__(self) -> PeerChannel:
        """Return the channel itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the channel."""
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close the channel; calls still going after `grace` seconds are cancelled."""
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the state of the connection."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state is another than `last_observed_state`."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the peer is connected."""
        await self._channel.channel_ready()


def _service_config(idempotent: Iterable[str]) -> dict[str, Any]:
    names = []
    for each in idempotent:
        service, _, method = each.lstrip("/").partition("/")
        names.append({"service": service, "method": method})
    if not names:
        return {}
    retry = {
        "maxAttempts": _ATTEMPTS,
        "initialBackoff": "0.05s",
        "maxBackoff": "0.5s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return {"methodConfig": [{"name": names, "retryPolicy": retry}]}
