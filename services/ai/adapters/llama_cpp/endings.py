"""How likely a sentence is to be over, by the model that reads it.

What a language model expects after some words says whether they may stand alone: after "I like to
cook" a full stop is likely, after "I like to" it is not. Predicting the end of a turn from words so
is old (Ekstedt and Skantze, "TurnGPT", 2020); here it costs a row of logits of a prompt that is
read anyway.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from services.ai.adapters.llama_cpp.chat import ChatFormat, Tokens
from services.ai.adapters.llama_cpp.sampling import Logits
from services.ai.capabilities import Message

# As vocabularies of byte pairs hold them: alone, with what often follows, and the new line that a
# line of a dialogue ends with.
_MARKS = (
    ".",
    "!",
    "?",
    "...",
    "\u2026",
    ".\n",
    "!\n",
    "?\n",
    ".\n\n",
    "?\n\n",
    '."',
    '?"',
    "\n",
    "\n\n",
)
_WRITTEN_MARK = re.compile(r"[.!?\u2026]+['\"\u201d)]*\s*$")


class Tokenizer(Protocol):
    """What of a model is needed."""

    def tokenize(self, text: str, *, marks: bool) -> Tokens:
        """Return the tokens of ``text``."""


class SentenceEnds:
    """Reads, off a prompt's logits, how likely its last message is to be whole."""

    def __init__(self, tokenizer: Tokenizer, chat: ChatFormat) -> None:
        self._chat = chat
        alone = (tokenizer.tokenize(mark, marks=False) for mark in _MARKS)
        self._ids = np.array(sorted({tokens[0] for tokens in alone if len(tokens) == 1}), np.intp)

    def last_word(self, messages: Sequence[Message], prompt: Sequence[int]) -> int | None:
        """Return where in ``prompt`` the last message's words end; None where there are none.

        A mark that the recognizer put after them is its guess, not the learner's: it is left out.
        """
        words = _WRITTEN_MARK.sub("", messages[-1].text) if messages else ""
        if not words.strip():
            return None
        known = self._chat.beginning([*messages[:-1], replace(messages[-1], text=words)])
        shared = 0
        while shared < min(len(known), len(prompt)) and known[shared] == prompt[shared]:
            shared += 1
        # Where the mark joined the last word in one token, what follows cannot be told.
        return shared - 1 if shared == len(known) else None

    def probability(self, logits: Logits) -> float:
        """Return the probability that a sentence ends where ``logits`` say what follows."""
        shifted = logits.astype(np.float64) - float(logits.max())
        np.exp(shifted, out=shifted)
        return float(shifted[self._ids].sum() / shifted.sum())
