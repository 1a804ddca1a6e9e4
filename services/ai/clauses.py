"""Cuts a reply that is still being written into pieces that can be spoken.

The first piece is cut early, because the learner waits for it: after an interjection ("Oh,"), at
the first comma after a few words, or at a long phrase's joint. Later pieces are whole sentences,
because they sound better.
"""

from __future__ import annotations

import re

# Not the end of a sentence, although a period follows.
_ABBREVIATIONS = frozenset(
    {"mr", "mrs", "ms", "dr", "st", "vs", "etc", "e.g", "i.e", "a.m", "p.m", "no", "jr", "sr"}
)
_SENTENCE_END = re.compile(r"[.!?\u2026]+[\"'\u201d\u2019)\]]*")
# At the edge of what is written a mark after a letter is enough: "1," may become "1,000".
_CLAUSE_END = re.compile(r"[,;:\u2014](?=\s)|(?<=[^\W\d_])[,;:\u2014]$")
# A lone word sounds clipped, two carry an intonation; but an interjection is said alone by nature,
# and in the time that it takes the model writes the words after it.
_MIN_FIRST_WORDS = 2
_INTERJECTIONS = frozenset(
    "ah aha aw great ha hey hm hmm mm no oh okay ok ooh right sure well wow yeah yes".split()
)
# A first sentence without any mark is cut before one of these joints once it is this long:
# eight words take about 2.5 s to say, in which the model is far ahead again.
_LONG_WORDS = 8
_MIN_JOINT_WORDS = 4
_JOINTS = frozenset({"and", "but", "or", "so", "because", "when", "that", "if", "which", "with"})


class ClauseSplitter:
    """Feed it the reply piece by piece; it returns what can be spoken now."""

    def __init__(self) -> None:
        self._pending = ""
        self._any_out = False

    def feed(self, piece: str) -> list[str]:
        """Add text; return the clauses that are complete, in order, often none."""
        self._pending += piece
        clauses = []
        while (end := self._cut()) is not None:
            clause, self._pending = self._pending[:end], self._pending[end:]
            if clause.strip():
                self._any_out = True
                clauses.append(clause)
        return clauses

    def flush(self) -> str:
        """Return what is left when the reply is over; empty when nothing is."""
        rest, self._pending = self._pending, ""
        return rest if rest.strip() else ""

    def _cut(self) -> int | None:
        end = _sentence_end(self._pending)
        if end is not None or self._any_out:
            return end
        return _first_clause_end(self._pending)


def _sentence_end(text: str) -> int | None:
    # One before the first word, left from the line above, ends nothing.
    newline = text.find("\n", len(text) - len(text.lstrip()))
    for match in _SENTENCE_END.finditer(text):
        if newline != -1 and newline < match.start():
            break
        if _ends_sentence(text, match):
            return match.end()
    return newline + 1 if newline != -1 else None


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    at_edge = match.end() == len(text)
    if not at_edge and not text[match.end()].isspace():
        return False
    if match.group()[0] != ".":
        # "?!" may still be growing, but a mark too few costs nothing.
        return True
    word = (
        text[: match.start()].rsplit(maxsplit=1)[-1].lower()
        if text[: match.start()].split()
        else ""
    )
    word = word.lstrip("(\"'")
    if word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word != "i"):
        return False
    # "3." at the edge may become "3.5".
    return not (at_edge and word[-1:].isdigit())


def _first_clause_end(text: str) -> int | None:
    for match in _CLAUSE_END.finditer(text):
        before = text[: match.start()].split()
        if len(before) >= _MIN_FIRST_WORDS or (before and before[0].lower() in _INTERJECTIONS):
            return match.start() + 1
    words = list(re.finditer(r"\S+", text))
    # The last word may still be growing.
    if len(words) <= _LONG_WORDS:
        return None
    for word in words[_MIN_JOINT_WORDS:-1]:
        if word.group().lower() in _JOINTS:
            return word.start()
    return None
