"""A reply on its way to the ears: sent as its playback goes on, until all of it was heard.

Part of the session machine; pure.
"""

from __future__ import annotations

from parley.ai.v1 import ai_pb2
from parley.types.v1 import turn_pb2
from services.conversation import ending, messages, replying
from services.conversation.floor import State
from services.conversation.session_state import SessionState
from services.conversation.turn import OpenTurn

_INTERRUPTED = turn_pb2.REPLY_END_REASON_INTERRUPTED


def play(session: SessionState, now: float) -> None:
    """Send what may be sent, and notice when everything was played."""
    turn = session.turn
    if turn is None or session.state is not State.REPLYING or session.gone_at is not None:
        return
    session.effects.extend(turn.send_due(now, session.origin))
    if turn.over(now):
        _on_played(session, turn, now)
    elif turn.should_be_kept(now):
        replying.keep(session, turn, now)


def _on_played(session: SessionState, turn: OpenTurn, now: float) -> None:
    if turn.playback.stalled(turn.audio_ms):
        # The loudspeaker stopped, though nobody asked it to: the rest was not heard.
        cut_off(session, turn, now)
        return
    if turn.outcome == turn_pb2.REPLY_END_REASON_COMPLETED:
        replying.end_reply(session, turn.outcome, now)
        session.engine(reply_heard={"generation": turn.generation})
    else:
        # Words may have been shown that were never voiced: the engine shall not remember them.
        replying.end_reply(session, turn.outcome, now, tell_engine=True)
    _go_on(session, now)


def cut_off(session: SessionState, turn: OpenTurn, now: float) -> None:
    """Nobody hears the rest, and nobody said so: the reply ends where it is known to be heard."""
    turn.playback.give_up(now)
    replying.end_reply(session, _INTERRUPTED, now, tell_engine=True)
    _go_on(session, now)


def _go_on(session: SessionState, now: float) -> None:
    """The reply is over by itself: the floor is the learner's, and what waited for it is due."""
    # What began over the last words is a turn; what was not allowed to interrupt is one if it
    # goes on now.
    give_floor(session, take=session.listening.counts or session.listening.speaking)
    ending.end_if_finished(session, now)
    ending.drain_if_due(session, now)


def give_floor(session: SessionState, *, take: bool) -> None:
    """The learner has the floor. `take`: what is being said is the next turn."""
    if session.listening.unresolved and take:
        session.engine(resolve={"take": True})
    elif session.listening.unresolved:
        dismiss(session)
    session.listening.unresolved = False
    session.listening.decided()
    session.engine(floor={"floor": ai_pb2.FLOOR_LEARNER})


def dismiss(session: SessionState) -> None:
    """What is being said is no turn: the engine forgets it, and so does the client."""
    session.engine(resolve={"take": False})
    retract(session)


def retract(session: SessionState) -> None:
    """Take back the words that the client was shown of an utterance that becomes no turn."""
    if session.words_shown:
        session.words_shown, session.final_shown = False, ""
        at_ms = session.listening.began_ms
        nothing = ai_pb2.EngineTranscript(start_ms=at_ms, end_ms=at_ms)
        session.send(messages.transcript(session.spoken_turn, nothing, final=True))
