"""The store and the list of recordings agree again, and nothing that may be needed is removed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from services.common.ids import new_id
from services.media.adapters import spool
from services.media.adapters.inventory import SqlInventory
from services.media.adapters.tables import RecordingRow
from services.media.adapters.unknown_since import UnknownSince
from services.media.housekeeping import GONE, Findings, Housekeeper
from services.media.ports import StoreRefusedError
from services.media.recorder import LiveRecording
from services.media.recordings import Recording, State, Track, object_key
from tests.unit.media.conftest import MemoryParts, Studio, unforeseen

DAY = 86_400.0


def housekeeper(studio: Studio) -> Housekeeper:
    def spools() -> Iterator[tuple[str, datetime]]:
        return spool.all_in(studio.folder)

    def remove(recording_id: str) -> None:
        spool.remove(studio.folder / recording_id)

    return Housekeeper(
        SqlInventory(studio.database),
        studio.objects,
        studio.clock,
        DAY,
        spools,
        remove,
        UnknownSince(notes(studio)),
    )


def notes(studio: Studio) -> Path:
    return studio.folder.parent / "unknown.json"


async def stored(studio: Studio) -> Recording:
    """Record something and store it."""
    recording = studio.recording()
    await studio.taped(recording)
    await studio.finisher.finish(recording.recording_id)
    return recording


def put(studio: Studio, recording_id: str, days_ago: float) -> str:
    """Lay an object into the store, as if it had been there for a while."""
    key = object_key(recording_id, Track.LEARNER)
    studio.objects.stored[key] = b"x"
    studio.objects.times[key] = studio.clock.now() - timedelta(days=days_ago)
    return key


async def look(studio: Studio) -> Findings:
    return await housekeeper(studio).look()


async def test_where_all_is_in_order_nothing_happens(studio: Studio) -> None:
    await stored(studio)
    before = dict(studio.objects.stored)
    assert await look(studio) == Findings()
    assert studio.objects.stored == before


async def test_what_came_after_a_deletion_goes(studio: Studio) -> None:
    """A process died between storing an original and hearing that the recording was deleted."""
    recording = await stored(studio)
    await studio.library.delete_any(recording.recording_id)
    put(studio, recording.recording_id, 0)
    assert await look(studio) == Findings(leftovers=1)
    assert studio.objects.stored == {}


class TestObjectsThatNoTableKnows:
    async def test_one_goes_a_week_after_it_was_first_seen(self, studio: Studio) -> None:
        """However old it is: the list may be that of a backup, restored a moment ago."""
        await stored(studio)
        await studio.clock.advance(30 * DAY)
        old = put(studio, new_id(), 29)
        assert await look(studio) == Findings(unknown=1)
        await studio.clock.advance(6 * DAY)
        young = put(studio, new_id(), 0)
        # Every look is another process's: what was seen outlives a restart.
        assert await look(studio) == Findings(unknown=2)
        await studio.clock.advance(DAY)
        assert await look(studio) == Findings(orphans=1, unknown=1)
        assert old not in studio.objects.stored
        assert young in studio.objects.stored
        await studio.clock.advance(6 * DAY)
        assert await look(studio) == Findings(orphans=1)
        assert await look(studio) == Findings()
        assert notes(studio).read_text() == "{}"

    async def test_one_that_was_known_meanwhile_gets_its_week_anew(self, studio: Studio) -> None:
        await stored(studio)
        await studio.clock.advance(10 * DAY)
        recording = studio.recording()
        key = put(studio, recording.recording_id, 1)
        assert await look(studio) == Findings(unknown=1)
        # The newer backup is restored, and then the older one again.
        await studio.catalog.begin(recording)
        assert await look(studio) == Findings()
        async with studio.database.transaction() as session:
            row = await session.get(RecordingRow, recording.recording_id)
            await session.delete(row)
        await studio.clock.advance(7 * DAY)
        assert await look(studio) == Findings(unknown=1)
        assert key in studio.objects.stored

    async def test_while_the_list_is_younger_no_week_passes(self, studio: Studio) -> None:
        """Parley was started on an empty database, and the right one restored later."""
        recording = studio.recording()
        key = put(studio, new_id(), 1)
        for _ in range(2):
            assert await look(studio) == Findings(unknown=1)
            await studio.clock.advance(8 * DAY)
        await studio.catalog.begin(
            replace(recording, started_at=studio.clock.now() - timedelta(days=90))
        )
        assert await look(studio) == Findings(unknown=1)
        assert key in studio.objects.stored

    @pytest.mark.parametrize("kept", [b"", b"[1]", b'{"a": 1}', b'{"a": "x"}', b"\xff", None])
    async def test_notes_that_cannot_be_read_or_kept_are_none(
        self, studio: Studio, kept: bytes | None
    ) -> None:
        await stored(studio)
        await studio.clock.advance(30 * DAY)
        key = put(studio, new_id(), 20)
        if kept is None:
            notes(studio).mkdir()
        else:
            notes(studio).write_bytes(kept)
        assert await look(studio) == Findings(unknown=1)
        assert key in studio.objects.stored

    async def test_one_that_is_older_than_the_list_stays(self, studio: Studio) -> None:
        """A database made anew must not empty the bucket of the one before."""
        key = put(studio, new_id(), 100)
        assert await look(studio) == Findings(unknown=1)
        await stored(studio)
        await studio.clock.advance(30 * DAY)
        assert await look(studio) == Findings(unknown=1)
        assert key in studio.objects.stored


class TestRecordingsWithoutAnObject:
    async def test_one_is_shown_as_failed_and_comes_back_with_its_object(
        self, studio: Studio
    ) -> None:
        await stored(studio)
        recording = await stored(studio)
        key = object_key(recording.recording_id, Track.TUTOR)
        audio = studio.objects.stored.pop(key)
        assert await look(studio) == Findings(lost=1)
        found = await studio.library.get(recording.user_id, recording.recording_id)
        assert (found.state, found.failure) == (State.FAILED, GONE)
        assert await look(studio) == Findings()
        studio.objects.stored[key] = audio
        assert await look(studio) == Findings(recovered=1)
        found = await studio.library.get(recording.user_id, recording.recording_id)
        assert (found.state, found.failure, len(found.tracks)) == (State.READY, "", 2)

    async def test_an_empty_store_is_the_wrong_one(self, studio: Studio) -> None:
        recording = await stored(studio)
        studio.objects.stored.clear()
        assert await look(studio) == Findings()
        assert await studio.state(recording.recording_id) is State.READY

    async def test_one_that_was_stored_while_it_looked_is_not_lost(self, studio: Studio) -> None:
        await stored(studio)
        inventory, keeper = SqlInventory(studio.database), housekeeper(studio)
        walked = await keeper._walk()
        recording = await stored(studio)
        found = Findings()
        await keeper._gone(walked, True, found)
        assert found == Findings()
        assert [each async for each in inventory.lost()] == []
        assert await studio.state(recording.recording_id) is State.READY


class TestUploadsThatNobodyCompletes:
    async def test_they_go_but_for_those_of_live_talks(self, studio: Studio) -> None:
        parts = studio.objects.parts = MemoryParts(studio.objects, 4_096)
        parts.begun_at = studio.clock.now() - timedelta(days=2)
        done, live = await stored(studio), studio.recording()
        async with studio.recorder.open(live) as stream:
            assert isinstance(stream, LiveRecording)
            for recording_id in (done.recording_id, live.recording_id, new_id()):
                await parts.begin(object_key(recording_id, Track.LEARNER))
            assert await look(studio) == Findings(uploads=2)
            kept = [key for key, _ in parts.uploads.values()]
            assert kept == [object_key(live.recording_id, Track.LEARNER)]
            parts.begun_at -= timedelta(days=6)
            assert await look(studio) == Findings(uploads=1)

    async def test_where_they_may_not_be_listed_the_rest_is_looked_at(
        self, studio: Studio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        studio.objects.parts = MemoryParts(studio.objects, 4_096)
        looked: list[Path] = []

        def all_in(folder: Path) -> Iterator[tuple[str, datetime]]:
            looked.append(folder)
            return iter(())

        async def refused(*_: object) -> None:
            raise StoreRefusedError

        monkeypatch.setattr(MemoryParts, "unfinished", refused)
        monkeypatch.setattr(spool, "all_in", all_in)
        assert await look(studio) == Findings()
        assert looked == [studio.folder]

    async def test_a_young_one_stays(self, studio: Studio) -> None:
        parts = studio.objects.parts = MemoryParts(studio.objects, 4_096)
        parts.begun_at = studio.clock.now() - timedelta(hours=23)
        await parts.begin(object_key(new_id(), Track.LEARNER))
        assert await look(studio) == Findings()


class TestSpools:
    @pytest.fixture
    def old_spool(self, studio: Studio):
        def make(recording_id: str) -> Path:
            folder = studio.folder / recording_id
            folder.mkdir(parents=True)
            (folder / "learner.pcm").write_bytes(b"12")
            for each in (folder / "learner.pcm", folder):
                os.utime(each, (0, 0))
            return folder

        return make

    async def test_that_of_a_stored_recording_goes(self, studio: Studio, old_spool) -> None:
        """A process died between noting that it was stored and removing it."""
        await studio.clock.advance((datetime.now(UTC) - studio.clock.now()).total_seconds())
        recording = await stored(studio)
        folder = old_spool(recording.recording_id)
        assert await look(studio) == Findings(spools=1)
        assert not folder.exists()

    async def test_that_of_an_open_recording_stays(self, studio: Studio, old_spool) -> None:
        recording = studio.recording()
        await studio.catalog.begin(recording)
        folder = old_spool(recording.recording_id)
        assert await look(studio) == Findings()
        assert folder.exists()

    async def test_one_that_is_not_known_stays(self, studio: Studio, old_spool) -> None:
        folder = old_spool(new_id())
        assert await look(studio) == Findings()
        assert folder.exists()


async def test_it_looks_at_its_interval_and_outlives_failures(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = await stored(studio)
    await studio.library.delete_any(recording.recording_id)
    key = put(studio, recording.recording_id, 0)
    studio.objects.away = True
    looking = asyncio.create_task(housekeeper(studio).run())
    try:
        advance = partial(studio.clock.advance, DAY)
        for _ in range(2):
            await advance()
            while studio.clock.sleeping == 0:
                await asyncio.sleep(0.001)
        assert key in studio.objects.stored
        studio.objects.away = False
        with monkeypatch.context() as broken:
            broken.setattr(SqlInventory, "oldest", unforeseen)
            await advance()
            while studio.clock.sleeping == 0:
                await asyncio.sleep(0.001)
        assert key in studio.objects.stored
        await advance()
        while key in studio.objects.stored:
            await asyncio.sleep(0.001)
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
