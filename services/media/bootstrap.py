"""Builds the media service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from parley.media.v1 import media_pb2
from parley.media.v1.media_pb2_grpc import add_MediaServiceServicer_to_server
from services.common.audit import AuditTrail
from services.common.database import Database
from services.common.migrations import migrate
from services.common.service import Application, GrpcService, Runtime
from services.media.adapters import spool
from services.media.adapters.catalog import SqlCatalog
from services.media.adapters.objects import Objects
from services.media.adapters.originals import make_originals, render
from services.media.adapters.upload_decoder import decode_upload
from services.media.cache import Cache
from services.media.finisher import Finisher, Sweeper
from services.media.library import Library
from services.media.player import Player
from services.media.recorder import Recorder
from services.media.servicer import ACCESS, PIECE_MESSAGE_BYTES, MediaServicer
from services.media.settings import MediaSettings
from services.media.uploads import Uploads
from services.media.workers import Workers

MIGRATIONS = Path(__file__).parent / "migrations"

_WAITING_ORIGINALS = 1_000
"""As many conversations as can end at once; what finds no place is done by the next sweep."""


@asynccontextmanager
async def bootstrap(settings: MediaSettings, runtime: Runtime) -> AsyncIterator[Application]:
    """Bring the schema up to date and yield the application."""
    url = settings.database_url
    await migrate(url, MIGRATIONS)
    objects = Objects.at(
        settings.effective_store_url,
        endpoint=settings.store_endpoint,
        encryption=settings.store_encryption,
        key=settings.store_key,
    )
    clock = runtime.clock
    audit = AuditTrail(settings.audit_dir, clock, settings.audit_days)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            Database.open(url, connections=settings.postgresql_connections)
        )
        completing = await stack.enter_async_context(
            Workers.open("complete", settings.workers, _WAITING_ORIGINALS)
        )
        transcoding = await stack.enter_async_context(
            Workers.open("transcode", settings.workers, runtime.limits.waiting_renditions)
        )
        catalog = SqlCatalog(database, clock)
        recorder = Recorder(
            catalog,
            spool.Spool,
            settings.spool_dir,
            settings.max_recording_seconds,
            settings.sync_seconds,
            settings.max_spool_bytes,
        )
        finisher = Finisher(
            catalog,
            objects,
            completing,
            make_originals,
            recorder.folder,
            spool.remove,
            clock,
            settings.retention_days,
        )
        stack.push_async_callback(finisher.close)
        cache = Cache(settings.cache_dir, settings.cache_bytes, transcoding)
        stack.push_async_callback(cache.close)

        def remove_files(recording_id: str) -> None:
            spool.remove(recorder.folder(recording_id))
            cache.remove(recording_id)

        library = Library(catalog, objects, recorder.stop, remove_files, audit)
        sweeper = Sweeper(
            catalog,
            finisher,
            library.expire,
            library.purge,
            recorder.is_live,
            clock,
            settings.resume_seconds,
            settings.sweep_seconds,
        )
        player = Player(objects, cache, render, clock)
        uploads = Uploads(
            catalog=catalog,
            finisher=finisher,
            workers=transcoding,
            decode=decode_upload,
            clock=clock,
            folder=settings.uploads_dir,
            spool_of=recorder.folder,
            max_bytes=settings.max_upload_bytes,
            max_bytes_of_user=settings.max_uploads_bytes,
            max_seconds=settings.max_recording_seconds,
        )
        await asyncio.to_thread(uploads.clear)
        servicer = MediaServicer(recorder, finisher, library, player, uploads, clock, audit)
        yield Application(
            services=(
                GrpcService.of(
                    servicer,
                    add_MediaServiceServicer_to_server,
                    media_pb2.DESCRIPTOR,
                    "MediaService",
                    ACCESS,
                    {"Record": PIECE_MESSAGE_BYTES, "UploadAudio": PIECE_MESSAGE_BYTES},
                ),
            ),
            background=(sweeper.run,),
        )
