"""What is done to accounts: a line in the log, and one in a file of its day, kept for longer.

The files are `<data>/audit/2026-03-01.jsonl`, days in UTC, an object a line: `at`, `event` and what
the event says, with the account's id and never a name, a password or a token. The log turns over by
size; these go by days.
"""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import structlog

from services.common.call_context import request_id
from services.common.clock import Clock

_log = structlog.get_logger(__name__)

_SUFFIX = ".jsonl"


class AuditTrail:
    """Notes events; a file that cannot be written is told in the log, and hinders nothing else.

    Args:
        folder: where the files are; made with the first one.
        days: how long each is kept; 0: for ever.
    """

    def __init__(self, folder: Path, clock: Clock, days: int) -> None:
        self._folder = folder
        self._clock = clock
        self._days = days
        self._today: date | None = None

    def note(self, event: str, *, alarming: bool = False, **said: object) -> None:
        """Log `event`, as a warning where it is `alarming`, and write it to the day's file."""
        (_log.warning if alarming else _log.info)(event, **said)
        now = self._clock.now()
        line = {"at": now.isoformat(timespec="milliseconds"), "event": event}
        line |= {"request_id": request_id()} if request_id() else {}
        try:
            if self._today != now.date():
                self._begin(now.date())
            with self._path(now.date()).open("a", encoding="utf-8") as file:
                file.write(json.dumps({**line, **said}, default=str) + "\n")
        except OSError as error:
            _log.error("audit_not_written", problem=error.strerror)

    def _begin(self, today: date) -> None:
        """Make the folder, and delete what has been kept for long enough."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._days:
            oldest = self._path(today - timedelta(days=self._days)).name
            for path in self._folder.glob(f"*{_SUFFIX}"):
                # Named after their days, so they sort as those do.
                if path.name < oldest:
                    path.unlink(missing_ok=True)
        self._today = today

    def _path(self, day: date) -> Path:
        return self._folder / f"{day.isoformat()}{_SUFFIX}"
