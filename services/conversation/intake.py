"""The learner's side of a session where it comes beside the responses: uploads and pushed batches.

One a session. It puts overtaken messages in order, drops what came before, and hands everything to
the session one message at a time, whichever call brought it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from services.conversation import problems
from services.conversation.push_order import PushOrder, Request


class Session(Protocol):
    """Whom the learner's side is handed to."""

    async def receive(self, message: Request, /) -> None:
        """Take one message; waits where it comes too fast."""
        ...


class Intake:
    """Takes messages in order. `close` it with its session.

    Full policy: see `PushOrder`; what it lets in waits its turn, and a sender that waits for its
    answers is slowed by that.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._order = PushOrder()
        self._one_at_a_time = asyncio.Lock()
        self._handing: set[asyncio.Task[None]] = set()
        self._upload: asyncio.Future[None] | None = None

    def begin(self, seq: int, first_seq: int) -> None:
        """The client has subscribed, or has come back. See `SubscribeRequest` for the numbers."""
        self._order = PushOrder(seq, first_seq)

    async def push(self, batch: Sequence[Request]) -> int:
        """Take a batch; return the last number up to which nothing is missing.

        What is in order is handed on though the call be cancelled: it will not be sent again by
        somebody who saw its number acknowledged.

        Raises:
            InvalidArgument: SEQUENCE_GAP; nothing of the batch is taken.
            FailedPrecondition: CONVERSATION_ENDED, before all of it was handed on.
        """
        order = self._order
        ready = order.take(batch)
        if ready:
            task = asyncio.create_task(self._hand_on(ready))
            self._handing.add(task)
            task.add_done_callback(self._handing.discard)
            # Not awaited itself: it would be cancelled with this call.
            await asyncio.wait({task})
            if task.cancelled():
                raise problems.ended()
            task.result()
        elif self._one_at_a_time.locked():
            # Repeated while the first is still being handed on.
            async with self._one_at_a_time:
                pass
        return order.last_seq

    async def _hand_on(self, messages: Sequence[Request]) -> None:
        # The lock is fair: batches are handed on in the order in which they became complete.
        async with self._one_at_a_time:
            for message in messages:
                await self._session.receive(message)

    def begin_upload(self) -> asyncio.Future[None]:
        """A stream of the learner's side begins; return what is done when it must end.

        It must when another one follows it, or with the session.
        """
        self._end_upload()
        self._upload = asyncio.get_running_loop().create_future()
        return self._upload

    def _end_upload(self) -> None:
        if self._upload is not None and not self._upload.done():
            self._upload.set_result(None)

    async def upload(self, message: Request) -> None:
        """Take the next message of a stream; one that came before is ignored."""
        if self._order.follows(message.seq):
            async with self._one_at_a_time:
                await self._session.receive(message)

    @property
    def last_seq(self) -> int:
        """The last number up to which nothing is missing."""
        return self._order.last_seq

    def close(self) -> None:
        """The session is over: what waits is not handed on any more."""
        self._end_upload()
        for task in self._handing:
            task.cancel()
