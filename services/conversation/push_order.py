"""Batches that overtook each other, put in order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from parley.conversation.v1 import conversation_pb2
from services.common.errors import InvalidArgument

Request = conversation_pb2.ConverseRequest

# Six requests of a browser in flight, of 50 messages each at most: a batch overtakes no more.
REORDER_WINDOW = 300


class PushOrder:
    """The order of one session's pushed messages, by `seq` from 1.

    Full policy: a message more than `REORDER_WINDOW` ahead of the next one expected is refused.
    """

    def __init__(self) -> None:
        self.last_seq = 0
        """The last number up to which nothing is missing."""
        self._ahead: dict[int, Request] = {}

    def take(self, batch: Iterable[Request]) -> Iterator[Request]:
        """Add a batch; return what is now in order. Repeated numbers are ignored.

        Raises:
            InvalidArgument: SEQUENCE_GAP; nothing of the batch is taken.
        """
        messages = list(batch)
        for message in messages:
            if message.seq == 0 or message.seq > self.last_seq + REORDER_WINDOW:
                raise InvalidArgument(
                    "The batch is too far ahead of what has been received.",
                    reason="SEQUENCE_GAP",
                    metadata={"last_seq": str(self.last_seq)},
                )
        for message in messages:
            if message.seq > self.last_seq:
                self._ahead[message.seq] = message
        return self._in_order()

    def _in_order(self) -> Iterator[Request]:
        ready: list[Request] = []
        while (message := self._ahead.pop(self.last_seq + 1, None)) is not None:
            self.last_seq += 1
            ready.append(message)
        return iter(ready)
