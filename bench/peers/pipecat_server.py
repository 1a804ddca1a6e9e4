"""Pipecat on Parley's models, over its WebSocket transport. Runs in `.venv-peers`.

    python -m bench.peers.pipecat_server --port 0 --models-dir FOLDER --preset default

Everything is Pipecat's own recommendation for 1.14, as its project generator writes it: the
cascade of transport, recognizer, context aggregator, language model, synthesizer; Silero as voice
activity detector with its default parameters; the default turn strategies, which ask Smart Turn
v3; interruptions on; the FastAPI WebSocket transport with the protobuf serializer. Only the three
services wrap Parley's providers, loaded by Parley's own loader with the same threads.

`--script` replaces every model by an instant one, for counting sessions. `--lean` turns off what
a deployment could do without (client messages, turn tracking, metrics): Pipecat at its fastest.

It prints `ready PORT` once the models are loaded and warm.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADAnalyzer
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.serializers.protobuf import ProtobufFrameSerializer
from pipecat.transports.websocket.fastapi import (
    FastAPIWebsocketParams,
    FastAPIWebsocketTransport,
)
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from bench.peers.pipecat_scripted import LoudnessAnalyzer, certain_strategies
from bench.peers.pipecat_services import (
    LanguageModelService,
    RecognizerService,
    SynthesizerService,
)
from parley_models import ModelStore
from services.ai.adapters.local import load_local_models
from services.ai.adapters.registry import LocalRuntime
from services.ai.adapters.scripted import (
    ScriptedLanguageModel,
    ScriptedRecognizer,
    ScriptedSynthesizer,
)
from services.ai.compute import ComputePool
from services.ai.prompts.builder import PromptContext, system_message
from services.ai.script import Script

# As Parley's ai service bounds its own pool.
_MAX_WAITING_CALLS = 64


@dataclass(frozen=True, slots=True)
class Parts:
    """What one session's pipeline is made of."""

    recognizer: Callable[[], FrameProcessor]
    language_model: Callable[[], FrameProcessor]
    synthesizer: Callable[[], FrameProcessor]
    voice_activity: Callable[[], VADAnalyzer]
    strategies: Callable[[], UserTurnStrategies | None]
    """None: Pipecat's defaults."""


async def local_parts(arguments: argparse.Namespace, cache_dir: Path) -> Parts:
    """Load Parley's models, and have the prompt evaluated that every conversation begins with.

    `cache_dir` lets every place of the language model share what was evaluated once, as in Parley.
    """
    runtime = LocalRuntime(
        pool=ComputePool(arguments.speech_threads, _MAX_WAITING_CALLS),
        sessions=1,
        cache_dir=cache_dir,
        context_tokens=arguments.context_tokens,
        language_model_threads=arguments.language_model_threads,
    )
    store = ModelStore(arguments.models_dir)
    models = await asyncio.to_thread(load_local_models, store, arguments.preset, runtime)
    system = system_message(PromptContext())
    await models.language_model.warm([system])
    return Parts(
        recognizer=lambda: RecognizerService(models.recognizer),
        language_model=lambda: LanguageModelService(models.language_model, system.text),
        synthesizer=lambda: SynthesizerService(models.synthesizer),
        voice_activity=SileroVADAnalyzer,
        strategies=lambda: None,
    )


def scripted_parts(script: Script) -> Parts:
    """Return instant stand-ins for every model: Parley's own, and Pipecat's two."""
    system = system_message(PromptContext())
    return Parts(
        recognizer=lambda: RecognizerService(ScriptedRecognizer(script)),
        language_model=lambda: LanguageModelService(ScriptedLanguageModel(script), system.text),
        synthesizer=lambda: SynthesizerService(ScriptedSynthesizer(script)),
        voice_activity=LoudnessAnalyzer,
        strategies=certain_strategies,
    )


async def converse(websocket: WebSocket, parts: Parts, *, lean: bool) -> None:
    """Run one conversation's pipeline until the client leaves."""
    transport = FastAPIWebsocketTransport(
        websocket=websocket,
        params=FastAPIWebsocketParams(
            audio_in_enabled=True,
            audio_out_enabled=True,
            serializer=ProtobufFrameSerializer(),
        ),
    )
    user, assistant = LLMContextAggregatorPair(
        LLMContext(),
        user_params=LLMUserAggregatorParams(
            vad_analyzer=parts.voice_activity(), user_turn_strategies=parts.strategies()
        ),
    )
    pipeline = Pipeline(
        [
            transport.input(),
            parts.recognizer(),
            user,
            parts.language_model(),
            parts.synthesizer(),
            transport.output(),
            assistant,
        ]
    )
    worker = PipelineWorker(
        pipeline,
        params=PipelineParams(enable_metrics=not lean, enable_usage_metrics=not lean),
        enable_rtvi=not lean,
        enable_turn_tracking=not lean,
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(_transport: object, _client: object) -> None:
        await runner.cancel()

    await runner.run()


def build_app(arguments: argparse.Namespace, port: int) -> FastAPI:
    """Return the server; it loads its models before it accepts anybody."""
    parts: list[Parts] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with tempfile.TemporaryDirectory(prefix="peer-") as folder:
            parts.append(
                scripted_parts(Script.read(arguments.script))
                if arguments.script
                else await local_parts(arguments, Path(folder))
            )
            # Whoever waits for this line connects after it: the socket listens already.
            print(f"ready {port}", flush=True)
            yield

    app = FastAPI(lifespan=lifespan)

    @app.websocket("/ws")
    async def session(websocket: WebSocket) -> None:
        await websocket.accept()
        await converse(websocket, parts[0], lean=arguments.lean)

    return app


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Pipecat on Parley's models.")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--models-dir", type=Path)
    parser.add_argument("--speech-threads", type=int, default=2)
    parser.add_argument("--language-model-threads", type=int, default=2)
    parser.add_argument("--context-tokens", type=int, default=2048)
    parser.add_argument("--script", type=Path, help="instant models, which follow this file")
    parser.add_argument("--lean", action="store_true", help="nothing that could be left out")
    parser.add_argument("--verbose", action="store_true", help="Pipecat's own log on stderr")
    arguments = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="DEBUG" if arguments.verbose else "WARNING")
    with socket.create_server(("127.0.0.1", arguments.port)) as listener:
        port = listener.getsockname()[1]
        config = uvicorn.Config(build_app(arguments, port), log_level="warning")
        asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
