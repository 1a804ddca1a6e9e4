"""The media service's parts over a real database and real files, with a store that can fail."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
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
from services.media.adapters.originals import make_originals
from services.media.bootstrap import MIGRATIONS
from services.media.finisher import Finisher, Sweeper
from services.media.library import Library
from services.media.recorder import LiveRecording, Recorder
from services.media.recordings import Recording, State, Track
from services.media.workers import Workers


@dataclass
class MemoryObjects:
    """An object store that is away while `away` is set."""

    away: bool = False
    stored: dict[str, bytes] = field(default_factory=dict)

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("away", reason="STORAGE_UNAVAILABLE", retry_after=1.0)

    async def put(self, key: str, file: Path) -> None:
        self._answer()
        self.stored[key] = file.read_bytes()

    async def read(self, key: str, offset: int, length: int) -> bytes:
        self._answer()
        return self.stored[key][offset : offset + length]

    def open(self, key: str) -> BinaryIO:
        raise NotImplementedError

    async def delete_below(self, prefix: str) -> None:
        self._answer()
        for key in [key for key in self.stored if key.startswith(prefix)]:
            del self.stored[key]

    async def link(self, key: str, lifetime: timedelta) -> str:
        raise NotImplementedError

    def require_links(self) -> None:
        raise FailedPrecondition("none", reason="LINKS_NOT_SUPPORTED")


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
        catalog = SqlCatalog(database, clock)
        recorder = Recorder(catalog, spool.Spool, folder, 3_600, 1.0)
        finisher = Finisher(
            catalog, objects, workers, make_originals, recorder.folder, spool.remove, clock, 30
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
        yield Studio(clock, catalog, objects, recorder, finisher, library, sweeper, folder)
        await finisher.close()
