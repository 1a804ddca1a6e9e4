"""Which words of a reply were heard, from how much of its audio was played. Pure.

A tutor that remembers words which nobody heard refers to them, and confuses the learner.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

_TOKEN = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class WordTime:
    """One word of a reply with where it is said in the reply's audio, in milliseconds.

    start, end: its place in the reply's text, in characters, punctuation included.
    """

    text: str
    start: int
    end: int
    start_ms: int
    end_ms: int
    estimated: bool


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word as the synthesizer timed it."""

    text: str
    start_ms: int
    end_ms: int
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class TextPiece:
    """A stretch of the reply as the engine sent it: its text and where its audio begins."""

    text: str
    audio_offset_ms: int
    words: tuple[SpokenWord, ...] = ()


def word_times(pieces: Sequence[TextPiece], audio_ms: int) -> list[WordTime]:
    """Return every word of the reply with its time.

    Times come from the synthesizer where it gave them; else the piece's words share the time to
    the next piece (or to `audio_ms`, the end of the audio known so far) by their letters. Words
    without audio of their own are there, and last no time.
    """
    found: list[WordTime] = []
    position = 0
    pieces = list(_with_all_words(pieces))
    for index, piece in enumerate(pieces):
        until = pieces[index + 1].audio_offset_ms if index + 1 < len(pieces) else audio_ms
        found.extend(_measured(piece, position) or _estimated(piece, position, until))
        position += len(piece.text)
    return found


def heard_text(pieces: Sequence[TextPiece], audio_ms: int, heard_ms: int) -> str:
    """Return the reply's text up to the last word that was heard.

    A word counts as heard when at least half of it was played.
    """
    heard = _heard(word_times(pieces, audio_ms), heard_ms)
    end = max((word.end for word in heard), default=0)
    return "".join(piece.text for piece in pieces)[:end].strip()


def text_between(pieces: Sequence[TextPiece], audio_ms: int, from_ms: int, to_ms: int) -> str:
    """Return the words that are said between two places of the reply's audio."""
    return " ".join(
        word.text
        for word in word_times(pieces, audio_ms)
        if word.end_ms >= from_ms and word.start_ms <= to_ms
    )


def _heard(words: Iterable[WordTime], heard_ms: int) -> list[WordTime]:
    return [
        word
        for word in words
        if _is_voiced(word) and heard_ms > 0 and (word.start_ms + word.end_ms) / 2 <= heard_ms
    ]


def _is_voiced(word: WordTime) -> bool:
    # Aligners do give a short word no time; an estimate of none means that there was no audio.
    return word.end_ms > word.start_ms or not word.estimated


def _with_all_words(pieces: Iterable[TextPiece]) -> Iterator[TextPiece]:
    """Join what has words but no text to the piece whose text has those words.

    A synthesizer that speaks a piece in several parts gives the text with the first.
    """
    whole: TextPiece | None = None
    for piece in pieces:
        if whole is not None and not piece.text:
            whole = replace(whole, words=whole.words + piece.words)
            continue
        if whole is not None:
            yield whole
        whole = piece
    if whole is not None:
        yield whole


def _measured(piece: TextPiece, position: int) -> list[WordTime]:
    """Find the timed words in the piece's text; empty when they do not match it."""
    found: list[WordTime] = []
    at = 0
    for word in piece.words:
        start = piece.text.find(word.text, at)
        if start < 0:
            return []
        end = start + len(word.text)
        # Punctuation belongs to the word before it.
        while end < len(piece.text) and not piece.text[end].isspace():
            end += 1
        found.append(
            WordTime(
                word.text,
                position + start,
                position + end,
                word.start_ms,
                word.end_ms,
                word.estimated,
            )
        )
        at = end
    return found


def _estimated(piece: TextPiece, position: int, until_ms: int) -> list[WordTime]:
    tokens = list(_TOKEN.finditer(piece.text))
    letters = sum(len(token.group()) for token in tokens)
    if not letters:
        return []
    length_ms = max(0, until_ms - piece.audio_offset_ms)
    found: list[WordTime] = []
    before = 0
    for token in tokens:
        start_ms = piece.audio_offset_ms + length_ms * before // letters
        before += len(token.group())
        end_ms = piece.audio_offset_ms + length_ms * before // letters
        found.append(
            WordTime(
                token.group(),
                position + token.start(),
                position + token.end(),
                start_ms,
                end_ms,
                estimated=True,
            )
        )
    return found
