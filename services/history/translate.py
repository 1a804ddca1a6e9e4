"""Between the contract's messages and the domain's values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import cast

from google.protobuf.timestamp_pb2 import Timestamp

from parley.history.v1 import history_pb2 as pb
from parley.types.v1.feedback_pb2 import Correction, CorrectionKind, Feedback
from parley.types.v1.turn_pb2 import Turn, UtteranceSource
from services.common.errors import FieldViolation, InvalidArgument
from services.common.timestamps import from_timestamp, to_timestamp
from services.history.conversations import Conversation, FoundText, RepeatedMistake, TurnBody
from services.history.events import (
    Assessed,
    Ended,
    Envelope,
    Event,
    FoundMistake,
    RecordingStored,
    Started,
    TurnFinished,
)
from services.history.progress import DayOfProgress
from services.history.reports import Progress
from services.history.search import Query, snippet, tokens

_MAX_SPEECH_MS = 24 * 3600 * 1000
"""No utterance lasts a day. It keeps a sender's wrong subtraction out of everybody's totals."""


def to_events(messages: Iterable[pb.ConversationEvent]) -> list[Event]:
    """Read events.

    Raises:
        InvalidArgument: EVENT_INVALID, naming every field that cannot be stored.
    """
    events: list[Event] = []
    violations: list[FieldViolation] = []
    for index, message in enumerate(messages):
        try:
            events.append(_event(message))
        except _UnfitError as error:
            violations.append(FieldViolation(f"events[{index}].{error.field}", error.why))
    if violations:
        raise InvalidArgument(
            "Some events cannot be stored; none was.", reason="EVENT_INVALID", fields=violations
        )
    return events


def from_conversation(value: Conversation) -> pb.ConversationSummary:
    """Write a conversation's summary."""
    summary = pb.ConversationSummary(
        conversation_id=value.conversation_id,
        scenario_id=value.scenario_id,
        scenario_title=value.scenario_title,
        started_at=to_timestamp(value.started_at),
        turns=value.totals.turns,
        learner_speech_ms=value.totals.learner_speech_ms,
        preview=value.totals.preview,
        recording_id=value.recording_id,
        corrections=value.corrections,
        median_silence_ms=value.totals.median_silence_ms,
        engine=value.engine,
    )
    if value.ended_at is not None:
        summary.ended_at.CopyFrom(to_timestamp(value.ended_at))
    return summary


def from_turn(value: TurnBody) -> pb.TurnRecord:
    """Write a turn as it came, with what was found in it."""
    record = pb.TurnRecord(turn=Turn.FromString(value.turn))
    if value.feedback is not None:
        record.feedback.CopyFrom(Feedback.FromString(value.feedback))
    return record


def from_match(value: FoundText, query: Query) -> pb.TurnMatch:
    """Write a match with the words around it."""
    shown = snippet(value.text, query)
    return pb.TurnMatch(
        conversation_id=value.conversation_id,
        turn_id=value.turn_id,
        number=value.number,
        started_at=to_timestamp(value.started_at),
        snippet=shown.text,
        spans=[pb.MatchSpan(start=start, end=end) for start, end in shown.spans],
        tutor=value.tutor,
    )


def from_mistake(value: RepeatedMistake) -> pb.Mistake:
    """Write a mistake."""
    return pb.Mistake(
        correction=Correction.FromString(value.correction),
        count=value.count,
        last_seen_at=to_timestamp(value.last_seen_at),
        turn_id=value.turn_id,
        conversation_id=value.conversation_id,
    )


def from_progress(value: Progress) -> pb.GetProgressResponse:
    """Write how practice goes."""
    return pb.GetProgressResponse(
        days=[_day(each) for each in value.days],
        current_streak_days=value.streaks.current,
        longest_streak_days=value.streaks.longest,
        total_speech_ms=value.speech_ms,
        total_conversations=value.conversations,
        time_zone=value.time_zone,
        from_date=value.first.isoformat(),
        to_date=value.last.isoformat(),
    )


def _day(value: DayOfProgress) -> pb.DailyProgress:
    # What an enum has no name for is a newer sender's kind, and passed on as it came.
    corrections = [
        pb.CorrectionCount(kind=cast("CorrectionKind.ValueType", kind), count=count)
        for kind, count in value.corrections
    ]
    return pb.DailyProgress(
        date=value.day.isoformat(),
        speech_ms=value.speech_ms,
        words=value.words,
        turns=value.turns,
        rate_wpm=value.rate_wpm,
        corrections=corrections,
        median_silence_ms=value.median_silence_ms,
    )


class _UnfitError(Exception):
    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.field = field
        self.why = why


def _event(message: pb.ConversationEvent) -> Event:
    kind = message.WhichOneof("event")
    envelope = Envelope(
        event_id=message.event_id.lower(),
        conversation_id=message.conversation_id.lower(),
        user_id=message.user_id.lower(),
        occurred_at=_time(message.occurred_at, "occurred_at"),
        kind=kind or "",
    )
    match kind:
        case "started":
            started = message.started
            return Started(
                envelope,
                scenario_id=_clean(started.scenario_id),
                scenario_title=_clean(started.scenario_title),
                engine=_clean(started.engine),
                voice=_clean(started.voice),
            )
        case "turn":
            return _turn(envelope, message.turn)
        case "assessed":
            return _assessed(envelope, message.assessed)
        case "recording":
            return RecordingStored(envelope, message.recording.recording_id.lower())
        case "ended":
            return Ended(envelope)
        case _:
            raise _UnfitError("event", "a kind of event that this version does not know")


def _turn(envelope: Envelope, turn: Turn) -> TurnFinished:
    speech_ms = turn.utterance_end_ms - turn.utterance_start_ms
    if not 0 <= speech_ms <= _MAX_SPEECH_MS:
        raise _UnfitError("turn.utterance_end_ms", "not a possible end of this utterance")
    started_at = envelope.occurred_at
    if turn.HasField("started_at"):
        started_at = _time(turn.started_at, "turn.started_at")
    spoken = turn.source == UtteranceSource.UTTERANCE_SOURCE_SPEECH
    said = _clean(turn.utterance.clean.strip() or turn.utterance.verbatim.strip())
    return TurnFinished(
        envelope,
        turn_id=turn.turn_id.lower(),
        number=turn.number,
        started_at=started_at,
        learner_text=said,
        tutor_text=_clean(turn.heard_text),
        words=sum(1 for _ in tokens(turn.utterance.verbatim)),
        speech_ms=speech_ms if spoken else 0,
        silence_ms=_silence_ms(turn),
        body=turn.SerializeToString(),
    )


def _silence_ms(turn: Turn) -> int | None:
    """The stages of a turn add up to the silence before its reply."""
    if not turn.stages:
        return None
    # A day bounds what a broken clock at the sender can do to the median.
    return round(min(sum(stage.duration_ms for stage in turn.stages), _MAX_SPEECH_MS))


def _assessed(envelope: Envelope, message: pb.TurnAssessed) -> Assessed:
    return Assessed(
        envelope,
        turn_id=message.turn_id.lower(),
        mistakes=tuple(
            FoundMistake(each.kind, _mistake_key(each), each.SerializeToString())
            for each in message.feedback.corrections
        ),
        body=message.feedback.SerializeToString(),
    )


def _mistake_key(correction: Correction) -> str:
    """Name what makes two corrections the same mistake: the same words put right the same way."""
    sides: Sequence[list[str]] = [
        [token.word for token in tokens(text)]
        for text in (correction.original, correction.replacement)
    ]
    return hashlib.sha256(json.dumps(sides).encode()).hexdigest()


def _time(stamp: Timestamp, field: str) -> datetime:
    try:
        return from_timestamp(stamp)
    except (ValueError, OverflowError):
        raise _UnfitError(field, "not a time between the years 1 and 9999") from None


def _clean(text: str) -> str:
    # NUL ends a string early in some databases and cannot be stored in others.
    return text.replace("\x00", "")
