"""Talking to Pipecat from recordings: the measures of `bench.live`, on the same clock.

The microphone, the true end of speech, the first audible sample and the player are those of
`bench.live`; only the messages differ. Pipecat sends its reply in real time and asks for no report
of what was heard.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from bench.live import RATE_HZ, Answer, ConversationFailedError, Reply, Turn
from bench.peers.pipecat_wire import BotAudio, ClientMessage, Interrupted, decode, encode_audio
from parley.types.v1 import turn_pb2
from parley_cli.audio.files import Samples
from parley_cli.audio.speech_end import first_sounding_sample, speech_end_sample

_FRAME_SAMPLES = RATE_HZ // 50
_LEAD_IN_SAMPLES = RATE_HZ // 2
_SILENCE = np.zeros(_FRAME_SAMPLES, np.int16)
# So long its voice activity detector hears silence before anything is asked (its VAD_STOP_SECS).
_VAD_STOP_MS = 200


class _Talk:
    """One conversation under way."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._started_at = time.monotonic()
        self._sample = 0
        self._queued = np.zeros(_LEAD_IN_SAMPLES, np.int16)
        self._replies: list[Reply] = []
        self._turns: list[Turn] = []
        # When the turn under way was over for it, in milliseconds of the session; None: it is not.
        self._turn_over_ms: float | None = None
        # Until when what has arrived will sound, on a player that never waits.
        self._played_until = 0.0

    def _instant(self, sample: int) -> float:
        return self._started_at + sample / RATE_HZ

    async def microphone(self) -> None:
        """Send frames for ever: what was queued, or silence."""
        while True:
            frame, self._queued = self._queued[:_FRAME_SAMPLES], self._queued[_FRAME_SAMPLES:]
            if len(frame) < _FRAME_SAMPLES:
                frame = np.concatenate([frame, _SILENCE[len(frame) :]])
            self._sample += _FRAME_SAMPLES
            await asyncio.sleep(self._instant(self._sample) - time.monotonic())
            await self._socket.send(encode_audio(frame.tobytes(), RATE_HZ))

    async def listen(self) -> None:
        """Read what the server says until it hangs up."""
        async for message in self._socket:
            now = time.monotonic()
            match decode(message if isinstance(message, bytes) else message.encode()):
                case BotAudio(pcm, rate_hz):
                    self._on_audio(pcm, rate_hz, now)
                case Interrupted():
                    self._end_reply(turn_pb2.REPLY_END_REASON_INTERRUPTED)
                    self._played_until = now
                case ClientMessage(kind, data):
                    self._on_message(kind, data, now)

    def _on_audio(self, pcm: bytes, rate_hz: int, now: float) -> None:
        samples = np.frombuffer(pcm, np.int16)
        begins = max(now, self._played_until)
        self._played_until = begins + len(samples) / rate_hz
        index = first_sounding_sample(samples)
        if not self._replies or self._replies[-1].ended:
            if index is None:
                return
            number = len(self._replies) + 1
            self._replies.append(Reply(number, len(self._turns), now, rate_hz=rate_hz))
        reply = self._replies[-1]
        reply.pcm += pcm
        if reply.first_audio_at is None:
            reply.first_audio_at = now
        if reply.sounding_at is None and index is not None:
            reply.sounding_at = begins + index / rate_hz

    def _on_message(self, kind: str, data: dict[str, object], now: float) -> None:
        now_ms = (now - self._started_at) * 1000
        if kind == "user-started-speaking":
            self._turn_over_ms = None
        elif kind == "user-stopped-speaking":
            self._turn_over_ms = now_ms
        elif kind == "user-llm-text":
            # The whole utterance as the language model got it. Pipecat does not say where it ended,
            # only when its turn was over: so long after its last voice at the least.
            over_ms = now_ms if self._turn_over_ms is None else self._turn_over_ms
            text, end_ms = str(data.get("text", "")), int(over_ms) - _VAD_STOP_MS
            self._turns.append(Turn(len(self._turns) + 1, text, 0, max(1, end_ms)))
        elif kind == "bot-stopped-speaking":
            self._end_reply(turn_pb2.REPLY_END_REASON_COMPLETED)

    def _end_reply(self, reason: int) -> None:
        if self._replies and not self._replies[-1].ended:
            self._replies[-1].ended = reason

    async def say(self, recording: Samples, timeout_s: float) -> Answer:
        """Say a recording and wait until its answer has been heard to the end."""
        end = speech_end_sample(recording, RATE_HZ)
        if end is None:
            raise ConversationFailedError("the recording holds no speech")
        first = self._sample + len(self._queued)
        turns, replies = len(self._turns), len(self._replies)
        self._queued = np.concatenate([self._queued, recording])
        answer = Answer(self._instant(first + end), (first + end) * 1000 / RATE_HZ)
        while not answer.is_given_up(time.monotonic(), timeout_s):
            answer.turns = self._turns[turns:]
            answer.replies = self._replies[replies:]
            whole = answer.reply
            if whole is not None and whole.ended:
                break
            await asyncio.sleep(0.02)
        return answer


async def converse(
    url: str, recordings: Sequence[Samples], *, timeout_s: float = 60.0
) -> list[Answer]:
    """Hold one conversation that says `recordings` (int16 mono at `RATE_HZ`) one after another.

    A recording that was not answered in `timeout_s` after its end has an answer without a reply.

    Raises:
        ConversationFailedError: a recording holds no speech.
        OSError: the server cannot be reached.
    """
    # Audio does not compress, and Pipecat would pay for trying.
    async with connect(url, compression=None, max_size=None) as socket:
        talk = _Talk(socket)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(talk.microphone()), group.create_task(talk.listen())]
            answers = [await talk.say(recording, timeout_s) for recording in recordings]
            for task in tasks:
                task.cancel()
        return answers
