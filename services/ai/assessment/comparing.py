"""From what was said and how it is said better to what a learner is told. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.ai.assessment.edits import Edit, edits_between, quoted
from services.ai.assessment.grammar import Reason, reason_of
from services.ai.learner import FoundCorrection, HeardWord

# Shorter ones are answers ("to the park", "a doctor"): nothing in them is wrong by itself. Longer
# ones are mostly run together by the recognizer, and a small model loses its way in them.
MIN_WORDS = 4
MAX_WORDS = 30

# A sentence that is changed more than this was not understood, by the recognizer or by the model.
_MAX_EDITS = 3
_MAX_CHANGED_SHARE = 0.4

# A mistake in a word that the recognizer was not sure of is more often its own than the learner's.
# On recordings of learners 83 % of the words that it got right have as much, 35 % of the others.
_MIN_CONFIDENCE = 0.7
_MIN_CONFIDENCE_BESIDE = 0.5

_ENDS = (".", "?", "!", ";")


def sentences(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield where each sentence of ``words`` begins and ends that is worth looking at."""
    first = 0
    for index, word in enumerate(words):
        if word.endswith(_ENDS) or index + 1 == len(words):
            if MIN_WORDS <= index + 1 - first <= MAX_WORDS:
                yield first, index + 1
            first = index + 1


def corrections(
    words: Sequence[str], first: int, end: int, rewritten: str, *, confidence: float, scorer: str
) -> list[FoundCorrection]:
    """Return what ``rewritten`` puts right in the sentence ``first`` to ``end`` of ``words``.

    Nothing where it changes too much, or in a way that is none of the known kinds of mistakes.
    """
    said = list(words[first:end])
    edits = edits_between(said, rewritten.split())
    changed = sum(max(len(edit.before), len(edit.after)) for edit in edits)
    if not edits or len(edits) > _MAX_EDITS or changed > _MAX_CHANGED_SHARE * len(said):
        return []
    found = []
    for edit in edits:
        reason = reason_of(edit, said)
        if reason is None:
            # What else was changed in the sentence makes the rest of it doubtful.
            return []
        found.append(_correction(words, first, end, edit, reason, confidence, scorer))
    return found


def surely_heard(found: FoundCorrection, words: Sequence[HeardWord]) -> bool:
    """Whether the words that ``found`` is about were surely said, and their neighbours likely."""
    around = words[max(0, found.first_word - 1) : found.end_word + 1]
    about = words[found.first_word : found.end_word]
    return all(word.confidence >= _MIN_CONFIDENCE for word in about) and all(
        word.confidence >= _MIN_CONFIDENCE_BESIDE for word in around
    )


def _correction(
    words: Sequence[str],
    start: int,
    stop: int,
    edit: Edit,
    reason: Reason,
    confidence: float,
    scorer: str,
) -> FoundCorrection:
    first, end, replacement = start + edit.first, start + edit.end, edit.spelled
    if not edit.before or not edit.after:
        # A word alone says nothing of where it belongs: its neighbour comes with it.
        if end < stop:
            replacement = f"{replacement} {quoted(words[end : end + 1])}".strip()
            end += 1
        elif first > start:
            first -= 1
            replacement = f"{quoted(words[first : first + 1])} {replacement}".strip()
    return FoundCorrection(
        kind=reason.kind,
        first_word=first,
        end_word=end,
        original=quoted(words[first:end]),
        replacement=replacement,
        explanation=reason.explanation,
        confidence=confidence,
        scorer=scorer,
    )
