"""Speech over a reply: hold back, wait for words, then stop for good or go on.

Part of the session machine; pure.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import turn_pb2
from services.conversation import messages, playing, replying
from services.conversation.events import BargedIn
from services.conversation.floor import State, Trigger
from services.conversation.interruption import Meaning
from services.conversation.session_state import SessionState
from services.conversation.turn import OpenTurn

# Speech that begins in the last moments of a reply does not stop it: there is nothing to save, and
# stopping would make the tutor swallow its last word.
_ALMOST_OVER_MS = 300
# Whoever has understood a question answers it this long before its end. The tutor finishes it all
# the same, and takes the answer then.
_EARLY_ANSWER_MS = 1_000
# Up to here nobody has heard enough of a reply to follow it: who speaks then goes on with what the
# engine took for finished.
_NOT_HEARD_MS = 300
_INTERRUPTED = turn_pb2.REPLY_END_REASON_INTERRUPTED


def on_speech_started(session: SessionState, at_ms: int, now: float) -> None:
    """The learner speaks; over a reply that is perhaps an interruption: hold back."""
    turn = session.turn
    started = conversation_pb2.SpeechStarted(at_ms=at_ms)
    session.send(messages.Response(turn=session.spoken_turn, speech_started=started))
    almost_over = turn is not None and turn.all_sent and turn.left_ms(now) <= _ALMOST_OVER_MS
    session.listening.began(now, at_ms, over_reply=turn is not None, counts=almost_over)
    if turn is None:
        return
    if session.said_it_all:
        # Who let the button go was faster than the engine.
        end_turn(session, now)
    elif not almost_over:
        _hold_back(session, turn, now)


def end_turn(session: SessionState, now: float) -> None:
    """What was said is complete, and the learner's turn: nobody waits for more of it."""
    if session.turn is not None:
        interrupt(session, now, take=True)
    session.engine(end_turn={})


def on_committed(session: SessionState, message: ai_pb2.TurnCommitted, now: float) -> None:
    """A turn began: what was being said is that turn, or already speech over its reply.

    The engine gives the floor away when it decides, and says so once it knows the words. Speech
    that began between the two waits there for a decision, so it must get one here.
    """
    turn = session.turn
    # A tutor who speaks unasked, or to what was typed, takes up nothing of what is being said.
    end_ms = message.end_ms if message.source == turn_pb2.UTTERANCE_SOURCE_SPEECH else 0
    if turn is None or not session.listening.outlives(end_ms):
        session.listening.forget()
        return
    session.listening.is_over_reply()
    _hold_back(session, turn, now)
    if session.state is State.PAUSED:
        _decide(session, now, final=False)


def _hold_back(session: SessionState, turn: OpenTurn, now: float) -> None:
    if session.preferences.no_barge_in:
        return
    if session.state is State.REPLYING:
        session.move(Trigger.SPEECH_OVER_REPLY)
        turn.playback.hold("speech", now)
        paused = conversation_pb2.ReplyPaused(reason="speech")
        session.send_of(turn, reply_paused=paused)
    session.listening.wait_for_words(now)


def on_speech_ended(session: SessionState, at_ms: int, now: float) -> None:
    """The learner is silent, perhaps only for a pause."""
    ended = conversation_pb2.SpeechEnded(at_ms=at_ms)
    session.send(messages.Response(turn=session.spoken_turn, speech_ended=ended))
    session.listening.stopped(at_ms)
    if session.state is State.PAUSED:
        session.listening.wait_for_words(now)
        _decide(session, now, final=False)


def on_muted(session: SessionState, now: float) -> None:
    """No more of what is being said will come: over a reply it is judged as one that ended."""
    listening = session.listening
    if listening.unresolved and listening.speaking:
        listening.stopped(session.time_line.end_ms)
        if session.state is State.PAUSED:
            listening.wait_for_words(now)
            _decide(session, now, final=False)


def on_transcript(session: SessionState, message: ai_pb2.EngineTranscript, now: float) -> None:
    """Show what the learner says, and decide by it what speech over a reply means."""
    if session.turn is not None and not session.listening.unresolved:
        # Late words of an utterance that was dismissed, or is the turn under way.
        return
    session.send(messages.transcript(session.spoken_turn, message, final=message.final))
    session.final_shown = message.transcript.verbatim if message.final else ""
    session.words_shown = session.words_shown or bool(message.transcript.verbatim)
    if session.state is State.PAUSED or message.end_ms > session.listening.began_ms:
        # Not the last words of the utterance before.
        session.listening.hear(message.transcript.verbatim)
    if session.state is State.PAUSED:
        _decide(session, now, final=message.final or not session.listening.speaking)


def on_dropped(session: SessionState, now: float) -> None:
    """What was heard was nothing."""
    playing.retract(session)
    session.listening.forget()
    _resume(session, now)


def _decide(session: SessionState, now: float, *, final: bool) -> None:
    _act_by(session, now, partial(session.listening.meaning, final=final))


def decide_in_the_end(session: SessionState, now: float) -> None:
    """No more words will be waited for: decide by what there is."""
    session.listening.decided()
    _act_by(session, now, session.listening.meaning_in_the_end)


def _act_by(session: SessionState, now: float, judge: Callable[..., Meaning]) -> None:
    """Act on what the words mean that were said over the reply under way, if there is one."""
    turn = session.turn
    if turn is not None:
        unheard = turn.playback.position_ms(now) <= _NOT_HEARD_MS
        act_on(session, judge(now, said=turn.in_the_air(now), unheard=unheard), now)


def act_on(session: SessionState, meaning: Meaning, now: float) -> None:
    """Do what speech over the reply means."""
    if meaning is Meaning.INTERRUPTION:
        interrupt(session, now, take=True)
    elif meaning is Meaning.BACKCHANNEL:
        if _is_early_answer(session, now):
            session.listening.keep()
        else:
            if session.listening.unresolved:
                playing.dismiss(session)
            session.listening.forget()
        _resume(session, now)


def _is_early_answer(session: SessionState, now: float) -> bool:
    """Whether the tutor's question was answered before its last word: "yes" is more than "mhm"."""
    turn, listening = session.turn, session.listening
    if turn is None or not listening.unresolved or not turn.asks:
        return False
    near = turn.left_ms(now) <= _EARLY_ANSWER_MS
    return near and listening.answers(said=turn.in_the_air(now, _EARLY_ANSWER_MS))


def _resume(session: SessionState, now: float) -> None:
    """It is no interruption: the reply goes on from where it stopped."""
    turn = session.turn
    if turn is None or session.state is not State.PAUSED:
        return
    session.move(Trigger.DISMISSED)
    session.send_of(turn, reply_resumed=conversation_pb2.ReplyResumed())
    turn.playback.release("speech", now)
    playing.play(session, now)


def interrupt(session: SessionState, now: float, *, take: bool) -> None:
    """End the reply for the learner's sake. `take`: what is being said is the next turn."""
    if take and session.turn is not None:
        session.effects.append(BargedIn())
    replying.end_reply(session, _INTERRUPTED, now, tell_engine=True)
    playing.give_floor(session, take=take)
