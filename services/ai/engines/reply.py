"""One attempt at a reply: text from the language model, clause by clause to the synthesizer.

An attempt may begin before the turn is committed (a speculation). Then it works up to its first
audio and waits; ``release`` lets it speak, cancelling its task silences it for good.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from services.ai.audio import ms_of_samples
from services.ai.capabilities import (
    GenerationOptions,
    LanguageModelSession,
    Message,
    ProviderError,
    SpeechChunk,
    Synthesizer,
    Word,
)
from services.ai.clauses import ClauseSplitter
from services.ai.engine import (
    FailureReason,
    Notice,
    ReplyAudio,
    ReplyEnded,
    ReplyEndReason,
    ReplyText,
    Usage,
    Used,
)
from services.ai.engines.stages import Marks, StageNames, describe_stages
from services.ai.fallback import record_switches
from services.ai.openings import worn_reactions
from services.ai.outbox import Outbox
from services.ai.prompts.builder import count_message_tokens
from services.ai.speakable import before_next_speaker, speakable
from services.ai.streams import closable

# How far the text may run ahead of the voice, in clauses. Full-policy: the language model waits.
_CLAUSES_AHEAD = 4
# A message of reply audio: the longest that the contract allows, since fewer messages cost less.
_AUDIO_MESSAGE_MS = 200
# The rules ask for two sentences after a short reaction; a model that does not stop is stopped.
_MAX_SENTENCES = 3
# Fewer words said twice may be emphasis.
_REPEATED_WORDS = 3
# A local model that has not begun by then never will; a learner has given up long before.
_FIRST_TOKEN_TIMEOUT_S = 20.0
# What a person says who has nothing to answer.
_NOTHING_TO_SAY = "Hmm, could you say that in another way?"

TUTOR_OPTIONS = GenerationOptions(
    temperature=0.4,
    top_p=0.9,
    max_tokens=70,
    stop=("\nLearner:", "\nParley:", "Learner:", "```", "\n\n"),
    # The rules ask for a question; a learner who gets none does not know how to go on.
    not_without="?",
)


@dataclass(frozen=True, slots=True)
class Speaker:
    """How the tutor sounds: taken when a reply begins, so that a change never splits one."""

    synthesizer: Synthesizer
    voice: str
    rate: float
    captions_only: bool


@dataclass(slots=True)
class _Progress:
    """What has been said so far."""

    texts: list[str] = field(default_factory=list)
    audio_samples: int = 0
    pieces: int = 0
    sentences: int = 0
    written: set[str] = field(default_factory=set)


class ReplyAttempt:
    """One generation. ``run`` does the work, ``release`` lets it be heard."""

    def __init__(
        self,
        *,
        generation: int,
        marks: Marks,
        speaker: Speaker,
        outbox: Outbox,
        names: StageNames,
        used: Used,
        count_tokens: Callable[[str], int],
        on_text: Callable[[str], None],
    ) -> None:
        """What it takes is added to ``used``, whether anybody hears it or not."""
        self.generation = generation
        self.marks = marks
        self._speaker = speaker
        self._outbox = outbox
        self._names = names
        self._used = used
        self._count_tokens = count_tokens
        self._on_text = on_text
        self._prompt: Sequence[Message] = ()
        self._released = asyncio.Event()
        self._turn = 0
        self._usage = Usage()
        self._clauses: asyncio.Queue[str | None] = asyncio.Queue(_CLAUSES_AHEAD)
        self._progress = _Progress()
        self._failure: Notice | None = None
        self._voice_failed = False
        self._rate_hz = speaker.synthesizer.capabilities.sample_rate_hz

    @property
    def is_released(self) -> bool:
        """Whether the reply may be heard."""
        return self._released.is_set()

    def release(self, turn: int, usage: Usage) -> None:
        """Let the reply be heard as that of ``turn``; ``usage`` is what led up to it."""
        self._turn = turn
        self._usage = usage
        self._released.set()

    async def run(self, model: LanguageModelSession, messages: Sequence[Message]) -> None:
        """Make the reply to ``messages`` and say it once released.

        Failures of providers become a notice and a failed end, not an exception.
        """
        record_switches(self.marks.switches)
        self._prompt = messages
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write(model, messages))
            await self._speak_clauses()

    async def say(self, text: str) -> None:
        """Say a text that needs no language model, such as a scenario's opening line."""
        record_switches(self.marks.switches)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._recite(text))
            await self._speak_clauses()

    # --- writing ----------------------------------------------------------------------------

    async def _write(self, model: LanguageModelSession, messages: Sequence[Message]) -> None:
        try:
            options = replace(TUTOR_OPTIONS, not_first=worn_reactions(messages))
            async with aclosing(closable(model.stream(messages, options))) as pieces:
                await self._write_clauses(pieces)
        except ProviderError as error:
            self._fail(FailureReason.LANGUAGE_MODEL, str(error))
        except TimeoutError:
            self._fail(FailureReason.LANGUAGE_MODEL, "the language model took too long to begin")
        await self._clauses.put(None)

    async def _write_clauses(self, pieces: AsyncIterator[str]) -> None:
        splitter = ClauseSplitter()
        written = ""
        async with asyncio.timeout(_FIRST_TOKEN_TIMEOUT_S) as first_token:
            async for piece in pieces:
                if not written:
                    self.marks.first_token = time.monotonic()
                    first_token.reschedule(None)
                self._progress.pieces += 1
                self._used.output_tokens += 1
                written += piece
                if before_next_speaker(written) != written:
                    # The model has begun to speak for the learner.
                    break
                for clause in map(speakable, splitter.feed(piece)):
                    if self._is_said(clause):
                        # A small model that has begun to say itself again does not stop.
                        return
                    await self._add_clause(clause)
                    if self._progress.sentences >= _MAX_SENTENCES:
                        return
        rest = speakable(splitter.flush())
        cut_off = self._progress.pieces >= TUTOR_OPTIONS.max_tokens
        # Half a sentence is better than silence, and worse than the sentences before it.
        if rest and not (cut_off and self._progress.sentences) and not self._is_said(rest):
            await self._add_clause(rest)
        if self.marks.first_clause is None:
            # The model wrote nothing that can be said: silence would leave the learner waiting.
            await self._add_clause(_NOTHING_TO_SAY)

    async def _recite(self, text: str) -> None:
        splitter = ClauseSplitter()
        for clause in [*splitter.feed(text), splitter.flush()]:
            await self._add_clause(speakable(clause))
        await self._clauses.put(None)

    async def _add_clause(self, text: str) -> None:
        if not text:
            return
        if self.marks.first_clause is None:
            self.marks.first_clause = time.monotonic()
        self._progress.sentences += text[-1] in ".!?"
        self._progress.written.add(text)
        await self._clauses.put(text)

    def _is_said(self, text: str) -> bool:
        """Tell whether this reply has the whole clause already, which "Yes, yes." is not."""
        return text in self._progress.written and len(text.split()) >= _REPEATED_WORDS

    # --- speaking ---------------------------------------------------------------------------

    async def _speak_clauses(self) -> None:
        while (clause := await self._clauses.get()) is not None:
            await self._speak(clause)
        await self._released.wait()
        progress = self._progress
        if self._failure is not None:
            self._outbox.put(replace(self._failure, turn=self._turn, generation=self.generation))
        text = "".join(progress.texts)
        self._outbox.put(
            ReplyEnded(
                turn=self._turn,
                generation=self.generation,
                reason=ReplyEndReason.FAILED if self._failure else ReplyEndReason.COMPLETED,
                text=text,
                audio_ms=self._offset_ms,
                usage=replace(
                    self._usage,
                    prompt_tokens=count_message_tokens(self._prompt, self._count_tokens),
                    output_tokens=progress.pieces,
                    characters=len(text),
                ),
            )
        )

    async def _speak(self, clause: str) -> None:
        text = f" {clause}" if self._progress.texts else clause
        if self._speaker.captions_only:
            await self._released.wait()
            self._used.characters += len(text)
            self._say_text(text, ())
            return
        self._used.characters += len(text)
        if self._voice_failed:
            # A voice that came back after a gap would leave a hole in what was heard.
            self._show_text(text)
            return
        said = False
        try:
            stream = self._speaker.synthesizer.stream(
                clause, self._speaker.voice, self._speaker.rate
            )
            async with aclosing(closable(stream)) as chunks:
                async for chunk in chunks:
                    if self.marks.first_audio is None:
                        self.marks.first_audio = time.monotonic()
                    await self._released.wait()
                    self._say_text("" if said else text, chunk.words)
                    said = True
                    await self._say_audio(chunk)
        except ProviderError as error:
            self._voice_failed = True
            self._fail(FailureReason.SYNTHESIZER, str(error))
        if not said:
            await self._released.wait()
            self._show_text(text)

    def _show_text(self, text: str) -> None:
        """Show words that cannot be heard; what was not heard is not remembered."""
        self._outbox.put(ReplyText(self._turn, self.generation, text, self._offset_ms, ()))
        self._progress.texts.append(text)

    def _say_text(self, text: str, words: Sequence[Word]) -> None:
        offset_ms = self._offset_ms
        timed = tuple(
            replace(word, start_ms=word.start_ms + offset_ms, end_ms=word.end_ms + offset_ms)
            for word in words
        )
        self._outbox.put(ReplyText(self._turn, self.generation, text, offset_ms, timed))
        if text:
            self._progress.texts.append(text)
            self._on_text(text)

    async def _say_audio(self, chunk: SpeechChunk) -> None:
        step = 2 * self._rate_hz * _AUDIO_MESSAGE_MS // 1000
        for start in range(0, len(chunk.pcm), step):
            first = not self._progress.audio_samples
            stages = describe_stages(self.marks, self._names, time.monotonic()) if first else ()
            pcm = chunk.pcm[start : start + step]
            message = ReplyAudio(self._turn, self.generation, pcm, self._offset_ms, stages)
            await self._outbox.put_audio(message)
            self._progress.audio_samples += len(pcm) // 2

    @property
    def _offset_ms(self) -> int:
        return ms_of_samples(self._progress.audio_samples, self._rate_hz)

    def _fail(self, reason: FailureReason, message: str) -> None:
        # The first failure is the cause; later ones follow from it.
        if self._failure is None:
            self._failure = Notice(reason, message)
