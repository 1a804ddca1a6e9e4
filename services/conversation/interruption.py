"""What speech over a reply means: a listener's "mhm", an echo, or a wish to speak.

Pure. People answer a speaker all the time without wanting the floor (backchannels; Yngve 1970),
and a loudspeaker's echo looks like speech too. Only words tell them from an interruption.
"""

from __future__ import annotations

import re
from enum import Enum

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")

# What listeners let be heard that is no word: nobody follows a reply before it is heard, but a hum
# comes at any time.
_SOUNDS = frozenset(
    "ah aha aw er erm ha haha hm hmm huh m mhm mm mmm mmhm oh uh uhhuh uhuh um".split()
)

# What listeners say to show that they follow. From the backchannels of the Switchboard corpus's
# dialogue acts, plus the fillers that learners make while they listen.
BACKCHANNELS = _SOUNDS | frozenset(
    "cool exactly fine good great interesting nice ok okay really right sure true wow yah ya yeah"
    " yep yes yup".split()
)

# The same in more words than one.
_PHRASES = re.compile(
    r"\b(?:i see|i know|i got it|got it|of course|all right|that's (?:right|true|good)|very good|"
    r"makes sense|sounds good)\b"
)

# One of these alone is enough to take the floor: to stop, to doubt, to ask again.
STOP_WORDS = frozenset(
    "actually but excuse hang hello hold how no nope pardon pause please question quiet repeat"
    " slower slow sorry stop wait what when where who why".split()
)

# Words that repeat what was just played, this many in a row and more, are its echo.
_ECHO_WORDS = 3

# A single other word said quickly is a cough or a noise that the recognizer made a word of; so are
# two where there was no time for two ("Mhm" is written "Come on").
SHORT_NOISE_MS = 600
_TWO_WORDS_MS = 450


class Meaning(Enum):
    """What the words so far say about who shall speak."""

    UNCLEAR = "unclear"
    BACKCHANNEL = "backchannel"
    INTERRUPTION = "interruption"


def words_of(text: str) -> list[str]:
    """Return the words of `text` in lower case, without punctuation."""
    return _WORD.findall(
        text.lower().replace("-", " ").replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    )


def meaning(
    text: str,
    *,
    said: str = "",
    final: bool = False,
    speech_ms: float = 0,
    unheard: bool = False,
) -> Meaning:
    """Say what speech over a reply means.

    Args:
        text: the learner's words so far.
        said: the tutor's words that may be in the air, to know their echo.
        final: no more words will come.
        speech_ms: how long the learner has been speaking, or spoke.
        unheard: nothing of the reply was heard yet, so nobody follows it: every word is meant.

    Two different words that are not backchannels, and took their time, or one that stops a speaker,
    take the floor. Without either, nothing is decided before the words are final. Nor before a
    reply was heard: there a single word takes the floor, but a recognizer's first guess may not.
    """
    words = words_of(text)
    real = _meant(words, unheard=unheard)
    if _is_within(words, words_of(said)):
        if len(words) >= _ECHO_WORDS:
            return Meaning.BACKCHANNEL
        # Fewer may be chance, or the beginning of a longer echo: its first caption is one word.
        if real and not final:
            return Meaning.UNCLEAR
    if real & STOP_WORDS or (len(real) >= 2 and speech_ms > _TWO_WORDS_MS):
        return Meaning.INTERRUPTION
    if not final:
        return Meaning.UNCLEAR if real or not words else Meaning.BACKCHANNEL
    if real and (unheard or speech_ms > SHORT_NOISE_MS):
        return Meaning.INTERRUPTION
    return Meaning.BACKCHANNEL


def is_answer(text: str, *, said: str) -> bool:
    """Whether words that came over the end of a question may answer it: they are no sound, no echo.

    said: as in `meaning`.
    """
    words = words_of(text)
    return bool(_meant(words, unheard=True)) and not _is_within(words, words_of(said))


def _meant(words: list[str], *, unheard: bool) -> set[str]:
    """Return the words that say something; see `meaning`.

    Each counts once: a recognizer writes a noise as the same word again and again.
    """
    if unheard:
        return set(words) - _SOUNDS
    return set(words_of(_PHRASES.sub(" ", " ".join(words)))) - BACKCHANNELS


def _is_within(words: list[str], said: list[str]) -> bool:
    length = len(words)
    return any(said[at : at + length] == words for at in range(len(said) - length + 1))
