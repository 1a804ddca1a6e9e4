"""What a learner said, and what a client was told of each turn: to be held against what is kept."""

from __future__ import annotations

from dataclasses import dataclass

from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import turn_pb2


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that was said, unlike every other: typed words with their number, or a stretch of
    the microphone's track, in milliseconds since the session's first sample.
    """

    serial: int
    text: str = ""
    start_ms: int = 0
    end_ms: int = 0

    def shared_ms(self, start_ms: int, end_ms: int) -> int:
        """Return how much of what was spoken lies there; 0 and less: nothing."""
        return min(self.end_ms, end_ms) - max(self.start_ms, start_ms)


@dataclass(slots=True)
class Told:
    """What a client was told of one turn, the newest word of each kind.

    Attributes:
        turn_id: empty until the turn was acknowledged as saved.
        words: what the learner said, as it was understood.
        kind: why the tutor speaks.
        reply: the tutor's words as they came with the audio of `generation`.
        ended: how the reply ended and what was heard of it; None until that was told.
    """

    number: int
    turn_id: str = ""
    words: str = ""
    start_ms: int = 0
    end_ms: int = 0
    generation: int = 0
    kind: conversation_pb2.ReplyKind.ValueType = conversation_pb2.REPLY_KIND_UNSPECIFIED
    reply: str = ""
    ended: conversation_pb2.ReplyEnded | None = None

    @property
    def unasked(self) -> bool:
        """Whether the tutor speaks of its own accord, and so to nothing that was said."""
        return self.kind in (
            conversation_pb2.REPLY_KIND_OPENING,
            conversation_pb2.REPLY_KIND_HINT,
        )


class Ledger:
    """Everything that one client was told, turn by turn."""

    def __init__(self) -> None:
        self.turns: dict[int, Told] = {}

    def note(self, response: conversation_pb2.ConverseResponse) -> None:
        """Write down what a response says of a turn."""
        kind = response.WhichOneof("message")
        if kind == "turn_saved":
            self._turn(response.turn_saved.number).turn_id = response.turn_saved.turn_id
        elif kind == "transcript" and response.transcript.final:
            turn, told = self._turn(response.turn), response.transcript
            turn.words = told.transcript.verbatim
            turn.start_ms, turn.end_ms = told.start_ms, told.end_ms
        elif kind == "reply_started":
            turn = self._turn(response.turn)
            # A process that died may have begun an answer that nobody heard: it begins anew.
            turn.generation, turn.reply, turn.ended = response.generation, "", None
            turn.kind = response.reply_started.kind
        elif kind == "reply_text":
            turn = self._turn(response.turn)
            if turn.generation == response.generation:
                turn.reply += response.reply_text.text
        elif kind == "reply_ended":
            turn = self._turn(response.turn)
            if turn.generation == response.generation:
                turn.ended = response.reply_ended

    def _turn(self, number: int) -> Told:
        return self.turns.setdefault(number, Told(number))


COMPLETED = turn_pb2.REPLY_END_REASON_COMPLETED
BROKEN_OFF = frozenset(
    {
        turn_pb2.REPLY_END_REASON_INTERRUPTED,
        turn_pb2.REPLY_END_REASON_FAILED,
        turn_pb2.REPLY_END_REASON_SESSION_ENDED,
    }
)
"""Declared reasons for a reply that was not heard to its end."""
