"""The live sessions of this process, and the tasks they run in."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextvars import Context
from typing import Any

import structlog

from services.common.telemetry import bind_log_context
from services.conversation import problems
from services.conversation.claims import Claims, HeldElsewhereError, NoClaims
from services.conversation.live import LiveSession

_log = structlog.get_logger(__name__)


# Each is a task and what it still holds, a recording's last minute of sound at most.
_MOST_LEFT = 200


class Directory:
    """Finds live sessions, bounds their number, and owns their tasks.

    Full policy: a session more than `max_sessions` is refused with AT_CAPACITY, one more than
    `max_per_user` of one learner with TOO_MANY_CONVERSATIONS.
    """

    def __init__(
        self,
        max_sessions: int,
        max_per_user: int,
        claims: Claims | None = None,
        leaving: asyncio.Event | None = None,
    ) -> None:
        self._max_sessions = max_sessions
        self._max_per_user = max_per_user
        self._claims: Claims = claims or NoClaims()
        self._leaving = leaving
        self._sessions: dict[str, LiveSession] = {}
        self._group: asyncio.TaskGroup | None = None
        self._left = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(list(self._sessions.values()))

    def find(self, conversation_id: str, user_id: str) -> LiveSession:
        """Return a live session of the user's.

        Raises:
            NotFound: NO_LIVE_SESSION, also for another user's.
            Unavailable: SERVICE_STOPPING, there is none any more, for the process goes away.
        """
        live = self._sessions.get(conversation_id)
        if live is None or live.plan.user_id != user_id or not live.ready.done() or live.over:
            # What was sent before its sender heard of the end is to come again, elsewhere.
            leaving = self._leaving is not None and self._leaving.is_set()
            raise problems.stopping() if leaving else problems.no_live_session()
        return live

    def is_over_for_good(self, conversation_id: str) -> bool:
        """Whether it was held here until its end, which may not be stored yet."""
        live = self._sessions.get(conversation_id)
        return live is not None and live.over_for_good

    def check_room(self, user_id: str) -> None:
        """Make sure that one more session of the user's fits.

        Raises:
            ResourceExhausted: AT_CAPACITY or TOO_MANY_CONVERSATIONS.
        """
        if len(self._sessions) >= self._max_sessions or self._group is None:
            raise problems.at_capacity()
        own = sum(live.plan.user_id == user_id and not live.over for live in self)
        if own >= self._max_per_user:
            raise problems.too_many_conversations(self._max_per_user)

    async def begin(self, live: LiveSession) -> None:
        """Run `live` until its end.

        Raises:
            Unavailable: SESSION_ELSEWHERE, another process holds it.
        """
        if self._group is None:
            raise problems.at_capacity()
        try:
            await self._claims.take(live.conversation_id)
        except HeldElsewhereError as error:
            raise problems.session_elsewhere(error.way) from error
        if self._group is None:
            await self._claims.give_back(live.conversation_id)
            raise problems.at_capacity()
        self._sessions[live.conversation_id] = live
        self._empty.clear()
        # A context of its own: a session outlives the call that began it, with its deadline and
        # the learner's token.
        self._group.create_task(
            self._run(live), name=f"session {live.conversation_id}", context=Context()
        )

    async def _run(self, live: LiveSession) -> None:
        bind_log_context(conversation_id=live.conversation_id)
        try:
            await live.run()
        except Exception as error:  # noqa: BLE001 - one session's bug must not end the others
            _log.error("session_crashed", exc_info=error)
            live.crashed()
        finally:
            try:
                await self._claims.give_back(live.conversation_id)
            finally:
                if self._sessions.get(live.conversation_id) is live:
                    del self._sessions[live.conversation_id]
                if not self._sessions:
                    self._empty.set()

    def lose(self, conversation_id: str) -> None:
        """Let go of a session that another process goes on with."""
        live = self._sessions.get(conversation_id)
        if live is not None and live.ready.done() and not live.over:
            live.drain(0.0)

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what a session left undone, beside the sessions, until they are all stopped.

        Full policy: with `_MOST_LEFT` of them under way another is dropped.
        """
        if self._group is None or self._left >= _MOST_LEFT:
            _log.warning("left_undone", waiting=self._left)
            work.close()
            return
        self._left += 1
        self._group.create_task(self._run_left(work), context=Context())

    async def _run_left(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - it must not end the sessions
            _log.error("left_undone", exc_info=error)
        finally:
            self._left -= 1

    async def emptied(self) -> None:
        """Wait until no session is left."""
        await self._empty.wait()

    async def run(self) -> None:
        """Hold the sessions' tasks until cancelled; they are cancelled with it."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None
