"""Builds the prompt of a reply. Pure: the same values give the same messages.

The order is what makes it fast: first what never changes (the tutor's rules), then what is fixed
for the session (learner, scenario), then the turns, then the new utterance. A model with a prompt
cache evaluates only the end.

Learner speech is data. It only ever stands in messages of the learner's role, never inside
instructions, and marks that a chat template would read as structure are taken out of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from jinja2 import Environment, StrictUndefined, Template

from services.ai.capabilities import Message, Role
from services.ai.engine import ReplyPurpose
from services.ai.learner import Correction, LearnerProfile, Level, PastTurn, Scenario

TEMPLATE_VERSION = "v1"

# What a learner of each level can follow.
_LEVEL_ADVICE = {
    Level.UNKNOWN: "Use everyday words and speak to a learner in the middle levels.",
    Level.A1: "The learner is a beginner: use very short sentences and the most common words.",
    Level.A2: "The learner is elementary: use short sentences and common words.",
    Level.B1: "The learner is intermediate: use everyday words.",
    Level.B2: "The learner is upper intermediate: speak naturally.",
    Level.C1: "The learner is advanced: speak naturally, with idioms now and then.",
    Level.C2: "The learner is proficient: speak as with a native speaker.",
}
_LANGUAGES = {
    "ar": "Arabic", "de": "German", "es": "Spanish", "fr": "French", "hi": "Hindi",
    "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "pl": "Polish",
    "pt": "Portuguese", "ru": "Russian", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian",
    "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip

# Chat templates mark roles like this; a learner cannot say it, but a typed text can hold it.
_STRUCTURE = re.compile(r"<\|.*?\|>|</?s>|\[/?INST\]|###\s*\w+:?", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
# Far above any spoken turn; a typed text may be longer than the whole budget.
_MAX_UTTERANCE_CHARACTERS = 1200
# Few corrections, or a small model talks of nothing else.
_MAX_CORRECTIONS = 4
_MAX_VOCABULARY = 8

CountTokens = Callable[[str], int]
# What a chat template adds around each message.
_TOKENS_AROUND_MESSAGE = 5


@dataclass(frozen=True, slots=True)
class PromptContext:
    """What is fixed for a session."""

    profile: LearnerProfile = field(default_factory=LearnerProfile)
    scenario: Scenario = field(default_factory=Scenario)
    recent_corrections: tuple[Correction, ...] = ()


def system_message(context: PromptContext) -> Message:
    """Return the rules and what is known of the learner: the prompt's unchanging beginning."""
    return Message(Role.SYSTEM, f"{_template('tutor')}\n\n{_session_text(context)}")


def turn_messages(turns: Sequence[PastTurn]) -> list[Message]:
    """Return earlier turns as a chat in which roles alternate.

    A turn whose reply nobody heard leaves no reply; the learner's words around it join.
    """
    messages: list[Message] = []
    for turn in turns:
        if turn.learner.strip():
            _append(messages, learner_message(turn.learner))
        if turn.tutor.strip():
            _append(messages, Message(Role.ASSISTANT, turn.tutor.strip()))
    return messages


def reply_messages(
    context: PromptContext, turns: Sequence[PastTurn], utterance: str
) -> list[Message]:
    """Return the whole prompt for a reply to ``utterance``."""
    messages = [system_message(context), *turn_messages(turns)]
    _append(messages, learner_message(utterance))
    return messages


def unasked_messages(
    context: PromptContext, turns: Sequence[PastTurn], purpose: ReplyPurpose
) -> list[Message]:
    """Return the prompt for a reply that nobody asked for: an opening or a hint."""
    messages = [system_message(context), *turn_messages(turns)]
    _append(messages, Message(Role.USER, _template(purpose.value)))
    return messages


def learner_message(text: str) -> Message:
    """Return what the learner said as data: one line, no structure marks, bounded."""
    plain = _SPACE.sub(" ", _STRUCTURE.sub(" ", text)).strip()
    return Message(Role.USER, plain[:_MAX_UTTERANCE_CHARACTERS])


def count_message_tokens(messages: Sequence[Message], count: CountTokens) -> int:
    """Return what ``messages`` take of a context, at most."""
    return sum(count(message.text) + _TOKENS_AROUND_MESSAGE for message in messages)


def _append(messages: list[Message], message: Message) -> None:
    """Add a message, joining it to the last when the same role speaks again."""
    if messages and messages[-1].role is message.role:
        message = Message(message.role, f"{messages.pop().text} {message.text}")
    messages.append(message)


def _session_text(context: PromptContext) -> str:
    profile, scenario = context.profile, context.scenario
    corrections = "; ".join(
        f'"{_line(c.replacement)}", not "{_line(c.original)}"'
        for c in context.recent_corrections[:_MAX_CORRECTIONS]
    )
    return (
        _session_template()
        .render(
            name=_line(profile.name),
            language=_LANGUAGES.get(profile.first_language.split("-")[0].lower(), ""),
            level_advice=_LEVEL_ADVICE[profile.level],
            interests=", ".join(map(_line, profile.interests)),
            goals="; ".join(map(_line, profile.goals)),
            scenario_role=_line(scenario.role),
            vocabulary=", ".join(map(_line, scenario.vocabulary[:_MAX_VOCABULARY])),
            corrections=corrections,
        )
        .strip()
    )


def _line(text: str) -> str:
    """Return text of a profile or scenario as one line without structure marks."""
    return _SPACE.sub(" ", _STRUCTURE.sub(" ", text)).strip().rstrip(".")


@cache
def _template(name: str) -> str:
    file = resources.files(__package__) / "templates" / f"{name}_{TEMPLATE_VERSION}.txt"
    return file.read_text(encoding="utf-8").strip()


@cache
def _session_template() -> Template:
    # The output is a prompt, not HTML; an undefined name is a bug and must not pass silently.
    environment = Environment(undefined=StrictUndefined, trim_blocks=False, autoescape=False)  # noqa: S701
    return environment.from_string(_template("session"))
