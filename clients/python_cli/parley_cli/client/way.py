"""The way that a live session's calls take: the client's connection, or new ones of its own.

A network that goes silent (another Wi-Fi, a router that forgot, a laptop that slept) leaves a
connection that seems to be there and carries nothing. gRPC would send the next call over it too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import grpc.aio

from parley.conversation.v1 import conversation_pb2_grpc
from parley_cli.client.endpoint import Endpoint

Metadata = tuple[tuple[str, str], ...]


class Way(Protocol):
    """Where `Converse` is called."""

    def call(self, metadata: Metadata) -> Any:
        """Begin a call, as grpc.aio returns it."""
        ...

    async def renew(self) -> None:
        """Take a new connection from the next call on. Calls before it must be over."""
        ...

    async def close(self) -> None:
        """Close what was opened here."""
        ...


class ChannelWay:
    """Begins on the client's channel; each `renew` opens one that nothing else uses.

    So giving a connection up takes no other call along.

    Args:
        endpoint: where the server is.
        converse: the stub's method on the client's channel.
    """

    def __init__(self, endpoint: Endpoint, converse: Callable[..., Any]) -> None:
        self._endpoint = endpoint
        self._converse = converse
        self._own: grpc.aio.Channel | None = None

    def call(self, metadata: Metadata) -> Any:
        """Begin a call."""
        return self._converse(metadata=metadata)

    async def renew(self) -> None:
        """Take a connection of this session's own from the next call on."""
        await self.close()
        self._own = self._endpoint.channel()
        self._converse = conversation_pb2_grpc.ConversationServiceStub(self._own).Converse

    async def close(self) -> None:
        """Close the session's own connection; there may be none."""
        own, self._own = self._own, None
        if own is not None:
            await own.close()
