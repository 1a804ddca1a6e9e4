"""A client that has fallen silent in the middle of a reply: its line is cut, though nobody says so.

A network may take minutes to tell that a connection leads nowhere. What a client ought to be
sending meanwhile tells sooner: the microphone, and what its loudspeaker has played. Once both are
overdue the reply stands still, so that it is not said to nobody, and goes on with the next message.

Who sends nothing by right is never held: a muted microphone, a button that is up, somebody who only
types, a program that does not report, or only when audio comes. And nobody is for longer than
somebody may stay away: then the reply ends where it was last known to be heard, and its turn is
stored. Part of the session machine; pure.
"""

from __future__ import annotations

from services.conversation import playing
from services.conversation.floor import State
from services.conversation.pacing import LEAD_MS
from services.conversation.quiet_microphone import AWAY_S
from services.conversation.session_state import SessionState

# Reports that come no farther apart than this come regularly: clients are asked for five a second.
_REGULAR_S = 1.0
# And so long after the last audio they come by themselves, not in answer to it.
_BY_ITSELF_S = 0.4

# Clients give up after 30 s: one that has sent nothing for so long is not waiting for the rest.
LET_GO_S = 30.0

# Audio that comes steadily for so long, and so long into a reply, is of a microphone that stays
# open while the tutor speaks.
_OPEN_AFTER_S = 1.0

_HOLD = "silent"


def note_report(session: SessionState, now: float) -> None:
    """The client reported what it has played of the reply under way."""
    turn, before = session.turn, session.reported_at
    if (
        turn is not None
        and before is not None
        and now - before <= _REGULAR_S
        and now - turn.playback.sent_at >= _BY_ITSELF_S
    ):
        session.reports_regularly = True
    session.reports = True
    session.reported_at = now


def is_back(session: SessionState, *, reports: bool) -> None:
    """The client is connected again: perhaps another one, with other habits.

    reports: it came back with a report.
    """
    session.reports_regularly = False
    session.reports = reports
    if session.turn is not None:
        session.turn.playback.reports = reports


def away_at(session: SessionState) -> float | None:
    """Return when the client counts as out of reach; None where it may be silent, or is gone."""
    turn = session.turn
    if turn is None or session.state is not State.REPLYING or session.gone_at is not None:
        return None
    playback = turn.playback
    if playback.started_at is None or playback.is_held(_HOLD):
        return None
    if session.reports_regularly and playback.report_due_from is not None:
        return max(session.client_at, playback.report_due_from) + AWAY_S
    is_open = not session.muted and not session.preferences.push_to_talk
    microphone = session.microphone
    steadily_from = max(playback.started_at, microphone.steadily_from)
    if is_open and microphone.came_at >= steadily_from + _OPEN_AFTER_S:
        return session.client_at + AWAY_S
    return None


def hold(session: SessionState, now: float) -> None:
    """The client is out of reach: it has played what it had, and no more."""
    if session.turn is not None:
        session.turn.playback.hold(_HOLD, min(now, session.client_at + LEAD_MS / 1000))


def let_go_at(session: SessionState) -> float | None:
    """Return when a reply has been held long enough; None where it is not held.

    Pings free it each time, but where reports are due only those tell that somebody hears it.
    """
    turn = session.turn
    if turn is None or session.gone_at is not None or not turn.playback.is_held(_HOLD):
        return None
    playback, since = turn.playback, session.client_at
    if session.reports_regularly and playback.report_due_from is not None:
        since = min(since, session.reported_at or playback.started_at or since)
    return since + LET_GO_S


def let_go(session: SessionState, now: float) -> None:
    """Nobody came back: the reply ends where it was last known to be heard."""
    if session.turn is not None:
        playing.cut_off(session, session.turn, now)


def came(session: SessionState, now: float) -> bool:
    """Something came of the client; return whether a reply that was held for it goes on."""
    session.client_at = now
    session.heard_from = True
    if session.turn is None or not session.turn.playback.is_held(_HOLD):
        return False
    session.turn.playback.release(_HOLD, now)
    return True
