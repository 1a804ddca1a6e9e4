"""When the words of a reply are heard, where a model sends words and sound apart from each other.

Neither comes at the pace of speech and neither says where it belongs, so places are estimated from
the number of letters. A word is told once the sound has come as far as it: no word is ever placed
behind the end of the audio, where it would count as never heard.
"""

from __future__ import annotations

import re

# English at the pace of a tutor: 150 words a minute of six characters each.
MS_PER_CHARACTER = 66.0
_WORD = re.compile(r"\s*\S+\s*$|\s*\S+(?=\s)")


class SpokenText:
    """The words of one reply. ``speed`` is how fast it is spoken, 1 being the model's own pace."""

    def __init__(self, speed: float) -> None:
        self._ms_per_character = MS_PER_CHARACTER / speed
        self._waiting = ""
        self._told = 0

    def add(self, text: str) -> None:
        """Add the next words."""
        self._waiting += text

    def up_to(self, audio_ms: int) -> tuple[str, int]:
        """Return the words that begin before ``audio_ms``, and where they begin, in ms.

        Words that may go on in the next piece wait for it.
        """
        begin_ms = self._next_ms
        taken = 0
        for word in _WORD.finditer(self._waiting):
            whole = word.end() < len(self._waiting)
            if not whole or (self._told + word.start()) * self._ms_per_character >= audio_ms:
                break
            taken = word.end()
        return self._take(taken), begin_ms

    def rest(self, audio_ms: int) -> tuple[str, int]:
        """Return all words that are left, and where they begin; no more sound will come."""
        begin_ms = min(self._next_ms, audio_ms)
        return self._take(len(self._waiting)), begin_ms

    @property
    def _next_ms(self) -> int:
        return int(self._told * self._ms_per_character)

    def _take(self, characters: int) -> str:
        text, self._waiting = self._waiting[:characters], self._waiting[characters:]
        self._told += characters
        return text
