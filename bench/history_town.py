"""A town of learners and all that they ever said, made up from a seed, in the order of time.

One learner has practised for an hour a day, every day; a hundred do it properly; the rest of the
town tries it now and then. Words are as unequal as in English: the commonest is in most of what is
said, and `RARE` in one turn of twenty thousand.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

BEGAN = datetime(2024, 11, 1, tzinfo=UTC)
DAYS = 730

TURNS_A_TALK = 20

FREQUENT, MIDDLING, RARE, NOWHERE = "the", "kitchen", "zeppelin", "xylophonist"
PHRASE = "went to the market"
FREQUENT_PHRASE = "to the"
"""What is looked for. The phrase is in one learner's turn of two hundred."""

_COMMON = (
    "the i to a and it you of in that is was for my we so but have on with not he they at be this"
).split()
_MIDDLING_RANK = 300
_WORDS = 5_800
_SYLLABLES = "ba co di fe gu ha ki lo me nu pa ro si te vu wa ye zo".split()

_LEARNER_WORDS = (4, 20)
_TUTOR_WORDS = (8, 30)

_SCENARIOS = ("free-talk", "restaurant", "job-interview", "airport", "doctor")

_MISTAKE_SHARE = 0.15
MISTAKES = 400
"""Different ones that the town makes, the first ones most often."""


@dataclass(frozen=True, slots=True)
class Learner:
    """Somebody in town. kind: `heavy`, `steady` or `casual`."""

    user_id: str
    kind: str
    turns: int


@dataclass(frozen=True, slots=True)
class MadeTurn:
    """One turn. mistake: which of the usual mistakes it has; None where it has none."""

    turn_id: str
    number: int
    started_at: datetime
    said: str
    heard: str
    speech_ms: int
    silence_ms: int
    mistake: int | None


@dataclass(frozen=True, slots=True)
class Talk:
    """One conversation."""

    conversation_id: str
    learner: Learner
    scenario_id: str
    started_at: datetime
    turns: tuple[MadeTurn, ...]


class Town:
    """Learners and their talks; the same seed and number of turns make the same town."""

    def __init__(self, turns: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._numbers = np.random.default_rng(seed)
        self.learners = self._settle(turns)
        self._vocabulary = np.array(_vocabulary())
        # Zipf's law: a word's frequency is one over its rank.
        weights = 1.0 / np.arange(1, _WORDS + 1)
        self._shares = np.cumsum(weights / weights.sum())
        self._drawn: list[str] = []

    def of(self, kind: str) -> list[Learner]:
        """Return the learners of a kind."""
        return [each for each in self.learners if each.kind == kind]

    def talks(self) -> Iterator[Talk]:
        """Make up all talks, the earliest first."""
        beginnings: list[tuple[float, Learner]] = []
        for learner in self.learners:
            count = -(-learner.turns // TURNS_A_TALK)
            beginnings += [(self._random.uniform(0, DAYS), learner) for _ in range(count)]
        left = {learner.user_id: learner.turns for learner in self.learners}
        for day, learner in sorted(beginnings, key=lambda each: each[0]):
            turns = min(TURNS_A_TALK, left[learner.user_id])
            left[learner.user_id] -= turns
            yield self._talk(learner, BEGAN + timedelta(days=day), turns)

    def _settle(self, turns: int) -> tuple[Learner, ...]:
        """Give one learner a tenth of all turns, a hundred four tenths, the others the rest."""
        heavy, steady = turns // 10, turns * 4 // 10
        casual = turns - heavy - steady
        learners = [Learner(self._id(BEGAN), "heavy", heavy)]
        steadies = max(1, min(100, steady // 200))
        learners += self._some("steady", steadies, steady)
        learners += self._some("casual", max(1, casual // 200), casual)
        return tuple(learners)

    def _some(self, kind: str, count: int, turns: int) -> Iterator[Learner]:
        for each in range(count):
            yield Learner(
                self._id(BEGAN), kind, turns * (each + 1) // count - turns * each // count
            )

    def _talk(self, learner: Learner, at: datetime, turns: int) -> Talk:
        conversation_id = self._id(at)
        made = tuple(
            self._turn(number, at + timedelta(seconds=25 * number))
            for number in range(1, turns + 1)
        )
        return Talk(conversation_id, learner, self._random.choice(_SCENARIOS), at, made)

    def _turn(self, number: int, at: datetime) -> MadeTurn:
        chance = self._random.random
        said = self._words(*_LEARNER_WORDS)
        if chance() < 1 / 200:
            said = f"{said} {PHRASE}"
        if chance() < 1 / 20_000:
            said = f"{said} {RARE}"
        mistake = int(MISTAKES * chance() ** 2) if chance() < _MISTAKE_SHARE else None
        return MadeTurn(
            self._id(at),
            number,
            at,
            said,
            self._words(*_TUTOR_WORDS),
            speech_ms=450 * (said.count(" ") + 1),
            silence_ms=int(500 + 400 * chance()),
            mistake=mistake,
        )

    def _words(self, least: int, most: int) -> str:
        count = self._random.randint(least, most)
        if len(self._drawn) < count:
            draws = np.searchsorted(self._shares, self._numbers.random(100_000))
            self._drawn = self._vocabulary[np.minimum(draws, _WORDS - 1)].tolist()
        taken, self._drawn = self._drawn[-count:], self._drawn[:-count]
        return " ".join(taken)

    def _id(self, at: datetime) -> str:
        """Make a UUIDv7 of that time: ids of one time lie together in an index, as real ones do."""
        milliseconds = int(at.timestamp() * 1000)
        chance = self._random.getrandbits(74)
        version, variant = f"7{chance >> 62:03x}", f"{8 + (chance & 3):x}"
        digits = f"{milliseconds:012x}{version}{variant}{(chance >> 2) & (2**60 - 1):015x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _vocabulary() -> list[str]:
    made = ("".join(some) for some in itertools.product(_SYLLABLES, repeat=3))
    taken = set(_COMMON)
    words = [*_COMMON, *(each for each in made if each not in taken)][:_WORDS]
    words[_MIDDLING_RANK] = MIDDLING
    return words
