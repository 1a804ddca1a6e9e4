"""What history is told: values of the events, and what makes one impossible to store.

Every event writes columns and rows of its own, and where two write the same the later one by
(`occurred_at`, `event_id`) wins. So any order of the same events ends in the same history.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every event says of itself.

    kind: the name of the event in the contract's oneof, such as `turn`.
    """

    event_id: str
    conversation_id: str
    user_id: str
    occurred_at: datetime
    kind: str

    def same_event(self, other: Envelope) -> bool:
        """Tell whether `other`, which has the same id, can be the same event sent again.

        The content is not compared byte by byte: a sender that was updated in between may
        serialize the same event differently, and must not be refused for ever.
        """
        return (self.conversation_id, self.user_id, self.kind) == (
            other.conversation_id,
            other.user_id,
            other.kind,
        )


@dataclass(frozen=True, slots=True)
class Started:
    """A conversation began."""

    envelope: Envelope
    scenario_id: str
    scenario_title: str
    engine: str
    voice: str


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """A turn was finished.

    learner_text: what the learner said, clean where there is a clean form.
    tutor_text: the reply as far as it was heard.
    speech_ms: how long the learner spoke, in milliseconds; 0 for typed turns.
    silence_ms: the silence before the reply, in milliseconds; None without a reply.
    body: the serialized `parley.types.v1.Turn`, kept as it came.
    """

    envelope: Envelope
    turn_id: str
    number: int
    started_at: datetime
    learner_text: str = field(repr=False)
    tutor_text: str = field(repr=False)
    words: int
    speech_ms: int
    silence_ms: int | None
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class FoundMistake:
    """One correction of an assessed turn.

    kind: number of `CorrectionKind`.
    key: what makes two corrections the same mistake.
    body: the serialized `parley.types.v1.Correction`.
    """

    kind: int
    key: str = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Assessed:
    """A turn was assessed. `body`: the serialized `parley.types.v1.Feedback`."""

    envelope: Envelope
    turn_id: str
    mistakes: tuple[FoundMistake, ...]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RecordingStored:
    """The recording of the conversation is complete."""

    envelope: Envelope
    recording_id: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The conversation ended."""

    envelope: Envelope


Event = Started | TurnFinished | Assessed | RecordingStored | Ended


@dataclass(frozen=True, slots=True)
class Ownership:
    """Whose conversation it is, and whether it was deleted."""

    user_id: str
    deleted: bool


@dataclass(frozen=True, slots=True)
class TurnPlace:
    """Where a stored turn stands."""

    turn_id: str
    conversation_id: str
    number: int


def misplaced(event: TurnFinished, stored: list[TurnPlace]) -> str | None:
    """Say what is wrong with the place of a turn among `stored` ones; None when nothing is.

    `stored` holds the turn of the same id and the turn of the same number, as far as they exist.
    """
    for place in stored:
        same_id = place.turn_id == event.turn_id
        same_place = (place.conversation_id, place.number) == (
            event.envelope.conversation_id,
            event.number,
        )
        if same_id and not same_place:
            return "this turn id has another place already"
        if same_place and not same_id:
            return "another turn has this number already"
    return None
