"""Originals go to the store in parts while the talk runs, and are whole whatever happens."""

from __future__ import annotations

import asyncio
from errno import ENOSPC
from pathlib import Path

import numpy as np
import pytest

from services.common.errors import NotFound, Unavailable
from services.media import live_uploads
from services.media.adapters import codec, spool
from services.media.adapters.growing_flac import GrowingFlac
from services.media.live_uploads import LiveUploads
from services.media.recorder import LiveRecording
from services.media.recordings import Recording, State, Track, object_key
from services.media.renditions import Encoding
from services.media.workers import Workers
from tests.unit.media.conftest import MemoryParts, Studio, unforeseen

PART = 10_000
SECOND = 16_000


def noise(seconds: float, seed: int = 1) -> bytes:
    """Return sound that FLAC makes little smaller: 30 kB a second and so."""
    values = np.random.default_rng(seed).integers(-20_000, 20_000, round(SECOND * seconds))
    return values.astype("<i2").tobytes()


@pytest.fixture
def parted(studio: Studio) -> Studio:
    """A studio whose store takes parts."""
    studio.objects.parts = MemoryParts(studio.objects, PART)
    return studio


def parts_of(studio: Studio) -> MemoryParts:
    assert studio.objects.parts is not None
    return studio.objects.parts


async def say(live: object, first: int, pcm: bytes) -> None:
    assert isinstance(live, LiveRecording)
    await live.add(Track.LEARNER, first, pcm)
    await live.flush()


def stored_pcm(studio: Studio, recording: Recording, folder: Path) -> bytes:
    """Return the learner's samples, as they are decoded from the stored original."""
    path = folder / "stored.flac"
    path.write_bytes(studio.objects.stored[object_key(recording.recording_id, Track.LEARNER)])
    with path.open("rb") as file:
        pieces = list(codec.decode_flac(file, 0, 2**40))
    return np.concatenate(pieces).astype("<i2").tobytes()


def test_what_is_written_early_is_as_it_is_in_the_end_but_for_the_header(tmp_path: Path) -> None:
    writer = spool.Spool(tmp_path, {Track.LEARNER: SECOND})
    growing = GrowingFlac(tmp_path, Track.LEARNER, SECOND)
    pcm, at = noise(8), 0
    for samples in (1, 777, 70_000, 5, 40_000):
        writer.write(Track.LEARNER, at, pcm[at * 2 : (at + samples) * 2])
        at += samples
        growing.grow(at)
    early = growing.read(0, growing.size)
    growing.close()
    writer.close()
    codec.encode(
        tmp_path / "whole.flac", Encoding.FLAC, SECOND, spool.read(tmp_path, Track.LEARNER)
    )
    # The metadata block with the totals: RFC 9639, 8.2.
    assert (tmp_path / "whole.flac").read_bytes()[42 : len(early)] == early[42:]
    assert len(early) > 100_000
    assert not list(tmp_path.glob("*.live.flac"))


async def test_parts_are_in_the_store_while_the_talk_runs(parted: Studio, tmp_path: Path) -> None:
    recording, pcm = parted.recording(), noise(3)
    async with parted.recorder.open(recording) as live:
        await say(live, 0, pcm[: 2 * SECOND])
        await parted.live_uploads.advance()
        early = list(parts_of(parted).given)
        assert {number for _, number in early} == set(range(2, 2 + len(early)))
        await parted.live_uploads.advance()
        assert parts_of(parted).given == early, "nothing is sent twice"
        await say(live, SECOND, pcm[2 * SECOND :])
        await parted.live_uploads.advance()
        while_it_ran = len(parts_of(parted).given)
        assert while_it_ran > len(early) > 1
    finished = await parted.finisher.finish(recording.recording_id)
    assert finished.state is State.READY
    # The first part, which has the header, what had not filled a part, and nothing again.
    after = [number for _, number in parts_of(parted).given[while_it_ran:]]
    assert after[0] == 1
    assert set(after[1:]).isdisjoint(number for _, number in parts_of(parted).given[:while_it_ran])
    assert stored_pcm(parted, recording, tmp_path) == pcm
    assert parts_of(parted).uploads == {}
    assert object_key(recording.recording_id, Track.LEARNER) not in parted.objects.puts
    assert parted.spools() == []


async def test_a_track_that_fills_no_part_is_one_request(parted: Studio) -> None:
    recording = parted.recording()
    async with parted.recorder.open(recording) as live:
        await say(live, 0, noise(0.1))
        await parted.live_uploads.advance()
    await parted.finisher.finish(recording.recording_id)
    assert parts_of(parted).begun == 0
    assert len(parted.objects.puts) == 2


async def test_after_a_kill_it_goes_on_with_what_was_sent(parted: Studio, tmp_path: Path) -> None:
    """Another process has nothing but the disk: the spool, and the note beside it."""
    recording, pcm = parted.recording(), noise(3)
    async with parted.recorder.open(recording) as live:
        await say(live, 0, pcm[: 2 * SECOND])
        await parted.live_uploads.advance()
    before = list(parts_of(parted).given)
    async with Workers.open("next", 1, 10) as workers:
        following = LiveUploads(
            parted.objects,
            workers,
            GrowingFlac,
            lambda: parted.recorder.live,
            parted.recorder.folder,
            parted.clock,
            5.0,
        )
        async with parted.recorder.open(recording) as live:
            await say(live, SECOND, pcm[2 * SECOND :])
            await following.advance()
        await following.close()
    await parted.finisher.finish(recording.recording_id)
    assert parts_of(parted).begun == 1
    numbers = [number for _, number in parts_of(parted).given]
    assert len(numbers) == len(set(numbers)), "nothing was sent twice"
    assert parts_of(parted).given[: len(before)] == before
    assert stored_pcm(parted, recording, tmp_path) == pcm


async def test_a_part_that_is_not_as_the_original_has_it_is_sent_again(
    parted: Studio, tmp_path: Path
) -> None:
    """As after an update of the encoder in the middle of a talk."""
    recording, pcm = parted.recording(), noise(2)
    async with parted.recorder.open(recording) as live:
        await say(live, 0, pcm)
        await parted.live_uploads.advance()
    note = parted.recorder.folder(recording.recording_id) / "learner.sent.json"
    digest = note.read_text().split('"3": ["')[1].split('"')[0]
    note.write_text(note.read_text().replace(digest, "0" * 64))
    await parted.finisher.finish(recording.recording_id)
    assert [number for _, number in parts_of(parted).given].count(3) == 2
    assert stored_pcm(parted, recording, tmp_path) == pcm


async def test_while_the_store_is_away_nothing_is_lost_and_it_goes_on(
    parted: Studio, tmp_path: Path
) -> None:
    recording, pcm = parted.recording(), noise(3)
    async with parted.recorder.open(recording) as live:
        await say(live, 0, pcm[: 2 * SECOND])
        await parted.live_uploads.advance()
        parted.objects.away = True
        await say(live, SECOND, pcm[2 * SECOND :])
        with pytest.raises(Unavailable):
            await parted.live_uploads.advance()
    with pytest.raises(Unavailable):
        await parted.finisher.finish(recording.recording_id)
    parted.objects.away = False
    sent_before = len(parts_of(parted).given)
    await parted.sweeper.sweep()
    assert stored_pcm(parted, recording, tmp_path) == pcm
    assert parts_of(parted).given[sent_before:][0][1] == 1
    assert parts_of(parted).begun == 1


async def test_an_upload_that_the_store_forgot_is_begun_anew(
    parted: Studio, tmp_path: Path
) -> None:
    """A host's lifecycle rule may have thrown it away, or another server be there now."""
    recording, pcm = parted.recording(), noise(3)
    async with parted.recorder.open(recording) as live:
        await say(live, 0, pcm[: 2 * SECOND])
        await parted.live_uploads.advance()
        parts_of(parted).uploads.clear()
        await say(live, SECOND, pcm[2 * SECOND :])
        await parted.live_uploads.advance()
        await parted.live_uploads.advance()
        assert parts_of(parted).begun == 2
        parts_of(parted).uploads.clear()
    await parted.finisher.finish(recording.recording_id)
    assert object_key(recording.recording_id, Track.LEARNER) in parted.objects.puts
    assert stored_pcm(parted, recording, tmp_path) == pcm


async def test_half_a_note_of_what_was_sent_is_none(parted: Studio, tmp_path: Path) -> None:
    recording, pcm = parted.recording(), noise(2)
    async with parted.recorder.open(recording) as live:
        await say(live, 0, pcm)
        await parted.live_uploads.advance()
    note = parted.recorder.folder(recording.recording_id) / "learner.sent.json"
    note.write_bytes(note.read_bytes()[:30])
    await parted.finisher.finish(recording.recording_id)
    assert stored_pcm(parted, recording, tmp_path) == pcm


async def test_a_recording_that_is_deleted_meanwhile_holds_up_no_other(parted: Studio) -> None:
    doomed, other = parted.recording(), parted.recording()
    async with parted.recorder.open(doomed) as first, parted.recorder.open(other) as second:
        await say(first, 0, noise(1))
        await say(second, 0, noise(1))
        spool.remove(parted.recorder.folder(doomed.recording_id))
        await parted.live_uploads.advance()
        key = object_key(other.recording_id, Track.LEARNER)
        assert [each[0] for each in parts_of(parted).uploads.values()] == [key]


async def test_a_deleted_recording_leaves_no_file_of_its_upload(parted: Studio) -> None:
    recording = parted.recording()
    async with parted.recorder.open(recording) as live:
        await say(live, 0, noise(1))
        await parted.live_uploads.advance()
    await parted.live_uploads.settle(recording.recording_id)
    await parted.library.delete_any(recording.recording_id)
    with pytest.raises(NotFound):
        await parted.finisher.finish(recording.recording_id)
    assert parted.spools() == []


async def test_a_deleted_recordings_parts_go_also_where_the_store_tells_of_none(
    parted: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MinIO tells uploads of a single object alone, and not of what is below a folder."""
    recording, beside = parted.recording(), parted.recording()
    for each in (recording, beside):
        async with parted.recorder.open(each) as live:
            await say(live, 0, noise(1))
            await parted.live_uploads.advance()
    monkeypatch.setattr(MemoryParts, "unfinished", lambda *_: asyncio.sleep(0, []))
    parted.objects.away = True
    with pytest.raises(Unavailable):
        await parted.live_uploads.abandon(recording.recording_id)
    parted.objects.away = False
    for _ in range(2):
        await parted.live_uploads.abandon(recording.recording_id)
    kept = [key for key, _ in parts_of(parted).uploads.values()]
    assert kept == [object_key(beside.recording_id, Track.LEARNER)]


async def test_those_of_one_deleted_before_it_was_stored_go_before_its_notes(
    parted: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the store tells of no uploads, nobody else would ever find them."""
    recording = parted.recording()
    async with parted.recorder.open(recording) as live:
        await say(live, 0, noise(1))
        await parted.live_uploads.advance()
    monkeypatch.setattr(MemoryParts, "unfinished", lambda *_: asyncio.sleep(0, []))
    parted.objects.away = True
    await parted.library.delete_any(recording.recording_id)
    with pytest.raises(Unavailable):
        await parted.finisher.finish(recording.recording_id)
    assert parted.spools() == [recording.recording_id]
    parted.objects.away = False
    with pytest.raises(NotFound):
        await parted.finisher.finish(recording.recording_id)
    assert parts_of(parted).uploads == {}
    assert parted.spools() == []


async def test_where_the_disk_takes_no_note_of_what_was_sent_it_waits(
    parted: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = parted.recording()
    async with parted.recorder.open(recording) as live:
        await say(live, 0, noise(1))
        await parted.live_uploads.advance()
    await parted.catalog.process(recording.recording_id, 0)
    with monkeypatch.context() as broken:

        def full(*_: object) -> None:
            raise OSError(ENOSPC, "No space left on device")

        broken.setattr(live_uploads._Sent, "save", full)
        with pytest.raises(Unavailable, match="STORAGE_UNAVAILABLE"):
            await parted.finisher.finish(recording.recording_id)
        await parted.sweeper.sweep()
        assert await parted.state(recording.recording_id) is State.PROCESSING
    await parted.sweeper.sweep()
    assert await parted.state(recording.recording_id) is State.READY


async def test_rounds_come_at_their_interval_and_outlive_failures(
    parted: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = parted.recording()
    sending = asyncio.create_task(parted.live_uploads.run())
    try:
        async with parted.recorder.open(recording) as live:
            await say(live, 0, noise(1))
            parted.objects.away = True
            await parted.clock.advance(5)
            while parted.clock.sleeping == 0:
                await asyncio.sleep(0.001)
            parted.objects.away = False
            with monkeypatch.context() as broken:
                broken.setattr(LiveUploads, "advance", unforeseen)
                await parted.clock.advance(5)
                while parted.clock.sleeping == 0:
                    await asyncio.sleep(0.001)
            await parted.clock.advance(5)
            while not parts_of(parted).given:
                await asyncio.sleep(0.001)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
