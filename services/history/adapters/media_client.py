"""Asks the media service to delete recordings; what history's outbox relay publishes through."""

from __future__ import annotations

from collections.abc import Sequence

import grpc.aio

from parley.media.v1.media_pb2 import DeleteRecordingRequest
from parley.media.v1.media_pb2_grpc import MediaServiceStub
from services.common.errors import Code, ParleyError
from services.common.outbox import OutboxEvent
from services.common.status import rpc_errors


class RecordingDeleter:
    """Publishes `recording_deleted` events."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._media = MediaServiceStub(channel)

    async def publish(self, events: Sequence[OutboxEvent]) -> None:
        """Delete the recording that each event names. One that is gone already is fine.

        Raises:
            ParleyError: what the media service answered; the relay tries again.
        """
        for event in events:
            try:
                with rpc_errors("media"):
                    await self._media.DeleteRecording(
                        DeleteRecordingRequest(recording_id=event.payload.decode())
                    )
            except ParleyError as error:
                if error.code is not Code.NOT_FOUND:
                    raise
