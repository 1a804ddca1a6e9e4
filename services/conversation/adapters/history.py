"""Events to the history service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from parley.history.v1 import history_pb2
from services.common.errors import InvalidArgument
from services.common.outbox import OutboxEvent
from services.common.refusals import EventsRefusedError, send_each
from services.common.status import rpc_errors

if TYPE_CHECKING:
    from parley.history.v1.history_pb2_grpc import HistoryServiceAsyncStub


class HistoryPublisher:
    """Hands outbox events to `history.v1.Ingest`, which knows an event again by its id."""

    def __init__(self, stub: HistoryServiceAsyncStub) -> None:
        self._stub = stub

    async def publish(self, events: Sequence[OutboxEvent]) -> None:
        """Send `events`, of any conversations; returning means that history stored them all.

        Raises:
            EventsRefusedError: it never will store some; it has stored the others.
        """
        refusals = await send_each(events, self._send)
        if refusals:
            raise EventsRefusedError(
                {events[place].event_id: why for place, why in refusals.items()}
            )

    async def _send(self, events: Sequence[OutboxEvent]) -> None:
        try:
            written = [history_pb2.ConversationEvent.FromString(each.payload) for each in events]
        except DecodeError as error:
            raise InvalidArgument("It is no event.", reason="MALFORMED_MESSAGE") from error
        with rpc_errors("history"):
            await self._stub.Ingest(history_pb2.IngestRequest(events=written))
