"""The scripted corrector: finds what its script says, wherever it is said."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from services.ai.assessment.corrector import MAX_CORRECTIONS, uncounted
from services.ai.assessment.edits import bare, quoted
from services.ai.learner import CorrectionKind, FoundCorrection, HeardWord
from services.ai.script import CorrectorScript, Mistake

Sleep = Callable[[float], Awaitable[None]]

_SCORER = "scripted@1"


class ScriptedCorrector:
    """Corrects by the script. See ``Corrector``."""

    def __init__(self, script: CorrectorScript, sleep: Sleep = asyncio.sleep) -> None:
        self._script = script
        self._sleep = sleep

    async def warm(self) -> None:
        """Do nothing."""

    async def correct(
        self, words: Sequence[HeardWord], on_token: Callable[[], None] = uncounted
    ) -> list[FoundCorrection]:
        """Return the scripted corrections of what is said in ``words``; nothing is written."""
        if self._script.delay_ms:
            await self._sleep(self._script.delay_ms / 1000)
        texts = [word.text for word in words]
        plain = [bare(text) for text in texts]
        found = [
            _correction(texts, first, mistake)
            for first in range(len(plain))
            for mistake in self._script.mistakes
            if plain[first : first + len(mistake.words)] == mistake.words
        ]
        return found[:MAX_CORRECTIONS]


def _correction(words: Sequence[str], first: int, mistake: Mistake) -> FoundCorrection:
    end = first + len(mistake.words)
    return FoundCorrection(
        kind=CorrectionKind(mistake.kind),
        first_word=first,
        end_word=end,
        original=quoted(words[first:end]),
        replacement=mistake.replacement,
        explanation=mistake.explanation,
        confidence=1.0,
        scorer=_SCORER,
    )
