"""What each learner may use of paid engines in a day, and what they have used.

Days are UTC's. What was used is kept in a file a day, a line a turn, so that a restart forgets
nothing; each process counts what it served itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from services.ai.engine import Usage
from services.common.clock import Clock
from services.common.errors import ResourceExhausted

_log = structlog.get_logger(__name__)

_DAY = timedelta(days=1)
_PREFIX = "budgets-"


@dataclass(frozen=True, slots=True)
class Spent:
    """What was used, or what may be: seconds heard, tokens made, characters spoken."""

    audio_s: float = 0.0
    tokens: int = 0
    characters: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.audio_s + other.audio_s,
            self.tokens + other.tokens,
            self.characters + other.characters,
        )


class Budgets:
    """The budgets of one process.

    Args:
        daily: what a learner may use a day; 0 of a kind: as much as they like.
        folder: where the files lie.
        clock: tells the day.
    """

    def __init__(self, daily: Spent, folder: Path, clock: Clock) -> None:
        self._daily = daily
        self._folder = folder
        self._clock = clock
        self._day = ""
        # Full-policy: one small value for each learner of a day.
        self._spent: dict[str, Spent] = {}

    def check(self, user: str) -> None:
        """Raise ``ResourceExhausted`` (DAILY_BUDGET_SPENT) where nothing is left of a kind.

        An empty ``user`` is nobody's.
        """
        used = self.spent(user)
        for kind, have, limit in (
            ("audio_s", used.audio_s, self._daily.audio_s),
            ("tokens", used.tokens, self._daily.tokens),
            ("characters", used.characters, self._daily.characters),
        ):
            if user and limit and have >= limit:
                raise _spent_up(kind, self._left_s())

    def add(self, user: str, spent: Spent) -> None:
        """Count what a learner used."""
        if not user or spent == Spent():
            return
        self._turn_page()
        self._spent[user] = self._spent.get(user, Spent()) + spent
        line = json.dumps([user, round(spent.audio_s, 3), spent.tokens, spent.characters])
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            # It is still counted until the process ends.
            _log.error("budget_not_written", problem=error.strerror)

    def spent(self, user: str) -> Spent:
        """Return what ``user`` has used today."""
        self._turn_page()
        return self._spent.get(user, Spent())

    @property
    def _file(self) -> Path:
        return self._folder / f"{_PREFIX}{self._day}.jsonl"

    def _turn_page(self) -> None:
        """Begin the day anew where it has changed, with what its file has."""
        today = self._clock.now().astimezone(UTC).strftime("%Y-%m-%d")
        if today == self._day:
            return
        self._day = today
        self._spent = _read(self._file)
        for old in self._folder.glob(f"{_PREFIX}*.jsonl"):
            if old != self._file:
                old.unlink(missing_ok=True)

    def _left_s(self) -> float:
        now = self._clock.now().astimezone(UTC)
        tomorrow = datetime(now.year, now.month, now.day, tzinfo=UTC) + _DAY
        return max(1.0, (tomorrow - now).total_seconds())


class Purse:
    """What one live session pays from."""

    def __init__(self, budgets: Budgets, user: str) -> None:
        self._budgets = budgets
        self._user = user
        self.refusal: ResourceExhausted | None = None
        """Why nothing more can be had; None while something can."""

    def pay(self, usage: Usage) -> bool:
        """Count a reply; return whether it was the one that used the budget up."""
        self._budgets.add(
            self._user, Spent(usage.audio_in_ms / 1000, usage.output_tokens, usage.characters)
        )
        if self.refusal is not None:
            return False
        try:
            self._budgets.check(self._user)
        except ResourceExhausted as refusal:
            self.refusal = refusal
        return self.refusal is not None


def _read(file: Path) -> dict[str, Spent]:
    spent: dict[str, Spent] = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return spent
    for line in lines:
        try:
            user, audio_s, tokens, characters = json.loads(line)
            used = Spent(float(audio_s), int(tokens), int(characters))
        except (ValueError, TypeError):
            # The last line of a process that died.
            continue
        spent[user] = spent.get(user, Spent()) + used
    return spent


def _spent_up(kind: str, left_s: float) -> ResourceExhausted:
    names = {"audio_s": "speech", "tokens": "words of the tutor's", "characters": "spoken text"}
    return ResourceExhausted(
        f"Your budget of {names[kind]} for today is used up. It begins anew at midnight UTC.",
        reason="DAILY_BUDGET_SPENT",
        retry_after=left_s,
        metadata={"budget": kind},
    )
