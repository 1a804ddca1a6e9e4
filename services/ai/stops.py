"""Ends a text before the first of its stop strings, wherever the pieces are cut."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Passes text through up to the first of the ``stop`` strings.

    A stop string may be spread over several pieces: what could be its beginning is held back until
    the next piece, so no part of one gets out.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._stop = tuple(filter(None, stop))
        self._held = ""
        self.stopped = False
        """Whether a stop string came; nothing comes out any more."""

    def add(self, text: str) -> str:
        """Return the text that is certain now."""
        return self._release(text, final=False)

    def end(self, text: str = "") -> str:
        """Return what was held back, and ``text``: nothing more comes."""
        return self._release(text, final=True)

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
