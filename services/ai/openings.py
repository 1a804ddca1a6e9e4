"""How replies begin: a small model reacts to everything in the same word, turn after turn."""

from __future__ import annotations

import re
from collections.abc import Sequence

from services.ai.capabilities import Message, Role

# Reactions say little, so another one does as well. "Yes" and "no" are answers, and stay.
_REACTIONS = frozenset(
    "ah aha awesome cool good great ha hm hmm lovely nice oh okay ok right sure well wow".split()
)
_REMEMBERED = 2
_WORD = re.compile(r"[^\W\d_]+")


def worn_reactions(messages: Sequence[Message]) -> tuple[str, ...]:
    """Return the reactions that the tutor's last two replies began with, in lower case."""
    replies = [each.text for each in messages if each.role is Role.ASSISTANT][-_REMEMBERED:]
    firsts = (found.group().lower() for reply in replies if (found := _WORD.search(reply)))
    return tuple(sorted(_REACTIONS.intersection(firsts)))
