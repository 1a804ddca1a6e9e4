"""How long to wait in a pause before taking it for the end of a turn. Pure functions.

Between people the gap is about 200 ms (Stivers et al. 2009), but learners pause inside their turns
to look for words. So the wait follows what is known: the turn detector's scores of the sound, the
words so far, the language model's opinion of them, the learner's patience setting, and a running
estimate of this learner's own pauses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from services.ai.floor_words import asks_for_time, holds_floor
from services.ai.transcripts import FILLERS, bare

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
        "pardon",
        "what",
        "why",
        "stop",
    ]
)
# A turn only where it is asked: without that it begins a second attempt, and a recognizer that
# knows no hesitation takes "er" for it.
_SHORT_QUESTION = "sorry"


@dataclass(frozen=True, slots=True)
class PausePolicy:
    """How long to wait at one patience setting, in milliseconds.

    ``sure_ms``: when the evidence that the turn is over reaches ``sure_odds`` (see
    ``finished_odds``); ``unsure_ms``: when it is far from it; ``holding_ms``: when the words say
    that more will come.
    """

    sure_ms: int
    sure_odds: float
    unsure_ms: int
    holding_ms: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a pause by now.

    ``scores`` are the turn detector's probabilities, one for each time that it was asked; ``words``
    is the transcript up to the pause, None while it is not known; ``sentence_end`` is the language
    model's probability that the words end a sentence, None while it is not known. ``said_before``
    counts the words of a turn that was taken for ended and that this one goes on with.
    """

    scores: tuple[float, ...] = ()
    words: str | None = None
    sentence_end: float | None = None
    said_before: int = 0


# The ends and the middle of the patience setting, from `make bench-turns`. The middle's 160 ms is
# the first silent frame and the models' answers. Many ends have odds of 0.25 to 0.5: a bar at 0.5
# makes half of all turns wait half as long again, and spares few that are not over.
_IMPATIENT = PausePolicy(sure_ms=160, sure_odds=-0.75, unsure_ms=1400, holding_ms=2000)
_MIDDLE = PausePolicy(sure_ms=160, sure_odds=0.25, unsure_ms=2400, holding_ms=3000)
_PATIENT = PausePolicy(sure_ms=500, sure_odds=1.25, unsure_ms=3500, holding_ms=5000)
# The wait grows with the doubt, and is whole this far below the bar.
_WHOLE_DOUBT = 0.5
# The waits are right for a learner four in five of whose pauses are shorter than this; one whose
# pauses are known waits in proportion. At most this much longer or shorter than the setting's own,
# since an estimate is made of few pauses and moods change.
_USUAL_PAUSE_MS = 1_800
_MOST_STRETCH = 1.8
_LEAST_STRETCH = 0.6
# Who asks for time and says nothing else gets so many times what words hold: at the middle setting
# as long as a silence lasts before the tutor helps.
_TIME_ASKED_FOR = 3

# A logistic regression on the pauses and the ends of learners' recordings, the ones counting as
# much as the others together: `python -m bench.turns_fit` shows the weights and what each kind of
# evidence is worth on speakers that they were not fitted on. Odds are natural logarithms; 0 is as
# likely over as not.
_BIAS = -1.95
_SCORE_WEIGHT = 0.5
_SENTENCE_END_WEIGHT = 0.55
_WORD_WEIGHT = 0.35
# From these odds on a reply is prepared at once: nine in ten ends have them, and one pause in four.
_PREPARE_ODDS = -0.75
# The usual opinion of the language model; it counts by how far it is from this one, so that not
# knowing it is no evidence.
_USUAL_SENTENCE_END = 0.14
# One model alone may not decide everything: its probabilities count as no surer than this.
_SUREST_SCORE = 0.997
_LEAST_SENTENCE_END = 1e-5
# The detector takes the first words of a learner's sentence for a whole one far more often than a
# later part of it; from so many words on that is over.
_MOST_WORDS = 8


def pause_policy(patience: float) -> PausePolicy:
    """Return the waits for a ``patience`` of 0 to 1, linear between the three settings."""
    low, high, share = (
        (_IMPATIENT, _MIDDLE, patience * 2)
        if patience <= 0.5
        else (_MIDDLE, _PATIENT, patience * 2 - 1)
    )
    return PausePolicy(
        sure_ms=round(_between(low.sure_ms, high.sure_ms, share)),
        sure_odds=_between(low.sure_odds, high.sure_odds, share),
        unsure_ms=round(_between(low.unsure_ms, high.unsure_ms, share)),
        holding_ms=round(_between(low.holding_ms, high.holding_ms, share)),
    )


def wait_ms(policy: PausePolicy, evidence: Evidence, typical_pause_ms: int) -> int:
    """Return how long a pause must last to end the turn.

    ``typical_pause_ms`` is 0 when not known. Without the words a sure score waits too: the words
    may hold the floor, and no reply can begin without them.
    """
    stretch = 1.0
    if typical_pause_ms:
        stretch = min(max(typical_pause_ms / _USUAL_PAUSE_MS, _LEAST_STRETCH), _MOST_STRETCH)
    unsure = round(policy.unsure_ms * stretch)
    if evidence.words is not None and asks_for_time(evidence.words):
        return policy.holding_ms * _TIME_ASKED_FOR
    if evidence.words is not None and holds_floor(evidence.words):
        return max(policy.holding_ms, round(policy.holding_ms * stretch))
    odds = finished_odds(evidence)
    if odds is None:
        return unsure
    doubt = min(max((policy.sure_odds - odds) / _WHOLE_DOUBT, 0.0), 1.0)
    return round(_between(policy.sure_ms, unsure, doubt))


def finished_odds(evidence: Evidence) -> float | None:
    """Return the logarithm of the odds that the turn is over; None while too little is known.

    It grows with every score, with the language model's probability, and with the number of words.
    """
    if not evidence.scores or evidence.words is None:
        return None
    score, opinion, words = evidence_terms(
        evidence.scores, evidence.words, evidence.sentence_end, evidence.said_before
    )
    return _BIAS + _SCORE_WEIGHT * score + _SENTENCE_END_WEIGHT * opinion + _WORD_WEIGHT * words


def is_worth_preparing(evidence: Evidence) -> bool:
    """Whether a reply to what was said up to a pause is worth its cost at once."""
    odds = finished_odds(evidence)
    if odds is None or evidence.words is None or holds_floor(evidence.words):
        return False
    return odds >= _PREPARE_ODDS


def evidence_terms(
    scores: Sequence[float], words: str, sentence_end: float | None, said_before: int = 0
) -> tuple[float, float, float]:
    """Return what is weighed: of the scores, of the language model's opinion, of the words.

    See ``Evidence``; there is at least one score.
    """
    score = sum(map(_log_odds, scores)) / len(scores)
    opinion = 0.0
    if sentence_end is not None:
        opinion = math.log(max(sentence_end, _LEAST_SENTENCE_END) / _USUAL_SENTENCE_END)
    return score, opinion, float(_counted_words(words, said_before))


def _log_odds(score: float) -> float:
    bounded = min(max(score, 1 - _SUREST_SCORE), _SUREST_SCORE)
    return math.log(bounded / (1 - bounded))


def _counted_words(words: str, said_before: int) -> int:
    said = [word for word in map(bare, words.split()) if word]
    whole = " ".join(word for word in said if word not in FILLERS)
    if whole in _SHORT_TURNS or (whole == _SHORT_QUESTION and words.rstrip().endswith("?")):
        return _MOST_WORDS
    return min(len(said) + said_before, _MOST_WORDS)


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
        # One pause says little: who is not known yet is taken for the usual learner.
        known = self.typical_ms or _USUAL_PAUSE_MS
        weight = 0.4 if pause_ms > known else 0.1
        return PauseEstimate(round(known + weight * (pause_ms - known)))


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share
