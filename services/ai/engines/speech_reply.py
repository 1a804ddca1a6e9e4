"""One reply of a speech-to-speech model, as the session says it.

What comes of the model may come before the turn is announced, faster than speech, and words and
sound apart; it goes out afterwards, at the reader's pace, words beside their sound.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from services.ai.audio import ms_of_samples
from services.ai.capabilities import ProviderError
from services.ai.engine import (
    EngineOutput,
    FailureReason,
    Notice,
    ReplyAudio,
    ReplyEnded,
    ReplyEndReason,
    ReplyText,
    Stage,
    Usage,
    Used,
)
from services.ai.engines.speech_text import SpokenText
from services.ai.engines.stages import Marks, StageNames, describe_stages
from services.ai.fallback import Switch
from services.ai.outbox import Outbox
from services.ai.speech_model import ReplyDone, TutorAudio, TutorWords

_AUDIO_MESSAGE_MS = 200
Credit: TypeAlias = tuple[StageNames, tuple[Switch, ...]]
"""Who served, and who did not before them."""

# A token of what a model says, and of what it writes: about what OpenAI counts.
_TOKEN_MS = 50
_TOKEN_CHARACTERS = 4

# The rules ask for two short sentences. Full-policy: what a model says beyond this is not said.
MAX_REPLY_MS = 120_000


class SpeechReply:
    """The reply with one generation. ``run`` says it, once it was released."""

    def __init__(
        self,
        *,
        generation: int,
        marks: Marks,
        rate_hz: int,
        speed: float,
        aloud: bool,
        outbox: Outbox,
        used: Used,
        on_text: Callable[[str], None],
    ) -> None:
        """``on_text`` gets the words as they are said; what it takes is added to ``used``."""
        self.generation = generation
        self.marks = marks
        self.complete = False
        self._rate_hz = rate_hz
        self._aloud = aloud
        self._outbox = outbox
        self._used = used
        self._on_text = on_text
        self._words = SpokenText(speed)
        self._said: list[str] = []
        self._held = bytearray()
        self._cut_samples = 0
        self._received = 0
        self._turn = 0
        self._credit: Callable[[], Credit] | None = None
        self._usage = Usage()
        self._first = True
        self._items: deque[EngineOutput] = deque()
        self._ready = asyncio.Event()
        self._released = asyncio.Event()

    @property
    def audio_ms(self) -> int:
        """How much of its sound has come."""
        return ms_of_samples(self._received // 2, self._rate_hz)

    @property
    def is_full(self) -> bool:
        """Whether it is longer than any reply may be."""
        return self.audio_ms >= MAX_REPLY_MS

    def place_of(self, text: str) -> int:
        """Return where, in ms, the reply has come as far as ``text``, its beginning."""
        whole = "".join(self._said)
        if not whole or len(text) >= len(whole.strip()):
            return self.audio_ms
        return self.audio_ms * len(text) // len(whole)

    def release(self, turn: int, usage: Usage, credit: Callable[[], Credit]) -> None:
        """Let it be heard as that of ``turn``. ``credit`` is asked when its sound begins."""
        self._turn, self._usage, self._credit = turn, usage, credit
        self._released.set()

    # --- what comes ---------------------------------------------------------------------------

    def add(self, piece: TutorWords | TutorAudio) -> None:
        """Take the next words or sound."""
        if self.marks.first_token is None:
            self.marks.first_token = time.monotonic()
        if isinstance(piece, TutorWords):
            self._words.add(piece.text)
        elif self._aloud:
            self._held += piece.pcm
            self._received += len(piece.pcm)
        self._cut()

    def finish(self, done: ReplyDone) -> None:
        """Nothing more will come."""
        self._cut(last=True)
        self._count(done.output_tokens)
        usage = self._with_output(done, sum(map(len, self._said)))
        self._end(ReplyEndReason.COMPLETED, usage)

    def fail(self, error: ProviderError) -> None:
        """Nothing more will come, since the provider failed."""
        self._cut(last=True)
        self._count(0)
        notice = Notice(FailureReason.LANGUAGE_MODEL, str(error), self._turn, self.generation)
        self._put(notice)
        self._end(ReplyEndReason.FAILED, self._with_output(ReplyDone(), 0))

    def abandon(self) -> None:
        """No more of it is wanted. Idempotent; nothing where it is complete."""
        if not self.complete:
            self.complete = True
            self._count(0)

    async def run(self) -> None:
        """Say it, as fast as it is read."""
        await self._released.wait()
        while True:
            while not self._items:
                self._ready.clear()
                await self._ready.wait()
            item = self._numbered(self._items.popleft())
            if isinstance(item, ReplyAudio):
                await self._outbox.put_audio(item)
            else:
                self._outbox.put(item)
            if isinstance(item, ReplyText):
                self._on_text(item.text)
            if isinstance(item, ReplyEnded):
                return

    # --- inside -------------------------------------------------------------------------------

    def _cut(self, *, last: bool = False) -> None:
        """Cut what is held into messages; words go before the sound that they are in."""
        step = 2 * self._rate_hz * _AUDIO_MESSAGE_MS // 1000
        # The first sound is what the learner waits for.
        while len(self._held) >= step or (self._held and (last or self._first)):
            pcm = bytes(self._held[:step])
            del self._held[:step]
            offset_ms = ms_of_samples(self._cut_samples, self._rate_hz)
            self._cut_samples += len(pcm) // 2
            self._say(*self._words.up_to(ms_of_samples(self._cut_samples, self._rate_hz)))
            self._first = False
            self._put(ReplyAudio(self._turn, self.generation, pcm, offset_ms))
        if last or not self._aloud:
            self._say(*self._words.rest(self.audio_ms))

    def _say(self, text: str, offset_ms: int) -> None:
        if text:
            self._said.append(text)
            self._put(ReplyText(self._turn, self.generation, text, offset_ms, ()))

    def _end(self, reason: ReplyEndReason, usage: Usage) -> None:
        self.complete = True
        text = "".join(self._said)
        ended = ReplyEnded(self._turn, self.generation, reason, text, self.audio_ms, usage)
        self._put(ended)

    def _count(self, output_tokens: int) -> None:
        """Count what it took; what the provider does not tell is estimated by what came."""
        characters = sum(map(len, self._said))
        self._used.characters += characters
        self._used.output_tokens += (
            output_tokens or self.audio_ms // _TOKEN_MS + characters // _TOKEN_CHARACTERS
        )

    def _with_output(self, done: ReplyDone, characters: int) -> Usage:
        return Usage(
            prompt_tokens=done.input_tokens,
            output_tokens=done.output_tokens,
            characters=characters,
            audio_in_ms=self._usage.audio_in_ms,
        )

    def _put(self, item: EngineOutput) -> None:
        self._items.append(item)
        self._ready.set()

    def _numbered(self, item: EngineOutput) -> EngineOutput:
        """Return ``item`` with what is only known since the turn was announced."""
        match item:
            case ReplyText(_, generation, text, offset_ms, words):
                return ReplyText(self._turn, generation, text, offset_ms, words)
            case ReplyAudio(_, generation, pcm, offset_ms):
                stages = self._stages() if not offset_ms else ()
                return ReplyAudio(self._turn, generation, pcm, offset_ms, stages)
            case ReplyEnded(_, generation, reason, text, audio_ms, usage):
                return ReplyEnded(self._turn, generation, reason, text, audio_ms, usage)
            case Notice(reason, message):
                return Notice(reason, message, self._turn, self.generation)
            case _:
                return item

    def _stages(self) -> tuple[Stage, ...]:
        names, switches = self._credit() if self._credit else (StageNames(), ())
        self.marks.switches = list(switches)
        return describe_stages(self.marks, names, time.monotonic())
