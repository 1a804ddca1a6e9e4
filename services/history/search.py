"""Search by words: how text is cut into words, how a query is read, what is shown of a match.

Text and query go through the same `tokens`, so the index behind only compares words; it never
sees what the user typed as a query language. Letter case, accents, full-width forms and the
apostrophe make no difference ("Cafe" finds "café", "dont" finds "don't"), nor do the vowel points
of Arabic and Hebrew, which are mostly left out. Signs that belong to a script's words, as the
vowels of Hindi do, are compared as letters are. Scripts written without spaces are cut into
characters, each with its signs, and a run of them in a query must stand together.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from services.common.errors import FieldViolation, InvalidArgument

SNIPPET_CHARACTERS = 160
"""About two lines of text on a phone."""

_LEAD_CHARACTERS = 50
"""Words before the match that a snippet begins with: enough to see how the sentence began."""

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Thai and Lao, Burmese, Khmer, kana, Han; and Hangul, whose words carry their particles."""

_FIRST_UNSPACED = "\u0e00"

_APOSTROPHES = "'\u2019\u02bc"
_JOINERS = "\u200c\u200d\u00ad"
"""How a word is drawn or broken, inside it: zero-width (non-)joiners, the soft hyphen."""

_TATWEEL = "\u0640"
"""Draws an Arabic word out."""

_UNDECOMPOSED = str.maketrans("đħłøŧı", "dhloti")
"""Letters whose stroke (or missing dot) is no mark of its own in Unicode, and left out as those."""

_ACCENTS = re.compile(
    "COMBINING (?!KATAKANA)|ARABIC|HEBREW|SYRIAC|(MONGOLIAN FREE )?VARIATION SELECTOR"
)
"""How the names of marks begin that make no other word: accents, which no script owns, vowel
points, and the choice of a glyph."""

_QUOTES = re.compile('["\u201c\u201d\u201e\u00ab\u00bb]')


@dataclass(frozen=True, slots=True)
class Token:
    """A word as it is compared, and where it stands in the text (code points)."""

    word: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Query:
    """What must be found: every one of `terms`, each a row of words that stand together."""

    terms: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Snippet:
    """Words around a match, and the stretches that matched (start, end in code points)."""

    text: str
    spans: tuple[tuple[int, int], ...]


def tokens(text: str) -> Iterator[Token]:
    """Cut `text` into words."""
    start: int | None = None
    alone = False
    for at, character in enumerate(text):
        unspaced = character >= _FIRST_UNSPACED and _UNSPACED.match(character) is not None
        if start is not None:
            if _goes_on(text, at) if not (alone or unspaced) else _is_mark(character):
                continue
            yield from _token(text, start, at)
            start = None
        if character.isalnum():
            start, alone = at, unspaced
    if start is not None:
        yield from _token(text, start, len(text))


def fold(word: str) -> str:
    """Return `word` as it is compared: letters, digits and signs; no case, accent, apostrophe."""
    if word.isascii():
        return "".join(filter(str.isalnum, word.lower()))
    # Decomposed before as well: some letters have no small form until they are.
    plain = unicodedata.normalize("NFKD", word).casefold()
    decomposed = unicodedata.normalize("NFKD", plain)
    return unicodedata.normalize("NFC", "".join(filter(_is_compared, decomposed))).translate(
        _UNDECOMPOSED
    )


def parse_query(text: str) -> Query:
    """Read words and "phrases" out of what the user typed. A quote left open runs to the end.

    Raises:
        InvalidArgument: QUERY_INVALID, when there is no word in it.
    """
    terms: list[tuple[str, ...]] = []
    for position, part in enumerate(_QUOTES.split(text)):
        found = list(tokens(part))
        if position % 2:
            terms.append(tuple(token.word for token in found))
        else:
            terms.extend(_rows(part, found))
    kept = tuple(dict.fromkeys(term for term in terms if term))
    if not kept:
        raise InvalidArgument(
            "There is no word to search for.",
            reason="QUERY_INVALID",
            fields=[FieldViolation("query", "needs at least one word")],
        )
    return Query(kept)


def snippet(text: str, query: Query) -> Snippet:
    """Return the part of `text` around its first match, at most `SNIPPET_CHARACTERS` and dots."""
    found = list(tokens(text))
    spans = _merge(_matches(found, query))
    first = spans[0][0] if spans else 0
    start, end = _window(text, found, first)
    head = "…" if start > 0 else ""
    tail = "…" if end < len(text) else ""
    shift = len(head) - start
    inside = ((max(s, start), min(e, end)) for s, e in spans if s < end and e > start)
    return Snippet(
        f"{head}{text[start:end]}{tail}", tuple((s + shift, e + shift) for s, e in inside)
    )


def _goes_on(text: str, at: int) -> bool:
    """Tell whether a word, begun before, goes on with this character."""
    character = text[at]
    if character in _APOSTROPHES or character in _JOINERS:
        # Only between two letters: quotation marks around a word are not part of it.
        before, after = text[at - 1], text[at + 1 : at + 2]
        return after.isalnum() and (before.isalnum() or _is_mark(before))
    return character.isalnum() or _is_mark(character)


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


@lru_cache(4096)
def _is_compared(character: str) -> bool:
    if _is_mark(character):
        return _ACCENTS.match(unicodedata.name(character, "")) is None
    return character.isalnum() and character not in _APOSTROPHES and character != _TATWEEL


def _token(text: str, start: int, end: int) -> Iterator[Token]:
    word = fold(text[start:end])
    if word:
        yield Token(word, start, end)


def _rows(part: str, found: Sequence[Token]) -> Iterator[tuple[str, ...]]:
    """Split unquoted words into terms; characters of unspaced scripts that touch stay together."""
    row: list[Token] = []
    for token in found:
        touches = row and row[-1].end == token.start
        both = row and _UNSPACED.match(part[row[-1].start]) and _UNSPACED.match(part[token.start])
        if row and not (touches and both):
            yield tuple(each.word for each in row)
            row = []
        row.append(token)
    if row:
        yield tuple(each.word for each in row)


def _matches(found: Sequence[Token], query: Query) -> Iterator[tuple[int, int]]:
    words = [token.word for token in found]
    for term in query.terms:
        for at in range(len(words) - len(term) + 1):
            if tuple(words[at : at + len(term)]) == term:
                yield found[at].start, found[at + len(term) - 1].end


def _merge(spans: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _window(text: str, found: Sequence[Token], first: int) -> tuple[int, int]:
    """Choose what to show: whole words, with the match that starts at `first` near the front."""
    if len(text) <= SNIPPET_CHARACTERS:
        return 0, len(text)
    start = 0
    if first > _LEAD_CHARACTERS:
        start = next(t.start for t in found if t.start >= first - _LEAD_CHARACTERS)
    if len(text) - start <= SNIPPET_CHARACTERS:
        return start, len(text)
    ends = [t.end for t in found if start < t.end <= start + SNIPPET_CHARACTERS]
    # A single word longer than the snippet is cut inside.
    return start, ends[-1] if ends else start + SNIPPET_CHARACTERS
