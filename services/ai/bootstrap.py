"""Builds the ai service: its catalogue, empty at first, filled while the models load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TypeVar

import structlog

from parley.ai.v1 import ai_pb2
from parley.ai.v1.ai_pb2_grpc import add_AiServiceServicer_to_server
from parley_models import ModelsError, ModelStore
from services.ai.adapters.local import LocalModels
from services.ai.adapters.parts import Parts
from services.ai.adapters.registry import LocalRuntime
from services.ai.assessment.corrector import Corrector, RewritingCorrector
from services.ai.assessment.scripted import ScriptedCorrector
from services.ai.budgets import Budgets, CommonSpending, Spent
from services.ai.capabilities import LanguageModel, ProviderError
from services.ai.catalogue import Catalogue, EngineEntry, Price
from services.ai.compute import ComputePool
from services.ai.engine_file import (
    LOCAL,
    SCRIPTED,
    SCRIPTED_PIPELINE,
    Elsewhere,
    EnginePart,
    is_local,
)
from services.ai.engines.multimodal import MultimodalEngine, MultimodalModels
from services.ai.engines.pipeline import PipelineEngine, PipelineModels
from services.ai.engines.scripted import ScriptedEngine
from services.ai.engines.stages import StageNames
from services.ai.fallback import (
    FallbackLanguageModel,
    FallbackRecognizer,
    FallbackSynthesizer,
    Named,
)
from services.ai.metrics import EngineMetrics
from services.ai.script import Script
from services.ai.servicer import ACCESS, AiServicer
from services.ai.settings import AiSettings
from services.ai.spare_time import SpareTime
from services.common.service import Application, GrpcService, Runtime

_log = structlog.get_logger(__name__)

P = TypeVar("P")

_BUILT_IN = {
    LOCAL: EnginePart(title="Models on this machine"),
    SCRIPTED_PIPELINE: EnginePart(
        title="The real pipeline over scripted models",
        turn_taking=SCRIPTED,
        recognizer=(SCRIPTED,),
        language_model=(SCRIPTED,),
        synthesizer=(SCRIPTED,),
    ),
}


@asynccontextmanager
async def bootstrap(settings: AiSettings, runtime: Runtime) -> AsyncIterator[Application]:
    """Build the service; models load in the warm-up, off the event loop."""
    async with AsyncExitStack() as closing:
        pool = ComputePool(settings.speech_threads, runtime.limits.waiting_speech_calls)
        closing.callback(pool.close)
        catalogue = Catalogue()
        builder = _Builder(settings, catalogue, pool, closing)

        async def warm_up() -> None:
            await asyncio.to_thread(builder.build)
            await builder.warm()
            # Nobody waits for it; it gives way to whoever talks.
            warming = asyncio.create_task(builder.warm_correctors())
            closing.push_async_callback(_stop, warming)

        daily = Spent(
            settings.daily_audio_seconds, settings.daily_tokens, settings.daily_characters
        )
        common = _common_spending(runtime)
        budgets = Budgets(daily, settings.data_dir / "budgets", runtime.clock, common)
        servicer = AiServicer(catalogue, EngineMetrics(runtime.metrics.registry), budgets)
        yield Application(
            services=(
                GrpcService.of(
                    servicer,
                    add_AiServiceServicer_to_server,
                    ai_pb2.DESCRIPTOR,
                    "AiService",
                    ACCESS,
                ),
            ),
            warm_up=warm_up,
            background=(budgets.run,) if common is not None else (),
        )


def _common_spending(runtime: Runtime) -> CommonSpending | None:
    if runtime.redis is None:
        return None
    # Only where there is one: the package is no part of every installation.
    from services.ai.adapters.redis_spending import RedisSpending  # noqa: PLC0415

    return RedisSpending(runtime.redis)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class _Builder:
    """Fills the catalogue with the engines that the settings name."""

    def __init__(
        self,
        settings: AiSettings,
        catalogue: Catalogue,
        pool: ComputePool,
        closing: AsyncExitStack,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._pool = pool
        self._closing = closing
        self._file = settings.read_engines()
        self._script = Script.read(settings.script) if settings.script else Script()
        self._local = LocalModels(
            ModelStore(settings.effective_models_dir),
            settings.preset,
            LocalRuntime(
                pool=pool,
                sessions=settings.max_sessions,
                context_tokens=settings.context_tokens,
                language_model_threads=settings.language_model_threads,
                cache_dir=settings.data_dir / "cache" / "prompts",
                llama_library=settings.llama_library,
                spare=self._spare() if settings.hear_again else None,
            ),
            hear_closely=settings.hear_closely,
        )
        self._parts = Parts(self._file, self._local, self._script)
        closing.push_async_callback(self._parts.aclose)
        self._to_warm: dict[int, PipelineEngine] = {}
        """Engines by the identity of their language model: each is warmed once."""
        self._correctors: dict[str, Corrector] = {}
        """By the name of their language model, which engines share."""

    def _spare(self) -> SpareTime:
        spare = SpareTime()
        self._closing.callback(spare.close)
        return spare

    def build(self) -> None:
        """Make every engine, the default one first. Blocking.

        An engine that cannot be made is listed with the reason; the others serve.
        """
        for name in self._settings.offered(self._file):
            self._catalogue.engines[name] = self._engine(name)

    async def warm(self) -> None:
        """Do what needs the event loop: evaluate the prompt that every conversation begins with."""
        for engine in self._to_warm.values():
            started = time.monotonic()
            await engine.warm()
            took_ms = round(1000 * (time.monotonic() - started))
            _log.info("prompt_warmed", engine=engine.description.name, took_ms=took_ms)

    async def warm_correctors(self) -> None:
        """Do what makes the first correction of a conversation as quick as any."""
        for corrector in self._correctors.values():
            await corrector.warm()

    def _engine(self, name: str) -> EngineEntry:
        if name == SCRIPTED:
            return self._scripted()
        part = _BUILT_IN.get(name) or self._file.engines[name]
        entry = EngineEntry(name, self._title(name, part), capacity=self._capacity(part))
        elsewhere = self._first_elsewhere(part)
        entry.metered = bool(elsewhere) if part.metered is None else part.metered
        # A part has the prices of its kind: the others are 0.
        entry.price = Price(
            max((each.usd_per_audio_hour for each in elsewhere), default=0.0),
            max((each.usd_per_million_tokens for each in elsewhere), default=0.0),
            max((each.usd_per_million_characters for each in elsewhere), default=0.0),
            max((each.usd_per_million_tokens_read for each in elsewhere), default=0.0),
        )
        # What it would be made of, where it cannot be made.
        if part.speech_model:
            entry.language_model = part.speech_model[0]
        else:
            entry.recognizer = part.recognizer[0]
            entry.language_model = part.language_model[0]
            entry.synthesizer = part.synthesizer[0]
        try:
            if name == LOCAL:
                self._local.require()
            if part.speech_model:
                self._compose_multimodal(entry, part)
            else:
                self._compose(entry, part)
        except (ModelsError, ProviderError) as error:
            _log.error("engine_unavailable", engine=name, problem=str(error))
            entry.problem = str(error)
        return entry

    def _compose(self, entry: EngineEntry, part: EnginePart) -> None:
        parts = self._parts
        voice_activity, turn_detector = parts.turn_taking(part.turn_taking)
        # In the order in which somebody would miss them.
        synthesizers = self._chain(entry, part.synthesizer, parts.synthesizer)
        # Before anything that has to be closed: a chain of several rates is refused.
        synthesizer = _one(synthesizers, FallbackSynthesizer)
        recognizers = self._chain(entry, part.recognizer, parts.recognizer)
        language_models = self._chain(entry, part.language_model, parts.language_model)
        names = StageNames(
            turn_detector=turn_detector.name,
            recognizer=recognizers[0].name,
            language_model=language_models[0].name,
            synthesizer=synthesizers[0].name,
        )
        language_model = _one(
            language_models,
            partial(FallbackLanguageModel, hedge_after_s=part.hedge_after_ms / 1000),
        )
        models = PipelineModels(
            voice_activity=voice_activity,
            turn_detector=turn_detector.provider,
            recognizer=_one(recognizers, FallbackRecognizer),
            language_model=language_model,
            synthesizer=synthesizer,
            pool=self._pool,
            names=names,
        )
        entry.engine = engine = PipelineEngine(entry.name, entry.title, models)
        entry.recognizer = names.recognizer
        entry.language_model = names.language_model
        entry.synthesizer = names.synthesizer
        self._correct_with(entry, language_models[0])
        self._to_warm.setdefault(id(language_models[0].provider), engine)
        if entry.metered:
            chains = (recognizers, language_models, synthesizers)
            self._catalogue.metered.update(
                each.name for chain in chains for each in chain if self._is_elsewhere(each.name)
            )
        _offer(self._catalogue.recognizers, recognizers)
        _offer(self._catalogue.language_models, language_models)
        _offer(self._catalogue.synthesizers, synthesizers)
        for each in language_models:
            self._close_at_the_end(each.provider)

    def _compose_multimodal(self, entry: EngineEntry, part: EnginePart) -> None:
        voice_activity, turn_detector = self._parts.turn_taking(part.turn_taking)
        speech_models = self._chain(entry, part.speech_model, self._parts.speech_model)
        models = MultimodalModels(
            voice_activity=voice_activity,
            turn_detector=turn_detector.provider,
            speech_models=speech_models,
            turn_detector_name=turn_detector.name,
        )
        entry.engine = MultimodalEngine(entry.name, entry.title, models)
        entry.language_model = speech_models[0].name
        if part.corrector:
            correctors = self._chain(entry, part.corrector, self._parts.language_model)
            self._correct_with(entry, correctors[0])
            if entry.metered and self._is_elsewhere(correctors[0].name):
                self._catalogue.metered.add(correctors[0].name)
            for each in correctors:
                self._close_at_the_end(each.provider)

    def _chain(
        self, entry: EngineEntry, names: Sequence[str], find: Callable[[str], Named[P]]
    ) -> list[Named[P]]:
        """Return the providers; what is missing but the first choice is told and left out."""
        found = [find(names[0])]
        for name in names[1:]:
            try:
                found.append(find(name))
            except (ModelsError, ProviderError) as error:
                _log.warning("fallback_unavailable", engine=entry.name, problem=str(error))
                entry.title += f" (without {name} to fall back on: {error})"
        return found

    def _scripted(self) -> EngineEntry:
        entry = EngineEntry(SCRIPTED, "A script instead of models")
        entry.engine = ScriptedEngine(SCRIPTED, self._script)
        entry.recognizer = entry.language_model = entry.synthesizer = SCRIPTED
        self._correct_with(entry, self._parts.language_model(SCRIPTED))
        _offer(self._catalogue.recognizers, [self._parts.recognizer(SCRIPTED)])
        _offer(self._catalogue.language_models, [self._parts.language_model(SCRIPTED)])
        _offer(self._catalogue.synthesizers, [self._parts.synthesizer(SCRIPTED)])
        return entry

    def _correct_with(self, entry: EngineEntry, model: Named[LanguageModel]) -> None:
        """Have mistakes looked for with this model, by the same corrector for all its engines."""
        if not self._settings.corrections:
            return
        if model.name not in self._correctors:
            self._correctors[model.name] = (
                ScriptedCorrector(self._script.corrector)
                if model.name == SCRIPTED
                else RewritingCorrector(model.provider, model.name)
            )
        entry.corrector = self._correctors[model.name]
        entry.corrector_model = model.name

    def _title(self, name: str, part: EnginePart) -> str:
        title = part.title or name
        elsewhere = self._first_elsewhere(part)
        price = part.price or "; ".join(
            dict.fromkeys(each.price for each in elsewhere if each.price)
        )
        return f"{title} ({price})" if price else title

    def _capacity(self, part: EnginePart) -> int:
        if part.capacity:
            return part.capacity
        if part.speech_model:
            return self._file.speech_models[part.speech_model[0]].max_sessions
        if any(is_local(kind, chain[0]) for kind, chain in part.chains.items()):
            return self._settings.max_sessions
        return min((each.max_sessions for each in self._first_elsewhere(part)), default=0)

    def _first_elsewhere(self, part: EnginePart) -> list[Elsewhere]:
        """Return the first choices of an engine that are not on this machine."""
        file = self._file
        if part.speech_model:
            return [file.speech_models[part.speech_model[0]]]
        first = (
            file.recognizers.get(part.recognizer[0]),
            file.language_models.get(part.language_model[0]),
            file.synthesizers.get(part.synthesizer[0]),
        )
        return [each for each in first if each is not None]

    def _is_elsewhere(self, name: str) -> bool:
        file = self._file
        return any(name in of for of in (file.recognizers, file.language_models, file.synthesizers))

    def _close_at_the_end(self, model: LanguageModel) -> None:
        # Providers elsewhere are closed with the parts; this frees the local weights.
        close = getattr(model, "close", None)
        if close is not None:
            self._closing.callback(close)


def _one(chain: Sequence[Named[P]], several: Callable[[Sequence[Named[P]]], P]) -> P:
    return chain[0].provider if len(chain) == 1 else several(chain)


def _offer(offered: dict[str, P], chain: Sequence[Named[P]]) -> None:
    """Offer providers on their own as well."""
    for each in chain:
        offered.setdefault(each.name, each.provider)
