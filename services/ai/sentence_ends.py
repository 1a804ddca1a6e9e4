"""A language model's own opinion on whether the learner has finished a sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable


@runtime_checkable
class TellsSentenceEnds(Protocol):
    """A session of a language model that tells it while it reads a prompt for a reply.

    A ``LanguageModelSession`` may have this beside what it must; turns are taken without it too.
    """

    def on_sentence_end(self, tell: Callable[[float], None]) -> None:
        """Have ``tell`` called, for each reply at most once and before its first piece.

        It gets the probability that the prompt's last words end a sentence. It is called on the
        task that reads the reply, so never about a reply that was left.
        """
