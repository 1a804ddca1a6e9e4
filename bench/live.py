"""Talking to a running Parley from recordings, in real time, with a stopwatch on the audio itself.

The microphone is a clock: the frame that ends at sample n of a session leaves n / rate seconds
after the session's first sample, and silence follows a recording. The loudspeaker is one too: a
reply plays from the arrival of its first audio, and `heard` is reported as a real player would.
So the end of the learner's speech and the begin of the answer are both instants of one clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import turn_pb2
from parley_cli.audio.files import Samples
from parley_cli.audio.speech_end import first_sounding_sample, speech_end_sample
from parley_cli.client.converse import ConverseStream
from parley_cli.client.parley_client import ParleyClient

RATE_HZ = 16_000
# What a native client sends; shorter frames cost messages, longer ones delay.
_FRAME_SAMPLES = RATE_HZ // 50
# How often a player reports what was heard.
_HEARD_EVERY_S = 0.2
# Speech must not begin with the session: a microphone is open before anybody talks.
_LEAD_IN_SAMPLES = RATE_HZ // 2
# A voice activity detector and the level of the sound see the end of a word this much apart.
_END_TOLERANCE_MS = 250
REST_S = 15.0
"""Waited for an answer to the whole recording where its first part was answered."""
# A session that was asked to end has a turn to store and a summary to send.
_FINISH_S = 30.0


class ConversationFailedError(Exception):
    """A recording was not answered in time, or the session ended early."""


@dataclass(slots=True)
class Reply:
    """A reply as it arrived. Times are seconds of `time.monotonic`."""

    generation: int
    turn: int
    first_message_at: float
    sounding_at: float | None = None
    """When the first audible sample had arrived and, played from the start, would sound."""
    first_audio_at: float | None = None
    pcm: bytearray = field(default_factory=bytearray)
    rate_hz: int = 24_000
    text: str = ""
    stages: tuple[turn_pb2.Stage, ...] = ()
    ended: int = turn_pb2.REPLY_END_REASON_UNSPECIFIED

    @property
    def audio_s(self) -> float:
        """How much audio has come, in seconds."""
        return len(self.pcm) / 2 / self.rate_hz


@dataclass(slots=True)
class Turn:
    """A turn of the learner's as the server saw it.

    `end_ms` is where its speech ended on the session's time line, at the latest; 0: nobody says.
    """

    number: int
    text: str
    start_ms: int
    end_ms: int
    stored: str = ""
    """What was heard of it the second time; empty: what was heard first is kept."""


@dataclass(slots=True)
class Answer:
    """What became of one recording."""

    speech_ended_at: float
    speech_end_ms: float
    """The true end of speech, on the session's time line."""
    turns: list[Turn] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    saved: int = 0

    @property
    def reply(self) -> Reply | None:
        """The reply that answers the whole recording.

        It sounded after the recording's end, the last where there are several, and its turn ends
        there too: one to a first part that was taken for all answers other words, and is early.
        """
        early = {turn.number for turn in self.turns if self._ended_early(turn)}
        for reply in reversed(self.replies):
            sounded = reply.sounding_at is not None and reply.sounding_at > self.speech_ended_at
            if sounded and reply.turn not in early:
                return reply
        return None

    @property
    def unanswered(self) -> str:
        """Why the whole recording has no answer; empty where it has one."""
        if self.reply is not None:
            return ""
        if not self.turns:
            return "nothing was recognised"
        if any(reply.sounding_at is not None for reply in self.replies):
            return "only its first part was answered"
        return "no reply was heard"

    def is_given_up(self, now: float, timeout_s: float) -> bool:
        """Whether nothing more is waited for, `timeout_s` after the recording's end.

        A learner whose first words were answered is not answered again much later.
        """
        partly = self.replies and all(reply.ended for reply in self.replies) and not self.reply
        return now > self.speech_ended_at + (min(REST_S, timeout_s) if partly else timeout_s)

    @property
    def silence_ms(self) -> float | None:
        """The learner's wait: true end of speech to the first audible sample of the answer."""
        reply = self.reply
        if reply is None or reply.sounding_at is None:
            return None
        return (reply.sounding_at - self.speech_ended_at) * 1000

    @property
    def was_cut(self) -> bool:
        """Whether the recording was taken for more than one turn, or answered before its end."""
        early = any(
            reply.sounding_at is not None and reply.sounding_at < self.speech_ended_at
            for reply in self.replies
        )
        return len(self.turns) > 1 or early or any(map(self._ended_early, self.turns))

    def _ended_early(self, turn: Turn) -> bool:
        """Whether words were said after the turn's end: they are not in it."""
        return 0 < turn.end_ms < self.speech_end_ms - _END_TOLERANCE_MS

    @property
    def transcript(self) -> str:
        """Everything that was recognised of the recording, as it was answered."""
        return " ".join(turn.text for turn in sorted(self.turns, key=lambda each: each.number))

    @property
    def stored(self) -> str:
        """Everything that was recognised of the recording, as it was stored."""
        in_order = sorted(self.turns, key=lambda each: each.number)
        return " ".join(turn.stored or turn.text for turn in in_order)


class _Talk:
    """One conversation under way."""

    def __init__(self, stream: ConverseStream) -> None:
        self._stream = stream
        self._sample = 0
        self._started_at = time.monotonic()
        self._replies: dict[int, Reply] = {}
        self._turns: dict[int, Turn] = {}
        self._answered: set[int] = set()
        self._saved: set[int] = set()
        self._reply_over = asyncio.Event()
        self._audio: list[Samples] = []
        self._ended = False
        self._over = asyncio.Event()

    def stop(self) -> None:
        """Let the microphone and the loudspeaker end.

        They are never cancelled: cancelling grpc.aio in the middle of a write ends the call.
        """
        self._over.set()

    def _instant(self, sample: int) -> float:
        return self._started_at + sample / RATE_HZ

    async def microphone(self) -> None:
        """Send frames until `stop`: what was queued, or silence."""
        silence = np.zeros(_FRAME_SAMPLES, np.int16)
        while not self._over.is_set():
            frame = silence
            if self._audio:
                head = self._audio[0]
                frame, rest = head[:_FRAME_SAMPLES], head[_FRAME_SAMPLES:]
                if len(frame) < _FRAME_SAMPLES:
                    frame = np.concatenate([frame, silence[len(frame) :]])
                self._audio[0] = rest
                if not len(rest):
                    self._audio.pop(0)
            first = self._sample
            self._sample += _FRAME_SAMPLES
            await asyncio.sleep(self._instant(self._sample) - time.monotonic())
            await self._stream.send_audio(frame.tobytes(), first)

    async def listen(self) -> None:
        """Read what the server says until the session ends."""
        async for response in self._stream:
            self._note(response, time.monotonic())

    def _note(self, response: conversation_pb2.ConverseResponse, now: float) -> None:
        kind = response.WhichOneof("message")
        if kind == "transcript" and response.transcript.final:
            update = response.transcript
            text = update.transcript.verbatim
            known = self._turns.get(response.turn)
            if known is not None and response.turn in self._answered:
                # Heard again while the answer is listened to: what is stored.
                known.stored = text
            else:
                self._turns[response.turn] = Turn(
                    response.turn, text, update.start_ms, update.end_ms
                )
        elif kind == "reply_started":
            self._reply_over.clear()
            self._answered.add(response.turn)
            reply = self._replies.setdefault(
                response.generation, Reply(response.generation, response.turn, now)
            )
            reply.rate_hz = response.reply_started.format.sample_rate_hz or reply.rate_hz
        elif kind == "reply_text":
            self._replies[response.generation].text += response.reply_text.text
        elif kind == "reply_audio":
            self._note_audio(self._replies[response.generation], response.reply_audio.pcm, now)
        elif kind == "reply_ended":
            reply = self._replies[response.generation]
            reply.stages = tuple(response.reply_ended.stages)
            reply.ended = response.reply_ended.reason
            self._reply_over.set()
        elif kind == "turn_saved":
            self._saved.add(response.turn_saved.number)
        elif kind == "notice" and response.notice.fatal:
            raise ConversationFailedError(response.notice.status.message)
        elif kind == "ended":
            self._ended = True

    def _note_audio(self, reply: Reply, pcm: bytes, now: float) -> None:
        if reply.first_audio_at is None:
            reply.first_audio_at = now
        reply.pcm += pcm
        if reply.sounding_at is None:
            index = first_sounding_sample(np.frombuffer(bytes(reply.pcm), np.int16))
            if index is not None:
                # Played from the first audio on; a sample cannot sound before it came.
                reply.sounding_at = max(now, reply.first_audio_at + index / reply.rate_hz)

    async def loudspeaker(self) -> None:
        """Report what a player that began with the first audio would have played."""
        reported: dict[int, int] = {}
        while not self._over.is_set():
            await asyncio.sleep(_HEARD_EVERY_S)
            if not self._replies:
                continue
            reply = self._replies[max(self._replies)]
            if reply.first_audio_at is None:
                continue
            heard_s = min(time.monotonic() - reply.first_audio_at, reply.audio_s)
            heard_ms = int(heard_s * 1000)
            if heard_ms > reported.get(reply.generation, -1):
                # This player has no buffer: the first sample is played as it comes.
                delay_ms = None if reply.generation in reported else 0.0
                reported[reply.generation] = heard_ms
                await self._stream.send_heard(reply.generation, heard_ms, delay_ms)

    async def say(self, recording: Samples, timeout_s: float) -> Answer:
        """Say a recording and wait until its answer has been heard to the end."""
        end = speech_end_sample(recording, RATE_HZ)
        if end is None:
            raise ConversationFailedError("the recording holds no speech")
        first = self._sample + sum(map(len, self._audio))
        before = (set(self._turns), set(self._replies), set(self._saved))
        self._audio.append(recording)
        answer = Answer(self._instant(first + end), (first + end) * 1000 / RATE_HZ)
        while True:
            answer.turns = [t for n, t in self._turns.items() if n not in before[0]]
            # A hint answers nothing, and what answers an earlier recording is not this one's.
            mine = {turn.number for turn in answer.turns}
            answer.replies = [
                r for g, r in self._replies.items() if g not in before[1] and r.turn in mine
            ]
            answer.saved = len(self._saved - before[2])
            whole = answer.reply
            if whole is not None and whole.ended and answer.saved:
                return answer
            if answer.is_given_up(time.monotonic(), timeout_s):
                return answer
            if self._ended:
                raise ConversationFailedError("the session ended early")
            await asyncio.sleep(0.02)

    def pause(self, samples: int) -> None:
        """Queue silence."""
        self._audio.append(np.zeros(samples, np.int16))


async def converse(
    client: ParleyClient,
    recordings: Sequence[Samples],
    start: conversation_pb2.StartSession | None = None,
    *,
    timeout_s: float = 60.0,
) -> tuple[str, list[Answer]]:
    """Hold one conversation that says `recordings` (int16 mono at `RATE_HZ`) one after another.

    Returns the conversation's id and an answer a recording; a recording that was not answered in
    `timeout_s` after its end has an answer without a reply.

    Raises:
        ConversationFailedError: the session ended early, or a recording holds no speech.
        CliFailure: the session could not be opened.
    """
    start = start or conversation_pb2.StartSession()
    async with client.converse(start) as stream:
        talk = _Talk(stream)
        talk.pause(_LEAD_IN_SAMPLES)
        answers: list[Answer] = []
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(talk.listen())
            others = [group.create_task(talk.microphone()), group.create_task(talk.loudspeaker())]
            for recording in recordings:
                answer = await talk.say(recording, timeout_s)
                answers.append(answer)
            talk.stop()
            await asyncio.wait(others)
            async with asyncio.timeout(_FINISH_S):
                await stream.finish()
                await listening
        return stream.started.conversation_id, answers
