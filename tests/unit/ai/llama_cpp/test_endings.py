"""Where a prompt's last words end, and how likely a sentence is to end there."""

from __future__ import annotations

import numpy as np
import pytest

from services.ai.adapters.llama_cpp.chat import ChatFormat
from services.ai.adapters.llama_cpp.endings import SentenceEnds
from services.ai.capabilities import Message, Role
from tests.unit.ai.llama_cpp.test_chat import Letters

SYSTEM = Message(Role.SYSTEM, "Be kind.")


@pytest.fixture
def chat() -> ChatFormat:
    return ChatFormat(Letters())


@pytest.fixture
def ends(chat: ChatFormat) -> SentenceEnds:
    return SentenceEnds(Letters(), chat)


@pytest.mark.parametrize("text", ["I cook", "I cook.", "I cook?!", 'I "cook."', "I cook\u2026 "])
def test_the_last_word_is_the_one_before_the_recognizers_mark(
    chat: ChatFormat, ends: SentenceEnds, text: str
):
    messages = [SYSTEM, Message(Role.USER, text)]
    prompt = chat.prompt(messages)
    position = ends.last_word(messages, prompt)
    assert position is not None
    assert chr(prompt[position]) == "k"


@pytest.mark.parametrize("text", ["", " ", "..."])
def test_where_nothing_was_said_no_sentence_ends(chat: ChatFormat, ends: SentenceEnds, text: str):
    messages = [SYSTEM, Message(Role.USER, text)]
    assert ends.last_word(messages, chat.prompt(messages)) is None
    assert ends.last_word([], ()) is None


def test_a_mark_that_joined_the_last_word_tells_nothing(chat: ChatFormat, ends: SentenceEnds):
    messages = [SYSTEM, Message(Role.USER, "I cook.")]
    other = chat.prompt([SYSTEM, Message(Role.USER, "I coo")])
    assert ends.last_word(messages, other) is None


def test_the_marks_that_end_sentences_share_the_probability(ends: SentenceEnds):
    logits = np.full(9000, -100.0, np.float32)
    logits[[ord("."), ord("?"), ord(","), ord("a")]] = 10.0
    assert ends.probability(logits) == pytest.approx(0.5)
    logits[ord("a")] = 60.0
    assert ends.probability(logits) == pytest.approx(0.0, abs=1e-6)
