"""Practice, added up by the quarter hour: what progress is told from.

Days are the learner's, and a learner moves; so nothing is added up by day. Every time zone's
distance from UTC has been a whole number of quarter hours since 1972, so that each local day is a
row of whole quarters, whatever zone is asked for and whenever its clock changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo

from services.history.conversations import TurnFigures

_QUARTER_SECONDS = 900

QUARTERS_A_DAY = 96

# A day before the last that there is, so that it has a local date in every zone.
_LAST_QUARTER = int(datetime(9999, 12, 30, tzinfo=UTC).timestamp()) // _QUARTER_SECONDS


@dataclass(frozen=True, slots=True)
class Practice:
    """What a learner did in one conversation in the turns that began within a quarter hour.

    quarter: which one, counted from the epoch.
    turns: those that the learner took.
    spoken_words: those of `words` that were not typed.
    speech_ms: how long the learner spoke.
    silences_ms: before the replies, ascending.
    corrections: (number of the kind, how many), ascending.
    """

    quarter: int
    turns: int
    words: int
    spoken_words: int
    speech_ms: int
    silences_ms: tuple[int, ...]
    corrections: tuple[tuple[int, int], ...]


def quarter_of(at: datetime) -> int:
    """Return the quarter hour that holds `at` (timezone-aware).

    Nobody practised before the epoch or near the end of time: a sender's wrong clock counts at the
    first quarter or the last.
    """
    return min(max(int(at.timestamp()) // _QUARTER_SECONDS, 0), _LAST_QUARTER)


def day_of(quarter: int, zone: tzinfo) -> date:
    """Return the day on which a quarter hour begins in `zone`."""
    return datetime.fromtimestamp(quarter * _QUARTER_SECONDS, zone).date()


def practice_of(
    turns: Iterable[TurnFigures], corrections: Mapping[str, Mapping[int, int]]
) -> list[Practice]:
    """Add up the turns of one conversation, given in any order; the earliest quarter comes first.

    A turn that the tutor alone had is no practice. `corrections` says of each turn, by its id, how
    many of each kind it has; of turns that have not come yet it says nothing here.
    """
    quarters: dict[int, list[TurnFigures]] = {}
    for turn in turns:
        if turn.words or turn.speech_ms:
            quarters.setdefault(quarter_of(turn.started_at), []).append(turn)
    return [_added_up(quarter, quarters[quarter], corrections) for quarter in sorted(quarters)]


def _added_up(
    quarter: int, turns: list[TurnFigures], corrections: Mapping[str, Mapping[int, int]]
) -> Practice:
    kinds: Counter[int] = Counter()
    for turn in turns:
        kinds.update(corrections.get(turn.turn_id, {}))
    return Practice(
        quarter,
        turns=len(turns),
        words=sum(turn.words for turn in turns),
        spoken_words=sum(turn.words for turn in turns if turn.speech_ms),
        speech_ms=sum(turn.speech_ms for turn in turns),
        silences_ms=tuple(sorted(turn.silence_ms for turn in turns if turn.silence_ms is not None)),
        corrections=tuple(sorted(kinds.items())),
    )
