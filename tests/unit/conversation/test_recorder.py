"""Both sides on their way to media, whatever media does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from parley.media.v1 import media_pb2
from services.common.clock import ManualClock
from services.common.errors import Unavailable
from services.conversation.learner_audio import pcm_format
from services.conversation.recorder import _FINISH_TIMEOUT_S, TOLD_AFTER_S, Recorder

START = media_pb2.RecordStart(
    recording_id="r", learner_format=pcm_format(16_000), tutor_format=pcm_format(24_000)
)


class Media:
    """Streams that keep samples, break, or are not to be had."""

    def __init__(self) -> None:
        self.away = False
        self.tracks = {1: bytearray(), 2: bytearray()}
        self.messages = 0
        self.streams: list[Stream] = []

    @asynccontextmanager
    async def open(self, start: media_pb2.RecordStart) -> AsyncIterator["Stream"]:
        if self.away:
            raise Unavailable("away", reason="PEER_UNAVAILABLE")
        stream = Stream(self, start)
        self.streams.append(stream)
        yield stream


class Stream:
    def __init__(self, media: Media, start: media_pb2.RecordStart) -> None:
        self._media = media
        self._start = start
        self._answers: asyncio.Queue[media_pb2.RecordResponse | None] = asyncio.Queue()
        self._answer()

    async def send(self, request: media_pb2.RecordRequest) -> None:
        if self._media.away:
            raise Unavailable("broke", reason="PEER_UNAVAILABLE")
        self._media.messages += 1
        if request.HasField("audio"):
            track = self._media.tracks[request.audio.track]
            gap = request.audio.first_sample * 2 - len(track)
            if gap >= 0:
                track += bytes(gap) + request.audio.pcm
            else:
                track += request.audio.pcm[-gap:]
            self._answer()
        else:
            stored = media_pb2.Recording(recording_id=self._start.recording_id)
            self._answers.put_nowait(media_pb2.RecordResponse(recording=stored))
            self._answers.put_nowait(None)

    def _answer(self) -> None:
        learner, tutor = (len(self._media.tracks[track]) // 2 for track in (1, 2))
        self._answers.put_nowait(
            media_pb2.RecordResponse(learner_samples=learner, tutor_samples=tutor)
        )

    async def responses(self) -> AsyncIterator[media_pb2.RecordResponse]:
        while (answer := await self._answers.get()) is not None:
            yield answer

    async def done(self) -> None:
        pass


async def record(
    media: Media, seconds: int, *, away_from: int = -1, back_at: int = -1
) -> tuple[Recorder, bool]:
    """Record so many seconds of a rising pattern; media goes and comes back at seconds."""
    clock, told = ManualClock(), []
    recorder = Recorder(media, START, clock, failing=lambda: told.append(1))
    run = asyncio.create_task(recorder.run())
    for second in range(seconds):
        if second in (away_from, back_at):
            media.away = second == away_from
        for part in range(50):
            index = second * 50 + part
            recorder.learner((index % 30_000).to_bytes(2, "little") * 320, index * 320)
            await asyncio.sleep(0)
        await clock.advance(1.0)
    recorder.finish(seconds * 1000)
    media.away = False
    await clock.advance(6.0)
    await asyncio.wait_for(run, 5)
    return recorder, bool(told)


def pattern(seconds: int) -> bytes:
    return b"".join((index % 30_000).to_bytes(2, "little") * 320 for index in range(seconds * 50))


async def test_frames_are_joined_into_few_messages():
    media = Media()
    recorder, _ = await record(media, 5)
    assert recorder.recording is not None
    assert bytes(media.tracks[1]) == pattern(5)
    assert media.messages < 5 * 5 + 2


async def test_a_media_service_that_was_away_misses_nothing():
    media = Media()
    _, told = await record(media, 10, away_from=2, back_at=5)
    assert bytes(media.tracks[1]) == pattern(10)
    assert not told


async def test_a_long_absence_is_told_and_costs_the_oldest_sound_only():
    media = Media()
    seconds = int(60 + TOLD_AFTER_S + 20)
    _, told = await record(media, seconds, away_from=1, back_at=seconds - 1)
    assert told
    whole, kept = pattern(seconds), bytes(media.tracks[1])
    assert kept[-50 * 32_000 :] == whole[-50 * 32_000 :]
    assert len(kept) == len(whole)


@pytest.mark.parametrize("silent", ["responses", "send"])
async def test_a_media_service_that_hangs_holds_the_end_of_a_session_no_longer_than_its_limit(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit was looked at between streams alone: one that hung held its session for ever."""
    media, clock = Media(), ManualClock()
    recorder = Recorder(media, START, clock, failing=lambda: None)
    run = asyncio.create_task(recorder.run())
    await clock.advance(1.0)

    async def send(_: media_pb2.RecordRequest) -> None:
        # Else it takes everything, and what it would answer gets lost.
        if silent == "send":
            await asyncio.Event().wait()

    monkeypatch.setattr(media.streams[0], "send", send)
    recorder.learner(bytes(9_600), 0)
    recorder.finish(300)
    await clock.advance(_FINISH_TIMEOUT_S - 0.1)
    assert not run.done()
    await clock.advance(0.2)
    await asyncio.wait_for(run, 5)
    assert recorder.recording is None
