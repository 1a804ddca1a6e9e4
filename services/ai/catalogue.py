"""The engines and single providers that this service offers, by name, and who may still come in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from services.ai.assessment.corrector import Corrector
from services.ai.capabilities import (
    LanguageModel,
    ProviderBusyError,
    Recognizer,
    Synthesizer,
    Voice,
)
from services.ai.engine import Engine, EngineDescription, EngineSession, SessionConfig
from services.common.errors import FailedPrecondition, InvalidArgument, ResourceExhausted

P = TypeVar("P")

# A turn takes about this long, and a session that ends does so between turns.
_RETRY_AFTER_S = 5.0


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars: an hour heard, a million tokens made or read, a million characters spoken."""

    audio_hour: float = 0.0
    million_tokens: float = 0.0
    million_characters: float = 0.0
    million_tokens_read: float = 0.0


@dataclass(slots=True)
class EngineEntry:
    """An engine on offer. ``engine`` is None while it cannot serve; ``problem`` says why.

    ``capacity`` is how many live sessions its models and this machine carry; 0: unbounded.
    ``metered``: learners' daily budgets pay for it. ``price`` is what its first choices cost.
    ``corrector_model`` is the language model that the ``corrector`` asks.
    """

    name: str
    title: str
    engine: Engine | None = None
    problem: str = ""
    capacity: int = 0
    sessions: int = 0
    recognizer: str = ""
    language_model: str = ""
    synthesizer: str = ""
    corrector: Corrector | None = None
    corrector_model: str = ""
    metered: bool = False
    price: Price = Price()

    @property
    def description(self) -> EngineDescription | None:
        """What the engine says of itself, once it can serve."""
        return self.engine.description if self.engine is not None else None


@dataclass(slots=True)
class Catalogue:
    """Everything on offer. The first engine is the default one.

    Single providers are listed under their own names; the first of each is the default.
    """

    engines: dict[str, EngineEntry] = field(default_factory=dict)
    recognizers: dict[str, Recognizer] = field(default_factory=dict)
    language_models: dict[str, LanguageModel] = field(default_factory=dict)
    synthesizers: dict[str, Synthesizer] = field(default_factory=dict)
    metered: set[str] = field(default_factory=set)
    """Names of the single providers for which learners' daily budgets pay."""

    def entry(self, name: str) -> EngineEntry:
        """Return the engine ``name``, or the default one where it is empty.

        Raises ``InvalidArgument`` (UNKNOWN_ENGINE).
        """
        entry = self.engines.get(name or next(iter(self.engines), ""))
        if entry is None:
            known = ", ".join(self.engines) or "none"
            raise InvalidArgument(
                f"There is no engine named {name!r}; there are: {known}.",
                reason="UNKNOWN_ENGINE",
            )
        return entry

    @contextmanager
    def live_session(self, name: str, config: SessionConfig) -> Iterator[EngineSession]:
        """Open a live session that counts against its engine's capacity until the block ends.

        Raises ``InvalidArgument`` (UNKNOWN_ENGINE, UNKNOWN_VOICE), ``FailedPrecondition``
        (MODEL_NOT_INSTALLED), ``ResourceExhausted`` (AT_CAPACITY) with a time to retry.
        """
        entry = self.entry(name)
        if entry.engine is None:
            raise FailedPrecondition(
                f"The engine {entry.name!r} cannot serve: {entry.problem}",
                reason="MODEL_NOT_INSTALLED",
            )
        check_voice(entry.engine.description.voices, config.voice)
        if entry.capacity and entry.sessions >= entry.capacity:
            raise _full(entry)
        try:
            session = entry.engine.open(config)
        except ProviderBusyError as error:
            raise _full(entry) from error
        entry.sessions += 1
        try:
            yield session
        finally:
            entry.sessions -= 1
            session.close()

    def recognizer(self, name: str) -> tuple[str, Recognizer]:
        """Return a recognizer and its name. Raises ``InvalidArgument``."""
        return _pick(self.recognizers, name, "recognizer")

    def language_model(self, name: str) -> tuple[str, LanguageModel]:
        """Return a language model and its name. Raises ``InvalidArgument``."""
        return _pick(self.language_models, name, "language model")

    def synthesizer_for(self, voice: str) -> tuple[str, Synthesizer]:
        """Return the first synthesizer that has ``voice``, and its name; the default one for none.

        Raises ``InvalidArgument`` (UNKNOWN_VOICE).
        """
        if not voice:
            return _pick(self.synthesizers, "", "synthesizer")
        for name, synthesizer in self.synthesizers.items():
            if any(known.id == voice for known in synthesizer.capabilities.voices):
                return name, synthesizer
        raise _no_voice(voice)


def check_voice(voices: tuple[Voice, ...], voice: str) -> None:
    """Raise ``InvalidArgument`` (UNKNOWN_VOICE) unless ``voice`` is empty or one of ``voices``."""
    if voice and all(known.id != voice for known in voices):
        raise _no_voice(voice)


def _pick(offered: Mapping[str, P], name: str, kind: str) -> tuple[str, P]:
    if not offered:
        raise FailedPrecondition(
            f"No {kind} is installed on this machine.", reason="MODEL_NOT_INSTALLED"
        )
    name = name or next(iter(offered))
    if name not in offered:
        known = ", ".join(offered)
        raise InvalidArgument(
            f"There is no {kind} named {name!r}; there are: {known}.", reason="UNKNOWN_ENGINE"
        )
    return name, offered[name]


def _full(entry: EngineEntry) -> ResourceExhausted:
    return ResourceExhausted(
        f"The engine {entry.name!r} carries as many live conversations as it can.",
        reason="AT_CAPACITY",
        retry_after=_RETRY_AFTER_S,
        metadata={"engine": entry.name},
    )


def _no_voice(voice: str) -> InvalidArgument:
    return InvalidArgument(f"There is no voice named {voice!r} here.", reason="UNKNOWN_VOICE")
