"""What the engine says, and what becomes of a session whose engine is lost and replaced.

Part of the session machine; pure.
"""

from __future__ import annotations

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import turn_pb2
from services.common.errors import ParleyError
from services.conversation import ending, messages, over_reply, playing, problems, replying
from services.conversation.floor import State, Trigger
from services.conversation.interruption import Meaning
from services.conversation.session_state import SessionState
from services.conversation.turn import OpenTurn

_INTERRUPTED = turn_pb2.REPLY_END_REASON_INTERRUPTED
_NONE = turn_pb2.UTTERANCE_SOURCE_NONE
_SPEECH = turn_pb2.UTTERANCE_SOURCE_SPEECH
_MAX_TYPED_CHARACTERS = 2_000


def on_engine(session: SessionState, response: ai_pb2.ConverseResponse, now: float) -> None:
    """Take a message of the engine's."""
    kind = response.WhichOneof("message")
    if kind in ("reply_text", "reply_audio", "reply_ended"):
        _on_reply(session, kind, response, now)
    elif kind == "transcript":
        over_reply.on_transcript(session, response.transcript, now)
    elif kind == "speech_started":
        over_reply.on_speech_started(session, response.speech_started.at_ms, now)
    elif kind == "speech_ended":
        over_reply.on_speech_ended(session, response.speech_ended.at_ms, now)
    elif kind == "turn_committed":
        _on_committed(session, response.generation, response.turn_committed, now)
    elif kind == "transcript_revised":
        _on_revised(session, response.generation, response.transcript_revised, now)
    elif kind == "utterance_dropped":
        over_reply.on_dropped(session, now)
    elif kind == "long_silence":
        _on_long_silence(session, response.long_silence.silence_ms / 1000, now)
    elif kind == "notice":
        notice = conversation_pb2.Notice(status=response.notice.status)
        session.send(messages.Response(notice=notice))


def _on_reply(
    session: SessionState, kind: str, response: ai_pb2.ConverseResponse, now: float
) -> None:
    if response.generation <= session.silenced:
        return
    if session.turn is None or response.generation > session.turn.generation:
        # The tutor speaks without having been asked, and the engine saw no need to say so.
        unasked = ai_pb2.TurnCommitted(source=_NONE)
        _on_committed(session, response.generation, unasked, now)
    turn = session.turn
    if turn is None or response.generation != turn.generation:
        return
    if kind == "reply_text":
        turn.add_text(response.reply_text)
    elif kind == "reply_ended":
        turn.finish(response.reply_ended)
    elif not turn.add_audio(response.reply_audio, now):
        session.tell_once(problems.reply_too_long())
    playing.play(session, now)


def _on_committed(
    session: SessionState, generation: int, message: ai_pb2.TurnCommitted, now: float
) -> None:
    if generation <= session.generation:
        return
    if _is_asked(session, message):
        session.asked = None
        if session.turn is not None and session.retrying:
            _adopt(session, session.turn, generation, now)
        else:
            _decline(session, generation, now)
        return
    if session.turn is not None:
        # A newer turn takes the place of the reply under way.
        replying.end_reply(session, _INTERRUPTED, now, tell_engine=True)
    session.wanted = None
    _note_turn_of(session, message)
    if message.source != _NONE:
        _show_final(session, message)
    session.turn = replying.opened_turn(session, generation, message, now)
    if session.gone_at is not None:
        session.turn.playback.hold("disconnected", now)
    session.move(Trigger.COMMITTED)
    session.typed_at = None
    session.words_shown = False
    session.hinted = session.hinted and message.source == _NONE
    session.typical_pause_ms = message.typical_pause_ms or session.typical_pause_ms
    replying.start_reply(session, session.turn)
    over_reply.on_committed(session, message, now)


def _note_turn_of(session: SessionState, message: ai_pb2.TurnCommitted) -> None:
    if message.source == _SPEECH:
        session.acts.spoken_turn()
    elif message.source != _NONE:
        session.acts.typed_turn(message.transcript.verbatim)


def _on_revised(
    session: SessionState, generation: int, message: ai_pb2.TranscriptRevised, now: float
) -> None:
    """What the learner said was heard again: these words are kept, if the turn is not over.

    One that is over was stored with the first words, and its corrections are about those.
    """
    turn = session.turn
    if turn is None or turn.generation != generation or not turn.revise(message.transcript):
        return
    update = ai_pb2.EngineTranscript(
        transcript=turn.utterance, start_ms=turn.start_ms, end_ms=turn.end_ms
    )
    session.send(messages.transcript(turn.number, update, final=True))
    replying.keep(session, turn, now)


def _is_asked(session: SessionState, message: ai_pb2.TurnCommitted) -> bool:
    """Whether this is the turn that a new engine was asked to answer in a lost one's place."""
    if session.asked is None:
        return False
    return message.source == _NONE or session.asked == (
        message.source,
        message.transcript.verbatim,
    )


def _decline(session: SessionState, generation: int, now: float) -> None:
    """The turn that was asked for again ended meanwhile: it is not begun a second time."""
    turn = session.turn
    if turn is not None and not turn.began:
        # A newer turn, whose answer the engine has left for the one that nobody wants.
        session.silenced = generation
        session.retrying = True
        _ask_again(session, turn)
        return
    replying.end_reply(session, _INTERRUPTED, now)
    session.silenced = generation
    session.engine(interrupt=ai_pb2.InterruptReply(generation=generation))
    session.engine(floor={"floor": ai_pb2.FLOOR_LEARNER})


def _show_final(session: SessionState, message: ai_pb2.TurnCommitted) -> None:
    shown, session.final_shown = session.final_shown, ""
    if not shown or shown != message.transcript.verbatim:
        session.send(messages.transcript(session.next_number, message, final=True))


def _on_long_silence(session: SessionState, silence_s: float, now: float) -> None:
    busy = session.turn is not None or session.listening.speaking or session.gone_at is not None
    if busy or session.hinted or session.preferences.no_hints:
        return
    if session.microphone.waited_s(now) < silence_s:
        session.engine(floor={"floor": ai_pb2.FLOOR_LEARNER})
        return
    # Once, until the learner speaks again: a tutor that goes on alone is no help.
    session.hinted = True
    session.want(ai_pb2.REPLY_PURPOSE_HINT)


def on_engine_lost(session: SessionState, error: ParleyError, now: float) -> None:
    """The engine is gone: a reply that it had begun ends, any other is asked for again."""
    session.engine_up = False
    session.asked = session.untold = None
    turn = session.turn
    if session.state is State.PAUSED:
        # Nobody will tell any more what the learner says.
        over_reply.act_on(session, Meaning.BACKCHANNEL, now)
    session.to_be_heard_again = session.listening.under_way
    session.listening.forget()
    session.tell(error)
    if session.closing_at is not None and not session.owes_an_answer:
        ending.end(session, None, now)
    elif turn is not None and not turn.done:
        if turn.began or turn.retried:
            replying.end_reply(session, turn_pb2.REPLY_END_REASON_FAILED, now)
        else:
            session.retrying = turn.retried = True


def on_engine_back(session: SessionState, now: float) -> None:
    """A new engine has taken its place: tell it what it cannot know, ask for what is missing."""
    session.engine_up = True
    session.to_be_heard_again = False
    if session.changes.ByteSize():
        session.engine(settings=session.changes)
    if session.untold is not None:
        session.engine(interrupt=session.untold)
        session.untold = None
    turn = session.turn
    if turn is not None and session.retrying:
        turn.opened_at = max(turn.opened_at, now)
        _ask_again(session, turn)
    elif turn is not None:
        session.engine(floor={"floor": ai_pb2.FLOOR_TUTOR})
    elif session.wanted is not None:
        session.engine(request_reply={"purpose": session.wanted})
    for text in session.acts.texts():
        session.engine(text={"text": text})


def on_engine_caught_up(session: SessionState) -> None:
    """The new engine has heard everything: what the button ended is complete, or all of it."""
    if session.closing_at is not None:
        session.engine(end_turn={})
        session.engine(end_input={})
    elif session.acts.ends_a_turn and session.said_it_all:
        session.engine(end_turn={})


def _ask_again(session: SessionState, turn: OpenTurn) -> None:
    """Ask the new engine for the reply that the lost one had not begun."""
    if turn.source == _NONE:
        opening = turn.kind == conversation_pb2.REPLY_KIND_OPENING
        purpose = ai_pb2.REPLY_PURPOSE_OPENING if opening else ai_pb2.REPLY_PURPOSE_HINT
        session.asked = (_NONE, "")
        session.engine(request_reply={"purpose": purpose})
    else:
        text = turn.learner_text[:_MAX_TYPED_CHARACTERS]
        session.asked = (turn_pb2.UTTERANCE_SOURCE_TEXT, text)
        session.engine(text={"text": text})


def _adopt(session: SessionState, turn: OpenTurn, generation: int, now: float) -> None:
    """The new engine has taken up the turn that the lost one had not begun to answer."""
    session.retrying = False
    session.silenced = turn.generation
    turn.generation = generation
    turn.opened_at = max(turn.opened_at, now)
    replying.start_reply(session, turn)
