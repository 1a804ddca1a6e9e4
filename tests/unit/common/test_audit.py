"""The files of what was done to accounts: one a day, kept for so many days."""

from __future__ import annotations

import json
from collections import Counter
from contextvars import copy_context
from pathlib import Path

from structlog.testing import capture_logs

from services.common.audit import AuditTrail
from services.common.call_context import (
    Caller,
    caller_var,
    calling_service_var,
    request_id_var,
)
from services.common.clock import ManualClock

DAY = 86_400.0


def lines(folder: Path) -> dict[str, list[str]]:
    return {
        each.stem: [json.loads(line)["event"] for line in each.read_text("utf-8").splitlines()]
        for each in sorted(folder.iterdir())
    }


async def test_each_day_has_its_file_and_old_ones_go(tmp_path: Path):
    folder, clock = tmp_path / "audit", ManualClock()
    trail = AuditTrail(folder, clock, days=2)
    days = []
    for number in range(5):
        days.append(clock.now().date().isoformat())
        trail.note("signed_in", user_id="u", number=number)
        trail.note("signed_out", user_id="u")
        await clock.advance(DAY)
    assert lines(folder) == {day: ["signed_in", "signed_out"] for day in days[-3:]}


async def test_for_ever_means_for_ever(tmp_path: Path):
    clock = ManualClock()
    trail = AuditTrail(tmp_path, clock, days=0)
    for _ in range(3):
        trail.note("signed_in", user_id="u")
        await clock.advance(400 * DAY)
    assert len(lines(tmp_path)) == 3


def test_a_restart_goes_on_in_the_same_file(tmp_path: Path):
    clock = ManualClock()
    for _ in range(2):
        AuditTrail(tmp_path, clock, days=30).note("signed_in", user_id="u", ended_sessions=2)
    (content,) = (each.read_text("utf-8") for each in tmp_path.iterdir())
    first, second = map(json.loads, content.splitlines())
    assert first == second
    assert first["at"] == clock.now().isoformat(timespec="milliseconds")
    assert (first["user_id"], first["ended_sessions"]) == ("u", 2)


def test_where_it_cannot_be_written_the_log_says_so_and_nothing_else_is_hindered(tmp_path: Path):
    folder = tmp_path / "audit"
    folder.write_text("a file is in the way")
    with capture_logs() as logged:
        AuditTrail(folder, ManualClock(), days=0).note("signed_in", user_id="u")
    assert [each["event"] for each in logged] == ["signed_in", "audit_not_written"]


async def test_what_comes_in_rows_is_noted_once_a_minute_for_each_it_is_about(tmp_path: Path):
    clock = ManualClock()
    trail = AuditTrail(tmp_path, clock, days=0)
    for _ in range(2):
        for what in ("one", "one", "another"):
            trail.note_once_a_minute(what, "conversation_read", conversation_id=what)
        trail.note_once_a_minute("one", "conversation_exported")
        await clock.advance(61)
    ((_, events),) = lines(tmp_path).items()
    assert Counter(events) == {"conversation_read": 4, "conversation_exported": 2}


def test_a_line_says_by_which_call_it_came(tmp_path: Path):
    trail = AuditTrail(tmp_path, ManualClock(), days=0)

    def called() -> None:
        request_id_var.set("a request")
        caller_var.set(Caller("u", "a session", "a token"))
        calling_service_var.set("user")
        trail.note("conversations_exported", user_id="u")

    copy_context().run(called)
    (content,) = (each.read_text("utf-8") for each in tmp_path.iterdir())
    line = json.loads(content)
    assert (line["request_id"], line["session_id"], line["service"]) == (
        "a request",
        "a session",
        "user",
    )
    assert "token" not in content
