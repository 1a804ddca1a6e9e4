"""How long to wait in a pause before taking it for the end of a turn. Pure functions.

Between people the gap is about 200 ms (Stivers et al. 2009), but learners pause inside their turns
to look for words. So the wait follows what is known: the turn detector's score, the words so far,
the learner's patience setting, and a running estimate of this learner's own pauses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from services.ai.transcripts import FILLERS, bare

# Words that no finished English turn ends on: conjunctions, articles, prepositions that govern
# something, possessives, and auxiliaries that wait for a verb.
_UNFINISHED = frozenset(
    [
        "and",
        "but",
        "or",
        "so",
        "because",
        "if",
        "when",
        "while",
        "that",
        "which",
        "who",
        "than",
        "as",
        "a",
        "an",
        "the",
        "this",
        "my",
        "your",
        "his",
        "her",
        "its",
        "our",
        "their",
        "some",
        "any",
        "every",
        "of",
        "for",
        "from",
        "with",
        "into",
        "about",
        "at",
        "by",
        "between",
        "during",
        "without",
        "is",
        "are",
        "was",
        "were",
        "am",
        "be",
        "been",
        "have",
        "has",
        "will",
        "would",
        "can",
        "could",
        "should",
        "may",
        "might",
        "must",
        "i",
        "we",
        "they",
        "he",
        "she",
        "very",
        "really",
        "more",
        "most",
        "like",
    ]
)
# "so", "like", "that" and pronouns do end turns ("I think so", "me and she"): only where the
# recognizer itself put no final mark after them.
_FINAL_MARK = re.compile(r"[.!?]['\"\u201d)]*$")
_THINKING = re.compile(
    r"\b(?:let me (?:think|see)|how (?:do|can) (?:i|you) say|what(?:'s| is) the word|"
    r"wait a (?:moment|minute|second)|just a (?:moment|minute|second)|hold on|give me a (?:moment|"
    r"minute|second)|i mean|you know|how to say)\W*$",
    re.IGNORECASE,
)


# A whole turn in a word or two; anything else that short is mostly the begin of more.
_SHORT_TURNS = frozenset(
    [
        "yes",
        "yeah",
        "yep",
        "no",
        "nope",
        "ok",
        "okay",
        "sure",
        "thanks",
        "thank you",
        "please",
        "yes please",
        "no thanks",
        "hello",
        "hi",
        "hi there",
        "good morning",
        "good evening",
        "goodbye",
        "good bye",
        "bye",
        "bye bye",
        "see you",
        "maybe",
        "perhaps",
        "really",
        "of course",
        "i do",
        "i am",
        "i see",
        "not yet",
        "not really",
        "very good",
        "very much",
        "good",
        "great",
        "fine",
        "sorry",
        "pardon",
        "what",
        "why",
        "stop",
    ]
)
_SHORT_WORDS = 2


@dataclass(frozen=True, slots=True)
class PausePolicy:
    """How long to wait at one patience setting, in milliseconds.

    ``sure_ms``: when the turn detector takes the turn for finished, at a score of ``sure_score``
    (of three to five words; see ``_needed_score``); ``unsure_ms``: when it does not;
    ``holding_ms``: when the words say that more will come.
    """

    sure_ms: int
    sure_score: float
    unsure_ms: int
    holding_ms: int


# The ends and the middle of the patience setting, from `make bench-turns` on learners with pauses
# of 0.3 to 2.5 s cut in. The detector's score says much at the begin of a pause, and nothing more
# as the pause goes on: so it is asked once, and below the bar only time tells. The middle's 160 ms
# is a pause of 96 ms and the models' answers.
_IMPATIENT = PausePolicy(sure_ms=160, sure_score=0.4, unsure_ms=1700, holding_ms=2200)
_MIDDLE = PausePolicy(sure_ms=160, sure_score=0.7, unsure_ms=2500, holding_ms=3000)
_PATIENT = PausePolicy(sure_ms=600, sure_score=0.95, unsure_ms=3500, holding_ms=5000)
# Where the detector is unsure a learner's own pauses, once they are known, set the wait: a little
# more than four in five of them last. At most this much longer or shorter than the setting's own,
# since an estimate is made of few pauses and moods change.
_PAUSE_MARGIN = 1.3
_MOST_STRETCH = 1.8
_LEAST_STRETCH = 0.6
# How far the bar for the score falls as a turn has more words. The detector takes the first words
# of a learner's sentence for a whole one far more often than a later part of it: it gives 0.3 or
# more to 29 % of the pauses after three to five words, to 21 % of those after six or seven, to 6 %
# of those after eight or more, but to 73, 75 and 58 % of the true ends.
_BAR_FROM_WORDS = ((8, 0.3), (6, 0.45), (0, 1.0))
# A word or two that are no turn by themselves are waited on unless the detector is all but certain.
_FRAGMENT_SCORE = 0.98


def pause_policy(patience: float) -> PausePolicy:
    """Return the waits for a ``patience`` of 0 to 1, linear between the three settings."""
    low, high, share = (
        (_IMPATIENT, _MIDDLE, patience * 2)
        if patience <= 0.5
        else (_MIDDLE, _PATIENT, patience * 2 - 1)
    )
    return PausePolicy(
        sure_ms=round(_between(low.sure_ms, high.sure_ms, share)),
        sure_score=_between(low.sure_score, high.sure_score, share),
        unsure_ms=round(_between(low.unsure_ms, high.unsure_ms, share)),
        holding_ms=round(_between(low.holding_ms, high.holding_ms, share)),
    )


def wait_ms(
    policy: PausePolicy, score: float | None, words: str | None, typical_pause_ms: int
) -> int:
    """Return how long a pause must last to end the turn.

    ``score`` is the turn detector's probability, ``words`` the transcript up to the pause; each is
    None while it is not known. ``typical_pause_ms`` is 0 when not known.

    Without the words a sure score waits too: the words may hold the floor, and no reply can begin
    without them.
    """
    stretch = 1.0
    if typical_pause_ms:
        wanted = typical_pause_ms * _PAUSE_MARGIN / policy.unsure_ms
        stretch = min(max(wanted, _LEAST_STRETCH), _MOST_STRETCH)
    unsure = round(policy.unsure_ms * stretch)
    if words is not None and holds_floor(words):
        return max(policy.holding_ms, round(policy.holding_ms * stretch))
    if score is None or words is None or score < _needed_score(policy, words):
        return unsure
    return policy.sure_ms


def _needed_score(policy: PausePolicy, words: str) -> float:
    """Return the score from which ``words`` count as a finished turn."""
    said = [bare(word) for word in words.split()]
    if " ".join(said) in _SHORT_TURNS:
        return policy.sure_score
    if len(said) <= _SHORT_WORDS:
        return _FRAGMENT_SCORE
    return policy.sure_score * next(part for least, part in _BAR_FROM_WORDS if len(said) >= least)


def holds_floor(words: str) -> bool:
    """Whether ``words`` say themselves that more will come."""
    text = words.strip()
    if not text:
        return False
    if text.endswith((",", "-", "\u2014", "...", "\u2026")):
        return True
    last = bare(text.split()[-1])
    if last in FILLERS or _THINKING.search(text):
        return True
    return last in _UNFINISHED and not _FINAL_MARK.search(text)


# A shorter silence belongs to a word's sounds, not to looking for words (Goldman-Eisler 1968).
_SHORTEST_PAUSE_MS = 250


@dataclass(frozen=True, slots=True)
class PauseEstimate:
    """A running estimate of the pauses that a learner makes inside turns; 0 ms: not known.

    An expectile: longer pauses pull four times as hard as shorter ones, so the estimate settles
    where about four in five pauses are shorter.
    """

    typical_ms: int = 0

    def with_pause(self, pause_ms: int) -> PauseEstimate:
        """Return the estimate after one more silence inside a turn."""
        if pause_ms < _SHORTEST_PAUSE_MS:
            return self
        if not self.typical_ms:
            return PauseEstimate(pause_ms)
        weight = 0.4 if pause_ms > self.typical_ms else 0.1
        return PauseEstimate(round(self.typical_ms + weight * (pause_ms - self.typical_ms)))


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share
