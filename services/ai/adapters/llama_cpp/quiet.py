"""When there is idle time: when nobody is being listened to, and nobody is being answered."""

from __future__ import annotations

import time
from collections.abc import Callable

QUIET_S = 0.7
"""How long nothing must have stirred.

While somebody speaks, captions are made every half second: so this is never in an utterance, and a
short way into the time in which the answer is listened to.
"""


class Quiet:
    """Knows how long nothing has stirred. For the model's thread; `stir` may come from any.

    Args:
        busy: whether other models compute now.
        clock: monotonic seconds.
        after_s: see `QUIET_S`.
    """

    def __init__(
        self,
        busy: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        after_s: float = QUIET_S,
    ) -> None:
        self._busy = busy
        self._clock = clock
        self._after_s = after_s
        self._stirred_at = clock()

    def stir(self) -> None:
        """Somebody needs the model, or has just been given what was needed."""
        self._stirred_at = self._clock()

    def reached(self) -> bool:
        """Whether there is idle time now. Ask often: what is over is not seen."""
        if self._busy():
            self.stir()
        return self._clock() - self._stirred_at >= self._after_s
