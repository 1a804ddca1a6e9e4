"""Builds the conversation service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from parley.ai.v1.ai_pb2_grpc import AiServiceStub
from parley.conversation.v1 import conversation_pb2
from parley.conversation.v1.conversation_pb2_grpc import (
    add_ConversationServiceServicer_to_server,
)
from parley.history.v1.history_pb2_grpc import HistoryServiceStub
from parley.media.v1.media_pb2_grpc import MediaServiceStub
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.database import Database
from services.common.grpc_server import port_taken
from services.common.lifecycle import default_verifier
from services.common.migrations import migrate
from services.common.outbox import Outbox
from services.common.outbox_figures import OutboxFigures
from services.common.outbox_relay import OutboxRelay, Publish, RelayPolicy
from services.common.service import Application, Background, GrpcService, Runtime
from services.conversation.adapters.assessor import GrpcAssessor
from services.conversation.adapters.engine import GrpcEngines
from services.conversation.adapters.history import HistoryPublisher
from services.conversation.adapters.learners import GrpcLearners
from services.conversation.adapters.media import GrpcRecordings
from services.conversation.adapters.session_files import SessionFiles, place_id, way_to
from services.conversation.adapters.sign_ins import GrpcSignIns
from services.conversation.adapters.store import SqlStore
from services.conversation.adapters.tables import OutboxRow
from services.conversation.adapters.websocket import WebSocketSessions
from services.conversation.application import Conversations
from services.conversation.claims import ToldClaims
from services.conversation.directory import Directory
from services.conversation.feedback import Assessments
from services.conversation.housekeeping import Housekeeping
from services.conversation.journal import Journal
from services.conversation.metrics import ConversationMetrics
from services.conversation.plan import SessionLimits, Surroundings
from services.conversation.scenarios import Scenarios
from services.conversation.servicer import ACCESS, WHILE_DRAINING, ConversationServicer
from services.conversation.settings import ConversationSettings
from services.conversation.sign_ins import SignIns, SignOuts

if TYPE_CHECKING:
    from services.common.redis.holders import Holders

MIGRATIONS = Path(__file__).parent / "migrations"

# A learner looks at a conversation's page seconds after its last turn at the earliest, and where
# many talk half a second gathers a handful of turns into one call and one transaction each side.
# A history that was away is told within seconds of its return.
_RELAY = RelayPolicy(together=True, pause_seconds=0.5, max_backoff_seconds=5.0)


@asynccontextmanager
async def bootstrap(settings: ConversationSettings, runtime: Runtime) -> AsyncIterator[Application]:
    """Bring the schema up to date and yield the application."""
    url = settings.database_url
    await migrate(url, MIGRATIONS)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            Database.open(url, connections=settings.postgresql_connections)
        )
        clock, limits = runtime.clock, runtime.limits
        outbox = Outbox(OutboxRow, clock)
        publish, listening = _to_history(runtime)
        relay = OutboxRelay(database, outbox, publish, clock, _RELAY)
        store = SqlStore(database, outbox, clock)
        journal = Journal(store, clock, relay.notify)
        metrics = ConversationMetrics(runtime.metrics.registry)

        def let_go(conversation_id: str) -> None:
            directory.lose(conversation_id)

        holders = _holders(settings, runtime, let_go)
        locks = SessionFiles(settings.data_dir / "run" / "sessions", _way(settings))
        directory = Directory(
            settings.max_sessions,
            limits.conversations_per_user,
            ToldClaims(locks, holders),
            runtime.draining,
        )
        metrics.live_sessions.set_function(lambda: len(directory))
        metrics.unsaved_turns.set_function(lambda: journal.waiting)
        session_limits = SessionLimits.of(limits, settings.resume_seconds)
        ai = AiServiceStub(runtime.peers.channel("ai"))
        conversations = Conversations(
            directory,
            Scenarios.load(),
            GrpcLearners(
                UserServiceStub(runtime.peers.channel("user")),
                HistoryServiceStub(runtime.peers.channel("history")),
            ),
            store,
            Surroundings(
                engines=GrpcEngines(ai),
                recordings=GrpcRecordings(MediaServiceStub(runtime.peers.channel("media"))),
                assessments=Assessments(GrpcAssessor(ai), directory.later),
                journal=journal,
                clock=clock,
                metrics=metrics,
                max_kept_responses=limits.resume_buffer_messages,
                reply_timeout_s=settings.reply_timeout_seconds,
                later=directory.later,
            ),
            session_limits,
        )
        sign_outs = SignOuts(directory, _sign_ins(runtime), clock)
        housekeeping = Housekeeping(store, journal, relay, clock, session_limits)

        async def keep() -> None:
            writing = asyncio.create_task(journal.run())
            sending = asyncio.create_task(relay.run())
            try:
                ended, _ = await asyncio.wait(
                    {writing, sending}, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                # The journal writes its last entries while the relay is still whole: cancelled
                # in the middle of a transaction it could leave SQLite locked.
                for task in (writing, sending):
                    task.cancel()
                    await asyncio.wait({task})
            # Not of the one that was cancelled for it.
            for task in ended:
                task.result()

        async def drain() -> None:
            await runtime.draining.wait()
            for live in directory:
                if live.ready.done() and not live.over:
                    live.drain(settings.drain_seconds)
            await asyncio.Event().wait()

        verifier = default_verifier(settings, runtime)
        sockets = WebSocketSessions(
            conversations,
            verifier,
            runtime.gate,
            runtime.pace,
            runtime.metrics,
            limits,
            settings.web_origins,
            settings.service_tls,
        )
        websocket_port = settings.effective_websocket_port
        try:
            await stack.enter_async_context(sockets.listen(settings.host, websocket_port))
        except OSError as error:
            raise port_taken(settings, "websocket_port", websocket_port) from error

        yield Application(
            services=(
                GrpcService.of(
                    ConversationServicer(conversations, limits.start_timeout_seconds),
                    add_ConversationServiceServicer_to_server,
                    conversation_pb2.DESCRIPTOR,
                    "ConversationService",
                    ACCESS,
                    while_draining=WHILE_DRAINING,
                ),
            ),
            background=(
                keep,
                directory.run,
                drain,
                housekeeping.run,
                sign_outs.run,
                OutboxFigures(database, OutboxRow, clock, runtime.metrics.registry).run,
                *listening,
                *((holders.run,) if holders is not None else ()),
            ),
            verifier=verifier,
        )


# Where there is a Redis: the package is no part of every installation, so it is imported only then.


def _to_history(runtime: Runtime) -> tuple[Publish, Sequence[Background]]:
    """Return how history is told of events, and what must run for it."""
    directly = HistoryPublisher(HistoryServiceStub(runtime.peers.channel("history"))).publish
    if runtime.redis is None:
        return directly, ()
    from services.common.redis.streams import StreamPublisher  # noqa: PLC0415

    publisher = StreamPublisher(runtime.redis, "history", runtime.clock, directly)
    return publisher.publish, (publisher.run,)


def _holders(
    settings: ConversationSettings, runtime: Runtime, lost: Callable[[str], None]
) -> Holders | None:
    """Return what tells other machines which sessions this process holds."""
    if runtime.redis is None:
        return None
    from services.common.redis.holders import Holders  # noqa: PLC0415

    place = place_id(settings.data_dir / "run")
    return Holders(runtime.redis, "session", place, _way(settings), lost, runtime.clock)


def _sign_ins(runtime: Runtime) -> SignIns:
    """Return who knows of sign-ins that are over."""
    asked = GrpcSignIns(UserServiceStub(runtime.peers.channel("user")))
    if runtime.redis is None:
        return asked
    from services.common.redis.sign_ins import SignInCache  # noqa: PLC0415

    return SignInCache(runtime.redis, asked.ended, runtime.clock)


def _way(settings: ConversationSettings) -> dict[str, str]:
    return way_to(settings.host, settings.port, settings.effective_websocket_port)
