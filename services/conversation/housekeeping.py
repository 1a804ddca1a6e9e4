"""What is done now and then: closing what nobody can resume, deleting what is no longer needed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from services.common.clock import Clock
from services.common.going_on import going_on
from services.common.outbox_relay import OutboxRelay
from services.conversation.adapters.store import SqlStore
from services.conversation.journal import ConversationOver, Journal
from services.conversation.plan import SessionLimits

# Nothing waits for it; what a learner deleted elsewhere must not lie about here for long.
_EVERY_S = 300.0


class Housekeeping:
    """Runs beside the service."""

    def __init__(
        self,
        store: SqlStore,
        journal: Journal,
        relay: OutboxRelay[Any],
        clock: Clock,
        limits: SessionLimits,
    ) -> None:
        self._store = store
        self._journal = journal
        self._relay = relay
        self._clock = clock
        self._oldest = timedelta(seconds=limits.session_s + limits.resume_s)

    async def run(self) -> None:
        """Do it, again and again, until cancelled."""
        while True:
            with going_on("housekeeping_failed"):
                await self.once()
            await self._clock.sleep(_EVERY_S)

    async def once(self) -> None:
        """End the conversations that are past resuming, and prune the tables."""
        now = self._clock.now()
        for conversation_id, user_id, lasted_ms in await self._store.abandoned(now - self._oldest):
            self._journal.submit(ConversationOver(conversation_id, user_id, lasted_ms, now))
        await self._store.prune()
        await self._relay.prune()
