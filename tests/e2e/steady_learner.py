"""A learner who talks on, whatever breaks: the microphone never stops, what gets no answer is said
again, and everything that the client is told is checked while it comes, and written down.

Nothing is said twice: `said` holds what was typed, each text with its number, and where in the
microphone's track each tone lies. So it can be found in what is kept, once and in its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.interruptions_player import Player
from parley.conversation.v1 import conversation_pb2
from parley_cli.client.converse import ConverseStream
from tests.e2e.told import Ledger, Said

RATE_HZ = 16_000
_FRAME_SAMPLES = RATE_HZ // 50
_REPORT_EVERY_S = 0.2
_SPEECH_MS = 700
# A person who gets no answer for so long says it again.
_SAY_AGAIN_S = 8.0
# As long as an answer takes to be heard. It may have come already, and the news of it be lost.
_HEAR_OUT_S = 5.0
# No break that is made here lasts so long; who is not answered then is left alone for good.
_GIVE_UP_S = 90.0


class SteadyLearner:
    """One conversation. `start` it, let it talk, `finish` it; `wrong` must stay empty.

    Args:
        stream: the conversation, which nobody else iterates.
        types: every third time it types instead.
    """

    def __init__(self, stream: ConverseStream, *, types: bool = False) -> None:
        self._stream = stream
        self._types = types
        self._sample = 0
        self._to_say: list[bytes] = []
        self._players: dict[int, Player] = {}
        self._next_ms: dict[int, int] = {}
        self._over: set[int] = set()
        self._newest = 0
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._ended = False
        self.said: list[Said] = []
        self.told = Ledger()
        self.saved: dict[int, str] = {}
        self.next_turn = 1
        self.resumed = 0
        self.summary = conversation_pb2.SessionSummary()
        self.wrong: list[str] = []

    def start(self, group: asyncio.TaskGroup) -> None:
        """Open the ears, the microphone and the loudspeaker."""
        self._tasks = [
            group.create_task(work()) for work in (self._listen, self._speak, self._report)
        ]

    async def talk(self, until: asyncio.Event) -> None:
        """Take turn after turn until told otherwise."""
        while not until.is_set():
            await self.one_turn()

    async def one_turn(self) -> None:
        """Say something until a new turn is saved, and hear the answer to it.

        Raises:
            AssertionError: none ever is.
        """
        known, deadline = self.next_turn, time.monotonic() + _GIVE_UP_S
        while self.next_turn == known:
            assert time.monotonic() < deadline, f"no turn {known} was saved: {self.wrong}"
            if self._types and len(self.said) % 3 == 2:
                await self._type()
            else:
                self.say()
            await self._until(lambda: self.next_turn > known, _SAY_AGAIN_S)
        # The turn may be of what was said before, and its news late: who spoke on at once would
        # talk over the answer, and over every answer from then on.
        await self._until(lambda: self._is_answered(self.said[-1]), _HEAR_OUT_S)

    async def finish(self) -> None:
        """End the session in good order."""
        for task in self._tasks[1:]:
            task.cancel()
        await self._stream.finish()
        await self._until(lambda: self._ended, _GIVE_UP_S)
        known = f"before turn {self.next_turn}, resumed {self.resumed} times"
        assert self._ended, f"the session did not end, {known}"

    # --- all the time ---------------------------------------------------------------------------

    async def _speak(self) -> None:
        silence, began_at = bytes(2 * _FRAME_SAMPLES), time.monotonic()
        while True:
            frame = self._to_say.pop(0) if self._to_say else silence
            first, self._sample = self._sample, self._sample + _FRAME_SAMPLES
            await asyncio.sleep(began_at + self._sample / RATE_HZ - time.monotonic())
            await self._stream.send_audio(frame, first)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_EVERY_S)
            if self._newest in self._players and self._newest not in self._over:
                played_ms = int(self._players[self._newest].played_ms(time.monotonic()))
                await self._stream.send_heard(self._newest, played_ms)

    async def _listen(self) -> None:
        async for response in self._stream:
            self._note(response, time.monotonic())
            self._changed.set()

    # --- what must hold -------------------------------------------------------------------------

    def _note(self, response: conversation_pb2.ConverseResponse, now: float) -> None:
        kind, generation = response.WhichOneof("message"), response.generation
        self.told.note(response)
        if kind == "started":
            self.resumed += response.started.resumed
            self.next_turn = max(self.next_turn, response.started.next_turn)
        elif kind == "turn_saved":
            self._note_saved(response.turn_saved)
        elif kind == "ended":
            self.summary.CopyFrom(response.ended.summary)
            self._ended = True
        elif kind == "reply_started":
            self._check(response.turn not in self.saved, f"turn {response.turn} again")
            self._check(generation > self._newest, f"generation {generation} is not newer")
            self._newest = generation
            self._players[generation] = Player()
            self._next_ms[generation] = 0
        elif kind == "reply_audio":
            self._note_audio(generation, response.reply_audio, now)
        elif kind == "reply_paused" and generation in self._players:
            self._players[generation].pause(now)
        elif kind == "reply_resumed" and generation in self._players:
            self._players[generation].resume(now)
        elif kind == "reply_ended":
            self._over.add(generation)

    def _note_saved(self, saved: conversation_pb2.TurnSaved) -> None:
        self._check(saved.number not in self.saved, f"turn {saved.number} saved twice")
        self.saved[saved.number] = saved.turn_id
        self.next_turn = max(self.next_turn, saved.number + 1)

    def _note_audio(self, generation: int, audio: Any, now: float) -> None:
        self._check(generation == self._newest, f"audio of {generation} after {self._newest}")
        self._check(generation not in self._over, f"audio of {generation} after its end")
        if generation not in self._players:
            return
        place_ms = self._next_ms[generation]
        self._check(audio.offset_ms == place_ms, f"{generation}: {audio.offset_ms} at {place_ms}")
        lasts_ms = len(audio.pcm) // 2 * 1000 // 24_000
        self._next_ms[generation] = audio.offset_ms + lasts_ms
        self._players[generation].came(lasts_ms, now)

    def _check(self, right: bool, otherwise: str) -> None:
        if not right:
            self.wrong.append(otherwise)

    def _is_answered(self, said: Said) -> bool:
        return any(
            told.turn_id
            and (
                told.words == said.text
                if said.text
                else said.shared_ms(told.start_ms, told.end_ms) > 0
            )
            for told in self.told.turns.values()
        )

    # --- now and then ---------------------------------------------------------------------------

    def say(self) -> None:
        """Speak for a moment."""
        starts_at = self._sample + _FRAME_SAMPLES * len(self._to_say)
        starts_ms = starts_at * 1000 // RATE_HZ
        self.said.append(
            Said(len(self.said) + 1, start_ms=starts_ms, end_ms=starts_ms + _SPEECH_MS)
        )
        tone = np.arange(_SPEECH_MS * RATE_HZ // 1000) * (2 * np.pi * 200 / RATE_HZ)
        pcm = (6_000 * np.sin(tone)).astype("<i2").tobytes()
        size = 2 * _FRAME_SAMPLES
        self._to_say.extend(pcm[at : at + size] for at in range(0, len(pcm), size))

    async def _type(self) -> None:
        serial = len(self.said) + 1
        text = f"This is number {serial} of what I have to say."
        self.said.append(Said(serial, text=text))
        # Without a connection it is written later: who has waited for so long says something else.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SAY_AGAIN_S):
                await self._stream.send_text(text)

    async def _until(self, true: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not true() and (left := deadline - time.monotonic()) > 0:
            self._changed.clear()
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                return
