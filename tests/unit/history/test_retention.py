"""Conversations that are older than they may become are deleted, and no others."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from services.common.audit import AuditTrail
from services.common.clock import ManualClock
from services.common.database import Database
from services.common.ids import new_id
from services.common.migrations import migrate
from services.common.outbox import Outbox
from services.history.adapters.store import SqlStore
from services.history.adapters.tables import OutboxRow
from services.history.application import History
from services.history.bootstrap import MIGRATIONS
from services.history.events import Envelope, Started
from services.history.ports import ConversationFilter
from services.history.retention import Retention

USERS = [new_id(), new_id()]
DAYS = 30


async def test_what_is_too_old_goes_whoever_it_belongs_to_and_the_rest_stays(tmp_path: Path):
    url = f"sqlite+aiosqlite:///{tmp_path}/history.sqlite3"
    await migrate(url, MIGRATIONS)
    async with Database.open(url) as database:
        clock = ManualClock()
        store = SqlStore(database, Outbox(OutboxRow, clock), clock)
        audit = AuditTrail(tmp_path / "audit", clock, days=0)
        history = History(store, lambda: None, audit)
        retention = Retention(history, store, clock, DAYS)
        kept = []
        for user_id in USERS:
            for days in (0, 1, DAYS - 1, DAYS + 1, 400):
                conversation_id = new_id()
                began = clock.now() - timedelta(days=days)
                envelope = Envelope(new_id(), conversation_id, user_id, began, "started")
                await history.ingest([Started(envelope, "free-talk", "Free talk", "scripted", "")])
                if days < DAYS:
                    kept.append(conversation_id)
        assert await retention.once() == 2 * len(USERS)
        assert await retention.once() == 0, "what is deleted is not found again"
        (trail,) = (tmp_path / "audit").iterdir()
        noted = [json.loads(each)["event"] for each in trail.read_text("utf-8").splitlines()]
        assert noted == 2 * len(USERS) * ["conversation_expired"]
        left = [
            each.conversation_id
            for user_id in USERS
            for each in (
                await history.conversations(ConversationFilter(user_id), 0, "")
            ).conversations
        ]
        assert sorted(left) == sorted(kept)
