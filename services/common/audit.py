"""Who did what to accounts and to what learners said: a line in the log, and one in a file.

The files are `<data>/audit/<service>/2026-03-01.jsonl`, days in UTC, an object a line: `at`,
`event`, what the event says, and of a call its `request_id`, the `session_id` of the learner and
the `service` behind it. There are ids alone in it: no name, password or token, and nothing that
was said or searched for. The log turns over by size; these go by days.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from datetime import date, timedelta
from pathlib import Path

import structlog

from services.common.call_context import caller_or_none, calling_service, request_id
from services.common.clock import Clock
from services.common.rates import Rates

_log = structlog.get_logger(__name__)

_SUFFIX = ".jsonl"
_A_MINUTE = 1 / 60


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
        self._repeated = Rates(_A_MINUTE, 1)

    def note(self, event: str, *, alarming: bool = False, **said: object) -> None:
        """Log `event`, as a warning where it is `alarming`, and write it to the day's file."""
        (_log.warning if alarming else _log.info)(event, **said)
        now = self._clock.now()
        line = {"at": now.isoformat(timespec="milliseconds"), "event": event}
        try:
            if self._today != now.date():
                self._begin(now.date())
            with self._path(now.date()).open("a", encoding="utf-8") as file:
                file.write(json.dumps({**line, **_call(), **said}, default=str) + "\n")
        except OSError as error:
            _log.error("audit_not_written", problem=error.strerror)

    def note_once_a_minute(
        self, what: Hashable, event: str, *, alarming: bool = False, **said: object
    ) -> None:
        """Note `event`, unless the same sign-in had it noted of the same `what` this minute.

        For what comes many times in a row: the ranges of a recording, the refusals of a flood.
        """
        learner = caller_or_none()
        key = (event, learner and learner.session_id, what)
        if not self._repeated.take(key, self._clock.monotonic()):
            self.note(event, alarming=alarming, **said)

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


def _call() -> dict[str, str]:
    """Return what is known of the call in progress; nothing outside one."""
    learner = caller_or_none()
    known = {
        "request_id": request_id(),
        "session_id": learner.session_id if learner is not None else None,
        "service": calling_service(),
    }
    return {name: value for name, value in known.items() if value}
