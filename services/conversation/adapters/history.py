"""Events to the history service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from parley.history.v1 import history_pb2
from services.common.outbox import OutboxEvent
from services.common.status import rpc_errors

if TYPE_CHECKING:
    from parley.history.v1.history_pb2_grpc import HistoryServiceAsyncStub


class HistoryPublisher:
    """Hands outbox events to `history.v1.Ingest`, which knows an event again by its id."""

    def __init__(self, stub: HistoryServiceAsyncStub) -> None:
        self._stub = stub

    async def publish(self, events: Sequence[OutboxEvent]) -> None:
        """Send `events`, of any conversations; returning means that history stored them all."""
        request = history_pb2.IngestRequest(
            events=[history_pb2.ConversationEvent.FromString(each.payload) for each in events]
        )
        with rpc_errors("history"):
            await self._stub.Ingest(request)
