"""Joins the bytes of tokens to text."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from services.ai.stops import StopStrings


class TextJoiner:
    """Turns pieces of UTF-8 into text, and ends it before the first of the ``stop`` strings.

    A character may be spread over several tokens: its beginning is held back until the next piece.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stops = StopStrings(stop)

    @property
    def stopped(self) -> bool:
        """Whether a stop string came; nothing comes out any more."""
        return self._stops.stopped

    def add(self, piece: bytes) -> str:
        """Return the text that is certain now."""
        return self._stops.add(self._decoder.decode(piece))

    def end(self) -> str:
        """Return what was held back: nothing more comes."""
        return self._stops.end(self._decoder.decode(b"", final=True))
