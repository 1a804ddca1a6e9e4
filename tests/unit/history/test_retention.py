"""Conversations that are older than they may become are deleted, and no others."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.common.audit import AuditTrail
from services.common.clock import ManualClock
from services.common.database import Database
from services.common.ids import new_id
from services.common.migrations import migrate
from services.common.outbox import Outbox
from services.common.settings import SettingsError
from services.history.adapters.store import SqlStore
from services.history.adapters.tables import OutboxRow
from services.history.application import History
from services.history.bootstrap import MIGRATIONS
from services.history.events import Envelope, Started
from services.history.ports import ConversationFilter
from services.history.retention import Retention
from services.history.settings import HistorySettings


class DoneError(Exception):
    """Ends what would run for ever."""


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


@pytest.mark.parametrize("days", ["-1", "36501", "1000000", "1e400", "soon"])
def test_an_age_that_nothing_reaches_is_refused_at_the_start(days: str) -> None:
    """Before the calendar's beginning there is no time to compare with."""
    with pytest.raises(SettingsError, match="PARLEY_HISTORY_RETENTION_DAYS"):
        HistorySettings.load({"PARLEY_HISTORY_RETENTION_DAYS": days})


def test_the_greatest_age_is_one_that_can_be_reckoned_with() -> None:
    settings = HistorySettings.load({"PARLEY_HISTORY_RETENTION_DAYS": "36500"})
    assert (ManualClock().now() - timedelta(days=settings.retention_days)).year < 2000


async def test_an_error_that_nobody_foresaw_does_not_end_it() -> None:
    """As a task of the service's it would end the whole service."""

    class Torn:
        def reading(self) -> Any:
            raise ValueError("a secret that somebody said")

    class Hours(ManualClock):
        hours = 0

        async def sleep(self, seconds: float) -> None:
            self.hours += 1
            if self.hours == 3:
                raise DoneError

    unused: Any = None
    torn: Any = Torn()
    with capture_logs() as logged, pytest.raises(DoneError):
        await Retention(unused, torn, Hours(), DAYS).run()
    assert [(each["event"], each["reason"]) for each in logged] == (
        3 * [("retention_failed", "ValueError")]
    )
    # The trace is rendered without the messages in it.
    assert "secret" not in str([{**each, "exc_info": None} for each in logged])
