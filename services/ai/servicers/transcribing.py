"""Transcribe: a recording that comes in pieces."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio

from parley.ai.v1 import ai_pb2
from parley.types.v1 import audio_pb2
from services.ai import translate
from services.ai.audio import ms_of_samples, pcm_from_bytes
from services.ai.budgets import Budgets, Spent
from services.ai.capabilities import (
    LEARNER_RATE_HZ,
    Pcm16,
    RecognitionSession,
    Recognizer,
    Transcript,
)
from services.ai.catalogue import Catalogue
from services.ai.resampling import Resampler
from services.ai.transcripts import clean_text
from services.common.errors import FailedPrecondition, FieldViolation, InvalidArgument

Context = grpc.aio.ServicerContext[Any, Any]

# One partial a second: a recording is not a conversation.
_PARTIAL_EVERY = LEARNER_RATE_HZ


async def transcribe(
    catalogue: Catalogue,
    payer: Callable[[str], Awaitable[str]],
    budgets: Budgets,
    context: Context,
) -> None:
    """Serve one recording. ``payer`` returns whose budget pays for a recognizer.

    Raises ``InvalidArgument``: AUDIO_FORMAT_UNSUPPORTED, AUDIO_FRAME_INVALID (no audio, or half a
    sample), AUDIO_TOO_LONG. A recording in which nobody speaks has an empty transcript.
    """
    first = await context.read()
    if first is grpc.aio.EOF or first.WhichOneof("message") != "config":
        raise FailedPrecondition("The first message must be `config`.", reason="START_REQUIRED")
    config = first.config
    name, recognizer = catalogue.recognizer(config.recognizer)
    user = await payer(name)
    session = recognizer.open()
    try:
        recording = _Recording(session, recognizer, name, config, context)
        try:
            await recording.serve()
        finally:
            budgets.add(user, Spent(audio_s=recording.samples / LEARNER_RATE_HZ))
    finally:
        session.close()


class _Recording:
    def __init__(
        self,
        session: RecognitionSession,
        recognizer: Recognizer,
        name: str,
        config: ai_pb2.TranscribeConfig,
        context: Context,
    ) -> None:
        self._session = session
        self._name = name
        self._context = context
        self._resampler = Resampler(_rate_of(config.format))
        self._max_samples = int(recognizer.capabilities.max_audio_s * LEARNER_RATE_HZ)
        self._partials = config.partials and recognizer.capabilities.partials
        self.samples = 0
        self._next_partial = _PARTIAL_EVERY

    async def serve(self) -> None:
        while (request := await self._context.read()) is not grpc.aio.EOF:
            if request.WhichOneof("message") != "pcm":
                raise InvalidArgument("`config` comes once.", reason="INVALID_REQUEST")
            pcm = pcm_from_bytes(translate.whole_samples(request.pcm, "pcm"))
            self._take(self._resampler.feed(pcm))
            if self._partials and self.samples >= self._next_partial:
                self._next_partial = self.samples + _PARTIAL_EVERY
                await self._send_partial()
        self._take(self._resampler.flush())
        if not self.samples:
            raise InvalidArgument("No audio came.", reason="AUDIO_FRAME_INVALID")
        await self._send(await self._session.final(), final=True)

    def _take(self, audio: Pcm16) -> None:
        self.samples += len(audio)
        if self.samples > self._max_samples:
            raise InvalidArgument(
                f"A recording may last {self._max_samples // LEARNER_RATE_HZ} s.",
                reason="AUDIO_TOO_LONG",
            )
        self._session.feed(audio)

    async def _send_partial(self) -> None:
        text = await self._session.partial()
        if text:
            heard = Transcript(verbatim=text, clean=clean_text(text.split()))
            await self._send(heard, final=False)

    async def _send(self, heard: Transcript, *, final: bool) -> None:
        response = ai_pb2.TranscribeResponse(
            transcript=translate.transcript(heard, self._name),
            final=final,
            audio_ms=ms_of_samples(self.samples),
        )
        await self._context.write(response)


def _rate_of(audio: audio_pb2.AudioFormat) -> int:
    pcm = (audio_pb2.AUDIO_ENCODING_UNSPECIFIED, audio_pb2.AUDIO_ENCODING_PCM_S16LE)
    rate = audio.sample_rate_hz or LEARNER_RATE_HZ
    if audio.encoding not in pcm or audio.channels > 1 or rate < 8000:
        raise InvalidArgument(
            "Audio must be 16-bit little-endian mono PCM at 8000 to 48000 Hz.",
            reason="AUDIO_FORMAT_UNSUPPORTED",
            fields=[FieldViolation("config.format", "unsupported encoding, rate or channel count")],
        )
    return rate
