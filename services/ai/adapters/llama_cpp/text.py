"""Joins the bytes of tokens to text."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextJoiner:
    """Turns pieces of UTF-8 into text, and ends it before the first of the ``stop`` strings.

    A character may be spread over several tokens, and so may a stop string: what could be the
    beginning of either is held back until the next piece, so no part of a stop string gets out.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stop = tuple(filter(None, stop))
        self._held = ""
        self.stopped = False
        """Whether a stop string came; nothing comes out any more."""

    def add(self, piece: bytes) -> str:
        """Return the text that is certain now."""
        return self._release(self._decoder.decode(piece), final=False)

    def end(self) -> str:
        """Return what was held back: nothing more comes."""
        return self._release(self._decoder.decode(b"", final=True), final=True)

    def _release(self, text: str, *, final: bool) -> str:
        if self.stopped:
            return ""
        text = self._held + text
        found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            self._held = ""
            return text[: min(found)]
        keep = 0 if final else max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of ``text`` may be the beginning of ``stop``."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
