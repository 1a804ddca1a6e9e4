"""How many sequences of events the tests of the pure machines try.

`SESSION_SEQUENCES` says it for all of them: the session, and the taking of turns.
"""

from __future__ import annotations

import os

_VARIABLE = "SESSION_SEQUENCES"


def sequences(usually: int) -> int:
    """Return how many to try; `usually` where nobody asked for another number."""
    return int(os.environ.get(_VARIABLE, usually))
