"""Events that come by way of a stream, held to what the contract says of those that are called."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from parley.history.v1 import history_pb2
from services.common.interceptors.validation import malformed, validate
from services.history import translate
from services.history.application import History


class EventIntake:
    """Stores serialized `ConversationEvent`s."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def store(self, payloads: Sequence[bytes]) -> None:
        """Store the events, all or none; those that are known already change nothing.

        Raises:
            InvalidArgument: MALFORMED_MESSAGE, INVALID_REQUEST, EVENT_INVALID.
            AlreadyExists: EVENT_CONFLICT.
        """
        try:
            events = [history_pb2.ConversationEvent.FromString(each) for each in payloads]
        except DecodeError as error:
            raise malformed() from error
        request = history_pb2.IngestRequest(events=events)
        validate(request)
        await self._history.ingest(translate.to_events(request.events))
