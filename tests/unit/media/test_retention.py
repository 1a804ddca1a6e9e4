"""Recordings go so long after their end as the settings say now, whatever they said then."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import update

from services.media.adapters.catalog import SqlCatalog
from services.media.adapters.tables import RecordingRow
from services.media.recordings import Recording, State
from tests.unit.media.conftest import Studio

DAY = timedelta(days=1)


async def stored(studio: Studio) -> Recording:
    recording = studio.recording()
    await studio.taped(recording)
    return await studio.finisher.finish(recording.recording_id)


def kept(studio: Studio, days: int) -> SqlCatalog:
    return SqlCatalog(studio.database, studio.clock, timedelta(days=days) if days else None)


async def shown(catalog: SqlCatalog, recording: Recording) -> datetime | None:
    found = await catalog.find(recording.recording_id)
    assert isinstance(found, Recording)
    return found.delete_at


@pytest.mark.parametrize("noted", [None, 1], ids=["kept for ever then", "a day then"])
async def test_what_the_settings_said_when_it_was_stored_counts_no_more(
    studio: Studio, noted: int | None
) -> None:
    ended = studio.clock.now()
    recording = await stored(studio)
    async with studio.database.transaction() as session:
        # As a version before left it.
        when = None if noted is None else ended + noted * DAY
        await session.execute(update(RecordingRow).values(delete_at=when))
    await studio.clock.advance(400 * 86_400)
    assert await kept(studio, 0).expired() == []
    assert await shown(kept(studio, 0), recording) is None
    assert await kept(studio, 401).expired() == []
    assert await shown(kept(studio, 401), recording) == ended + 401 * DAY
    assert await kept(studio, 400).expired() == [recording.recording_id]
    assert await shown(kept(studio, 400), recording) == ended + 400 * DAY


async def test_what_is_being_recorded_has_no_time_to_go(studio: Studio) -> None:
    recording = studio.recording()
    async with studio.recorder.open(recording):
        assert await shown(studio.catalog, recording) is None
        await studio.clock.advance(31 * 86_400)
        await studio.sweeper.sweep()
        assert await studio.state(recording.recording_id) is State.RECORDING


async def test_what_nobody_completed_in_time_goes_as_it_is(studio: Studio) -> None:
    """A backup of long ago was restored, with a talk that was being recorded."""
    recording = studio.recording()
    await studio.taped(recording)
    await studio.clock.advance(31 * 86_400)
    # The first sweep after a start completes none that may still be continued.
    studio.sweeper._started = studio.clock.monotonic()
    await studio.sweeper.sweep()
    assert await studio.state(recording.recording_id) is None
    assert studio.spools() == []
    assert studio.objects.stored == {}
