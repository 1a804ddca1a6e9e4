"""Builds the media service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from parley.media.v1 import media_pb2
from parley.media.v1.media_pb2_grpc import add_MediaServiceServicer_to_server
from services.common.audit import AuditTrail
from services.common.clock import Clock
from services.common.database import Database
from services.common.migrations import migrate
from services.common.service import Application, GrpcService, Runtime
from services.media.adapters import spool
from services.media.adapters.catalog import SqlCatalog
from services.media.adapters.codec_pool import CodecPool
from services.media.adapters.growing_flac import GrowingFlac
from services.media.adapters.half_stored import clear_half_stored
from services.media.adapters.inventory import SqlInventory
from services.media.adapters.objects import Objects
from services.media.adapters.sandbox import BARRIERS
from services.media.adapters.sealed_objects import SealedObjects
from services.media.adapters.sealing_keys import SealingKeys
from services.media.adapters.unknown_since import UnknownSince
from services.media.adapters.upload_decoder import UploadDecoder, lacking_barriers
from services.media.barriers import tell_barriers
from services.media.cache import Cache
from services.media.finisher import Finisher, Sweeper
from services.media.housekeeping import Housekeeper
from services.media.library import Library
from services.media.live_uploads import LiveUploads
from services.media.metrics import MediaMetrics
from services.media.player import Player
from services.media.ports import ObjectStore
from services.media.recorder import Recorder
from services.media.servicer import ACCESS, PIECE_MESSAGE_BYTES, MediaServicer
from services.media.settings import MediaSettings
from services.media.spool_room import SpoolRoom
from services.media.uploads import Uploads
from services.media.workers import Workers

_log = structlog.get_logger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"

_IDLE_SECONDS = 60.0
"""A codec process that had nothing to do for so long gives its memory back."""

_WAITING_ORIGINALS = 1_000
"""As many conversations as can end at once; what finds no place is done by the next sweep."""


def open_store(settings: MediaSettings) -> Objects:
    """Open the store that the settings name, as it is."""
    return Objects.at(
        settings.effective_store_url,
        endpoint=settings.store_endpoint,
        bucket_in_host=settings.store_bucket_in_host,
        encryption=settings.store_encryption,
        key=settings.store_key,
    )


def sealing_keys(settings: MediaSettings) -> SealingKeys:
    """Return the keys that the settings give."""
    given = settings.sealing_keys
    return SealingKeys.parse("" if given is None else given.get_secret_value())


def open_housekeeper(
    settings: MediaSettings, database: Database, objects: ObjectStore, clock: Clock
) -> Housekeeper:
    """Make what holds the store against the list of recordings."""
    folder = settings.spool_dir
    return Housekeeper(
        SqlInventory(database),
        objects,
        clock,
        settings.housekeeping_hours * 3600,
        lambda: spool.all_in(folder),
        lambda recording_id: spool.remove(folder / recording_id),
        UnknownSince(settings.media_dir / "unknown.json"),
    )


@asynccontextmanager
async def bootstrap(settings: MediaSettings, runtime: Runtime) -> AsyncIterator[Application]:
    """Bring the schema up to date and yield the application."""
    await migrate(settings.database_url, MIGRATIONS)
    objects = SealedObjects(open_store(settings), sealing_keys(settings))
    clock = runtime.clock
    audit = AuditTrail(settings.audit_dir, clock, settings.audit_days)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            Database.open(settings.database_url, connections=settings.postgresql_connections)
        )
        completing = await stack.enter_async_context(
            Workers.open("complete", settings.workers, _WAITING_ORIGINALS)
        )
        transcoding = await stack.enter_async_context(
            Workers.open("transcode", settings.workers, runtime.limits.waiting_renditions)
        )
        # Of their own: whoever sends files that take long must not hold up who listens.
        decoding = await stack.enter_async_context(
            Workers.open("decode", settings.workers, runtime.limits.waiting_renditions)
        )
        metrics = MediaMetrics(runtime.metrics.registry)
        metrics.watch_pool("complete", lambda: completing.taken)
        metrics.watch_pool("transcode", lambda: transcoding.taken)
        metrics.watch_pool("decode", lambda: decoding.taken)
        # Ended before the threads that wait for them are.
        codecs = CodecPool((settings.spool_dir, settings.cache_dir), metrics)
        metrics.watch_processes(lambda: len(codecs.pids))
        stack.push_async_callback(asyncio.to_thread, codecs.close)
        catalog = SqlCatalog(database, clock, _kept(settings))
        room = SpoolRoom(settings.spool_dir, settings.max_spool_bytes)
        recorder = Recorder(
            catalog,
            spool.Spool,
            settings.spool_dir,
            settings.max_recording_seconds,
            settings.sync_seconds,
            room,
        )
        stack.push_async_callback(recorder.close)
        # A pool of its own: an hour's original must not hold up those under way. One job at once.
        growing = await stack.enter_async_context(Workers.open("grow", 1, 1))
        live_uploads = LiveUploads(
            objects,
            growing,
            GrowingFlac,
            lambda: recorder.live,
            recorder.folder,
            clock,
            settings.live_upload_seconds,
        )
        stack.push_async_callback(live_uploads.close)
        finisher = Finisher(
            catalog,
            objects,
            completing,
            codecs.make_originals,
            recorder.folder,
            spool.remove,
            uploads=live_uploads,
        )
        stack.push_async_callback(finisher.close)
        cache = Cache(settings.cache_dir, settings.cache_bytes, transcoding)
        stack.push_async_callback(cache.close)

        def remove_files(recording_id: str) -> None:
            spool.remove(recorder.folder(recording_id))
            cache.remove(recording_id)

        async def stop(recording_id: str) -> None:
            await recorder.stop(recording_id)
            await live_uploads.abandon(recording_id)

        uploads = Uploads(
            catalog=catalog,
            finisher=finisher,
            workers=decoding,
            decode=UploadDecoder(settings.decode_seconds).decode,
            ended=metrics.upload_ended,
            clock=clock,
            folder=settings.uploads_dir,
            spool_of=recorder.folder,
            room=room,
            max_bytes=settings.max_upload_bytes,
            max_bytes_of_user=settings.max_uploads_bytes,
            max_seconds=settings.max_recording_seconds,
        )

        library = Library(catalog, objects, stop, remove_files, audit)
        sweeper = Sweeper(
            catalog,
            finisher,
            library.expire,
            library.purge,
            lambda each: recorder.is_live(each) or uploads.is_entering(each),
            clock,
            settings.resume_seconds,
            settings.sweep_seconds,
        )
        housekeeper = open_housekeeper(settings, database, objects, clock)
        player = Player(catalog, objects, cache, codecs.render, clock)
        await asyncio.to_thread(uploads.clear)
        await asyncio.to_thread(cache.clear_halves)
        started = clock.now()

        async def look_after() -> None:
            # Beside the calls: it looks at every recording's folder.
            await _clear_half_stored(settings.effective_store_url, started)
            await tell_barriers(BARRIERS, lacking_barriers, metrics)
            while True:
                await clock.sleep(_IDLE_SECONDS)
                await asyncio.to_thread(codecs.rest, _IDLE_SECONDS)

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
            background=(sweeper.run, live_uploads.run, housekeeper.run, look_after),
        )


def _kept(settings: MediaSettings) -> timedelta | None:
    return timedelta(days=settings.retention_days) if settings.retention_days else None


async def _clear_half_stored(store_url: str, before: datetime) -> None:
    removed = await asyncio.to_thread(clear_half_stored, store_url, before)
    if removed:
        _log.info("half_stored_removed", files=removed)
