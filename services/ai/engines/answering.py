"""The answering half of a pipeline session: prompts, memory, and the reply that may be heard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from services.ai.capabilities import (
    LanguageModel,
    LanguageModelSession,
    Message,
    Synthesizer,
    Transcript,
)
from services.ai.engine import ChangeSettings, ReplyPurpose, SessionConfig, Usage, Used
from services.ai.engines.reply import ReplyAttempt, Speaker
from services.ai.engines.stages import Marks, StageNames
from services.ai.floor_words import asks_for_time
from services.ai.learner import PastTurn
from services.ai.memory import Memory
from services.ai.outbox import Outbox
from services.ai.prompts.builder import (
    PromptContext,
    count_message_tokens,
    reply_messages,
    system_message,
    turn_messages,
    unasked_messages,
)
from services.ai.sentence_ends import TellsSentenceEnds
from services.ai.transcripts import telling_words

T = TypeVar("T")

Spawn = Callable[[Coroutine[Any, Any, T]], "asyncio.Task[T]"]

# The reply's share of the context, with the chat template's own marks.
_REPLY_TOKENS = 160
# Each evaluation costs a step whatever its length: a word at a time would be a step a word.
_MIN_PRIMED_WORDS = 2
# Words of a caption that may still change when more is heard: the last was cut short by the moment.
_UNSETTLED_WORDS = 1


@dataclass(slots=True)
class _Current:
    """The attempt that may speak or may come to. ``pause`` 0: it is no speculation."""

    attempt: ReplyAttempt
    task: asyncio.Task[None]
    pause: int


class Answering:
    """Prepares, releases and silences replies; at most one is alive at a time."""

    def __init__(
        self,
        *,
        config: SessionConfig,
        language_model: LanguageModel,
        synthesizer: Synthesizer,
        names: StageNames,
        outbox: Outbox,
        used: Used,
        spawn: Spawn[None],
        on_sentence_end: Callable[[int, float], None],
    ) -> None:
        """``on_sentence_end`` gets a speculated pause and the language model's opinion of it."""
        self._language_model = language_model
        self._names = names
        self._outbox = outbox
        self._used = used
        self._spawn = spawn
        self._context = PromptContext(config.profile, config.scenario, config.recent_corrections)
        self._opening_line = config.scenario.opening_line.strip()
        self._memory = Memory(config.history, config.last_generation)
        self._generation = config.last_generation
        self._speaker = Speaker(synthesizer, config.voice, config.speech_rate, config.captions_only)
        self._current: _Current | None = None
        self._priming: asyncio.Task[None] | None = None
        self._primed_words = 0
        # Last: nothing after it can fail and leave the place taken.
        self._model: LanguageModelSession = language_model.open()
        self._on_sentence_end = on_sentence_end
        if isinstance(self._model, TellsSentenceEnds):
            self._model.on_sentence_end(self._tell_sentence_end)

    # --- ahead of need ----------------------------------------------------------------------

    def prime_memory(self) -> None:
        """Have what is known before the learner speaks evaluated: the rules and the turns so far.

        What was said last is not what was written where the learner interrupted it, or where it was
        cut to be spoken. Evaluated now, it does not cost the next turn its time.
        """
        if self._current is None or self._current.task.done():
            self._prime([system_message(self._context), *turn_messages(self._window(""))])

    def prime_words(self, words: Sequence[str]) -> None:
        """Have what the learner has said so far evaluated while more is being said.

        The last words of a caption still change, so they wait.
        """
        settled = len(words) - _UNSETTLED_WORDS
        answering = self._current is not None and not self._current.task.done()
        priming = self._priming is not None and not self._priming.done()
        if answering or priming or settled - self._primed_words < _MIN_PRIMED_WORDS:
            return
        self._primed_words = settled
        self._prime(self._reply_messages(" ".join(words[:settled])))

    def prepare(
        self, pause: int, transcript: asyncio.Task[Transcript], speech_end_s: float
    ) -> bool:
        """Begin a reply to what was said up to ``pause`` and hold it back.

        Returns False, and does nothing, while an earlier reply is still being said.
        """
        current = self._current
        if current is not None and current.attempt.is_released and not current.task.done():
            return False
        self.silence()
        attempt = self._new_attempt(Marks(speech_end_s))
        self._start(attempt, self._answer_when_known(attempt, transcript), pause)
        return True

    def has_prepared(self, pause: int) -> bool:
        """Whether a reply to what was said up to ``pause`` is held back."""
        return self._current is not None and self._current.pause == pause

    def discard(self, pause: int) -> None:
        """Throw away what was prepared for ``pause``, if anything was."""
        if self.has_prepared(pause):
            self.silence()

    # --- replies ----------------------------------------------------------------------------

    def answer(self, pause: int, transcript: Transcript, marks: Marks) -> int:
        """Answer a committed utterance; return the reply's generation.

        A speculation for ``pause`` is let go; anything else is silenced and a reply begun. Words
        that were spoken and only asked for time are answered with help. The caller announces the
        turn, then calls ``speak``.
        """
        self._primed_words = 0
        current = self._current
        if current is not None and pause and self.has_prepared(pause):
            attempt = current.attempt
            attempt.marks.speech_end = marks.speech_end
            attempt.marks.decision = marks.decision
            attempt.marks.switches += marks.switches
        else:
            self.silence()
            attempt = self._new_attempt(marks)
            words = transcript.clean
            messages = self._spoken_messages(words) if pause else self._reply_messages(words)
            self._start(attempt, attempt.run(self._model, messages), 0)
        self._memory.begin_turn(transcript.clean, attempt.generation)
        return attempt.generation

    def answer_unasked(self, purpose: ReplyPurpose, marks: Marks) -> int:
        """Open the conversation, or help after silence; return the reply's generation."""
        self.silence()
        attempt = self._new_attempt(marks)
        if purpose is ReplyPurpose.OPENING and self._opening_line:
            self._start(attempt, attempt.say(self._opening_line), 0)
        else:
            messages = unasked_messages(self._context, self._window(""), purpose)
            self._start(attempt, attempt.run(self._model, messages), 0)
        self._memory.begin_turn("", attempt.generation)
        return attempt.generation

    def speak(self, turn: int, usage: Usage) -> None:
        """Let the reply that ``answer`` named be heard."""
        if self._current is not None:
            self._current.attempt.release(turn, usage)

    def silence(self) -> None:
        """Stop the reply that is alive, if any, and drop what of it is unread."""
        if self._current is not None:
            self._current.task.cancel()
            self._outbox.drop_reply(self._current.attempt.generation)
            self._current = None

    def interrupt(self, generation: int, heard_text: str) -> None:
        """Stop ``generation`` and older, and remember of it what was heard."""
        if self._current is not None and self._current.attempt.generation <= generation:
            self.silence()
        self._outbox.drop_reply(generation)
        self._memory.correct_reply(generation, heard_text)

    def change(self, change: ChangeSettings) -> None:
        """Change how the next reply sounds."""
        speaker = self._speaker
        self._speaker = replace(
            speaker,
            voice=speaker.voice if change.voice is None else change.voice,
            rate=speaker.rate if change.speech_rate is None else change.speech_rate,
            captions_only=(
                speaker.captions_only if change.captions_only is None else change.captions_only
            ),
        )

    async def finish(self) -> None:
        """Wait until the released reply has been said; drop one that was not released."""
        current = self._current
        if current is None:
            return
        if not current.attempt.is_released:
            self.silence()
            return
        await asyncio.wait([current.task])

    @property
    def expected_words(self) -> frozenset[str]:
        """Words that the learner's last utterance may well hold: of the scenario, of the talk."""
        said = " ".join((*self._context.scenario.vocabulary, self._memory.answered))
        return telling_words(said)

    async def written(self) -> None:
        """Wait until no reply is being made: the one that was let go is complete, or silenced."""
        while (current := self._current) is not None and not current.task.done():
            await asyncio.wait([current.task])

    def close(self) -> None:
        """Stop everything and give the language model's place back."""
        self.silence()
        self.stop_priming()
        self._model.close()

    # --- inside -----------------------------------------------------------------------------

    async def _answer_when_known(
        self, attempt: ReplyAttempt, transcript: asyncio.Task[Transcript]
    ) -> None:
        # The transcript belongs to the utterance: throwing the reply away must not cancel it.
        known = await asyncio.shield(transcript)
        attempt.marks.transcript = time.monotonic()
        if known.clean:
            await attempt.run(self._model, self._spoken_messages(known.clean))

    def _tell_sentence_end(self, probability: float) -> None:
        # The attempt that reads its prompt now is the current one: an earlier one was cancelled.
        if self._current is not None and self._current.pause:
            self._on_sentence_end(self._current.pause, probability)

    def _new_attempt(self, marks: Marks) -> ReplyAttempt:
        self.stop_priming()
        self._generation += 1
        generation = self._generation
        return ReplyAttempt(
            generation=generation,
            marks=marks,
            speaker=self._speaker,
            outbox=self._outbox,
            names=self._names,
            used=self._used,
            count_tokens=self._language_model.count_tokens,
            on_text=lambda text: self._memory.add_reply(generation, text),
        )

    def _start(self, attempt: ReplyAttempt, work: Coroutine[Any, Any, None], pause: int) -> None:
        self._current = _Current(attempt, self._spawn(work), pause)

    def _prime(self, messages: Sequence[Message]) -> None:
        if self._language_model.capabilities.prompt_cache:
            self.stop_priming()
            self._priming = self._spawn(self._model.prime(messages))

    def stop_priming(self) -> None:
        """Leave what is being evaluated ahead."""
        if self._priming is not None:
            self._priming.cancel()
            self._priming = None

    def _spoken_messages(self, utterance: str) -> list[Message]:
        """Return the prompt of the reply to what was spoken.

        Who asked for time and has said nothing more since is stuck.
        """
        if asks_for_time(utterance):
            return unasked_messages(self._context, self._window(""), ReplyPurpose.HINT)
        return self._reply_messages(utterance)

    def _reply_messages(self, utterance: str) -> list[Message]:
        return reply_messages(self._context, self._window(utterance), utterance)

    def _window(self, utterance: str) -> tuple[PastTurn, ...]:
        count = self._language_model.count_tokens
        fixed = count_message_tokens([system_message(self._context)], count)
        budget = (
            self._language_model.capabilities.context_tokens
            - fixed
            - count(utterance)
            - _REPLY_TOKENS
        )
        return self._memory.window(
            budget, lambda turn: count_message_tokens(turn_messages([turn]), count)
        )
