"""Assess: what to correct in an utterance, after its turn."""

from __future__ import annotations

from typing import Any

import grpc.aio

from parley.ai.v1 import ai_pb2
from parley.types.v1 import feedback_pb2
from services.ai import translate
from services.ai.catalogue import Catalogue
from services.common.errors import FailedPrecondition, Unimplemented
from services.common.ids import new_id

Context = grpc.aio.ServicerContext[Any, Any]


async def assess(catalogue: Catalogue, context: Context) -> ai_pb2.AssessResponse:
    """Assess one utterance by its words; audio that comes after them is not looked at.

    Raises ``FailedPrecondition`` (START_REQUIRED), ``Unimplemented`` without a transcript,
    ``InvalidArgument`` (UNKNOWN_ENGINE), ``ProviderError``.
    """
    first = await context.read()
    if first is grpc.aio.EOF or first.WhichOneof("message") != "config":
        raise FailedPrecondition("The first message must be `config`.", reason="START_REQUIRED")
    config = first.config
    heard = config.transcript
    if not heard.verbatim and not heard.words:
        raise Unimplemented(
            "This version assesses no utterance without its words.", reason="NOT_IMPLEMENTED"
        )
    corrector = catalogue.entry(config.engine).corrector
    feedback = feedback_pb2.Feedback()
    if corrector is not None:
        for found in await corrector.correct(translate.heard_words(heard)):
            feedback.corrections.append(translate.correction(found, new_id()))
    return ai_pb2.AssessResponse(feedback=feedback)
