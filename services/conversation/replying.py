"""The reply under way: begun, kept, and over for everybody. Part of the session machine; pure.

A reply ends in one place, whatever ended it: the learner is told, what was heard is remembered, and
the turn is given to storage.
"""

from __future__ import annotations

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import turn_pb2
from services.common.ids import new_id
from services.conversation import events, messages
from services.conversation.floor import Trigger
from services.conversation.playback import Playback
from services.conversation.session_state import MAX_TUTOR_CHARACTERS, SessionState, context_turn
from services.conversation.turn import OpenTurn

_SPEECH = turn_pb2.UTTERANCE_SOURCE_SPEECH
_NONE = turn_pb2.UTTERANCE_SOURCE_NONE


def opened_turn(
    session: SessionState, generation: int, message: ai_pb2.TurnCommitted, now: float
) -> OpenTurn:
    """Return the turn that the engine committed."""
    speech_ended_at = None
    kind = conversation_pb2.REPLY_KIND_ANSWER
    if message.source == _SPEECH:
        speech_ended_at = session.time_line.arrival(message.end_ms, now)
    elif message.source != _NONE:
        speech_ended_at = session.typed_at
    elif session.config.tutor_opens and session.next_number == 1:
        kind = conversation_pb2.REPLY_KIND_OPENING
    else:
        kind = conversation_pb2.REPLY_KIND_HINT
    return OpenTurn(
        turn_id=new_id(),
        number=session.next_number,
        generation=generation,
        kind=kind,
        source=message.source,
        utterance=message.transcript,
        start_ms=message.start_ms,
        end_ms=max(message.start_ms, message.end_ms),
        opened_at=now,
        speech_ended_at=speech_ended_at,
        captions_only=session.captions_only,
        rate_hz=session.config.output_rate_hz,
        typical_pause_ms=message.typical_pause_ms,
        awaits_words=message.will_be_revised,
        playback=Playback(reports=session.reports),
    )


def start_reply(session: SessionState, turn: OpenTurn) -> None:
    """Tell the client and the engine that the tutor has the floor."""
    rate_hz = None if turn.captions_only else turn.rate_hz
    session.send(messages.reply_started(turn.number, turn.generation, turn.kind, rate_hz))
    session.engine(floor={"floor": ai_pb2.FLOOR_TUTOR})


def end_reply(
    session: SessionState,
    reason: turn_pb2.ReplyEndReason.ValueType,
    now: float,
    *,
    tell_engine: bool = False,
) -> None:
    """The reply is over for everybody: told, remembered, and given to storage."""
    turn = session.turn
    if turn is None:
        return
    session.turn = None
    session.reported_at = None
    session.silenced = turn.generation
    session.next_number = turn.number + 1
    retrying, session.retrying = session.retrying, False
    session.move(Trigger.REPLY_OVER)
    if reason == turn_pb2.REPLY_END_REASON_COMPLETED:
        heard_ms, heard = turn.audio_ms, turn.text
    else:
        heard_ms = turn.playback.position_ms(now)
        heard = turn.heard(heard_ms)
        session.effects.append(events.Silence(turn.generation))
    session.effects.extend(turn.record_played(heard_ms, last=True))
    session.send(
        messages.reply_ended(turn.number, turn.generation, reason, heard, heard_ms, turn.stages)
    )
    if tell_engine and not retrying:
        interrupt = ai_pb2.InterruptReply(
            generation=turn.generation,
            heard_text=heard[:MAX_TUTOR_CHARACTERS],
            heard_ms=heard_ms,
        )
        session.engine(interrupt=interrupt)
        session.untold = None if session.engine_up else interrupt
    session.context.append(context_turn(turn.learner_text, heard))
    finished = _as_stored(session, turn, reason, heard_ms, heard, now)
    session.totals.add(finished)
    settled_ms = session.time_line.settle(turn.end_ms, session.listening)
    session.effects.append(
        events.SaveTurn(finished, settled_ms, turn.typical_pause_ms, session.acts.settled_seq)
    )


def keep(session: SessionState, turn: OpenTurn, now: float) -> None:
    """Let the turn be kept as it would be if this process died now."""
    reason = turn.outcome if turn.done else turn_pb2.REPLY_END_REASON_FAILED
    kept = _as_stored(session, turn, reason, 0, "", now)
    settled_ms = session.time_line.settle(turn.end_ms, session.listening)
    session.effects.append(
        events.KeepTurn(
            kept, settled_ms, turn.typical_pause_ms, session.acts.settled_seq, turn.awaits_words
        )
    )


def _as_stored(
    session: SessionState,
    turn: OpenTurn,
    reason: turn_pb2.ReplyEndReason.ValueType,
    heard_ms: int,
    heard: str,
    now: float,
) -> turn_pb2.Turn:
    engine, started_at = session.config.engine, session.time_of_day(turn.opened_at)
    return turn.to_turn(reason, heard_ms, heard, now, engine=engine, started_at=started_at)
