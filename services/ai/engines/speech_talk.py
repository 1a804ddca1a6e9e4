"""What a multimodal session keeps of its conversation: the memory, and how the tutor sounds.

The turn that is being answered stands in the steps of the line until the answer begins; only then
does the memory have it. A connection that replaces another so hears each turn exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.ai.capabilities import Message, Role
from services.ai.engine import ChangeSettings, ReplyPurpose, SessionConfig
from services.ai.memory import Memory
from services.ai.prompts.builder import (
    PromptContext,
    count_message_tokens,
    system_message,
    turn_messages,
    unasked_messages,
)
from services.ai.speech_model import Briefing, SpeechModelCapabilities

# Models of this kind count speech in tokens too: leave most of their context to it.
_BRIEFING_SHARE = 0.5
_BYTES_PER_TOKEN = 3


@dataclass(slots=True)
class _Open:
    """A turn whose answer has not begun."""

    learner: str
    generation: int


class SpeechTalk:
    """The words of one conversation."""

    def __init__(self, config: SessionConfig, capabilities: SpeechModelCapabilities) -> None:
        self.captions_only = config.captions_only
        self.speed = config.speech_rate
        self.opening_line = config.scenario.opening_line.strip()
        self._voice = config.voice
        self._context = PromptContext(config.profile, config.scenario, config.recent_corrections)
        self._memory = Memory(config.history, config.last_generation)
        self._generation = config.last_generation
        self._budget = int(_BRIEFING_SHARE * capabilities.context_tokens)
        self._open: _Open | None = None
        self._answer_began = False

    def next_generation(self) -> int:
        """Return the generation of a new reply; the turn before, if still open, is closed."""
        self._close_turn()
        self._answer_began = False
        self._generation += 1
        return self._generation

    def begin_turn(self, learner: str, generation: int) -> None:
        """Take up a turn; what the learner said is remembered once the answer has begun."""
        self._open = _Open(learner, generation)
        if self._answer_began:
            self._close_turn()

    def begun(self) -> None:
        """The answer has begun, or will not come any more."""
        self._answer_began = True
        self._close_turn()

    def drop(self) -> None:
        """There was no turn."""
        self._open = None

    def said(self, generation: int, text: str) -> None:
        """Remember more of the reply."""
        self._close_turn()
        self._memory.add_reply(generation, text)

    def correct(self, generation: int, heard: str) -> None:
        """Remember of the reply what was heard."""
        self._close_turn()
        self._memory.correct_reply(generation, heard)

    def change(self, change: ChangeSettings) -> bool:
        """Change how the next reply sounds; return whether a new connection has to be told."""
        before = (self._voice, self.speed)
        self._voice = self._voice if change.voice is None else change.voice
        self.speed = self.speed if change.speech_rate is None else change.speech_rate
        if change.captions_only is not None:
            self.captions_only = change.captions_only
        return before != (self._voice, self.speed)

    def prompt(self, purpose: ReplyPurpose) -> str:
        """Return what the model is told to say without having been asked."""
        return unasked_messages(self._context, (), purpose)[-1].text

    def briefing(self) -> Briefing:
        """Return what a new connection begins with."""
        rules = system_message(self._context)
        left = self._budget - count_message_tokens([rules], _count)
        turns = self._memory.window(
            left, lambda turn: count_message_tokens(turn_messages([turn]), _count)
        )
        return Briefing(rules.text, _alternating(turn_messages(turns)), self._voice, self.speed)

    def _close_turn(self) -> None:
        turn, self._open = self._open, None
        if turn is not None:
            self._memory.begin_turn(turn.learner, turn.generation)


def _alternating(messages: list[Message]) -> tuple[Message, ...]:
    """Return the turns so that roles alternate: two replies in a row become one."""
    joined: list[Message] = []
    for message in messages:
        if joined and joined[-1].role is message.role is Role.ASSISTANT:
            joined.append(Message(message.role, f"{joined.pop().text} {message.text}"))
        else:
            joined.append(message)
    return tuple(joined)


def _count(text: str) -> int:
    return len(text.encode()) // _BYTES_PER_TOKEN + 1
