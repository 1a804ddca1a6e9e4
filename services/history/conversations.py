"""What history tells: conversations, turns, matches, mistakes."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

PREVIEW_CHARACTERS = 120
"""The contract's bound of `ConversationSummary.preview`."""


@dataclass(frozen=True, slots=True)
class TurnFigures:
    """What one turn adds to its conversation's summary and to its learner's practice."""

    turn_id: str
    started_at: datetime
    words: int
    speech_ms: int
    silence_ms: int | None


@dataclass(frozen=True, slots=True)
class Totals:
    """What the turns of a conversation come to."""

    turns: int
    learner_speech_ms: int
    median_silence_ms: int
    preview: str = field(repr=False)


def total(turns: Sequence[TurnFigures], said: Iterable[tuple[str, str]]) -> Totals:
    """Add up the turns of one conversation.

    Args:
        turns: all of them, in any order.
        said: what the learner and the tutor said in each, by number. It is read as far as the
            first that has words.
    """
    silences = [turn.silence_ms for turn in turns if turn.silence_ms is not None]
    first = (learner.strip() or tutor.strip() for learner, tutor in said)
    return Totals(
        turns=len(turns),
        learner_speech_ms=sum(turn.speech_ms for turn in turns),
        median_silence_ms=round(statistics.median(silences)) if silences else 0,
        preview=shorten(next(filter(None, first), "")),
    )


def shorten(text: str, characters: int = PREVIEW_CHARACTERS) -> str:
    """Return `text` on one line, cut at a word where it is longer than `characters`."""
    line = " ".join(text.split())
    if len(line) <= characters:
        return line
    cut = line[: characters - 1]
    # Text without spaces (Chinese, say) is cut between characters.
    at_word = cut.rsplit(" ", 1)[0] if " " in cut else cut
    return f"{at_word}…"


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation without its turns."""

    conversation_id: str
    user_id: str
    scenario_id: str
    scenario_title: str
    engine: str
    started_at: datetime
    ended_at: datetime | None
    recording_id: str
    totals: Totals
    corrections: int


@dataclass(frozen=True, slots=True)
class TurnBody:
    """A turn as it came, and what was found in it; both serialized protobuf."""

    number: int
    turn: bytes = field(repr=False)
    feedback: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class FoundText:
    """One side of a turn that the search index found."""

    conversation_id: str
    turn_id: str
    number: int
    started_at: datetime
    tutor: bool
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RepeatedMistake:
    """A mistake with its latest correction (serialized), and how often."""

    count: int
    kind: int
    last_seen_at: datetime
    turn_id: str
    conversation_id: str
    key: str = field(repr=False)
    correction: bytes = field(repr=False)

    @property
    def mark(self) -> bytes:
        """What it is known by in a page token."""
        return mistake_mark(self.kind, self.key)


MARK_BYTES = 5
"""Two mistakes in a million million have the same mark, and one of them would not be listed."""


def mistake_mark(kind: int, key: str) -> bytes:
    """Return what tells a learner's mistakes from one another in `MARK_BYTES`."""
    return hashlib.sha256(f"{kind} {key}".encode()).digest()[:MARK_BYTES]
