"""Builds the ai service: its catalogue, empty at first, filled while the models load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager

import structlog

from parley.ai.v1 import ai_pb2
from parley.ai.v1.ai_pb2_grpc import add_AiServiceServicer_to_server
from parley_models import ModelsError, ModelStore
from services.ai.adapters.local import load_local_models
from services.ai.adapters.registry import LocalRuntime
from services.ai.adapters.scripted import (
    ScriptedLanguageModel,
    ScriptedRecognizer,
    ScriptedSynthesizer,
    ScriptedTurnDetector,
    ScriptedVad,
)
from services.ai.capabilities import ProviderError
from services.ai.catalogue import Catalogue, EngineEntry
from services.ai.compute import ComputePool
from services.ai.engines.pipeline import PipelineEngine, PipelineModels
from services.ai.engines.scripted import ScriptedEngine
from services.ai.engines.stages import StageNames
from services.ai.metrics import EngineMetrics
from services.ai.script import Script
from services.ai.servicer import ACCESS, AiServicer
from services.ai.settings import AiSettings
from services.common.service import Application, GrpcService, Runtime

_log = structlog.get_logger(__name__)

LOCAL = "local"
SCRIPTED = "scripted"
SCRIPTED_PIPELINE = "scripted-pipeline"

# Calls that may wait for a speech model: a turn needs three, so this is several turns of every
# session. More would answer later than anybody waits.
_MAX_WAITING_CALLS = 64
_SCRIPTED_NAMES = StageNames(SCRIPTED, SCRIPTED, SCRIPTED, SCRIPTED)


@asynccontextmanager
async def bootstrap(settings: AiSettings, runtime: Runtime) -> AsyncIterator[Application]:
    """Build the service; models load in the warm-up, off the event loop."""
    with ExitStack() as closing:
        pool = ComputePool(settings.speech_threads, _MAX_WAITING_CALLS)
        closing.callback(pool.close)
        catalogue = Catalogue()
        builder = _Builder(settings, catalogue, pool, closing)

        async def warm_up() -> None:
            await asyncio.to_thread(builder.build)
            await builder.warm()

        servicer = AiServicer(catalogue, EngineMetrics(runtime.metrics.registry))
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
        )


class _Builder:
    """Fills the catalogue with the engines that the settings name."""

    def __init__(
        self, settings: AiSettings, catalogue: Catalogue, pool: ComputePool, closing: ExitStack
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._pool = pool
        self._closing = closing

    def build(self) -> None:
        """Load every engine, the default one first. Blocking.

        An engine that cannot load is listed with the reason; the others serve.

        Raises ``ValueError`` for an unknown engine or a script that cannot be read.
        """
        script = Script.read(self._settings.script) if self._settings.script else Script()
        makers: dict[str, Callable[[], EngineEntry]] = {
            LOCAL: self._local,
            SCRIPTED: lambda: self._scripted(script),
            SCRIPTED_PIPELINE: lambda: self._scripted_pipeline(script),
        }
        for name in self._settings.engines:
            if name not in makers:
                raise ValueError(f"there is no engine {name!r}; there are: {', '.join(makers)}")
            self._catalogue.engines[name] = makers[name]()

    async def warm(self) -> None:
        """Do what needs the event loop: evaluate the prompt that every conversation begins with."""
        entry = self._catalogue.engines.get(LOCAL)
        if entry is None or not isinstance(entry.engine, PipelineEngine):
            return
        started = time.monotonic()
        await entry.engine.warm()
        _log.info("prompt_warmed", took_ms=round(1000 * (time.monotonic() - started)))

    def _local(self) -> EngineEntry:
        settings = self._settings
        entry = EngineEntry(LOCAL, "Models on this machine", capacity=settings.max_sessions)
        store = ModelStore(settings.effective_models_dir)
        runtime = LocalRuntime(
            pool=self._pool,
            sessions=settings.max_sessions,
            context_tokens=settings.context_tokens,
            language_model_threads=settings.language_model_threads,
            cache_dir=settings.data_dir / "cache" / "prompts",
            llama_library=settings.llama_library,
        )
        try:
            models = load_local_models(store, settings.preset, runtime)
        except (ModelsError, ProviderError) as error:
            _log.error("engine_unavailable", engine=LOCAL, problem=str(error))
            entry.problem = str(error)
            return entry
        entry.engine = PipelineEngine(LOCAL, entry.title, models)
        self._offer(entry, models)
        close = getattr(models.language_model, "close", None)
        if close is not None:
            self._closing.callback(close)
        return entry

    def _scripted(self, script: Script) -> EngineEntry:
        entry = EngineEntry(SCRIPTED, "A script instead of models")
        entry.engine = ScriptedEngine(SCRIPTED, script)
        entry.recognizer = entry.language_model = entry.synthesizer = SCRIPTED
        self._offer(entry, self._scripted_models(script))
        return entry

    def _scripted_pipeline(self, script: Script) -> EngineEntry:
        entry = EngineEntry(SCRIPTED_PIPELINE, "The real pipeline over scripted models")
        models = self._scripted_models(script)
        entry.engine = PipelineEngine(SCRIPTED_PIPELINE, entry.title, models)
        self._offer(entry, models)
        return entry

    def _scripted_models(self, script: Script) -> PipelineModels:
        return PipelineModels(
            voice_activity=ScriptedVad(),
            turn_detector=ScriptedTurnDetector(script),
            recognizer=ScriptedRecognizer(script),
            language_model=ScriptedLanguageModel(script),
            synthesizer=ScriptedSynthesizer(script),
            pool=self._pool,
            names=_SCRIPTED_NAMES,
        )

    def _offer(self, entry: EngineEntry, models: PipelineModels) -> None:
        """Name the engine's parts, and offer each on its own as well."""
        names = models.names
        entry.recognizer = names.recognizer
        entry.language_model = names.language_model
        entry.synthesizer = names.synthesizer
        catalogue = self._catalogue
        catalogue.recognizers.setdefault(names.recognizer, models.recognizer)
        catalogue.language_models.setdefault(names.language_model, models.language_model)
        catalogue.synthesizers.setdefault(names.synthesizer, models.synthesizer)
