"""What the learner did, by the numbers of the messages: what came twice, what is no turn yet. Pure.

A client that comes back sends again what may have been lost, under the old numbers. So each act is
carried out exactly once, also by a process that took the place of a killed one: it knows from
storage up to which number everything has become a turn, or needs to become none.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from services.common.limits import DEFAULT_LIMITS

# Typed utterances that the engine has not made turns of. Full policy: one more is refused with a
# notice while the engine is away; while it is there, the oldest is no longer kept for another.
MAX_OPEN_TEXTS = DEFAULT_LIMITS.waiting_texts

# As far as databases count. No session has so many messages: whoever numbers one beyond it made the
# number up, and may find that something is done again.
MOST_SETTLED_SEQ = 2**63 - 1


@dataclass(slots=True)
class _Open:
    seq: int
    text: str | None
    place_ms: float = 0.0


class Acts:
    """The acts of one session: texts, ends of turns, interruptions, the wish to finish.

    Args:
        settled_seq: in a session that goes on from storage, as `settled_seq` was; 0 in a new one.
    """

    def __init__(self, settled_seq: int = 0) -> None:
        self._came = settled_seq
        self._again_below = 0
        self._open: deque[_Open] = deque()

    def client_back(self, start_seq: int) -> None:
        """The client opened another stream with the message `start_seq`.

        What follows below that number is sent again. A client that begins to count anew sends
        nothing again.
        """
        if start_seq <= self._came:
            self._came = 0
            for each in self._open:
                each.seq = 0
        self._again_below = start_seq

    def is_repeated(self, seq: int) -> bool:
        """Whether the act with this number came before; if not, it has come now. 0: no number."""
        if 0 < seq < self._again_below and seq <= self._came:
            return True
        self._came = max(self._came, seq)
        return False

    def typed(self, seq: int, text: str, place_ms: float = 0.0) -> None:
        """A text is to become a turn, typed when the audio had come up to `place_ms`."""
        if self.full:
            self._leave_oldest_text()
        self._open.append(_Open(seq, text, place_ms))

    def turn_ended(self, seq: int) -> None:
        """What is being said is to become a turn now."""
        self._open.append(_Open(seq, None))
        self._join(len(self._open) - 1)

    def _leave_oldest_text(self) -> None:
        at = next(at for at, each in enumerate(self._open) if each.text is not None)
        del self._open[at]
        self._join(at)

    def _join(self, at: int) -> None:
        """Make one of two ends of a turn that stand together there.

        The same settles both; and who asks again and again while nothing is said takes no room.
        """
        if not 0 < at < len(self._open):
            return
        earlier, later = self._open[at - 1], self._open[at]
        if earlier.text is None and later.text is None:
            earlier.seq = min(filter(None, (earlier.seq, later.seq)), default=0)
            del self._open[at]

    @property
    def full(self) -> bool:
        """Whether no more texts are kept."""
        return len(self.texts()) >= MAX_OPEN_TEXTS

    def texts(self) -> list[str]:
        """Return the texts that are no turns yet, oldest first."""
        return [each.text for each in self._open if each.text is not None]

    @property
    def first_text_ms(self) -> float | None:
        """Where in the audio the oldest text was typed that is no turn yet; None without one."""
        return next((each.place_ms for each in self._open if each.text is not None), None)

    @property
    def ends_a_turn(self) -> bool:
        """Whether a turn was ended that the engine has not made."""
        return any(each.text is None for each in self._open)

    def spoken_turn(self) -> None:
        """What was said is a turn: nobody has to be told to end it."""
        self._open = deque(each for each in self._open if each.text is not None)

    def typed_turn(self, text: str) -> None:
        """This text is a turn; those before it were left for it."""
        texts = self.texts()
        done = texts.index(text) + 1 if text in texts else 1
        while texts and done:
            done -= self._open.popleft().text is not None

    @property
    def settled_seq(self) -> int:
        """Everything up to this number is in a turn, or needs to be in none."""
        numbered = [each.seq for each in self._open if each.seq]
        return min(min([self._came + 1, *numbered]) - 1, MOST_SETTLED_SEQ)
