"""What the session machine takes and gives.

The messages of the contract are values here: they are what a session is about, and translating
each into a twin would cost a copy of every audio frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import turn_pb2
from services.common.errors import ParleyError

# --- events -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opened:
    """The session begins; its first message has been sent."""


@dataclass(frozen=True, slots=True)
class FromClient:
    """A message of the client's, any but `audio`."""

    request: conversation_pb2.ConverseRequest


@dataclass(frozen=True, slots=True)
class FromEngine:
    """A message of the engine's."""

    response: ai_pb2.ConverseResponse


@dataclass(frozen=True, slots=True)
class ClientGone:
    """The connection broke; the client may come back."""


@dataclass(frozen=True, slots=True)
class ClientBack:
    """The client is connected again, and has been sent what it missed.

    start_seq: the number of the message that it came back with; 0 where it counts none.
    heard: how much of the newest reply it has played; None where it does not say.
    """

    start_seq: int = 0
    heard: conversation_pb2.Heard | None = None


@dataclass(frozen=True, slots=True)
class ClientDone:
    """The client closed its side in good order: nothing more will come of it."""


@dataclass(frozen=True, slots=True)
class EngineLost:
    """The engine's stream broke. `error` is what the client is told."""

    error: ParleyError


@dataclass(frozen=True, slots=True)
class EngineBack:
    """A new engine session took the place of the lost one; it knows `Session.context()`.

    It has heard again what came before the first text that waits for it (`waiting_text_ms`).
    """


@dataclass(frozen=True, slots=True)
class EngineCaughtUp:
    """And now everything else that the learner said."""


@dataclass(frozen=True, slots=True)
class EngineGivenUp:
    """No engine could be had in time."""

    error: ParleyError


@dataclass(frozen=True, slots=True)
class EngineDone:
    """The engine has said everything after the end of its input."""


@dataclass(frozen=True, slots=True)
class TurnStored:
    """A turn is in the database."""

    turn_id: str
    number: int


@dataclass(frozen=True, slots=True)
class Failing:
    """Something beside the talk does not work: the learner is told once, and the talk goes on."""

    error: ParleyError


@dataclass(frozen=True, slots=True)
class Refused:
    """A message of the client's was wrong. The session goes on unless it is `fatal`."""

    error: ParleyError
    cause_seq: int = 0
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Draining:
    """The process will stop; the session has `time_left` seconds."""

    time_left: float


@dataclass(frozen=True, slots=True)
class Tick:
    """The time that `Session.deadline` named has come. Harmless at any other time."""


Event = (
    Opened
    | FromClient
    | FromEngine
    | ClientGone
    | ClientBack
    | ClientDone
    | EngineLost
    | EngineBack
    | EngineCaughtUp
    | EngineGivenUp
    | EngineDone
    | TurnStored
    | Failing
    | Refused
    | Draining
    | Tick
)

# --- effects ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Send to the client. `seq` is given when it is written."""

    response: conversation_pb2.ConverseResponse


@dataclass(frozen=True, slots=True)
class Tell:
    """Send a notice of `error` to the client.

    cause_seq: the client's message that caused it; 0 where none did.
    fatal: the session ends with it.
    """

    error: ParleyError
    cause_seq: int = 0
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Silence:
    """Text and audio of `generation` and older that still wait to be written are not written."""

    generation: int


@dataclass(frozen=True, slots=True)
class ToEngine:
    """Send to the engine. Without an engine it is dropped: the machine repeats what matters."""

    request: ai_pb2.ConverseRequest


@dataclass(frozen=True, slots=True)
class HearSilence:
    """Give the engine `ms` of silence: the learner's microphone sends nothing, and time goes on."""

    ms: int


@dataclass(frozen=True, slots=True)
class RestartEngine:
    """The engine stopped answering: drop its stream and open another."""


@dataclass(frozen=True, slots=True)
class SaveTurn:
    """Store a finished turn; `TurnStored` follows some time later.

    accounted_ms: the learner's audio up to here, on the session's time line, needs no hearing
        again: it is in this turn or an earlier one, or was found to be none.
    typical_pause_ms: the engine's estimate of this learner's pauses; 0 where it has none.
    accounted_seq: the learner's messages up to this number need no answer any more, in the same
        way; see `acts`.
    """

    turn: turn_pb2.Turn
    accounted_ms: int = 0
    typical_pause_ms: int = 0
    accounted_seq: int = 0


@dataclass(frozen=True, slots=True)
class KeepTurn:
    """Keep the turn under way, in the place of what was kept of it before: see `broken_off`.

    turn: as it is if its reply is heard to the end of what there is. The rest as in `SaveTurn`.
    awaits_words: the engine still hears the utterance again: its words may change once more.
    """

    turn: turn_pb2.Turn
    accounted_ms: int = 0
    typical_pause_ms: int = 0
    accounted_seq: int = 0
    awaits_words: bool = False


@dataclass(frozen=True, slots=True)
class BargedIn:
    """The learner has stopped a reply, by voice or by hand. For the metrics: nothing is to do."""


@dataclass(frozen=True, slots=True)
class RecordTutor:
    """The tutor was heard: `pcm` in the output format, at `at_ms` on the session's time line."""

    pcm: bytes = field(repr=False)
    at_ms: float


@dataclass(frozen=True, slots=True)
class End:
    """The session is over for good.

    error: what the stream ends with; None for a session that ended in good order.
    """

    error: ParleyError | None


@dataclass(frozen=True, slots=True)
class Suspend:
    """This process lets the session go; it can be resumed elsewhere from what is stored."""

    error: ParleyError


Effect = (
    Send
    | Tell
    | Silence
    | ToEngine
    | HearSilence
    | RestartEngine
    | SaveTurn
    | KeepTurn
    | BargedIn
    | RecordTutor
    | End
    | Suspend
)
