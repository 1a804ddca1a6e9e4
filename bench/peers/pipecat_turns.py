"""Pipecat's turn-taking over recordings, on the time line of the audio. Runs in `.venv-peers`.

    python -m bench.peers.pipecat_turns CASES.npz --models-dir FOLDER --preset default

Its own classes decide, with their defaults: Silero's analyzer and its controller, Smart Turn v3's
analyzer, the default start and stop strategies under the turn controller, with the recognizer's
segments as its segmented services cut them. Only time is simulated, as for Parley: a message of
audio comes when its last sample has been spoken, and an answer of a model comes as much later as
the model computed for it.

It prints a JSON object: for each case when its turns had ended, in seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pipecat.audio.turn.smart_turn.base_smart_turn as smart_turn_module
import pipecat.turns.user_stop.turn_analyzer_user_turn_stop_strategy as strategy_module
from loguru import logger
from pipecat.audio.turn.base_turn_analyzer import EndOfTurnState
from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADState
from pipecat.audio.vad.vad_controller import VADController
from pipecat.clocks.system_clock import SystemClock
from pipecat.frames.frames import (
    InputAudioRawFrame,
    STTMetadataFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.metrics.metrics import MetricsData
from pipecat.processors.frame_processor import FrameProcessorSetup
from pipecat.services.stt_latency import DEFAULT_TTFS_P99
from pipecat.turns.user_stop import TurnAnalyzerUserTurnStopStrategy
from pipecat.turns.user_turn_controller import UserTurnController
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.utils.asyncio.task_manager import TaskManager

from bench.peers.virtual_time import run_virtually
from bench.turn_models import TurnModels, load_turn_models
from parley_models import ModelStore

_RATE_HZ = 16_000
_MESSAGE_BYTES = _RATE_HZ // 50 * 2
# `SegmentedSTTService`: a second from before the speech, and silence after it.
_KEPT_BYTES = _RATE_HZ * 2
_TRAILING_SILENCE = bytes(_RATE_HZ)


class _InlineSilero(SileroVADAnalyzer):
    """Pipecat's analyzer, on this thread instead of its own."""

    async def analyze_audio(self, buffer: bytes) -> VADState:
        return self._run_analyzer(buffer)


class _TimedSmartTurn(LocalSmartTurnAnalyzerV3):
    """Pipecat's analyzer, whose answer takes as long as it computed."""

    async def analyze_end_of_turn(self) -> tuple[EndOfTurnState, MetricsData | None]:
        started = time.thread_time()
        state, result = self._process_speech_segment(self._audio_buffer)
        await asyncio.sleep(time.thread_time() - started)
        if state == EndOfTurnState.COMPLETE:
            self._clear(state)
        return state, result


class _Listener:
    """One case heard."""

    def __init__(self, models: TurnModels) -> None:
        self._models = models
        self._segment = bytearray()
        self._speaking = False
        self._recognitions: set[asyncio.Task[None]] = set()
        self._recognizer = asyncio.Lock()
        self.ended_at: list[float] = []

    async def hear(self, audio: bytes) -> list[float]:
        """Return when each turn had ended."""
        loop = asyncio.get_running_loop()
        # Its classes read the clock of the machine in two places.
        virtual = SimpleNamespace(time=loop.time, monotonic=loop.time, perf_counter=loop.time)
        smart_turn_module.time = virtual
        strategy_module.time = virtual
        setup = FrameProcessorSetup(
            clock=SystemClock(),
            task_manager=TaskManager(),
            pipeline_worker=None,
            audio_in_sample_rate=_RATE_HZ,
        )
        analyzer = _InlineSilero()
        voice = VADController(analyzer, audio_idle_timeout=0)
        strategies = UserTurnStrategies(
            stop=[TurnAnalyzerUserTurnStopStrategy(turn_analyzer=_TimedSmartTurn())]
        )
        self._controller = UserTurnController(user_turn_strategies=strategies)
        self._parameters = analyzer.params
        self._controller.add_event_handler("on_user_turn_stopped", self._on_turn_stopped)
        voice.add_event_handler("on_speech_started", self._on_speech_started)
        voice.add_event_handler("on_speech_stopped", self._on_speech_stopped)
        await voice.setup(setup)
        await self._controller.setup(setup)
        await self._controller.start()
        await self._controller.process_frame(
            STTMetadataFrame(service_name="local", ttfs_p99_latency=DEFAULT_TTFS_P99)
        )
        for begin in range(0, len(audio) - _MESSAGE_BYTES + 1, _MESSAGE_BYTES):
            message = audio[begin : begin + _MESSAGE_BYTES]
            await asyncio.sleep((begin + _MESSAGE_BYTES) / 2 / _RATE_HZ - loop.time())
            frame = InputAudioRawFrame(message, _RATE_HZ, 1)
            self._buffer(message)
            await voice.process_frame(frame)
            await self._controller.process_frame(frame)
        await self._controller.cleanup()
        await voice.cleanup()
        return self.ended_at

    def _buffer(self, message: bytes) -> None:
        self._segment += message
        if not self._speaking and len(self._segment) > _KEPT_BYTES:
            del self._segment[:-_KEPT_BYTES]

    async def _on_speech_started(self, _: object) -> None:
        self._speaking = True
        await self._controller.process_frame(
            VADUserStartedSpeakingFrame(start_secs=self._parameters.start_secs)
        )

    async def _on_speech_stopped(self, _: object) -> None:
        self._speaking = False
        segment = bytes(self._segment) + _TRAILING_SILENCE
        self._segment.clear()
        task = asyncio.create_task(self._recognize(segment))
        self._recognitions.add(task)
        task.add_done_callback(self._recognitions.discard)
        await self._controller.process_frame(
            VADUserStoppedSpeakingFrame(
                stop_secs=self._parameters.stop_secs, timestamp=asyncio.get_running_loop().time()
            )
        )

    async def _recognize(self, segment: bytes) -> None:
        async with self._recognizer:
            session = self._models.recognizer.open()
            session.feed(np.frombuffer(segment, "<i2"))
            transcript = await session.final()
            await asyncio.sleep(self._models.pool.cost_s)
        if transcript.clean:
            await self._controller.process_frame(
                TranscriptionFrame(transcript.clean, "", "", finalized=True)
            )

    async def _on_turn_stopped(self, *_: Any) -> None:
        self.ended_at.append(asyncio.get_running_loop().time())


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Pipecat's turn-taking over recordings.")
    parser.add_argument("cases", type=Path)
    parser.add_argument("--models-dir", type=Path, required=True)
    parser.add_argument("--preset", default="default")
    arguments = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="ERROR")
    models = load_turn_models(ModelStore(arguments.models_dir), arguments.preset)
    with np.load(arguments.cases) as cases:
        ended = {
            name: run_virtually(_Listener(models).hear(cases[name].tobytes())) for name in cases
        }
    json.dump(ended, sys.stdout)


if __name__ == "__main__":
    main()
