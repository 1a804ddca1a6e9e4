"""A learner who interrupts: speaks at random moments of a reply, and notes what becomes of it.

The microphone is a clock, as in `bench.live`: a frame leaves when its last sample has been spoken.
Speech is a tone, so its first sample is known; how loud it is tells the scripted recognizer whether
it says words or "mhm" (`services.ai.script`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from bench.interruptions_player import Player
from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import turn_pb2
from parley_cli.audio.files import Samples
from parley_cli.client.converse import ConverseStream

RATE_HZ = 16_000
_FRAME_SAMPLES = RATE_HZ // 50
_REPORT_EVERY_S = 0.1

WORDS_PEAK, BACKCHANNEL_PEAK = 4_000, 26_000
WORDS_MS, BACKCHANNEL_MS = 1_200, 350
MS_PER_WORD = 300
"""How the script of `bench.interruptions` speaks."""

# An event may come from the reply's first moments to shortly before its end: the server does not
# stop a reply for its last 300 ms, and speech needs some of that to be noticed.
_EARLIEST_MS, _LAST_MS = 200, 1_500
# Nothing that is waited for takes longer, unless it never comes.
_PATIENCE_S = 10.0


@dataclass(slots=True)
class Interruption:
    """One time that the learner spoke over a reply. Times are seconds of one clock.

    words: real words, else a backchannel. at_ms: where in the reply's audio it was to begin.
    stale: messages with the reply's text or audio that came after it had been told to stop, and
        before it was told to go on; after its end, ever.
    late_ms: how late this side's microphone was at worst until the learner was told: the machine's
        own part of it, or more.
    misplaced: audio that does not join what came before it: lost or repeated by the stop.
    played, heard: the words that the loudspeaker played, and those that the server says were
        heard; both empty for a reply that went on.
    """

    words: bool
    at_ms: float
    onset_at: float
    told_at: float | None = None
    resumed_at: float | None = None
    ended: bool = False
    late_ms: float = 0.0
    stale: int = 0
    misplaced: int = 0
    played: str = ""
    heard: str = ""

    @property
    def told_ms(self) -> float | None:
        """From the first sample of speech until the client was told to stop."""
        return None if self.told_at is None else (self.told_at - self.onset_at) * 1000

    @property
    def words_off(self) -> int:
        """How many words one of `played` and `heard` has more; all, where they differ before."""
        played, heard = self.played.split(), self.heard.split()
        common = min(len(played), len(heard))
        if played[:common] != heard[:common]:
            return max(len(played), len(heard))
        return max(len(played), len(heard)) - common


class Reply:
    """A reply as it arrives."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.player = Player()
        self.stopped = False
        self.reason: int | None = None
        self.text = ""
        self.heard_text = ""
        self.stale = 0
        self.misplaced = 0
        self.next_ms = 0


class Learner:
    """One conversation. Enter `run`, then `interrupt` again and again."""

    def __init__(self, stream: ConverseStream, random: Random) -> None:
        self._stream = stream
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
            reply.misplaced += audio.offset_ms != reply.next_ms
            lasts_ms = len(audio.pcm) // 2 * 1000 // 24_000
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

    async def interrupt(self, *, words: bool, reply_ms: int) -> Interruption | None:
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
        found = Interruption(words, place_ms, self._say(words=words))

        def told(*kinds: str) -> float | None:
            new = self._told[reply.generation][told_before:]
            return next((at for kind, at in new if kind in kinds), None)

        await self._until(lambda: told("reply_paused", "reply_ended") is not None)
        found.late_ms = self._latest_ms
        await self._until(lambda: told("reply_resumed", "reply_ended") is not None)
        found.told_at = told("reply_paused", "reply_ended")
        found.resumed_at = told("reply_resumed")
        found.ended = reply.reason == turn_pb2.REPLY_END_REASON_INTERRUPTED
        if reply.reason is not None:
            found.played = " ".join(reply.text.split()[: _words_played(_played(reply))])
            found.heard = reply.heard_text
        if words:
            # The words are a turn: whatever of the old reply still comes, comes before its answer.
            await self._next(reply)
        found.stale = reply.stale - stale
        found.misplaced = reply.misplaced - misplaced
        return found

    async def _a_reply(self, reply_ms: int) -> Reply:
        """Return a reply that sounds and has enough left; ask for one where there is none."""
        reply = self._newest()
        if reply is not None and _played(reply) > reply_ms - _LAST_MS:
            await self._over(reply)
        while reply is None or reply.reason is not None:
            self._say(words=True)
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

    def _say(self, *, words: bool) -> float:
        """Queue speech that begins anywhere in a frame; return when its first sample is spoken."""
        length_ms, peak = (WORDS_MS, WORDS_PEAK) if words else (BACKCHANNEL_MS, BACKCHANNEL_PEAK)
        lead = self._random.randrange(_FRAME_SAMPLES)
        tone = np.arange(length_ms * RATE_HZ // 1000) * (2 * np.pi * 200 / RATE_HZ)
        # A cosine: the first sample is as loud as any.
        speech = np.concatenate([np.zeros(lead), peak * np.cos(tone)]).astype(np.int16)
        speech = np.pad(speech, (0, -len(speech) % _FRAME_SAMPLES))
        self._to_say.extend(np.split(speech, len(speech) // _FRAME_SAMPLES))
        # The frame that is being spoken now is silent; this begins with the next.
        return self._began_at + (self._sample + lead) / RATE_HZ

    def _newest(self) -> Reply | None:
        return self._replies[max(self._replies)] if self._replies else None

    def _is_newer(self, than: Reply | None) -> bool:
        newest = self._newest()
        return newest is not None and (than is None or newest.generation > than.generation)

    async def _until(self, true: Callable[[], Any]) -> None:
        """Wait until something has become so, looking again at every message and 10 ms."""
        deadline = time.monotonic() + _PATIENCE_S
        while not true() and time.monotonic() < deadline:
            self._changed.clear()
            try:
                async with asyncio.timeout(0.01):
                    await self._changed.wait()
            except TimeoutError:
                continue


def _played(reply: Reply) -> float:
    return reply.player.played_ms(time.monotonic())


def _words_played(played_ms: float) -> int:
    """A word counts when at least half of it was played."""
    return int(played_ms / MS_PER_WORD + 0.5)
