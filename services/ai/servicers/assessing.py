"""Assess: what to correct in an utterance, after its turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio

from parley.ai.v1 import ai_pb2
from parley.types.v1 import feedback_pb2
from services.ai import translate
from services.ai.budgets import Budgets, Spent
from services.ai.catalogue import Catalogue
from services.common.errors import FailedPrecondition, Unimplemented
from services.common.ids import new_id

Context = grpc.aio.ServicerContext[Any, Any]


async def assess(
    catalogue: Catalogue,
    payer: Callable[[str, str], Awaitable[str]],
    budgets: Budgets,
    context: Context,
) -> ai_pb2.AssessResponse:
    """Assess one utterance by its words; audio that comes after them is not looked at.

    ``payer`` returns whose budget pays for a language model, given whom a service names.

    Raises ``FailedPrecondition`` (START_REQUIRED), ``Unimplemented`` without a transcript,
    ``InvalidArgument`` (UNKNOWN_ENGINE), ``ProviderError``; what ``payer`` raises.
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
    entry = catalogue.entry(config.engine)
    feedback = feedback_pb2.Feedback()
    if entry.corrector is None:
        return ai_pb2.AssessResponse(feedback=feedback)
    user = await payer(entry.corrector_model, config.user_id)
    tokens = 0

    def count() -> None:
        nonlocal tokens
        tokens += 1

    try:
        found = await entry.corrector.correct(translate.heard_words(heard), count)
    finally:
        budgets.add(user, Spent(tokens=tokens))
    feedback.corrections.extend(translate.correction(each, new_id()) for each in found)
    return ai_pb2.AssessResponse(feedback=feedback)
