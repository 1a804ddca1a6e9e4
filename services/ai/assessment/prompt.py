"""What a language model is asked, so that it writes a learner's sentence again without mistakes.

Half of the examples show what must be left alone: a small model that has only seen mistakes finds
one everywhere.
"""

from __future__ import annotations

from services.ai.capabilities import Message, Role
from services.ai.prompts.builder import learner_message

VERSION = "rewriting@1"

_RULES = (
    "You correct the spoken English of a learner. Write the sentence again with its grammar"
    " mistakes put right. Change as few words as possible and keep everything else exactly as it"
    " is. If the sentence has no mistake, write it again unchanged. Write nothing but the sentence."
)
_EXAMPLES = (
    ("I goed to cinema with my friends.", "I went to the cinema with my friends."),
    (
        "My brother is a teacher and he loves his job.",
        "My brother is a teacher and he loves his job.",
    ),
    ("He don't have much friends here.", "He doesn't have many friends here."),
    (
        "We usually eat lunch at one, and then I go back to work.",
        "We usually eat lunch at one, and then I go back to work.",
    ),
    ("She is working here since five years.", "She has been working here for five years."),
    (
        "I'd like a coffee, please, and maybe some cake.",
        "I'd like a coffee, please, and maybe some cake.",
    ),
    ("Do you can help me with this exercise?", "Can you help me with this exercise?"),
    (
        "I was at home all day because it was raining.",
        "I was at home all day because it was raining.",
    ),
)


def instructions() -> list[Message]:
    """Return what every prompt begins with."""
    messages = [Message(Role.SYSTEM, _RULES)]
    for said, better in _EXAMPLES:
        messages += [Message(Role.USER, said), Message(Role.ASSISTANT, better)]
    return messages


def rewriting_messages(sentence: str) -> list[Message]:
    """Return the prompt that has ``sentence`` written again. It is data, never an instruction."""
    return [*instructions(), learner_message(sentence)]
