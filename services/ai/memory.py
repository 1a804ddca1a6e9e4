"""What the tutor remembers of a conversation: of its own replies, what the learner heard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.ai.learner import PastTurn

# When turns must go, this share of the budget is kept: dropping one turn each time would move the
# prompt's beginning at every turn, and with it empty the model's cache.
_KEEP_SHARE = 0.5

CountTurn = Callable[[PastTurn], int]


@dataclass(slots=True)
class _Remembered:
    learner: str
    tutor: str
    generation: int


class Memory:
    """The turns of one conversation, oldest first.

    Args:
        history: the turns before this engine session.
        last_generation: the generation of the last of them; its reply may still be being played,
            and `correct_reply` say what of it was heard. 0 where there is none.
    """

    def __init__(self, history: Sequence[PastTurn], last_generation: int = 0) -> None:
        self._turns = [_Remembered(turn.learner, turn.tutor, 0) for turn in history]
        if self._turns:
            self._turns[-1].generation = last_generation
        self._first = 0

    def begin_turn(self, learner: str, generation: int) -> None:
        """Remember what the learner said; the reply will have ``generation``."""
        self._turns.append(_Remembered(learner, "", generation))

    def add_reply(self, generation: int, text: str) -> None:
        """Remember more of the reply that is being said; ``text`` brings its own space.

        Kept to the letter: where the memory differs from what the model wrote, the model has to
        read it again.
        """
        turn = self._find(generation)
        if turn is not None:
            turn.tutor += text

    def correct_reply(self, generation: int, heard_text: str) -> None:
        """Keep of the reply only what was heard. An unknown generation is ignored."""
        turn = self._find(generation)
        if turn is not None:
            turn.tutor = heard_text.strip()

    @property
    def answered(self) -> str:
        """What the tutor had said when the learner spoke last; empty at the beginning."""
        return self._turns[-2].tutor if len(self._turns) > 1 else ""

    def window(self, budget: int, count: CountTurn) -> tuple[PastTurn, ...]:
        """Return the last turns that fit ``budget`` tokens.

        The window begins where it began the last time as long as it fits, so that the prompt's
        beginning stays the same from turn to turn.
        """
        turns = [PastTurn(turn.learner, turn.tutor) for turn in self._turns]
        if sum(map(count, turns[self._first :])) > budget:
            left = int(budget * _KEEP_SHARE)
            self._first = len(turns)
            while self._first > 0 and (left := left - count(turns[self._first - 1])) >= 0:
                self._first -= 1
        return tuple(turns[self._first :])

    def _find(self, generation: int) -> _Remembered | None:
        if generation == 0:
            return None
        return next((t for t in reversed(self._turns) if t.generation == generation), None)
