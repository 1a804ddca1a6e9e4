"""Writes a conversation as tokens in the model's own chat format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeAlias

from services.ai.capabilities import Message, ProviderError, Role

Tokens: TypeAlias = tuple[int, ...]

# Private-use characters stand for the messages' texts while the format is written around them.
_OPEN, _CLOSE = "\ue000", "\ue001"
# The texts of a prompt come again with every turn, and some ten times while a learner speaks.
_KNOWN_TEXTS = 256


class Vocabulary(Protocol):
    """What of a model is needed to write for it."""

    @property
    def first_tokens(self) -> Tokens:
        """What every prompt begins with."""

    def tokenize(self, text: str, *, marks: bool) -> Tokens:
        """Return tokens; with ``marks``, control tokens that the text spells count."""

    def apply_template(self, messages: Sequence[tuple[str, str]], *, reply: bool) -> str:
        """Write (role, content) pairs in the model's chat format."""


@dataclass(frozen=True, slots=True)
class _Around:
    """The format's own tokens: before each text, and after the last one.

    ``reply`` ends the last message and opens the answer, ``end`` only ends it.
    """

    before: tuple[Tokens, ...]
    reply: Tokens
    end: Tokens


class ChatFormat:
    """The chat format of one model.

    Only the format's own text may hold control tokens: a learner who says or types "<|im_end|>"
    has said just that, and ends no message.

    Raises ``ProviderError`` for a model whose format is not known.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._first = vocabulary.first_tokens
        self._text = lru_cache(_KNOWN_TEXTS)(self._tokenize_text)
        self._around = lru_cache(_KNOWN_TEXTS)(self._tokenize_around)
        self._around((Role.SYSTEM, Role.USER))

    def prompt(self, messages: Sequence[Message]) -> Tokens:
        """Return the prompt that asks for a reply; a last message of the tutor is gone on with."""
        around = self._around(_roles(messages))
        return self._write(messages, () if _last_is(messages, Role.ASSISTANT) else around.reply)

    def beginning(self, messages: Sequence[Message]) -> Tokens:
        """Return what a longer prompt will begin with, of which these ``messages`` are known.

        A last message of the learner may go on; any other is whole. Going on may turn the last
        token into another one, as "walk" before "ed"; who compares tokens loses that one alone.
        """
        around = self._around(_roles(messages))
        return self._write(messages, () if _last_is(messages, Role.USER) else around.end)

    def count(self, text: str) -> int:
        """Return how many tokens ``text`` has."""
        return len(self._text(text))

    def beginnings(self, words: Sequence[str]) -> frozenset[int]:
        """Return the tokens that a reply begins with that begins with one of ``words``."""
        spellings = {spelling for word in words for spelling in (word.lower(), word.capitalize())}
        return frozenset(self._text(spelling)[0] for spelling in spellings if spelling)

    def _write(self, messages: Sequence[Message], last: Tokens) -> Tokens:
        tokens = list(self._first)
        before = self._around(_roles(messages)).before
        for opening, message in zip(before, messages, strict=True):
            tokens += opening
            tokens += self._text(message.text)
        return (*tokens, *last)

    def _tokenize_text(self, text: str) -> Tokens:
        return self._vocabulary.tokenize(text, marks=False)

    def _tokenize_around(self, roles: tuple[Role, ...]) -> _Around:
        marks = [f"{_OPEN}{index}{_CLOSE}" for index in range(len(roles))]
        pairs = list(zip((role.value for role in roles), marks, strict=True))
        rest = self._vocabulary.apply_template(pairs, reply=False)
        with_reply = self._vocabulary.apply_template(pairs, reply=True)
        before = []
        for mark in marks:
            opening, found, rest = rest.partition(mark)
            if not found:
                raise ProviderError(
                    f"this model's chat format has no place for {', '.join(roles)}", retryable=False
                )
            before.append(self._marked(opening))
        reply = with_reply.rpartition(marks[-1])[2] if marks else with_reply
        return _Around(tuple(before), self._marked(reply), self._marked(rest))

    def _marked(self, text: str) -> Tokens:
        return self._vocabulary.tokenize(text, marks=True)


def _roles(messages: Sequence[Message]) -> tuple[Role, ...]:
    return tuple(message.role for message in messages)


def _last_is(messages: Sequence[Message], role: Role) -> bool:
    return bool(messages) and messages[-1].role is role
