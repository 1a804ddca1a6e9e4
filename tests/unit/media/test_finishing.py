"""What is left undone is done later, and nothing is done too early."""

import asyncio
from pathlib import Path

import pytest

from services.common.errors import NotFound, Unavailable
from services.common.migrations import migrate, schema_drift
from services.media.adapters.tables import Base
from services.media.bootstrap import MIGRATIONS
from services.media.recorder import LiveRecording
from services.media.recordings import Recording, State, Track
from tests.unit.media.conftest import RESUME_SECONDS, Studio, unforeseen

DAY = 86_400.0


async def test_the_revisions_make_exactly_the_tables(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/drift.sqlite3"
    await migrate(url, MIGRATIONS)
    assert schema_drift(url, Base.metadata) == []


async def test_a_recording_is_abandoned_only_when_its_time_is_over(studio: Studio) -> None:
    recording = studio.recording()
    await studio.taped(recording)
    await studio.clock.advance(RESUME_SECONDS - 1)
    await studio.sweeper.sweep()
    assert await studio.state(recording.recording_id) is State.RECORDING
    await studio.clock.advance(1)
    await studio.sweeper.sweep()
    assert await studio.state(recording.recording_id) is State.READY
    assert studio.spools() == []


async def test_a_stream_that_comes_back_gets_its_time_anew(studio: Studio) -> None:
    recording = studio.recording()
    await studio.taped(recording)
    await studio.clock.advance(RESUME_SECONDS - 1)
    await studio.taped(recording)
    await studio.clock.advance(RESUME_SECONDS - 1)
    await studio.sweeper.sweep()
    assert await studio.state(recording.recording_id) is State.RECORDING


async def test_a_live_recording_is_not_abandoned(studio: Studio) -> None:
    recording = studio.recording()
    async with studio.recorder.open(recording) as live:
        assert isinstance(live, LiveRecording)
        await studio.clock.advance(10 * RESUME_SECONDS)
        await studio.sweeper.sweep()
        assert await studio.state(recording.recording_id) is State.RECORDING


async def test_a_store_that_is_away_costs_only_time(studio: Studio) -> None:
    recording = studio.recording()
    await studio.taped(recording)
    studio.objects.away = True
    with pytest.raises(Unavailable):
        await studio.finisher.finish(recording.recording_id)
    await studio.sweeper.sweep()
    assert await studio.state(recording.recording_id) is State.PROCESSING
    assert studio.spools() == [recording.recording_id]
    studio.objects.away = False
    await studio.sweeper.sweep()
    assert await studio.state(recording.recording_id) is State.READY
    assert len(studio.objects.stored) == 2


async def test_callers_at_the_same_time_share_one_job(studio: Studio) -> None:
    recording = studio.recording()
    await studio.taped(recording)
    first, second = await asyncio.gather(
        studio.finisher.finish(recording.recording_id, 500),
        studio.finisher.finish(recording.recording_id, 900),
    )
    assert first == second


async def test_a_cancelled_caller_does_not_stop_the_job(studio: Studio) -> None:
    recording = studio.recording()
    await studio.taped(recording)
    caller = asyncio.create_task(studio.finisher.finish(recording.recording_id))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    finished = await studio.finisher.finish(recording.recording_id)
    assert finished.state is State.READY


async def test_what_never_began_cannot_be_finished(studio: Studio) -> None:
    with pytest.raises(NotFound):
        await studio.finisher.finish("nothing")


async def test_a_spool_that_is_gone_is_a_failure_that_is_told(studio: Studio) -> None:
    recording = studio.recording()
    await studio.taped(recording)
    for path in sorted(studio.folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    finished = await studio.finisher.finish(recording.recording_id)
    assert (finished.state, finished.failure) == (State.FAILED, "No audio is left of it.")


async def test_a_recording_deleted_while_it_is_stored_leaves_nothing(studio: Studio) -> None:
    recording = studio.recording()
    await studio.taped(recording)
    await studio.catalog.process(recording.recording_id, 0)
    job = asyncio.create_task(studio.finisher.finish(recording.recording_id))
    await studio.library.delete_any(recording.recording_id)
    with pytest.raises(NotFound):
        await job
    assert studio.objects.stored == {}
    assert studio.spools() == []


async def test_a_deletion_while_the_store_is_away_is_caught_up(studio: Studio) -> None:
    recording = studio.recording()
    await studio.taped(recording)
    await studio.finisher.finish(recording.recording_id)
    studio.objects.away = True
    await studio.library.delete(recording.user_id, recording.recording_id)
    with pytest.raises(NotFound):
        await studio.library.get(recording.user_id, recording.recording_id)
    assert studio.objects.stored
    studio.objects.away = False
    await studio.sweeper.sweep()
    assert studio.objects.stored == {}
    assert await studio.catalog.unpurged() == []


async def test_recordings_are_deleted_when_retention_says_so(studio: Studio) -> None:
    recording = studio.recording()
    await studio.taped(recording)
    await studio.finisher.finish(recording.recording_id)
    await studio.clock.advance(29 * DAY)
    await studio.sweeper.sweep()
    assert await studio.state(recording.recording_id) is State.READY
    await studio.clock.advance(1 * DAY)
    await studio.sweeper.sweep()
    assert await studio.state(recording.recording_id) is None
    assert studio.objects.stored == {}


async def test_what_could_not_be_kept_is_deleted_when_retention_says_so(studio: Studio) -> None:
    """Its samples lay in the spool for ever."""
    recording = studio.recording()
    async with studio.recorder.open(recording):
        pass
    finished = await studio.finisher.finish(recording.recording_id)
    assert (finished.state, finished.failure) == (State.FAILED, "Nothing was recorded.")
    assert studio.spools() == [recording.recording_id]
    await studio.clock.advance(29 * DAY)
    await studio.sweeper.sweep()
    assert await studio.state(recording.recording_id) is State.FAILED
    await studio.clock.advance(1 * DAY)
    await studio.sweeper.sweep()
    assert await studio.state(recording.recording_id) is None
    assert studio.spools() == []


async def test_the_sweeper_sweeps_at_its_interval_and_outlives_failures(studio: Studio) -> None:
    recording = studio.recording()
    await studio.taped(recording)
    studio.objects.away = True
    await studio.catalog.process(recording.recording_id, 0)
    sweeping = asyncio.create_task(studio.sweeper.run())
    try:
        while studio.clock.sleeping == 0:
            await asyncio.sleep(0.001)
        assert await studio.state(recording.recording_id) is State.PROCESSING
        studio.objects.away = False
        await studio.clock.advance(30)
        while await studio.state(recording.recording_id) is not State.READY:
            await asyncio.sleep(0.001)
    finally:
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)


async def test_a_failure_that_nobody_foresaw_costs_its_recording_time_and_no_other(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended the sweeper, and the service with it."""
    first, second = studio.recording(), studio.recording()
    for each in (first, second):
        await studio.taped(each)
        await studio.catalog.process(each.recording_id, 0)
        await studio.clock.advance(1)
    finish = studio.finisher.finish

    async def failing(recording_id: str) -> Recording:
        if recording_id == first.recording_id:
            await unforeseen()
        return await finish(recording_id)

    monkeypatch.setattr(studio.finisher, "finish", failing)
    await studio.sweeper.sweep()
    assert await studio.state(first.recording_id) is State.PROCESSING
    assert await studio.state(second.recording_id) is State.READY


async def test_the_sweeper_outlives_what_nobody_foresaw(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = studio.recording()
    await studio.taped(recording)
    await studio.catalog.process(recording.recording_id, 0)
    with monkeypatch.context() as broken:
        broken.setattr(studio.catalog, "unprocessed", unforeseen)
        sweeping = asyncio.create_task(studio.sweeper.run())
        while studio.clock.sleeping == 0:
            await asyncio.sleep(0.001)
    try:
        await studio.clock.advance(30)
        while await studio.state(recording.recording_id) is not State.READY:
            await asyncio.sleep(0.001)
    finally:
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)


async def test_a_sender_faster_than_the_disk_is_made_to_wait(studio: Studio) -> None:
    """What waits in memory is bounded: a full megabyte goes to disk before more is taken."""
    recording = studio.recording()
    async with studio.recorder.open(recording) as live:
        assert isinstance(live, LiveRecording)
        for at in range(40):
            await live.add(Track.LEARNER, 32_768 * at, b"\1\0" * 32_768)
        assert live.on_disk[Track.LEARNER] >= 16 * 32_768
        assert live.dirty
