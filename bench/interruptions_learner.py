"""A learner who interrupts: speaks at random moments of a reply, and notes what becomes of it.

The microphone is a clock, as in `bench.live`: a frame leaves when its last sample has been spoken.
What is said begins with what can be heard, so its first instant is known.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np

from bench.interruptions_player import Player
from bench.interruptions_sounds import RATE_HZ, Sound, Sounds
from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import turn_pb2
from parley_cli.audio.files import Samples
from parley_cli.client.converse import ConverseStream

REPLY_HZ = 24_000
_FRAME_SAMPLES = RATE_HZ // 50
_REPORT_EVERY_S = 0.1

# An event may come from the reply's first moments to shortly before its end: the server does not
# stop a reply for its last 300 ms, and speech needs some of that to be noticed.
_EARLIEST_MS, _LAST_MS = 200, 1_500
# Nothing that is waited for takes longer, unless it never comes.
_PATIENCE_S = 20.0
# A sound that nobody took for speech was no interruption; later than this nobody will.
_UNNOTICED_S = 1.5


@dataclass(slots=True)
class Interruption:
    """One time that the learner spoke over a reply. Times are seconds of one clock.

    kind: what was said (`Sound.kind`). words: real words, else something that takes no floor.
    at_ms: where in the reply's audio it was to begin.
    stale: messages with the reply's text or audio that came after it had been told to stop, and
        before it was told to go on; after its end, ever.
    late_ms: how late this side's microphone was at worst until the learner was told: the machine's
        own part of it, or more.
    misplaced: audio that does not join what came before it: lost or repeated by the stop.
    text, heard: of a reply that was ended, its words, and those that the server says were heard.
    played_ms, sound: of the same, how much of it was played, and that, as PCM at 24 kHz.
    words_off: how many words `heard` has more or fewer than were played; who listens says.
    """

    kind: str
    words: bool
    at_ms: float
    onset_at: float
    told_at: float | None = None
    resumed_at: float | None = None
    ended: bool = False
    late_ms: float = 0.0
    stale: int = 0
    misplaced: int = 0
    text: str = ""
    heard: str = ""
    played_ms: float = 0.0
    sound: bytes = field(default=b"", repr=False)
    words_off: int = 0

    @property
    def told_ms(self) -> float | None:
        """From the first sample of speech until the client was told to stop."""
        return None if self.told_at is None else (self.told_at - self.onset_at) * 1000


class Reply:
    """A reply as it arrives."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.player = Player()
        self.stopped = False
        self.reason: int | None = None
        self.text = ""
        self.heard_text = ""
        self.pcm = bytearray()
        self.stale = 0
        self.misplaced = 0
        self.next_ms = 0.0


class Learner:
    """One conversation. Enter `run`, then `interrupt` again and again."""

    def __init__(self, stream: ConverseStream, sounds: Sounds, random: Random) -> None:
        self._stream = stream
        self._sounds = sounds
        self._random = random
        self._sample = 0
        self._began_at = time.monotonic()
        self._to_say: list[Samples] = []
        self._latest_ms = 0.0
        self._replies: dict[int, Reply] = {}
        self._told: dict[int, list[tuple[str, float]]] = {}
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    # --- what it does all the time --------------------------------------------------------------

    def start(self, group: asyncio.TaskGroup) -> None:
        """Open the ears, the microphone and the loudspeaker."""
        self._began_at = time.monotonic()
        self._tasks = [
            group.create_task(work()) for work in (self._listen, self._speak, self._report)
        ]

    def stop(self) -> None:
        """Close them."""
        for task in self._tasks:
            task.cancel()

    async def _speak(self) -> None:
        silence = np.zeros(_FRAME_SAMPLES, np.int16)
        while True:
            frame = self._to_say.pop(0) if self._to_say else silence
            first, self._sample = self._sample, self._sample + _FRAME_SAMPLES
            due_at = self._began_at + self._sample / RATE_HZ
            await asyncio.sleep(due_at - time.monotonic())
            self._latest_ms = max(self._latest_ms, (time.monotonic() - due_at) * 1000)
            await self._stream.send_audio(frame.tobytes(), first)

    async def _listen(self) -> None:
        async for response in self._stream:
            self._note(response, time.monotonic())
            if response.HasField("reply_paused"):
                await self._report_now(self._replies[response.generation])
            self._changed.set()

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_EVERY_S)
            if (reply := self._newest()) is not None and reply.reason is None:
                await self._report_now(reply)

    async def _report_now(self, reply: Reply) -> None:
        played_ms = int(reply.player.played_ms(time.monotonic()))
        if played_ms:
            await self._stream.send_heard(reply.generation, played_ms)

    def _note(self, response: conversation_pb2.ConverseResponse, now: float) -> None:
        kind, generation = str(response.WhichOneof("message")), response.generation
        if kind == "reply_started":
            self._replies[generation] = Reply(generation)
            self._told[generation] = []
        if generation not in self._replies:
            return
        reply = self._replies[generation]
        if kind in ("reply_text", "reply_audio") and reply.stopped:
            reply.stale += 1
        if kind == "reply_text":
            reply.text += response.reply_text.text
        elif kind == "reply_audio":
            audio = response.reply_audio
            # Places are told in whole milliseconds.
            reply.misplaced += abs(audio.offset_ms - reply.next_ms) > 1
            reply.pcm += audio.pcm
            lasts_ms = len(audio.pcm) / 2 * 1000 / REPLY_HZ
            reply.next_ms = audio.offset_ms + lasts_ms
            reply.player.came(lasts_ms, now)
        elif kind == "reply_paused":
            reply.stopped = True
            reply.player.pause(now)
        elif kind == "reply_resumed":
            reply.stopped = False
            reply.player.resume(now)
        elif kind == "reply_ended":
            reply.stopped = True
            reply.player.pause(now)
            reply.reason = response.reply_ended.reason
            reply.heard_text = response.reply_ended.heard_text
        if kind in ("reply_paused", "reply_resumed", "reply_ended"):
            self._told[generation].append((kind, now))

    # --- what it does on purpose ----------------------------------------------------------------

    async def interrupt(self, words: bool, reply_ms: int) -> Interruption | None:
        """Speak over a reply (`reply_ms` long) at a random moment; say something first if needed.

        None: the reply was over before the moment came.
        """
        reply = await self._a_reply(reply_ms)
        place_ms = self._random.uniform(
            max(_EARLIEST_MS, reply.player.played_ms(time.monotonic())), reply_ms - _LAST_MS
        )
        await self._until(lambda: _played(reply) >= place_ms or reply.reason is not None)
        if reply.reason is not None or reply.stopped:
            return None
        stale, misplaced = reply.stale, reply.misplaced
        told_before = len(self._told[reply.generation])
        self._latest_ms = 0.0
        sound = self._sounds.words(self._random) if words else self._another(reply)
        found = Interruption(sound.kind, words, place_ms, self._say(sound))

        def told(*kinds: str) -> float | None:
            new = self._told[reply.generation][told_before:]
            return next((at for kind, at in new if kind in kinds), None)

        unnoticed_s = _PATIENCE_S if words else len(sound.samples) / RATE_HZ + _UNNOTICED_S
        await self._until(lambda: told("reply_paused", "reply_ended") is not None, unnoticed_s)
        found.late_ms = self._latest_ms
        if told("reply_paused") is not None:
            await self._until(lambda: told("reply_resumed", "reply_ended") is not None)
        if _was_over(reply, place_ms):
            return None
        found.told_at = told("reply_paused", "reply_ended")
        found.resumed_at = told("reply_resumed")
        found.ended = reply.reason == turn_pb2.REPLY_END_REASON_INTERRUPTED
        if found.ended:
            found.text, found.heard = reply.text, reply.heard_text
            found.played_ms = _played(reply)
            found.sound = bytes(reply.pcm[: int(found.played_ms * REPLY_HZ / 1000) * 2])
        if words:
            # The words are a turn: whatever of the old reply still comes, comes before its answer.
            await self._next(reply)
        found.stale = reply.stale - stale
        found.misplaced = reply.misplaced - misplaced
        return found

    def _another(self, reply: Reply) -> Sound:
        played = int(_played(reply) * REPLY_HZ / 1000) * 2
        return self._sounds.other(self._random, bytes(reply.pcm[played:]))

    async def _a_reply(self, reply_ms: int) -> Reply:
        """Return a reply that sounds and has enough left; ask for one where there is none."""
        reply = self._newest()
        if reply is not None and _played(reply) > reply_ms - _LAST_MS:
            await self._over(reply)
        while reply is None or reply.reason is not None:
            self._say(self._sounds.words(self._random))
            reply = await self._next(reply)
        await self._sounding(reply)
        return reply

    async def _over(self, reply: Reply) -> None:
        await self._until(lambda: reply.reason is not None)

    async def _sounding(self, reply: Reply) -> None:
        await self._until(lambda: _played(reply) > 0 or reply.reason is not None)

    async def _next(self, before: Reply | None) -> Reply | None:
        """Wait for a reply that is newer than `before`; return the newest, whichever it is."""
        await self._until(lambda: self._is_newer(before))
        return self._newest()

    def _say(self, sound: Sound) -> float:
        """Queue what begins anywhere in a frame; return when its first sample is spoken."""
        lead = self._random.randrange(_FRAME_SAMPLES)
        samples = np.pad(sound.samples, (lead, 0))
        samples = np.pad(samples, (0, -len(samples) % _FRAME_SAMPLES))
        self._to_say.extend(np.split(samples, len(samples) // _FRAME_SAMPLES))
        # The frame that is being spoken now is silent; this begins with the next.
        return self._began_at + (self._sample + lead) / RATE_HZ

    def _newest(self) -> Reply | None:
        return self._replies[max(self._replies)] if self._replies else None

    def _is_newer(self, than: Reply | None) -> bool:
        newest = self._newest()
        return newest is not None and (than is None or newest.generation > than.generation)

    async def _until(self, true: Callable[[], Any], patience_s: float = _PATIENCE_S) -> None:
        """Wait until something has become so, looking again at every message and 10 ms."""
        deadline = time.monotonic() + patience_s
        while not true() and time.monotonic() < deadline:
            self._changed.clear()
            try:
                async with asyncio.timeout(0.01):
                    await self._changed.wait()
            except TimeoutError:
                continue


def _played(reply: Reply) -> float:
    return reply.player.played_ms(time.monotonic())


def _was_over(reply: Reply, place_ms: float) -> bool:
    """Whether it ended by itself so soon after ``place_ms`` that nobody had to stop it."""
    completed = reply.reason == turn_pb2.REPLY_END_REASON_COMPLETED
    return completed and reply.player.buffered_ms - place_ms < _LAST_MS
