"""Messages that overtook each other, put in order. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from parley.conversation.v1 import conversation_pb2
from services.common.errors import InvalidArgument
from services.common.limits import DEFAULT_LIMITS

Request = conversation_pb2.ConverseRequest

REORDER_WINDOW = DEFAULT_LIMITS.push_reorder_messages


class PushOrder:
    """The order of one subscription's messages, by their `seq`.

    Full policy: a message more than `REORDER_WINDOW` ahead of the next one expected is refused.

    Args:
        start_seq: the place of `start` in the client's count. 0: the count begins at 1.
        first_seq: the lowest number that will come, when some below `start_seq` are sent again; 0
            when none are.
    """

    def __init__(self, start_seq: int = 0, first_seq: int = 0) -> None:
        self._start_seq = start_seq
        self._ahead: dict[int, Request] = {}
        self.last_seq = first_seq - 1 if 0 < first_seq <= start_seq else start_seq
        """The last number up to which nothing is missing."""

    def take(self, batch: Iterable[Request]) -> list[Request]:
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
            if message.seq > self.last_seq and message.seq != self._start_seq:
                self._ahead[message.seq] = message
        return self._in_order()

    def follows(self, seq: int) -> bool:
        """Tell whether the next message of a stream, which keeps its own order, has not come yet.

        Below the place of `start` messages are sent again, and the session knows what it had.
        """
        if self._start_seq < seq <= self.last_seq:
            return False
        self.last_seq = max(self.last_seq, seq)
        return True

    def _in_order(self) -> list[Request]:
        ready: list[Request] = []
        while True:
            following = self.last_seq + 1
            message = self._ahead.pop(following, None)
            if message is not None:
                ready.append(message)
            elif following != self._start_seq:
                # `start` itself came with the subscription.
                return ready
            self.last_seq = following
