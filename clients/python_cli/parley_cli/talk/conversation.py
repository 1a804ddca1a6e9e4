"""One talk from its first message to its summary.

Five tasks share one task group: the card (hears and plays), the reports of what was heard, the
pings, the driver (recordings or typing), and the one that ends it all. The receiver runs in the
group's own body; when the server says `ended`, the rest is cancelled. All state is touched from the
event loop only; the playback buffer alone is shared with the sound card's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import turn_pb2
from parley_cli.audio.cards import Card
from parley_cli.audio.files import Samples
from parley_cli.audio.playback import PlaybackBuffer
from parley_cli.audio.recorder import SessionRecorder
from parley_cli.client.converse import ConverseStream
from parley_cli.client.parley_client import ParleyClient
from parley_cli.failures import CliFailure, ExitCode
from parley_cli.session import (
    ConnectionChanged,
    Event,
    Floor,
    MicrophoneChanged,
    MuteChanged,
    Played,
    ReplySounded,
    SessionView,
    StagesKnown,
    is_stale,
    reduce,
    says_nothing,
)
from parley_cli.stages import stage_views
from parley_cli.talk.events import Presenter, TalkEvent, TurnMeasured
from parley_cli.talk.measure import SilenceMeter
from parley_cli.talk.options import CAPTURE_RATE_HZ, DEFAULT_PLAYBACK_RATE_HZ, TalkOptions

# How often the server learns what was heard: often enough to truncate a reply within a word.
_HEARD_EVERY_MS = 200
# A connection without any answer to three pings is dead, whatever TCP believes.
_PING_EVERY_S = 5.0
_LOST_AFTER_S = 16.0
# A card that hears delivers a frame in a tenth of this.
_FRAME_WITHIN_S = 0.5
# Saving the last turn and summing up takes well under a second; a server that needs ten is stuck.
_FINISH_WITHIN_S = 10.0

Driver = Callable[["Talk"], Awaitable[None]]


@dataclass(slots=True)
class TalkResult:
    """What came of a talk.

    Attributes:
        view: the session at its end.
        measures: every reply's silence, in order.
        unanswered: files, or typed lines, that got no answer.
    """

    view: SessionView
    measures: list[TurnMeasured] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)


class Talk:
    """Runs one talk.

    Args:
        client: signed in.
        options: the learner's choices.
        card: what hears and plays; None for a typed talk without sound.
        driver: what makes the talk go on by itself (recordings, typing); None leaves that to the
            microphone.
        presenter: shows it.
        now: seconds, monotonic.
    """

    def __init__(
        self,
        client: ParleyClient,
        options: TalkOptions,
        *,
        card: Card | None,
        driver: Driver | None,
        presenter: Presenter,
        output_latency_ms: int = 0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self.options = options
        self._card = card
        self._driver = driver
        self._presenter = presenter
        self._output_latency_ms = output_latency_ms
        self.now = now
        self._begin = now()
        self.view = SessionView(
            captions_only=options.captions_only, microphone_open=not options.push_to_talk
        )
        self.meter = SilenceMeter(CAPTURE_RATE_HZ)
        self.result = TalkResult(self.view)
        self.changed = asyncio.Condition()
        self._playback = PlaybackBuffer(DEFAULT_PLAYBACK_RATE_HZ)
        self._recorder: SessionRecorder | None = None
        self._finish = asyncio.Event()
        self._leaving = False
        self._left_while_lost = asyncio.Event()
        self._heard = asyncio.Event()
        self._heard_reported = (0, -1)
        self._play_delay_ms: dict[int, float] = {}
        self._next_sample = 0
        self._released_at: float | None = None
        self._released = asyncio.Event()
        self._last_answer_at = now()
        self._pings: dict[int, float] = {}
        self._round_trip_ms: float | None = None
        self._stream: ConverseStream | None = None

    @property
    def stream(self) -> ConverseStream:
        """The live session; there while `run` runs."""
        if self._stream is None:
            raise RuntimeError("the talk has not begun")
        return self._stream

    async def run(self) -> TalkResult:
        """Talk until the server has ended the session.

        Raises:
            CliFailure: the session could not be opened, was refused on its way, or got lost.
        """
        start = self.options.start_session()
        stream = self._client.converse(start, on_connection=self._connection_changed)
        try:
            async with stream:
                self._stream = stream
                self._prepare(stream.started)
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(work) for work in self._tasks(stream)]
                    await self._receive(stream)
                    for task in tasks:
                        task.cancel()
        except BaseExceptionGroup as errors:
            raise _single(errors) from errors
        finally:
            if self._recorder is not None:
                self._recorder.close()
            self.result.view = self.view
        return self.result

    # -- for drivers and keys ----------------------------------------------------------------

    def finish(self) -> None:
        """End the talk in good order: the summary follows."""
        self._finish.set()

    def leave(self) -> None:
        """Finish because the learner wants to: a connection that is lost is not waited for."""
        self._leaving = True
        self.finish()
        if self.view.floor is Floor.RECONNECTING:
            self._left_while_lost.set()

    def emit(self, event: TalkEvent) -> None:
        """Show an event, and take it into the view where it changes it."""
        if isinstance(event, Event):
            self.view = reduce(self.view, event)
        self._presenter.on_event(event, self.view, (self.now() - self._begin) * 1000)

    async def wait_until(self, condition: Callable[[], bool], timeout_s: float | None) -> bool:
        """Wait for something to become true of the talk; False where time ran out."""
        try:
            async with asyncio.timeout(timeout_s), self.changed:
                await self.changed.wait_for(condition)
        except TimeoutError:
            return condition()
        return True

    @property
    def drained(self) -> bool:
        """Whether the loudspeaker has nothing left to play."""
        position = self._playback.position()
        return position.drained or position.generation == 0 or self.options.captions_only

    async def toggle_mute(self) -> None:
        """Mute the microphone, or open it again."""
        muted = not self.view.muted
        self.emit(MuteChanged(muted))
        await self.stream.change_settings(muted=muted)

    async def space_pressed(self) -> None:
        """Push-to-talk: begin or end the utterance. Otherwise: stop the tutor."""
        if not self.options.push_to_talk:
            await self._stop_tutor()
        elif not self.view.microphone_open:
            self.emit(MicrophoneChanged(True))
            # Ahead of the first words, which over a reply might be taken for a "mhm".
            await self._stop_tutor()
        elif self._released_at is None:
            await self._end_utterance()

    async def _stop_tutor(self) -> None:
        if self.view.floor not in (Floor.TUTOR, Floor.HELD):
            return
        position = self._playback.position()
        self._playback.stop(position.generation)
        # What the card was given can no longer be stopped: it is heard, too.
        await self._send_heard(self.stream, position.generation, position.given_ms)
        await self.stream.interrupt(position.generation, position.given_ms)

    async def _end_utterance(self) -> None:
        """Close the microphone behind what was said before now: the card still has some of it."""
        self._released_at = self.now()
        self._released.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FRAME_WITHIN_S):
                await self._released.wait()
        if self.view.microphone_open:
            self._close_microphone()
        await self.stream.end_turn()

    def _close_microphone(self) -> None:
        self._released_at = None
        self._released.set()
        self.emit(MicrophoneChanged(False))

    @property
    def talking(self) -> bool:
        """Whether the microphone is being sent."""
        return self.view.microphone_open and not self.view.muted

    # -- tasks -------------------------------------------------------------------------------

    def _tasks(self, stream: ConverseStream) -> list[Coroutine[Any, Any, None]]:
        tasks: list[Coroutine[Any, Any, None]] = [
            self._report_heard(stream),
            self._ping(stream),
            self._end(stream),
            self._leave_while_lost(),
        ]
        if self._card is not None:
            tasks.append(self._card.run(self._playback, self._captured, self._played))
        if self._driver is not None:
            tasks.append(self._drive(self._driver))
        return tasks

    async def _drive(self, driver: Driver) -> None:
        await driver(self)
        self.finish()

    async def _receive(self, stream: ConverseStream) -> None:
        async for response in stream:
            at = self.now()
            self._last_answer_at = at
            fresh = not is_stale(self.view, response)
            if fresh:
                self._act(response, at)
            self.emit(response)
            if fresh and response.HasField("reply_ended"):
                self._measure(response)
            async with self.changed:
                self.changed.notify_all()

    async def _end(self, stream: ConverseStream) -> None:
        await self._finish.wait()
        await stream.finish()
        await asyncio.sleep(_FINISH_WITHIN_S)
        raise CliFailure(
            "The server did not end the conversation in time.",
            advice="Turns that were saved are in `parley history`.",
            exit_code=ExitCode.UNREACHABLE,
        )

    async def _leave_while_lost(self) -> None:
        await self._left_while_lost.wait()
        raise CliFailure(
            "The conversation was ended while its connection was lost.",
            advice="Turns that were saved are in `parley history`.",
            exit_code=ExitCode.UNREACHABLE,
        )

    async def _ping(self, stream: ConverseStream) -> None:
        nonce = 0
        while True:
            nonce += 1
            self._pings = {nonce: self.now()}
            await stream.ping(nonce)
            await asyncio.sleep(_PING_EVERY_S)
            if self.now() - self._last_answer_at > _LOST_AFTER_S:
                self._last_answer_at = self.now()
                stream.drop_connection()

    async def _report_heard(self, stream: ConverseStream) -> None:
        while True:
            await self._heard.wait()
            self._heard.clear()
            position = self._playback.position()
            await self._send_heard(stream, position.generation, position.heard_ms)
            async with self.changed:
                self.changed.notify_all()

    async def _send_heard(self, stream: ConverseStream, generation: int, audio_ms: int) -> None:
        self._heard_reported = (generation, audio_ms)
        delay = self._play_delay_ms.pop(generation, None)
        self.emit(Played(generation, audio_ms))
        await stream.send_heard(generation, audio_ms, delay)

    # -- sound -------------------------------------------------------------------------------

    async def _captured(self, samples: Samples, at: float) -> None:
        first, self._next_sample = self._next_sample, self._next_sample + len(samples)
        self.meter.captured(self._next_sample, at)
        talking = self.talking
        if self._recorder is not None:
            self._recorder.learner(samples if talking else np.zeros_like(samples))
        self._presenter.on_level(_level_dbfs(samples) if talking else -100.0)
        if talking:
            await self.stream.send_audio(samples.astype("<i2").tobytes(), first)
        if self._released_at is not None and at >= self._released_at:
            self._close_microphone()

    def _played(self, samples: Samples, at: float) -> None:
        if self._recorder is not None:
            self._recorder.tutor(samples)
        position = self._playback.position()
        if not position.generation:
            return
        generation, heard_ms = position.generation, position.heard_ms
        if position.sounded and not position.drained:
            delay = self.meter.reply_played(generation, at + self._output_latency_ms / 1000)
            if delay is not None:
                self._play_delay_ms[generation] = delay
                self._sounded(generation)
        reported_generation, reported_ms = self._heard_reported
        if generation != reported_generation:
            reported_ms = -1 if position.sounded else heard_ms
        due = heard_ms - reported_ms >= _HEARD_EVERY_MS or reported_ms < 0
        if due or (position.settled and heard_ms > reported_ms):
            self._heard.set()

    # -- what a response makes the sound do --------------------------------------------------

    def _prepare(self, started: conversation_pb2.SessionStarted) -> None:
        rate = started.output_format.sample_rate_hz or DEFAULT_PLAYBACK_RATE_HZ
        self._playback = PlaybackBuffer(rate, latency_ms=self._output_latency_ms)
        self._next_sample = started.next_sample
        self._recorder = SessionRecorder(
            tutor_rate_hz=rate,
            learner_rate_hz=CAPTURE_RATE_HZ,
            tutor_path=self.options.output,
            mix_path=self.options.output_mix,
        )

    def _act(self, response: conversation_pb2.ConverseResponse, at: float) -> None:
        generation = response.generation
        match response.WhichOneof("message"):
            case "transcript" if response.transcript.final and not says_nothing(
                response.transcript
            ):
                self.meter.server_end(response.transcript.end_ms)
            case "reply_started":
                self._playback.begin(generation)
                answers = response.reply_started.kind in _ANSWERS
                self.meter.reply_started(response.turn, generation, at, answers=answers)
            case "reply_text" if self.options.captions_only:
                self.meter.reply_text(generation, at)
                self._sounded(generation)
            case "reply_audio":
                samples = np.frombuffer(response.reply_audio.pcm, dtype="<i2")
                rate = self._playback.sample_rate_hz
                self.meter.reply_audio(generation, samples, rate, at)
                self._playback.push(generation, response.reply_audio.offset_ms, samples)
            case "reply_paused":
                self._playback.hold()
                # At once, and again when what is on its way to the air has settled: if this is an
                # interruption, the reply will be cut there.
                self._heard.set()
            case "reply_resumed":
                self._playback.go_on()
            case "reply_ended":
                self._reply_ended(response)
            case "pong":
                sent_at = self._pings.pop(response.pong.nonce, None)
                if sent_at is not None:
                    measured = (at - sent_at) * 1000
                    best = self._round_trip_ms
                    self._round_trip_ms = measured if best is None else min(best, measured)
            case _:
                pass

    def _reply_ended(self, response: conversation_pb2.ConverseResponse) -> None:
        if response.reply_ended.reason == turn_pb2.REPLY_END_REASON_COMPLETED:
            self._playback.complete(response.generation)
        else:
            self._playback.stop(response.generation)

    def _measure(self, response: conversation_pb2.ConverseResponse) -> None:
        measured = self.meter.measured(
            response.generation,
            stage_views(response.reply_ended.stages),
            self._round_trip_ms,
        )
        if measured is not None:
            self.result.measures.append(measured)
            self.emit(StagesKnown(response.generation, measured.stages))
            self.emit(measured)

    def _sounded(self, generation: int) -> None:
        turn = self.view.turn_of(generation)
        if turn is not None and turn.silence_ms is None:
            self.emit(ReplySounded(generation, self.meter.silence_ms(generation)))

    def _connection_changed(self, connected: bool) -> None:
        self._last_answer_at = self.now()
        self.emit(ConnectionChanged(connected))
        if self._leaving and not connected:
            self._left_while_lost.set()


_ANSWERS = (conversation_pb2.REPLY_KIND_UNSPECIFIED, conversation_pb2.REPLY_KIND_ANSWER)


def _level_dbfs(samples: Samples) -> float:
    power = float(np.mean((samples.astype(np.float64) / 32768.0) ** 2))
    return 10 * float(np.log10(power + 1e-10))


def _single(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one failure to tell of a task group's: an expected one where there is any."""
    expected = errors.subgroup(CliFailure)
    found: BaseException = expected if expected is not None else errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
