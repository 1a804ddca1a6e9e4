"""The ai service over gRPC: translate, call, translate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import grpc.aio

from parley.ai.v1 import ai_pb2
from parley.ai.v1.ai_pb2_grpc import AiServiceServicer
from services.ai import translate
from services.ai.audio import ms_of_samples
from services.ai.budgets import Budgets, Spent
from services.ai.capabilities import (
    GenerationOptions,
    Message,
    ProviderBusyError,
    ProviderError,
    Role,
    WordTiming,
)
from services.ai.catalogue import Catalogue, EngineEntry, Price
from services.ai.engine import FailureReason
from services.ai.metrics import EngineMetrics
from services.ai.prompts.builder import count_message_tokens
from services.ai.servicers.assessing import assess
from services.ai.servicers.live import converse
from services.ai.servicers.transcribing import transcribe
from services.common.access import Access, service, user_or_service
from services.common.call_context import caller_or_none
from services.common.errors import InvalidArgument, ResourceExhausted, Unavailable

ACCESS: dict[str, Access] = {
    "Converse": service("conversation"),
    "Transcribe": user_or_service("conversation", "media", "history"),
    "Generate": user_or_service("conversation", "history"),
    "Synthesize": user_or_service("conversation", "history"),
    "Assess": user_or_service("conversation", "history"),
    "ListEngines": user_or_service("conversation"),
    "ListVoices": user_or_service("conversation"),
}
"""Who may call what: live sessions are the conversation service's, the rest is anybody's."""

_Context = grpc.aio.ServicerContext[Any, Any]

_ROLES = {
    ai_pb2.ROLE_SYSTEM: Role.SYSTEM,
    ai_pb2.ROLE_LEARNER: Role.USER,
    ai_pb2.ROLE_TUTOR: Role.ASSISTANT,
}
# The contract's own defaults, where a field is not set.
_MAX_TOKENS = 128
_RATE = 1.0
# The longest message of audio that the contract allows.
_AUDIO_MESSAGE_MS = 200
# A model that is busy now is free after about one reply.
_RETRY_AFTER_S = 2.0


class AiServicer(AiServiceServicer):
    """Engines as live sessions, and their parts one by one."""

    def __init__(self, catalogue: Catalogue, metrics: EngineMetrics, budgets: Budgets) -> None:
        self._catalogue = catalogue
        self._metrics = metrics
        self._budgets = budgets

    async def Converse(self, request_iterator: object, context: _Context) -> None:
        """Serve one live session."""
        await converse(self._catalogue, self._metrics, self._budgets, context)

    async def Transcribe(self, request_iterator: object, context: _Context) -> None:
        """Recognise a recording."""
        with _provider_errors(FailureReason.RECOGNIZER):
            await transcribe(self._catalogue, self._payer, self._budgets, context)

    async def Generate(self, request: ai_pb2.GenerateRequest, context: _Context) -> None:
        """Stream text of a language model."""
        name, model = self._catalogue.language_model(request.model)
        user = await self._payer(name)
        messages = [Message(_ROLES[each.role], each.text) for each in request.messages]
        if messages[-1].role is Role.ASSISTANT:
            raise InvalidArgument(
                "The last message must not be the tutor's.", reason="INVALID_REQUEST"
            )
        options = GenerationOptions(max_tokens=request.max_tokens or _MAX_TOKENS)
        if request.HasField("temperature"):
            options = GenerationOptions(
                max_tokens=options.max_tokens, temperature=request.temperature
            )
        with _provider_errors(FailureReason.LANGUAGE_MODEL):
            session = model.open()
            pieces = 0
            try:
                async for piece in session.stream(messages, options):
                    pieces += 1
                    await context.write(ai_pb2.GenerateResponse(text=piece))
            finally:
                session.close()
                self._budgets.add(user, Spent(tokens=pieces))
        read = count_message_tokens(messages, model.count_tokens)
        usage = ai_pb2.Usage(prompt_tokens=read, output_tokens=pieces)
        await context.write(ai_pb2.GenerateResponse(usage=usage, final=True))

    async def Synthesize(self, request: ai_pb2.SynthesizeRequest, context: _Context) -> None:
        """Stream speech for a text."""
        name, synthesizer = self._catalogue.synthesizer_for(request.voice)
        self._budgets.add(await self._payer(name), Spent(characters=len(request.text)))
        rate_hz = synthesizer.capabilities.sample_rate_hz
        estimated = synthesizer.capabilities.word_timing is not WordTiming.ALIGNED
        speed = request.speech_rate if request.HasField("speech_rate") else _RATE
        await context.write(ai_pb2.SynthesizeResponse(format=translate.pcm_format(rate_hz)))
        step = 2 * rate_hz * _AUDIO_MESSAGE_MS // 1000
        sent = 0
        with _provider_errors(FailureReason.SYNTHESIZER):
            async for chunk in synthesizer.stream(request.text, request.voice, speed):
                begin_ms = ms_of_samples(sent, rate_hz)
                timed = [translate.shifted(word, begin_ms) for word in chunk.words]
                for start in range(0, len(chunk.pcm), step):
                    pcm = chunk.pcm[start : start + step]
                    from_ms = ms_of_samples(sent, rate_hz)
                    sent += len(pcm) // 2
                    until_ms = ms_of_samples(sent, rate_hz)
                    here = [word for word in timed if from_ms <= word.start_ms < until_ms]
                    await context.write(
                        ai_pb2.SynthesizeResponse(
                            pcm=pcm,
                            offset_ms=from_ms,
                            words=translate.words(here, estimated=estimated),
                        )
                    )

    async def _payer(self, provider: str, named: str = "") -> str:
        """Return the learner whose budget pays for ``provider``; empty where nobody's does.

        ``named`` is whom a service names that calls on its own; no learner pays with another's.
        Raises ``ResourceExhausted`` (DAILY_BUDGET_SPENT) where nothing is left of it.
        """
        learner = caller_or_none()
        user = learner.user_id if learner is not None else named
        if provider not in self._catalogue.metered:
            return ""
        await self._budgets.admit(user)
        return user

    async def Assess(self, request_iterator: object, context: _Context) -> ai_pb2.AssessResponse:
        """Find what to correct in an utterance."""
        with _provider_errors(FailureReason.LANGUAGE_MODEL):
            return await assess(self._catalogue, self._payer, self._budgets, context)

    async def ListEngines(
        self, request: ai_pb2.ListEnginesRequest, context: _Context
    ) -> ai_pb2.ListEnginesResponse:
        """List the engines, the default first."""
        engines = [
            _engine_info(entry, self._metrics, default=index == 0)
            for index, entry in enumerate(self._catalogue.engines.values())
        ]
        return ai_pb2.ListEnginesResponse(engines=engines)

    async def ListVoices(
        self, request: ai_pb2.ListVoicesRequest, context: _Context
    ) -> ai_pb2.ListVoicesResponse:
        """List the voices, the default engine's first."""
        if request.engine:
            entries = [self._catalogue.entry(request.engine)]
        else:
            entries = list(self._catalogue.engines.values())
        voices: dict[str, ai_pb2.Voice] = {}
        for entry in entries:
            for voice in entry.description.voices if entry.description else ():
                info = voices.setdefault(
                    voice.id,
                    ai_pb2.Voice(
                        name=voice.id,
                        display_name=voice.description,
                        language=voice.language,
                        gender=voice.gender,
                        synthesizer=entry.synthesizer,
                        sample_rate_hz=voice.sample_rate_hz,
                    ),
                )
                info.engines.append(entry.name)
        return ai_pb2.ListVoicesResponse(voices=voices.values())


def _engine_info(entry: EngineEntry, seen: EngineMetrics, *, default: bool) -> ai_pb2.EngineInfo:
    info = ai_pb2.EngineInfo(
        name=entry.name,
        description=entry.title,
        available=entry.engine is not None,
        unavailable_reason=entry.problem,
        default=default,
        recognizer=entry.recognizer,
        language_model=entry.language_model,
        synthesizer=entry.synthesizer,
        capacity=entry.capacity,
        sessions=entry.sessions,
        seen_latency_ms=seen.latency_ms(entry.name),
        seen_prompt_tokens=seen.prompt_tokens(entry.name),
    )
    if entry.price != Price():
        info.price.CopyFrom(ai_pb2.EnginePrice(**asdict(entry.price)))
    description = entry.description
    if description is not None:
        info.capabilities.CopyFrom(translate.capabilities(description.capabilities))
        info.default_voice = translate.default_voice(description)
    return info


@contextmanager
def _provider_errors(reason: FailureReason) -> Iterator[None]:
    """Tell of a provider's failure as an error of the call."""
    try:
        yield
    except ProviderBusyError as error:
        raise ResourceExhausted(
            "The models have more work than they can carry.",
            reason="AT_CAPACITY",
            retry_after=_RETRY_AFTER_S,
        ) from error
    except ProviderError as error:
        raise Unavailable(f"{error}.", reason=reason.value, retryable=error.retryable) from error
