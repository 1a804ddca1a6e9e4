"""Builds the history service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from parley.history.v1 import history_pb2
from parley.history.v1.history_pb2_grpc import add_HistoryServiceServicer_to_server
from services.common.audit import AuditTrail
from services.common.database import Database
from services.common.migrations import migrate
from services.common.outbox import Outbox
from services.common.outbox_figures import OutboxFigures
from services.common.outbox_relay import OutboxRelay
from services.common.service import Application, Background, GrpcService, Runtime
from services.history.adapters.event_stream import EventIntake
from services.history.adapters.learner_client import GrpcLearners
from services.history.adapters.media_client import RecordingDeleter
from services.history.adapters.store import SqlStore
from services.history.adapters.tables import OutboxRow
from services.history.application import History
from services.history.metrics import IngestMetrics
from services.history.reports import Reports
from services.history.retention import Retention
from services.history.servicer import ACCESS, HistoryServicer
from services.history.settings import HistorySettings

MIGRATIONS = Path(__file__).parent / "migrations"


@asynccontextmanager
async def bootstrap(settings: HistorySettings, runtime: Runtime) -> AsyncIterator[Application]:
    """Bring the schema up to date and yield the application."""
    url = settings.database_url
    await migrate(url, MIGRATIONS)
    async with Database.open(url, connections=settings.postgresql_connections) as database:
        outbox = Outbox(OutboxRow, runtime.clock)
        deleter = RecordingDeleter(runtime.peers.channel("media"))
        relay = OutboxRelay(database, outbox, deleter.publish, runtime.clock)
        store = SqlStore(database, outbox, runtime.clock)
        audit = AuditTrail(settings.audit_dir, runtime.clock, settings.audit_days)
        registry = runtime.metrics.registry
        history = History(store, relay.notify, audit, IngestMetrics(runtime.clock, registry))
        learners = GrpcLearners(runtime.peers.channel("user"))
        reports = Reports(store, learners, runtime.clock)
        figures = OutboxFigures(database, OutboxRow, runtime.clock, registry)
        background: list[Background] = [relay.run, figures.run]
        if settings.retention_days:
            days = settings.retention_days
            background.append(Retention(history, store, runtime.clock, days).run)
        if runtime.redis is not None:
            # Only where there is one: the package is no part of every installation.
            from services.common.redis.stream_figures import StreamFigures  # noqa: PLC0415
            from services.common.redis.streams import StreamConsumer  # noqa: PLC0415

            intake = EventIntake(history)
            background += [
                StreamConsumer(runtime.redis, "history", intake.store, runtime.clock).run,
                StreamFigures(runtime.redis, "history", runtime.clock, registry).run,
            ]
        yield Application(
            services=(
                GrpcService.of(
                    HistoryServicer(history, reports),
                    add_HistoryServiceServicer_to_server,
                    history_pb2.DESCRIPTOR,
                    "HistoryService",
                    ACCESS,
                ),
            ),
            background=background,
        )
