"""What the client says, and its going away and coming back. Part of the session machine; pure."""

from __future__ import annotations

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from services.common.limits import DEFAULT_LIMITS
from services.conversation import ending, messages, over_reply, playing, presence, problems
from services.conversation.session_config import preferences_with
from services.conversation.session_state import SessionState

_ACTS = frozenset({"text", "interrupt", "end_turn", "finish"})
# How long the client's side may be closed before the session ends without the engine's last word.
_CLOSING_S = DEFAULT_LIMITS.closing_seconds


def on_client(session: SessionState, request: conversation_pb2.ConverseRequest, now: float) -> None:
    """Take a message of the client's, any but `audio`."""
    kind = request.WhichOneof("message")
    if kind in _ACTS and session.acts.is_repeated(request.seq):
        return
    if kind == "heard":
        _on_heard(session, request.heard, now)
    elif kind == "text":
        _on_text(session, request.text.text, request.seq, now)
    elif kind == "interrupt":
        _on_interrupt(session, request.interrupt, now)
    elif kind == "end_turn":
        _on_end_turn(session, request.seq, now)
    elif kind == "settings":
        _on_settings(session, request.settings, now)
    elif kind == "ping":
        pong = conversation_pb2.Pong(nonce=request.ping.nonce)
        pong.server_time.FromDatetime(session.time_of_day(now))
        session.send(messages.Response(pong=pong))
    elif kind == "finish":
        ending.end(session, None, now)
    elif kind == "start":
        session.tell(problems.already_started(), cause_seq=request.seq)


def _on_heard(session: SessionState, heard: conversation_pb2.Heard, now: float) -> None:
    turn = session.turn
    if turn is None or heard.generation != turn.generation:
        return
    if heard.HasField("play_delay_ms"):
        turn.note_playing(heard.play_delay_ms, heard.audio_ms, now)
    turn.playback.report(heard.audio_ms, now)
    presence.note_report(session, now)
    playing.play(session, now)


def _on_text(session: SessionState, text: str, seq: int, now: float) -> None:
    refused = not session.engine_up and session.acts.full
    if not refused:
        session.acts.typed(seq, text, session.time_line.end_ms)
    if session.turn is not None:
        over_reply.interrupt(session, now, take=False)
    session.typed_at = now
    if session.engine_up:
        session.engine(text={"text": text})
    elif refused:
        session.tell(problems.engine_unavailable(), cause_seq=seq)


def _on_interrupt(session: SessionState, interrupt: conversation_pb2.Interrupt, now: float) -> None:
    turn = session.turn
    if turn is None or interrupt.generation not in (0, turn.generation):
        return
    if interrupt.heard_ms:
        turn.playback.report(interrupt.heard_ms, now)
    # Who stops the tutor while speaking wants what is being said to count.
    over_reply.interrupt(session, now, take=True)


def _on_end_turn(session: SessionState, seq: int, now: float) -> None:
    session.acts.turn_ended(seq)
    session.turn_ended_at = now
    # Over a reply nothing is ended but speech, and that may not have been noticed yet.
    if session.turn is None or session.listening.unresolved:
        over_reply.end_turn(session, now)


def _on_settings(
    session: SessionState, settings: conversation_pb2.ChangeSettings, now: float
) -> None:
    change = ai_pb2.ChangeEngineSettings()
    if settings.HasField("turn_taking"):
        session.preferences = preferences_with(settings.turn_taking, session.preferences)
        change.turn_taking.CopyFrom(session.preferences)
    if settings.HasField("speech_rate"):
        change.speech_rate = settings.speech_rate
    if settings.HasField("voice"):
        change.voice = settings.voice
    if settings.HasField("captions_only"):
        session.captions_only = settings.captions_only
        change.captions_only = settings.captions_only
    if settings.HasField("muted"):
        session.muted = settings.muted
        if settings.muted:
            over_reply.on_muted(session, now)
    if change.ByteSize():
        session.changes.MergeFrom(change)
        session.engine(settings=change)


def on_client_gone(session: SessionState, now: float) -> None:
    """The connection broke: the reply stands still, for nobody hears it."""
    session.gone_at = now
    if session.turn is not None:
        session.turn.playback.hold("disconnected", now)


def on_client_back(session: SessionState, heard: conversation_pb2.Heard | None, now: float) -> None:
    """The client is connected again: the reply goes on from what was heard."""
    session.gone_at = None
    presence.is_back(session, reports=heard is not None)
    presence.came(session, now)
    if heard is not None:
        # What it had been sent went on playing.
        _on_heard(session, heard, now)
    if session.turn is not None:
        session.turn.playback.release("disconnected", now)
        playing.play(session, now)


def on_client_done(session: SessionState, now: float) -> None:
    """Nothing more will come: what was said is answered, then the session ends."""
    if not session.engine_up and not session.owes_an_answer:
        ending.end(session, None, now)
        return
    session.closing_at = now + _CLOSING_S
    session.engine(end_turn={})
    session.engine(end_input={})
