"""Both sides of a session on their way to the media service, beside the talk.

    recorder.learner(pcm, first_sample)         # never waits
    recorder.tutor(pcm, first_sample)
    await recorder.run()                        # until `finish`, in a task of its own

Frames are joined before they are sent: a message costs about 0.1 ms of CPU on each side, and
nobody waits for a recording. A broken stream is begun again with the same recording id, from what
the media service has.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from parley.media.v1 import media_pb2
from parley.types.v1 import audio_pb2
from services.common.clock import Clock
from services.common.errors import ParleyError
from services.common.task_groups import unwrapped

_log = structlog.get_logger(__name__)

# Length of a message. A crash of this process loses at most this much sound.
_CHUNK_MS = 240

# Kept until the media service says that it has it. Full policy: the oldest goes, and is silence in
# the recording.
_SPOOL_MS = 60_000

_FIRST_RETRY_S = 0.25
_LONGEST_RETRY_S = 5.0

# A media service that is started again is back within this time, and nothing is missing then: there
# is nothing to tell the learner.
TOLD_AFTER_S = 5.0

# After the end of a session: time for media to come back and take the rest.
_FINISH_TIMEOUT_S = 15.0

# Media answers when the recording is encoded: up to a minute for the longest session, more on a
# busy machine. Nobody waits for it, but history has to be told.
_LATE_S = 600.0

# When a session is handed to another process: time for the last chunks to be sent.
_FLUSH_S = 1.0

_LEARNER = audio_pb2.AUDIO_TRACK_LEARNER
_TUTOR = audio_pb2.AUDIO_TRACK_TUTOR


class RecordStream(Protocol):
    """One stream of `media.v1.Record`, past its start."""

    async def send(self, request: media_pb2.RecordRequest) -> None:
        """Send one message. Raises `ParleyError` when the stream broke."""
        ...

    def responses(self) -> AsyncIterator[media_pb2.RecordResponse]:
        """Iterate over the answers. Raises `ParleyError` when the stream broke."""
        ...

    async def done(self) -> None:
        """Say that nothing more will be sent."""
        ...


class Recordings(Protocol):
    """Opens streams to the media service."""

    def open(self, start: media_pb2.RecordStart) -> AbstractAsyncContextManager[RecordStream]:
        """Open a stream; leaving the block drops it. Raises `ParleyError`."""
        ...


@dataclass(slots=True)
class _Chunk:
    track: audio_pb2.AudioTrack.ValueType
    first_sample: int
    pcm: bytearray = field(repr=False)

    @property
    def end(self) -> int:
        return self.first_sample + len(self.pcm) // 2


class Recorder:
    """Records one session."""

    def __init__(
        self,
        recordings: Recordings,
        start: media_pb2.RecordStart,
        clock: Clock,
        *,
        failing: Callable[[], None],
    ) -> None:
        """`failing` is called, perhaps again, when there has been no stream for some time."""
        self._recordings = recordings
        self._start = start
        self._clock = clock
        self._failing = failing
        self._rates = {
            _LEARNER: start.learner_format.sample_rate_hz,
            _TUTOR: start.tutor_format.sample_rate_hz,
        }
        # Waiting to be sent, then sent and not yet confirmed.
        self._waiting: deque[_Chunk] = deque()
        self._unconfirmed: deque[_Chunk] = deque()
        self._open: dict[audio_pb2.AudioTrack.ValueType, _Chunk] = {}
        self._spooled_ms = 0.0
        self._wake = asyncio.Event()
        self._finishing = asyncio.Event()
        self._finish_ms: int | None = None
        self.recording: media_pb2.Recording | None = None
        """The recording as it is stored; None until it is."""

    def learner(self, pcm: bytes, first_sample: int) -> None:
        """Add the learner's samples at their place on the session's time line."""
        self._add(_LEARNER, pcm, first_sample)

    def tutor(self, pcm: bytes, first_sample: int) -> None:
        """Add the tutor's samples at their place on the session's time line."""
        self._add(_TUTOR, pcm, first_sample)

    def finish(self, duration_ms: int) -> None:
        """The session is over; `run` returns when everything is stored, or given up."""
        for track in list(self._open):
            self._close_chunk(track)
        self._finish_ms = duration_ms
        self._wake.set()
        self._finishing.set()

    async def flushed(self) -> None:
        """Hand over what there is, waiting a moment at most; `run` is cancelled afterwards."""
        for track in list(self._open):
            self._close_chunk(track)
        until = self._clock.monotonic() + _FLUSH_S
        while self._waiting and self._clock.monotonic() < until:
            await self._clock.sleep(_FLUSH_S / 20)

    async def run(self) -> None:
        """Send until `finish`; never raises for a media service that is away.

        It returns when the recording is stored, and at the latest `_FINISH_TIMEOUT_S` after
        `finish`, also where the media service took everything and never answers.
        """
        await self._run(_FINISH_TIMEOUT_S)

    async def run_late(self) -> None:
        """Go on after `run` gave up, beside everything else: for `_LATE_S` at most."""
        await self._run(_LATE_S)

    async def _run(self, finish_s: float) -> None:
        async with asyncio.TaskGroup() as group:
            recording = group.create_task(self._record())
            overdue = group.create_task(self._end_when_overdue(recording, finish_s))
            await asyncio.wait({recording})
            overdue.cancel()

    async def _end_when_overdue(self, recording: asyncio.Task[None], finish_s: float) -> None:
        await self._finishing.wait()
        await self._clock.sleep(finish_s)
        _log.warning("recording_not_finished", recording_id=self._start.recording_id)
        recording.cancel()

    async def _record(self) -> None:
        failures = 0
        failing_since = 0.0
        while self.recording is None:
            try:
                await self._stream()
                failures = 0
            except ParleyError as error:
                if not failures:
                    failing_since = self._clock.monotonic()
                    _log.warning("recording_broken", reason=error.reason)
                if self._clock.monotonic() - failing_since >= TOLD_AFTER_S:
                    self._failing()
                wait = min(_FIRST_RETRY_S * 2 ** min(failures, 10), _LONGEST_RETRY_S)
                failures += 1
                await self._clock.sleep(wait)

    async def _stream(self) -> None:
        """Hold one stream until the end, or until it breaks."""
        # What was sent over the last stream may not have arrived: it goes again, in front.
        self._waiting.extendleft(reversed(self._unconfirmed))
        self._unconfirmed.clear()
        async with self._recordings.open(self._start) as stream:
            with unwrapped(ParleyError):
                async with asyncio.TaskGroup() as group:
                    reading = group.create_task(self._read(stream))
                    await self._write(stream, reading)

    async def _write(self, stream: RecordStream, reading: asyncio.Task[None]) -> None:
        while True:
            await self._wake.wait()
            while self._waiting:
                chunk = self._waiting.popleft()
                self._unconfirmed.append(chunk)
                await stream.send(
                    media_pb2.RecordRequest(
                        audio=media_pb2.RecordAudio(
                            track=chunk.track,
                            pcm=bytes(chunk.pcm),
                            first_sample=chunk.first_sample,
                        )
                    )
                )
            if self._finish_ms is not None:
                finish = media_pb2.RecordFinish(duration_ms=self._finish_ms)
                await stream.send(media_pb2.RecordRequest(finish=finish))
                await stream.done()
                await reading
                return
            self._wake.clear()

    async def _read(self, stream: RecordStream) -> None:
        async for response in stream.responses():
            self._confirm(response)
            if response.HasField("recording"):
                self.recording = response.recording

    def _confirm(self, response: media_pb2.RecordResponse) -> None:
        stored = {_LEARNER: response.learner_samples, _TUTOR: response.tutor_samples}
        left: deque[_Chunk] = deque()
        for chunk in self._unconfirmed:
            if chunk.end <= stored[chunk.track]:
                self._spooled_ms -= self._length_ms(chunk)
            else:
                left.append(chunk)
        self._unconfirmed = left

    def _add(self, track: audio_pb2.AudioTrack.ValueType, pcm: bytes, first_sample: int) -> None:
        if not pcm or self._finish_ms is not None:
            return
        chunk = self._open.get(track)
        if chunk is not None and chunk.end != first_sample:
            self._close_chunk(track)
            chunk = None
        if chunk is None:
            chunk = self._open[track] = _Chunk(track, first_sample, bytearray())
        chunk.pcm += pcm
        if self._length_ms(chunk) >= _CHUNK_MS:
            self._close_chunk(track)

    def _close_chunk(self, track: audio_pb2.AudioTrack.ValueType) -> None:
        chunk = self._open.pop(track)
        self._waiting.append(chunk)
        self._spooled_ms += self._length_ms(chunk)
        while self._spooled_ms > _SPOOL_MS:
            oldest = (self._unconfirmed or self._waiting).popleft()
            self._spooled_ms -= self._length_ms(oldest)
        self._wake.set()

    def _length_ms(self, chunk: _Chunk) -> float:
        return len(chunk.pcm) // 2 * 1000 / self._rates[chunk.track]
