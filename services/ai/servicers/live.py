"""Converse: one live engine session over one bidirectional stream."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
import structlog

from parley.ai.v1 import ai_pb2
from services.ai import translate
from services.ai.budgets import Budgets, Purse
from services.ai.capabilities import ProviderError
from services.ai.catalogue import Catalogue, EngineEntry
from services.ai.engine import (
    Audio,
    EndInput,
    EndTurn,
    EngineOutput,
    EngineSession,
    Notice,
    ReplyEnded,
    RequestReply,
    TurnCommitted,
    TypedText,
)
from services.ai.metrics import EngineMetrics
from services.common.errors import FailedPrecondition, Unavailable
from services.common.status import to_status
from services.common.task_groups import unwrapped

_log = structlog.get_logger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]

# A session that failed can be opened again at once; this keeps a broken model from being hammered.
_RETRY_AFTER_S = 1.0
# What makes a provider work.
_ASKING = (Audio, TypedText, RequestReply, EndTurn)


async def converse(
    catalogue: Catalogue, metrics: EngineMetrics, budgets: Budgets, context: Context
) -> None:
    """Serve one live session from ``start`` to its end.

    Raises ``ResourceExhausted`` (DAILY_BUDGET_SPENT) beside what the catalogue raises.
    """
    first = await context.read()
    if first is grpc.aio.EOF or first.WhichOneof("message") != "start":
        raise FailedPrecondition("The first message must be `start`.", reason="START_REQUIRED")
    config = translate.session_config(first.start)
    entry = catalogue.entry(first.start.engine)
    user = first.start.user_id if entry.metered else ""
    await budgets.admit(user)
    with catalogue.live_session(entry.name, config) as session:
        description = entry.description
        if description is not None:
            await context.write(translate.ready(entry.name, config.voice, description))
        metrics.session_opened(entry.name)
        try:
            live = _Live(session, entry, metrics, Purse(budgets, user), context)
            await live.serve()
        finally:
            metrics.session_closed(entry.name)


class _Live:
    """The tasks of one session: the engine, the reader, the writer."""

    def __init__(
        self,
        session: EngineSession,
        entry: EngineEntry,
        metrics: EngineMetrics,
        purse: Purse,
        context: Context,
    ) -> None:
        self._session = session
        self._engine = entry.name
        self._recognizer = entry.recognizer or entry.language_model
        self._metrics = metrics
        self._purse = purse
        self._context = context

    async def serve(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._run())
                reading = tasks.create_task(self._read())
                await self._write()
                # The session has ended; the client may still have its sending side open.
                reading.cancel()
        finally:
            # Whoever hangs up in the middle of a reply has used what was made of it.
            self._purse.pay(self._session.used)

    async def _run(self) -> None:
        try:
            with unwrapped(ProviderError):
                await self._session.run()
        except ProviderError as error:
            _log.error("session_failed", engine=self._engine, problem=str(error))
            raise Unavailable(
                "The engine stopped in the middle of the session.",
                reason="ENGINE_FAILED",
                retry_after=_RETRY_AFTER_S,
            ) from error

    async def _read(self) -> None:
        while True:
            request = await self._context.read()
            if request is grpc.aio.EOF:
                self._session.handle(EndInput())
                return
            event = translate.engine_input(request)
            # Nothing more is asked of anybody who has to be paid; what is under way goes on.
            if self._purse.refusal is None or not isinstance(event, _ASKING):
                self._session.handle(event)

    async def _write(self) -> None:
        while (output := await self._session.output()) is not None:
            self._metrics.saw(self._engine, output)
            spent = self._settle(output)
            message = translate.engine_output(output, self._recognizer)
            if isinstance(output, Notice):
                message.notice.status.CopyFrom(notice_status(output))
            await self._context.write(message)
            if spent:
                await self._context.write(self._told_spent())

    def _settle(self, output: EngineOutput) -> bool:
        """Pay for what was used up to ``output``; return whether the budget has run out.

        A turn that uses it up is answered, and its reply can still be interrupted.
        """
        spent = isinstance(output, TurnCommitted) and self._purse.runs_out()
        if isinstance(output, TurnCommitted | ReplyEnded):
            self._purse.pay(self._session.used)
        return spent or (isinstance(output, ReplyEnded) and self._purse.runs_out())

    def _told_spent(self) -> ai_pb2.ConverseResponse:
        assert self._purse.refusal is not None
        notice = ai_pb2.EngineNotice(status=to_status(self._purse.refusal))
        return ai_pb2.ConverseResponse(notice=notice)


def notice_status(notice: Notice) -> Any:
    """Return the ``google.rpc.Status`` of a failure inside a session that goes on."""
    return to_status(Unavailable(f"{notice.message}.", reason=notice.reason.value))
