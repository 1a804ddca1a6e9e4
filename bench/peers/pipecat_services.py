"""Parley's providers as Pipecat services, each written the way Pipecat writes its own local ones.

Runs in `.venv-peers`. The recognizer is a `SegmentedSTTService`, as Pipecat's Moonshine and Whisper
services are; the language model streams on each context frame, as its OpenAI service does; the
synthesizer streams a sentence at a time, as its Kokoro and Piper services do.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import numpy as np
from pipecat.frames.frames import (
    Frame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings, STTSettings, TTSSettings
from pipecat.services.stt_latency import DEFAULT_TTFS_P99
from pipecat.services.stt_service import SegmentedSTTService
from pipecat.services.tts_service import TTSService
from pipecat.transcriptions.language import Language
from pipecat.utils.time import time_now_iso8601

from services.ai.capabilities import LanguageModel, Message, Recognizer, Role, Synthesizer
from services.ai.engines.reply import TUTOR_OPTIONS
from services.ai.streams import closable

_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}
# Pipecat wants every setting named; sampling is that of Parley's replies, and the rest is unused.
_LLM_SETTINGS: dict[str, Any] = {
    "model": "local",
    "temperature": TUTOR_OPTIONS.temperature,
    "top_p": TUTOR_OPTIONS.top_p,
    "max_tokens": TUTOR_OPTIONS.max_tokens,
    "top_k": None,
    "frequency_penalty": None,
    "presence_penalty": None,
    "seed": None,
    "filter_incomplete_user_turns": False,
    "user_turn_completion_config": None,
}


class RecognizerService(SegmentedSTTService):
    """Recognises each segment that the voice activity detector cuts out."""

    def __init__(self, recognizer: Recognizer) -> None:
        # The latency counts only for services that do not mark a transcript as final.
        super().__init__(
            sample_rate=16_000,
            ttfs_p99_latency=DEFAULT_TTFS_P99,
            settings=STTSettings(model="local", language=Language.EN),
        )
        self._recognizer = recognizer

    @property
    def wants_wav_segments(self) -> bool:
        """Raw PCM, as for Pipecat's own local models."""
        return False

    def can_generate_metrics(self) -> bool:
        """As Pipecat's own."""
        return True

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame, None]:
        """Recognise one segment of int16 mono PCM at 16 kHz."""
        await self.start_processing_metrics()
        session = self._recognizer.open()
        try:
            session.feed(np.frombuffer(audio, "<i2"))
            transcript = await session.final()
        finally:
            session.close()
        await self.stop_processing_metrics()
        if transcript.clean:
            yield TranscriptionFrame(
                transcript.clean, self._user_id, time_now_iso8601(), Language.EN
            )


class LanguageModelService(LLMService):
    """Streams the reply to each context, in one slot of the model for the whole conversation."""

    def __init__(self, model: LanguageModel, system_instruction: str) -> None:
        super().__init__(
            settings=LLMSettings(system_instruction=system_instruction, **_LLM_SETTINGS)
        )
        self._system = Message(Role.SYSTEM, system_instruction)
        self._session = model.open()

    def can_generate_metrics(self) -> bool:
        """As Pipecat's own."""
        return True

    async def cleanup(self) -> None:
        """Give the model's slot back."""
        await super().cleanup()
        self._session.close()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Answer a context frame; pass every other one on."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        try:
            await self.start_processing_metrics()
            await self._answer(frame.context)
        finally:
            await self.stop_processing_metrics()
            await self.push_frame(LLMFullResponseEndFrame())

    async def _answer(self, context: LLMContext) -> None:
        messages = [self._system]
        messages += [
            Message(_ROLES[message["role"]], message["content"])
            for message in context.get_messages()
        ]
        await self.start_ttfb_metrics()
        async with aclosing(closable(self._session.stream(messages, TUTOR_OPTIONS))) as pieces:
            async for piece in pieces:
                await self.stop_ttfb_metrics()
                await self._push_llm_text(piece)


class SynthesizerService(TTSService):
    """Speaks what Pipecat's own aggregation gives: a sentence at a time."""

    def __init__(self, synthesizer: Synthesizer) -> None:
        super().__init__(
            push_start_frame=True,
            push_stop_frames=True,
            sample_rate=synthesizer.capabilities.sample_rate_hz,
            settings=TTSSettings(model="local", voice="", language=Language.EN),
        )
        self._synthesizer = synthesizer

    def can_generate_metrics(self) -> bool:
        """As Pipecat's own."""
        return True

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame, None]:
        """Speak one sentence."""
        await self.start_tts_usage_metrics(text)
        try:
            async for chunk in self._synthesizer.stream(text, "", 1.0):
                await self.stop_ttfb_metrics()
                yield TTSAudioRawFrame(chunk.pcm, self.sample_rate, 1, context_id=context_id)
        finally:
            await self.stop_ttfb_metrics()
