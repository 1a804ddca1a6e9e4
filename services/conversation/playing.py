"""A reply on its way to the ears: sent as its playback goes on, until all of it was heard.

Part of the session machine; pure.
"""

from __future__ import annotations

from parley.ai.v1 import ai_pb2
from parley.types.v1 import turn_pb2
from services.conversation import ending, replying
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
        turn.playback.give_up(now)
        replying.end_reply(session, _INTERRUPTED, now, tell_engine=True)
    elif turn.outcome == turn_pb2.REPLY_END_REASON_COMPLETED:
        replying.end_reply(session, turn.outcome, now)
        session.engine(reply_heard={"generation": turn.generation})
    else:
        # Words may have been shown that were never voiced: the engine shall not remember them.
        replying.end_reply(session, turn.outcome, now, tell_engine=True)
    # What began over the last words is a turn; what was not allowed to interrupt is one if it
    # goes on now.
    give_floor(session, take=session.listening.counts or session.listening.speaking)
    ending.end_if_finished(session, now)
    ending.drain_if_due(session, now)


def give_floor(session: SessionState, *, take: bool) -> None:
    """The learner has the floor. `take`: what is being said is the next turn."""
    if session.listening.unresolved:
        session.engine(resolve={"take": take})
    session.listening.unresolved = False
    session.listening.decided()
    session.engine(floor={"floor": ai_pb2.FLOOR_LEARNER})
