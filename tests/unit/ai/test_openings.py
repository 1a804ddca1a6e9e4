"""Replies do not all begin with the same reaction."""

from services.ai.capabilities import Message, Role
from services.ai.openings import worn_reactions


def talk(*replies: str) -> list[Message]:
    messages = [Message(Role.SYSTEM, "Be kind.")]
    for reply in replies:
        messages += [Message(Role.USER, "Oh, I see."), Message(Role.ASSISTANT, reply)]
    return [*messages, Message(Role.USER, "Well, yes.")]


def test_the_reactions_of_the_last_two_replies_are_worn():
    assert worn_reactions(talk("Wow, really?", "Oh, nice! Who came?", "Great. And you?")) == (
        "great",
        "oh",
    )


def test_an_answer_may_be_given_again():
    assert worn_reactions(talk("Yes, you can.", "No, not yet.")) == ()


def test_a_first_reply_may_begin_with_anything():
    assert worn_reactions(talk()) == ()
    assert worn_reactions(talk("\u2026")) == ()
