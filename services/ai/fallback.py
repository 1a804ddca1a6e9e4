"""Providers in a row: when one fails before it gave anything, the next is asked.

Only an error that another provider may not have moves on, and only before the first output: half an
answer of one model and half of another is worse than none. A provider that failed is left alone for
a while; the last of a row is asked in any case. Who served and why is kept for the stages of the
turn.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import zip_longest
from typing import Generic, TypeVar

import structlog

from services.ai.capabilities import (
    GenerationOptions,
    HearsAgain,
    LanguageModel,
    LanguageModelCapabilities,
    LanguageModelSession,
    Message,
    Pcm16,
    ProviderError,
    RecognitionSession,
    Recognizer,
    RecognizerCapabilities,
    SpeechChunk,
    Synthesizer,
    SynthesizerCapabilities,
    Transcript,
)
from services.ai.circuit import Circuit
from services.ai.hedging import race
from services.ai.streams import closable

_log = structlog.get_logger(__name__)

P = TypeVar("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Named(Generic[P]):
    """A provider, the name that stages credit it with, and whether it is being left alone."""

    name: str
    provider: P
    circuit: Circuit = field(default_factory=Circuit, compare=False)


class Capability(StrEnum):
    """What failed."""

    RECOGNIZER = "recognizer"
    LANGUAGE_MODEL = "language_model"
    SYNTHESIZER = "synthesizer"


@dataclass(frozen=True, slots=True)
class Switch:
    """A change to the next provider: for the stage's note."""

    capability: Capability
    failed: str
    served: str
    why: str

    @property
    def note(self) -> str:
        """What to tell of it."""
        return f"{self.failed} failed: {self.why}"


def check_one_rate(rates: Sequence[tuple[str, int]]) -> None:
    """Raise ``ProviderError`` unless the providers of a chain, each with its Hz, have one rate."""
    if len({rate_hz for _, rate_hz in rates}) > 1:
        told = ", ".join(f"{name!r} at {rate_hz} Hz" for name, rate_hz in rates)
        raise ProviderError(
            f"a conversation has one sample rate, and these speak at several: {told}; name only "
            "those of one rate, or set one sample_rate_hz where they have that setting",
            retryable=False,
        )


_switches: ContextVar[list[Switch] | None] = ContextVar("switches", default=None)


def record_switches(switches: list[Switch]) -> None:
    """Have the switches of this task, and of tasks that it starts, added to ``switches``."""
    _switches.set(switches)


def _switched(switch: Switch) -> None:
    kept = _switches.get()
    if kept is not None:
        kept.append(switch)


class FallbackLanguageModel:
    """A language model made of several, the first choice first."""

    def __init__(self, models: Sequence[Named[LanguageModel]], hedge_after_s: float = 0.0) -> None:
        """``hedge_after_s``: how long the first word may take before the next is asked too.

        0: the next is asked only when the one before has failed.
        """
        self._models = tuple(models)
        self._hedge_after_s = hedge_after_s

    @property
    def writing(self) -> int:
        """How many replies the first choice is writing now."""
        return self._models[0].provider.writing

    @property
    def capabilities(self) -> LanguageModelCapabilities:
        """What holds whichever serves: the smallest context, the first's cache and room."""
        all_of_them = [model.provider.capabilities for model in self._models]
        return LanguageModelCapabilities(
            context_tokens=min(each.context_tokens for each in all_of_them),
            prompt_cache=all_of_them[0].prompt_cache,
            max_sessions=all_of_them[0].max_sessions,
        )

    def open(self) -> FallbackWriting:
        """Take a place with the first model that has one.

        The others' places are taken when they are needed.
        """
        writing = FallbackWriting(self._models, self._hedge_after_s)
        writing.take_place()
        return writing

    async def warm(self, messages: Sequence[Message]) -> None:
        """Warm the first choice, which is the one that is expected to serve."""
        await self._models[0].provider.warm(messages)

    def count_tokens(self, text: str) -> int:
        """Return the largest count."""
        return max(model.provider.count_tokens(text) for model in self._models)


class FallbackWriting:
    """One conversation that moves on when its model fails."""

    def __init__(self, models: Sequence[Named[LanguageModel]], hedge_after_s: float = 0.0) -> None:
        self._models = models
        self._hedge_after_s = hedge_after_s
        self._open: dict[str, LanguageModelSession] = {}

    def take_place(self) -> None:
        """Open the first model that has room. Raises the last model's error when none has."""
        for index, model in enumerate(self._models):
            try:
                self._session(model)
            except ProviderError as error:
                if not error.elsewhere or index == len(self._models) - 1:
                    raise
                _switched(
                    Switch(
                        Capability.LANGUAGE_MODEL,
                        model.name,
                        self._models[index + 1].name,
                        str(error),
                    )
                )
            else:
                return

    async def prime(self, messages: Sequence[Message]) -> None:
        """Prime the model that would serve first."""
        if self._open:
            await next(iter(self._open.values())).prime(messages)

    async def stream(
        self, messages: Sequence[Message], options: GenerationOptions
    ) -> AsyncIterator[str]:
        """Yield the reply of the first model that begins one."""

        def begin(model: LanguageModel, name: str) -> AsyncIterator[str]:
            session = self._session(Named(name, model))
            return session.stream(messages, options)

        written = (
            _hedged(self._models, begin, Capability.LANGUAGE_MODEL, self._hedge_after_s)
            if self._hedge_after_s
            else _first_that_begins(self._models, begin, Capability.LANGUAGE_MODEL)
        )
        async with aclosing(closable(written)) as pieces:
            async for piece in pieces:
                yield piece

    def close(self) -> None:
        """Give every place back."""
        for session in self._open.values():
            session.close()
        self._open.clear()

    def _session(self, model: Named[LanguageModel]) -> LanguageModelSession:
        if model.name not in self._open:
            self._open[model.name] = model.provider.open()
        return self._open[model.name]


class FallbackSynthesizer:
    """A synthesizer made of several of one sample rate, the first choice first."""

    def __init__(self, synthesizers: Sequence[Named[Synthesizer]]) -> None:
        """Raises ``ProviderError`` where they differ in their sample rate."""
        check_one_rate(
            [(each.name, each.provider.capabilities.sample_rate_hz) for each in synthesizers]
        )
        self._synthesizers = tuple(synthesizers)

    @property
    def capabilities(self) -> SynthesizerCapabilities:
        """The first choice's: the others speak with their own default voice."""
        return self._synthesizers[0].provider.capabilities

    async def stream(self, text: str, voice: str, speed: float) -> AsyncIterator[SpeechChunk]:
        """Yield the speech of the first synthesizer that begins."""

        def begin(synthesizer: Synthesizer, _: str) -> AsyncIterator[SpeechChunk]:
            known = any(each.id == voice for each in synthesizer.capabilities.voices)
            return synthesizer.stream(text, voice if known else "", speed)

        speech = _first_that_begins(self._synthesizers, begin, Capability.SYNTHESIZER)
        async with aclosing(closable(speech)) as chunks:
            async for chunk in chunks:
                yield chunk


class FallbackRecognizer:
    """A recognizer made of several: each hears everything, the first that answers counts."""

    def __init__(self, recognizers: Sequence[Named[Recognizer]]) -> None:
        self._recognizers = tuple(recognizers)

    @property
    def capabilities(self) -> RecognizerCapabilities:
        """The first choice's."""
        return self._recognizers[0].provider.capabilities

    def open(self) -> FallbackRecognition:
        """Start recognising one utterance with all of them; only the asked one works."""
        sessions = [
            Named(each.name, each.provider.open(), each.circuit) for each in self._recognizers
        ]
        return FallbackRecognition(sessions)


class FallbackRecognition:
    """One utterance."""

    def __init__(self, sessions: Sequence[Named[RecognitionSession]]) -> None:
        self._sessions = sessions

    def feed(self, audio: Pcm16) -> None:
        """Add audio to all, so that any can take over."""
        for session in self._sessions:
            session.provider.feed(audio)

    async def partial(self) -> str | None:
        """Ask the first that is not being left alone; None where all are.

        A caption is not worth a second try, and no trial either: whether a provider is back, the
        final transcript finds out.
        """
        for session in self._sessions:
            if session.circuit.is_closed:
                return await session.provider.partial()
        return None

    async def final(self) -> Transcript:
        """Return the transcript of the first that can."""
        for session, following in _in_turn(self._sessions, Capability.RECOGNIZER):
            try:
                transcript = await session.provider.final()
            except ProviderError as error:
                if not _moves_on(session, following, error, Capability.RECOGNIZER):
                    raise
            else:
                session.circuit.succeeded()
                return transcript
        raise AssertionError("unreachable: the last session returns or raises")

    @property
    def again_by(self) -> str:
        """Who of the first choice hears it again."""
        first = self._sessions[0].provider
        return first.again_by if isinstance(first, HearsAgain) else ""

    async def again(self, expected: Collection[str]) -> Transcript | None:
        """Have the first choice hear it again."""
        first = self._sessions[0].provider
        return await first.again(expected) if isinstance(first, HearsAgain) else None

    def close(self) -> None:
        """Close all."""
        for session in self._sessions:
            session.provider.close()


async def _first_that_begins(
    providers: Sequence[Named[P]],
    begin: Callable[[P, str], AsyncIterator[T]],
    capability: Capability,
) -> AsyncIterator[T]:
    for each, following in _in_turn(providers, capability):
        begun = False
        failed = False
        try:
            async with aclosing(closable(begin(each.provider, each.name))) as items:
                async for item in items:
                    begun = True
                    yield item
                begun = True
        except ProviderError as error:
            failed = True
            if not _moves_on(each, None if begun else following, error, capability):
                raise
        else:
            return
        finally:
            # Also what was cut short by an interruption: it did begin.
            if begun and not failed:
                each.circuit.succeeded()


async def _hedged(
    providers: Sequence[Named[P]],
    begin: Callable[[P, str], AsyncIterator[T]],
    capability: Capability,
    after_s: float,
) -> AsyncIterator[T]:
    """Yield what the first that begins gives, asking the next whenever the last is late."""
    asked = [each for each, _ in _in_turn(providers, capability)]
    late: list[int] = []

    def failed(index: int, error: Exception) -> bool:
        assert isinstance(error, ProviderError)
        following = asked[index + 1] if index + 1 < len(asked) else None
        return _moves_on(asked[index], following, error, capability)

    def won(index: int) -> None:
        asked[index].circuit.succeeded()
        why = f"no first word within {round(1000 * after_s)} ms"
        for slow in late:
            if slow != index:
                _switched(Switch(capability, asked[slow].name, asked[index].name, why))

    racing = race(
        [partial(begin, each.provider, each.name) for each in asked],
        after_s,
        on_failure=failed,
        on_late=late.append,
        on_win=won,
        failures=ProviderError,
    )
    async with aclosing(closable(racing)) as items:
        async for item in items:
            yield item


def _in_turn(
    providers: Sequence[Named[P]], capability: Capability
) -> Iterator[tuple[Named[P], Named[P] | None]]:
    """Yield each provider that is not left alone, and the one after it; the last in any case."""
    for each, following in zip_longest(providers, providers[1:]):
        if following is None or each.circuit.admits():
            yield each, following
        else:
            why = f"left alone for now, since {each.circuit.why}"
            _switched(Switch(capability, each.name, following.name, why))


def _moves_on(
    failed: Named[P], following: Named[P] | None, error: ProviderError, capability: Capability
) -> bool:
    """Take note of a failure; return whether the provider after it is to be asked."""
    alone_s = failed.circuit.failed(error)
    _log.warning(
        "provider_failed",
        capability=capability.value,
        provider=failed.name,
        kind=type(error).__name__,
        alone_s=alone_s,
    )
    if following is None or not error.elsewhere:
        return False
    _switched(Switch(capability, failed.name, following.name, str(error)))
    return True
