"""The media service's parts over a real database and real files, with a store that can fail."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import pytest

from services.common.audit import AuditTrail
from services.common.clock import ManualClock
from services.common.database import Database
from services.common.errors import FailedPrecondition, Unavailable
from services.common.ids import new_id
from services.common.migrations import migrate
from services.media.adapters import spool
from services.media.adapters.catalog import SqlCatalog
from services.media.adapters.growing_flac import GrowingFlac
from services.media.adapters.originals import make_originals
from services.media.bootstrap import MIGRATIONS
from services.media.finisher import Finisher, Sweeper
from services.media.library import Library
from services.media.live_uploads import LiveUploads
from services.media.ports import Stored, Unfinished, UploadGoneError
from services.media.recorder import LiveRecording, Recorder
from services.media.recordings import Recording, State, Track
from services.media.spool_room import SpoolRoom
from services.media.workers import Workers

LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass
class MemoryObjects:
    """An object store that is away while `away` is set.

    puts: the keys of what was stored whole, one after another.
    times: when objects were stored; the clock's beginning where nothing else is said.
    """

    away: bool = False
    stored: dict[str, bytes] = field(default_factory=dict)
    puts: list[str] = field(default_factory=list)
    times: dict[str, datetime] = field(default_factory=dict)
    parts: MemoryParts | None = None

    def answer(self) -> None:
        if self.away:
            raise Unavailable("away", reason="STORAGE_UNAVAILABLE", retry_after=1.0)

    async def put(self, key: str, file: Path) -> None:
        self.answer()
        self.puts.append(key)
        self.stored[key] = file.read_bytes()

    async def below(self, prefix: str) -> AsyncIterator[Stored]:
        self.answer()
        for key in sorted(self.stored):
            if key.startswith(prefix):
                yield Stored(key, self.times.get(key, datetime(2026, 1, 1, tzinfo=UTC)))

    async def read(self, key: str, offset: int, length: int) -> bytes:
        self.answer()
        if key not in self.stored:
            raise FileNotFoundError(key)
        return self.stored[key][offset : offset + length]

    def open(self, key: str) -> BinaryIO:
        raise NotImplementedError

    async def delete_below(self, prefix: str) -> None:
        self.answer()
        if self.parts is not None:
            for upload in await self.parts.unfinished(prefix):
                await self.parts.abandon(upload.key, upload.upload_id)
        for key in [key for key in self.stored if key.startswith(prefix)]:
            del self.stored[key]

    async def link(self, key: str, lifetime: timedelta) -> str:
        raise NotImplementedError

    def require_links(self) -> None:
        raise FailedPrecondition("none", reason="LINKS_NOT_SUPPORTED")


@dataclass
class MemoryParts:
    """The uploads in parts of a store in memory, by id; ids are never used again.

    given: the parts as they came, as (id, number).
    """

    objects: MemoryObjects
    part_bytes: int
    uploads: dict[str, tuple[str, dict[int, bytes]]] = field(default_factory=dict)
    given: list[tuple[str, int]] = field(default_factory=list)
    begun_at: datetime = LONG_AGO
    begun: int = 0

    async def begin(self, key: str) -> str:
        self.objects.answer()
        self.begun += 1
        self.uploads[f"u{self.begun}"] = (key, {})
        return f"u{self.begun}"

    async def add(self, key: str, upload_id: str, number: int, data: bytes, *, last: bool) -> str:
        parts = self._of(key, upload_id)
        assert last or len(data) == self.part_bytes, "only the last part may be shorter"
        parts[number] = data
        self.given.append((upload_id, number))
        return hashlib.sha256(data).hexdigest()

    async def complete(self, key: str, upload_id: str, tags: Mapping[int, str]) -> None:
        parts = self._of(key, upload_id)
        for number, tag in tags.items():
            if hashlib.sha256(parts.get(number, b"")).hexdigest() != tag:
                raise UploadGoneError("InvalidPart")
        self.objects.stored[key] = b"".join(parts[number] for number in sorted(tags))
        del self.uploads[upload_id]

    async def abandon(self, key: str, upload_id: str) -> None:
        self.objects.answer()
        self.uploads.pop(upload_id, None)

    async def unfinished(self, prefix: str) -> Sequence[Unfinished]:
        self.objects.answer()
        return [
            Unfinished(key, upload_id, self.begun_at)
            for upload_id, (key, _) in self.uploads.items()
            if key.startswith(prefix)
        ]

    def _of(self, key: str, upload_id: str) -> dict[int, bytes]:
        self.objects.answer()
        if upload_id not in self.uploads or self.uploads[upload_id][0] != key:
            raise UploadGoneError("NoSuchUpload")
        return self.uploads[upload_id][1]


async def unforeseen(*_: object) -> None:
    """Fail in a way that nobody thought of."""
    raise RuntimeError("unforeseen")


RESUME_SECONDS = 300.0


@dataclass
class Studio:
    """All parts together."""

    clock: ManualClock
    catalog: SqlCatalog
    objects: MemoryObjects
    recorder: Recorder
    finisher: Finisher
    library: Library
    sweeper: Sweeper
    live_uploads: LiveUploads
    database: Database
    folder: Path

    def recording(self) -> Recording:
        return Recording(
            recording_id=new_id(),
            conversation_id=new_id(),
            user_id=new_id(),
            state=State.RECORDING,
            started_at=self.clock.now(),
            rates_hz={Track.LEARNER: 16_000, Track.TUTOR: 24_000},
        )

    async def taped(self, recording: Recording, samples: int = 1_600) -> None:
        """Record something and leave it."""
        async with self.recorder.open(recording) as live:
            assert isinstance(live, LiveRecording)
            await live.add(Track.LEARNER, 0, b"\1\0" * samples)

    async def state(self, recording_id: str) -> State | None:
        found = await self.catalog.find(recording_id)
        return found.state if isinstance(found, Recording) else None

    def spools(self) -> list[str]:
        return [path.name for path in self.folder.glob("*")]


@pytest.fixture
async def studio(tmp_path: Path, database_url: str) -> AsyncIterator[Studio]:
    await migrate(database_url, MIGRATIONS)
    clock, objects, folder = ManualClock(), MemoryObjects(), tmp_path / "spool"
    async with Database.open(database_url) as database, Workers.open("test", 1, 10) as workers:
        catalog = SqlCatalog(database, clock, timedelta(days=30))
        recorder = Recorder(catalog, spool.Spool, folder, 3_600, 1.0, SpoolRoom(folder, 0))
        live_uploads = LiveUploads(
            objects, workers, GrowingFlac, lambda: recorder.live, recorder.folder, clock, 5.0
        )
        finisher = Finisher(
            catalog,
            objects,
            workers,
            make_originals,
            recorder.folder,
            spool.remove,
            uploads=live_uploads,
        )

        def remove_files(recording_id: str) -> None:
            spool.remove(recorder.folder(recording_id))

        audit = AuditTrail(tmp_path / "audit", clock, days=0)
        library = Library(catalog, objects, recorder.stop, remove_files, audit)
        sweeper = Sweeper(
            catalog,
            finisher,
            library.expire,
            library.purge,
            recorder.is_live,
            clock,
            RESUME_SECONDS,
            30.0,
        )
        yield Studio(
            clock,
            catalog,
            objects,
            recorder,
            finisher,
            library,
            sweeper,
            live_uploads,
            database,
            folder,
        )
        await finisher.close()
        await live_uploads.close()
