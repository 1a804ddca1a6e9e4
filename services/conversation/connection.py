"""A client's connection to a session: what to write to it, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from services.common.errors import ParleyError
from services.conversation.responses import Response, Responses


class Connection:
    """A client's connection: what to write to it, in order.

    `aborted` is set by the transport: it is called when the connection must end, though it may be
    in the middle of a write; `error` says why.
    """

    def __init__(self, responses: Responses, first: list[Response]) -> None:
        self._responses = responses
        self._first = deque(first)
        self.error: ParleyError | None = None
        self.written = 0
        """How many responses were handed out to be written."""
        self.aborted: Callable[[], None] = _nothing

    async def next(self) -> Response | None:
        """Return the next response to write; None after the last. Safe to cancel.

        Raises:
            ParleyError: the connection ends with it.
        """
        while True:
            if self.error is not None:
                raise self.error
            response = self._first.popleft() if self._first else self._responses.next()
            if response is not None:
                self.written += 1
                return response
            if self._responses.finished:
                if self._responses.error is not None:
                    raise self._responses.error
                return None
            await self._responses.wait()

    def put_aside(self, response: Response) -> None:
        """Write `response` next, to this client alone: not numbered, and not kept for resuming.

        At most one waits: a client that does not read gets no second.
        """
        if not self._first:
            self._first.append(response)
            self._responses.wake()

    def abort(self, error: ParleyError) -> None:
        """End the connection with `error`."""
        if self.error is None:
            self.error = error
            self._responses.wake()
            self.aborted()


def _nothing() -> None:
    """What an abort calls before the transport has said what it wants called."""
