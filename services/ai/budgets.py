"""What each learner may use of paid engines in a day, and what they have used.

Days are UTC's. What was used is kept in a file a day, a line for each payment, so that a restart
forgets nothing. Each process counts what it served itself; where there is a common count, it tells
what it served there several times a second, and asks it whenever a learner comes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import structlog

from services.ai.engine import Used
from services.common.clock import Clock
from services.common.errors import ResourceExhausted, Unavailable
from services.common.going_on import going_on

_log = structlog.get_logger(__name__)

_DAY = timedelta(days=1)
# How long another process may not know of what was served here.
_TELL_EVERY_S = 0.25
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

    def or_more(self, other: Spent) -> Spent:
        """Return the larger of both, kind by kind."""
        return Spent(
            max(self.audio_s, other.audio_s),
            max(self.tokens, other.tokens),
            max(self.characters, other.characters),
        )


class CommonSpending(Protocol):
    """What all processes together served, by day (`2026-11-23`) and learner."""

    async def total(self, day: str, user: str) -> Spent:
        """Return what a learner has used. Raises ``Unavailable``."""
        ...

    async def add(self, day: str, spent: Mapping[str, Spent]) -> Mapping[str, Spent]:
        """Count what learners used; return what each has used then. Raises ``Unavailable``."""
        ...


class Budgets:
    """The budgets as one process knows them.

    Args:
        daily: what a learner may use a day; 0 of a kind: as much as they like.
        folder: where the files lie.
        clock: tells the day.
        common: what other processes are told; `run` must run beside it.
    """

    def __init__(
        self, daily: Spent, folder: Path, clock: Clock, common: CommonSpending | None = None
    ) -> None:
        self._daily = daily
        self._folder = folder
        self._clock = clock
        self._common = common
        self._day = ""
        # Full-policy: one small value for each learner of a day.
        self._spent: dict[str, Spent] = {}
        self._together: dict[str, Spent] = {}
        self._untold: dict[str, Spent] = {}

    async def admit(self, user: str) -> None:
        """Check a learner who comes, by what all processes served them.

        Raises ``ResourceExhausted`` as `check` does. A common count that does not answer leaves
        this process its own.
        """
        if self._common is not None and user and self._daily != Spent():
            self._turn_page()
            day = self._day
            try:
                total = await self._common.total(day, user)
            except Unavailable:
                _log.warning("budget_not_asked")
            else:
                self._hear(day, {user: total})
        self.check(user)

    async def run(self) -> None:
        """Tell the common count what was served here, until cancelled."""
        while True:
            await self._clock.sleep(_TELL_EVERY_S)
            with going_on("budget_not_told"):
                await self.tell()

    async def tell(self) -> None:
        """Tell it once. What it does not take is counted here alone."""
        self._turn_page()
        if self._common is None or not self._untold:
            return
        day, untold, self._untold = self._day, self._untold, {}
        try:
            self._hear(day, await self._common.add(day, untold))
        except Unavailable:
            _log.warning("budget_not_told", learners=len(untold))

    def _hear(self, day: str, totals: Mapping[str, Spent]) -> None:
        if day == self._day:
            self._together.update(totals)

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
        if self._common is not None:
            self._untold[user] = self._untold.get(user, Spent()) + spent
        line = json.dumps([user, round(spent.audio_s, 3), spent.tokens, spent.characters])
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            # It is still counted until the process ends.
            _log.error("budget_not_written", problem=error.strerror)

    def spent(self, user: str) -> Spent:
        """Return what ``user`` has used today, as far as it is known here."""
        self._turn_page()
        nothing = Spent()
        together = self._together.get(user, nothing) + self._untold.get(user, nothing)
        # The common count may have been emptied.
        return self._spent.get(user, nothing).or_more(together)

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
        self._together = {}
        self._untold = {}
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
        self._paid = Used()
        self.refusal: ResourceExhausted | None = None
        """Why nothing more can be had; None while something can."""

    def pay(self, used: Used) -> None:
        """Count what the session has used since it paid last."""
        paid, self._paid = self._paid, replace(used)
        self._budgets.add(
            self._user,
            Spent(
                (used.audio_in_ms - paid.audio_in_ms) / 1000,
                used.output_tokens - paid.output_tokens,
                used.characters - paid.characters,
            ),
        )

    def runs_out(self) -> bool:
        """Return whether the budget is found to be used up now; True once."""
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
