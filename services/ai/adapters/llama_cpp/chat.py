"""Writes a conversation as tokens in the model's own chat format."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from services.ai.capabilities import Message, ProviderError, Role

# Private-use characters stand for the messages' texts while the format is written around them.
_OPEN, _CLOSE = "\ue000", "\ue001"
# The texts of a prompt come again with every turn, and some ten times while a learner speaks.
_KNOWN_TEXTS = 256
# The last token of a text that goes on may become another one: "walk" before "ed".
_UNSETTLED_TOKENS = 1


class Vocabulary(Protocol):
    """What of a model is needed to write for it."""

    @property
    def first_tokens(self) -> tuple[int, ...]:
        """What every prompt begins with."""

    def tokenize(self, text: str, *, marks: bool) -> tuple[int, ...]:
        """Return tokens; with ``marks``, control tokens that the text spells count."""

    def apply_template(self, messages: Sequence[tuple[str, str]], *, reply: bool) -> str:
        """Write (role, content) pairs in the model's chat format."""


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

    def prompt(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Return the prompt that asks for a reply; a last message of the tutor is gone on with."""
        return self._write(messages, goes_on=_last_role(messages) is Role.ASSISTANT)

    def beginning(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Return what a longer prompt will begin with, of which these ``messages`` are known.

        A last message of the learner may go on; any other is whole.
        """
        if _last_role(messages) is Role.USER:
            return self._write(messages, goes_on=True)[:-_UNSETTLED_TOKENS]
        return self._write(messages, goes_on=True, closed=True)

    def count(self, text: str) -> int:
        """Return how many tokens ``text`` has."""
        return len(self._text(text))

    def _write(
        self, messages: Sequence[Message], *, goes_on: bool, closed: bool = False
    ) -> tuple[int, ...]:
        around = self._around(tuple(message.role for message in messages))
        tokens = list(self._first)
        for before, message in zip(around[0], messages, strict=False):
            tokens += before
            tokens += self._text(message.text)
        if not goes_on:
            tokens += around[0][-1]
        elif closed:
            tokens += around[1]
        return tuple(tokens)

    def _tokenize_text(self, text: str) -> tuple[int, ...]:
        return self._vocabulary.tokenize(text, marks=False)

    def _tokenize_around(
        self, roles: tuple[Role, ...]
    ) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
        """Return the tokens before, between and after texts of ``roles``.

        The last of the first is what opens the reply; the second is what only closes the last text.
        """
        marks = [f"{_OPEN}{index}{_CLOSE}" for index in range(len(roles))]
        pairs = list(zip((role.value for role in roles), marks, strict=True))

        def write(*, reply: bool) -> list[tuple[int, ...]]:
            rest = self._vocabulary.apply_template(pairs, reply=reply)
            parts = []
            for mark in marks:
                before, found, rest = rest.partition(mark)
                if not found:
                    raise ProviderError(
                        f"this model's chat format has no place for {roles}", retryable=False
                    )
                parts.append(before)
            return [self._vocabulary.tokenize(part, marks=True) for part in [*parts, rest]]

        return tuple(write(reply=True)), write(reply=False)[-1]


def _last_role(messages: Sequence[Message]) -> Role | None:
    return messages[-1].role if messages else None
