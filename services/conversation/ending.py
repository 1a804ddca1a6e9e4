"""How a session ends: at once, when everything was answered, or by letting go between two turns.

Part of the session machine; pure.
"""

from __future__ import annotations

from collections.abc import Callable

from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import turn_pb2
from services.common.errors import ParleyError
from services.conversation import events, messages, problems, replying
from services.conversation.events import Effect
from services.conversation.floor import State, Trigger
from services.conversation.session_state import SessionState

_SESSION_ENDED = turn_pb2.REPLY_END_REASON_SESSION_ENDED
# Before the end of a drain: time to tell the client and store the last turn.
_DRAIN_RESERVE_S = 2.0


def stop(session: SessionState, error: ParleyError, now: float) -> None:
    """End the session with an error that its client is told."""
    session.tell(error, fatal=True)
    end(session, error, now)


def end(session: SessionState, error: ParleyError | None, now: float) -> None:
    """End the session for good; a reply under way ends first."""
    _finish(session, lambda: events.End(error), now)


def _finish(session: SessionState, last: Callable[[], Effect], now: float) -> None:
    replying.end_reply(session, _SESSION_ENDED, now)
    session.move(Trigger.END)
    session.effects.append(last())


def close(session: SessionState, now: float) -> None:
    """The client has closed its side, and has waited for long enough."""
    if session.engine_up or not session.owes_an_answer:
        end(session, None, now)
    else:
        stop(session, problems.engine_unavailable(), now)


def end_if_finished(session: SessionState, now: float) -> None:
    """End when the client has closed its side and everything was answered."""
    if session.closing_at is not None and session.engine_finished and session.turn is None:
        end(session, None, now)


def on_draining(session: SessionState, time_left: float, now: float) -> None:
    """The process will stop: say so, and let go as soon as nothing is cut short by it."""
    session.drain_at = now + max(0.0, time_left - _DRAIN_RESERVE_S)
    go_away = conversation_pb2.GoAway(time_left_ms=int(time_left * 1000))
    session.send(messages.Response(go_away=go_away))
    drain_if_due(session, now)


def drain_if_due(session: SessionState, now: float) -> None:
    """Let go between two turns; in the middle of one only when the time is up."""
    if session.drain_at is None or session.state is State.ENDED:
        return
    quiet = session.turn is None and not session.listening.speaking
    if quiet or now >= session.drain_at:
        _finish(session, lambda: events.Suspend(problems.stopping()), now)
