"""The services that keep something of users, asked to erase it under this service's own name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from parley.conversation.v1 import conversation_pb2
from parley.conversation.v1.conversation_pb2_grpc import ConversationServiceStub
from parley.history.v1 import history_pb2
from parley.history.v1.history_pb2_grpc import HistoryServiceStub
from parley.media.v1 import media_pb2
from parley.media.v1.media_pb2_grpc import MediaServiceStub
from services.common.status import rpc_errors
from services.user.erasing import Eraser

if TYPE_CHECKING:
    from services.common.channel import Peers

# Deleting the files of years of practice takes its time; nobody waits for it.
_TIMEOUT_S = 120.0


class ConversationEraser:
    """Ends live talks, and erases what is kept for going on with them."""

    def __init__(self, peers: Peers) -> None:
        self._stub = ConversationServiceStub(peers.channel("conversation"))

    async def erase(self, user_id: str) -> int:
        """See `Eraser`."""
        request = conversation_pb2.EraseUserRequest(user_id=user_id)
        with rpc_errors("conversation"):
            answer = await self._stub.EraseUser(request, timeout=_TIMEOUT_S)
        return int(answer.erased + answer.remaining)


class HistoryEraser:
    """Erases transcripts, notes and mistakes."""

    def __init__(self, peers: Peers) -> None:
        self._stub = HistoryServiceStub(peers.channel("history"))

    async def erase(self, user_id: str) -> int:
        """See `Eraser`."""
        request = history_pb2.EraseUserRequest(user_id=user_id)
        with rpc_errors("history"):
            answer = await self._stub.EraseUser(request, timeout=_TIMEOUT_S)
        return int(answer.erased + answer.remaining)


class MediaEraser:
    """Erases recordings and uploaded files."""

    def __init__(self, peers: Peers) -> None:
        self._stub = MediaServiceStub(peers.channel("media"))

    async def erase(self, user_id: str) -> int:
        """See `Eraser`."""
        request = media_pb2.EraseUserRequest(user_id=user_id)
        with rpc_errors("media"):
            answer = await self._stub.EraseUser(request, timeout=_TIMEOUT_S)
        return int(answer.erased + answer.remaining)


def erasers(peers: Peers) -> Mapping[str, Eraser]:
    """Return every service that keeps something of users, in the order to ask them."""
    return {
        "conversation": ConversationEraser(peers),
        "history": HistoryEraser(peers),
        "media": MediaEraser(peers),
    }
