"""What is kept of a talk, held against what was said in it and what its client was told. Pure.

Everything that a `SteadyLearner` says can be told apart in what is kept: typed words carry a
number, and what is spoken lies at a place of its own in the microphone's track. So one utterance
that became two turns shows, under whatever numbers and ids they are kept, and so do two that
changed places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from parley.types.v1 import turn_pb2
from tests.e2e.told import BROKEN_OFF, COMPLETED, Said, Told

_Reason = turn_pb2.ReplyEndReason
_NONE = turn_pb2.UTTERANCE_SOURCE_NONE


class Wrong(StrEnum):
    """What can be wrong with a turn."""

    MISSING = "missing"
    DOUBLED = "doubled"
    REORDERED = "reordered"
    HALF = "half"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and with which turn."""

    wrong: Wrong
    number: int
    what: str

    def __str__(self) -> str:
        return f"turn {self.number} is {self.wrong}: {self.what}"


def judge(
    said: Sequence[Said], told: Mapping[int, Told], kept: Sequence[turn_pb2.Turn]
) -> list[Finding]:
    """Return all that is wrong with the turns that are kept, in the order in which they came."""
    return [
        *_missing(told, kept),
        *_repeated(kept),
        *_out_of_place(said, told, kept),
        *(finding for turn in kept for finding in _half(told.get(turn.number), turn)),
        *(
            finding
            for turn in kept
            if turn.number in told
            for finding in _otherwise(told[turn.number], turn)
        ),
    ]


def utterance_of(said: Sequence[Said], turn: turn_pb2.Turn) -> Said | None:
    """Return what was said in a turn; None where nobody said it."""
    if turn.source == turn_pb2.UTTERANCE_SOURCE_TEXT:
        return next((each for each in said if each.text == turn.utterance.verbatim), None)
    place = (turn.utterance_start_ms, turn.utterance_end_ms)
    spoken = [each for each in said if not each.text]
    best = max(spoken, key=lambda each: each.shared_ms(*place), default=None)
    return best if best is not None and best.shared_ms(*place) > 0 else None


def _missing(told: Mapping[int, Told], kept: Sequence[turn_pb2.Turn]) -> Iterable[Finding]:
    ids, numbers = {turn.turn_id for turn in kept}, {turn.number for turn in kept}
    for each in told.values():
        if each.turn_id and each.turn_id not in ids:
            yield Finding(Wrong.MISSING, each.number, "it was acknowledged")
    acknowledged = {each.number for each in told.values() if each.turn_id}
    for number in range(1, max(numbers, default=0)):
        if number not in numbers and number not in acknowledged:
            yield Finding(Wrong.MISSING, number, "the numbers have a gap")


def _repeated(kept: Sequence[turn_pb2.Turn]) -> Iterable[Finding]:
    for number, times in Counter(turn.number for turn in kept).items():
        if times > 1:
            yield Finding(Wrong.DOUBLED, number, f"{times} turns have its number")
    numbers_of: dict[str, list[int]] = {}
    for turn in kept:
        numbers_of.setdefault(turn.turn_id, []).append(turn.number)
    for numbers in numbers_of.values():
        if len(set(numbers)) > 1:
            yield Finding(Wrong.DOUBLED, numbers[-1], f"its id has the numbers {numbers}")


def _out_of_place(
    said: Sequence[Said], told: Mapping[int, Told], kept: Sequence[turn_pb2.Turn]
) -> Iterable[Finding]:
    """Look at the order: as it came, by number, by what was acknowledged, and by what was said."""
    for one, next_one in pairwise(kept):
        if next_one.number < one.number:
            yield Finding(Wrong.REORDERED, next_one.number, f"it came after {one.number}")
    number_of = {each.turn_id: each.number for each in told.values() if each.turn_id}
    turns_of: dict[int, int] = {}
    latest = 0
    for turn in sorted(kept, key=lambda each: each.number):
        acknowledged = number_of.get(turn.turn_id, turn.number)
        if acknowledged != turn.number:
            yield Finding(Wrong.REORDERED, turn.number, f"acknowledged as {acknowledged}")
        if turn.source == _NONE:
            continue
        utterance = utterance_of(said, turn)
        if utterance is None:
            yield Finding(Wrong.DIFFERENT, turn.number, "nobody said this")
            continue
        first = turns_of.setdefault(utterance.serial, turn.number)
        if first != turn.number:
            what = f"what was said as number {utterance.serial} is turn {first} as well"
            yield Finding(Wrong.DOUBLED, turn.number, what)
        elif utterance.serial < latest:
            what = f"number {utterance.serial} was said before number {latest}"
            yield Finding(Wrong.REORDERED, turn.number, what)
        latest = max(latest, utterance.serial)


def _half(told: Told | None, turn: turn_pb2.Turn) -> Iterable[Finding]:
    """Both sides are there, each whole, or it is said why one is not.

    The learner's may lack where the client was told that the tutor speaks of its own accord.
    """
    if not turn.turn_id:
        yield Finding(Wrong.HALF, turn.number, "it has no id")
    if turn.source == _NONE:
        if told is None or not told.unasked:
            yield Finding(Wrong.HALF, turn.number, "it answers nothing, and is no hint")
    elif not (turn.utterance.verbatim and turn.utterance.clean):
        yield Finding(Wrong.HALF, turn.number, "it lacks what the learner said")
    reason = turn.reply_end_reason
    if reason == COMPLETED:
        if not turn.reply_text:
            yield Finding(Wrong.HALF, turn.number, "it lacks the reply, and nothing broke it off")
        elif (turn.heard_text, turn.heard_ms) != (turn.reply_text, turn.reply_ms):
            what = f"{turn.heard_ms} of {turn.reply_ms} ms heard, and nothing broke it off"
            yield Finding(Wrong.HALF, turn.number, what)
    elif reason not in BROKEN_OFF:
        yield Finding(Wrong.HALF, turn.number, "it does not say how the reply ended")
    elif not turn.reply_text.startswith(turn.heard_text) or turn.heard_ms > turn.reply_ms:
        yield Finding(Wrong.HALF, turn.number, "more of the reply was heard than there is")


def _otherwise(told: Told, turn: turn_pb2.Turn) -> Iterable[Finding]:
    """Look for what is kept otherwise than the client was told it.

    Who was never told that a turn is saved may have missed more of it, with a process that died:
    only what it did hear of this reply has to be so.
    """
    pairs: list[tuple[str, object, object]] = []
    if told.turn_id and turn.source != _NONE:
        place = (turn.utterance_start_ms, turn.utterance_end_ms)
        pairs += [
            ("words", told.words, turn.utterance.verbatim),
            ("place", (told.start_ms, told.end_ms), place),
        ]
    if told.turn_id:
        pairs.append(("generation", told.generation, turn.generation))
        if told.ended is None:
            yield Finding(Wrong.HALF, turn.number, "it was never told how the reply ended")
    if told.ended is not None and (told.turn_id or told.generation == turn.generation):
        reason = _Reason.Name(told.ended.reason)
        pairs += [
            ("end", reason, _Reason.Name(turn.reply_end_reason)),
            ("heard words", told.ended.heard_text, turn.heard_text),
            ("heard end", told.ended.heard_ms, turn.heard_ms),
        ]
        if told.ended.reason == COMPLETED:
            pairs.append(("reply", told.reply.strip(), turn.reply_text.strip()))
    for name, was_told, is_kept in pairs:
        if was_told != is_kept:
            what = f"{name} {was_told!r}, kept as {is_kept!r}"
            yield Finding(Wrong.DIFFERENT, turn.number, what)
