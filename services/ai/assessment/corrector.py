"""Correctors: what gives a learner's utterance its few gentle corrections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from typing import Protocol

from services.ai.assessment.comparing import corrections, sentences, surely_heard
from services.ai.assessment.prompt import VERSION, instructions, rewriting_messages
from services.ai.capabilities import (
    GenerationOptions,
    LanguageModel,
    LanguageModelSession,
    ProviderBusyError,
    ProviderError,
    WritesInIdleTime,
)
from services.ai.learner import FoundCorrection, HeardWord

MAX_CORRECTIONS = 2
"""More at a time and nobody reads them."""

# Utterances that wait for the one that is looked at. Each takes a few seconds of the model's idle
# time: who waits behind more than these would be told of a mistake long after it was made.
# Full-policy: the next raises `ProviderBusyError` at once.
_MAX_WAITING = 4

# Sentences looked at in one utterance, from its beginning: bounds what a monologue costs.
_MAX_SENTENCES = 4

# A token a word and a half, and a word or two more than was said.
_TOKENS_A_WORD = 2
_TOKENS_MORE = 12

# Kept only what the rules know; see docs/engines.md for how often that was right.
_CONFIDENCE = 0.8


def uncounted() -> None:
    """Count nothing."""


class Corrector(Protocol):
    """Finds mistakes."""

    async def warm(self) -> None:
        """Do what can be done before there is an utterance. May take long, at nobody's cost."""
        ...

    async def correct(
        self, words: Sequence[HeardWord], on_token: Callable[[], None] = uncounted
    ) -> list[FoundCorrection]:
        """Return the corrections of an utterance, at most `MAX_CORRECTIONS`, in its order.

        ``on_token`` is called for each token that a language model writes for it. Cancelling it
        stops the work at once. Raises ``ProviderError``; ``ProviderBusyError`` when too many
        utterances wait.
        """
        ...


class RewritingCorrector:
    """Has a language model write each sentence again, and compares.

    The model is asked for no list of mistakes: a small one quotes words that were not said and
    gives reasons that are not so. What it writes here can only differ from what was said; where,
    and whether that is a mistake to tell of, is worked out from the difference.
    """

    def __init__(self, model: LanguageModel, name: str) -> None:
        self._model = model
        self._scorer = f"{name}+{VERSION}"
        self._waiting = 0
        self._one_at_a_time = asyncio.Lock()

    async def warm(self) -> None:
        """Evaluate what every question begins with, before there is one."""
        if isinstance(self._model, WritesInIdleTime):
            with suppress(ProviderError):  # a hint
                await self._model.warm_spare(instructions())

    async def correct(
        self, words: Sequence[HeardWord], on_token: Callable[[], None] = uncounted
    ) -> list[FoundCorrection]:
        """Return the corrections. See `Corrector`."""
        texts = [word.text for word in words]
        spans = list(sentences(texts))[:_MAX_SENTENCES]
        if not spans:
            return []
        if self._waiting >= _MAX_WAITING:
            raise ProviderBusyError("too many utterances wait to be looked at")
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                session = self._open()
                try:
                    found = await self._correct(session, texts, spans, on_token)
                finally:
                    session.close()
        finally:
            self._waiting -= 1
        return [each for each in found if surely_heard(each, words)][:MAX_CORRECTIONS]

    def _open(self) -> LanguageModelSession:
        if isinstance(self._model, WritesInIdleTime):
            return self._model.open_spare()
        return self._model.open()

    async def _correct(
        self,
        session: LanguageModelSession,
        words: Sequence[str],
        spans: Sequence[tuple[int, int]],
        on_token: Callable[[], None],
    ) -> list[FoundCorrection]:
        found: list[FoundCorrection] = []
        for first, end in spans:
            sentence = words[first:end]
            rewritten = await _written(session, sentence, on_token)
            found += corrections(
                words, first, end, rewritten, confidence=_CONFIDENCE, scorer=self._scorer
            )
            if len(found) >= MAX_CORRECTIONS:
                break
        return found


async def _written(
    session: LanguageModelSession, sentence: Sequence[str], on_token: Callable[[], None]
) -> str:
    options = GenerationOptions(
        temperature=0,
        max_tokens=_TOKENS_A_WORD * len(sentence) + _TOKENS_MORE,
        stop=("\n",),
    )
    messages = rewriting_messages(" ".join(sentence))
    async with aclosing(session.stream(messages, options)) as stream:  # type: ignore[type-var]
        written = ""
        async for piece in stream:
            on_token()
            written += piece
        return written.strip()
