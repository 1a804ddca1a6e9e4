"""Words and their times, and the clean form of what a learner said. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from services.ai.audio import frame_energies
from services.ai.capabilities import LEARNER_RATE_HZ, Pcm16, Transcript, Word

# Sounds that carry no words. "like" and "well" are fillers too, but as often words: they stay.
# As recognizers and learners of many languages spell them.
FILLERS = frozenset(
    "um umm ummm uhm uhmm uh uhh uhhh er err erm eh ehh ehm em emm hm hmm hmmm mm mmm ah ahh"
    " ahm".split()
)

_EDGES = re.compile(r"^[^\w']+|[^\w']+$")
# 20 ms: short enough to place a word, long enough to hold two periods of a low voice.
_ENERGY_FRAME = LEARNER_RATE_HZ // 50
_ROUNDING = 1e-6
# Shorter words are in every sentence.
_TELLING_LETTERS = 5


def bare(word: str) -> str:
    """Return ``word`` in lower case without the punctuation around it."""
    return _EDGES.sub("", word).lower()


def telling_words(text: str) -> frozenset[str]:
    """Return the longer words of ``text``, bare: those that say what it is about."""
    return frozenset(word for word in map(bare, text.split()) if len(word) >= _TELLING_LETTERS)


def clean_text(words: Sequence[str]) -> str:
    """Return what was meant to be said: no fillers, no immediate repetitions of one to three words.

    Grammar is left as it was: the tutor has to see the mistakes.
    """
    kept = [word for word in words if bare(word) and bare(word) not in FILLERS]
    for span in (3, 2, 1):
        kept = _without_repeats(kept, span)
    if not kept:
        return ""
    text = " ".join(kept).lstrip(",.;:- ")
    return text[:1].upper() + text[1:]


def _without_repeats(words: list[str], span: int) -> list[str]:
    out: list[str] = []
    for word in words:
        out.append(word)
        tail = [bare(item) for item in out[-2 * span :]]
        if len(tail) == 2 * span and tail[:span] == tail[span:]:
            # "very, very" and "no no" are emphasis at the end of a phrase; a stumble goes on, and
            # the second attempt is the one that the learner stands by: keep its spelling.
            del out[-2 * span : -span]
    return out


def time_words(
    words: Sequence[tuple[str, float]], audio: Pcm16, offset_ms: int
) -> tuple[Word, ...]:
    """Give each ``(text, confidence)`` its place in ``audio``.

    The method is an estimate: words share the audio's voiced energy in proportion to their
    letters, so silences and pauses take no word. Good to about 150 ms; an aligner does better
    when scores are needed.
    """
    if not words:
        return ()
    energies = frame_energies(audio, _ENERGY_FRAME)
    if len(energies) == 0 or float(energies.max()) <= 0.0:
        voiced = np.ones(max(1, len(energies)))
    else:
        # The square root keeps a quiet last syllable from vanishing beside a loud stressed one.
        loudest = float(energies.max())
        floor = max(float(np.percentile(energies, 20)) * 1.5, loudest * 0.05)
        # In even noise the floor must not lie above everything.
        floor = min(floor, loudest * 0.5)
        voiced = np.where(energies >= floor, np.sqrt(energies), 0.0)
    progress = np.concatenate([[0.0], np.cumsum(voiced)])
    progress /= progress[-1]
    letters = np.array([max(1, len(bare(text))) for text, _ in words], float)
    edges = np.concatenate([[0.0], np.cumsum(letters)]) / letters.sum()
    # Rounding must not carry a word over the silence that follows it, or begin it before.
    starts = np.searchsorted(progress, edges[:-1] + _ROUNDING, side="right") - 1
    ends = np.searchsorted(progress, edges[1:] - _ROUNDING, side="left")
    frame_ms = 1000 * _ENERGY_FRAME // LEARNER_RATE_HZ
    return tuple(
        Word(text, offset_ms + int(start) * frame_ms, offset_ms + int(end) * frame_ms, confidence)
        for (text, confidence), start, end in zip(words, starts, ends, strict=True)
    )


def transcript_of(words: Sequence[Word], audio_ms: int) -> Transcript:
    """Put timed words together to a transcript."""
    texts = [word.text for word in words]
    confidence = sum(word.confidence for word in words) / len(words) if words else 0.0
    return Transcript(
        verbatim=" ".join(texts),
        clean=clean_text(texts),
        words=tuple(words),
        confidence=confidence,
        audio_ms=audio_ms,
    )
