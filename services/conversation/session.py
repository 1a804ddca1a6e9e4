"""The session: who has the floor, what reaches the learner, and what is kept. A pure machine.

    effects = session.handle(event, now)        # now: monotonic seconds
    when = session.deadline()                   # handle(Tick(), when) is due then

It knows no gRPC, no SQL, no clock and no model. The engine decides when the learner's utterance is
a turn; this machine decides everything from there to the learner's ears. It holds to:

- What the tutor remembers of a reply is what was heard of it.
- Turns are numbered from 1 without gaps, and each is saved exactly once.
- A generation that is over for the client is silent for ever: nothing of it is sent.
- Nothing here waits for storage.

What it knows is in `session_state`; who may get the floor, in `floor`. What it does with an event
is in `from_client` and `from_engine`, and below those in `over_reply` (is it an interruption?),
`playing` (what may be sent, what was heard), `replying` (a reply begins and ends) and `ending`.
"""

from __future__ import annotations

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import learner_pb2
from services.common.limits import DEFAULT_LIMITS
from services.conversation import (
    ending,
    events,
    from_client,
    from_engine,
    messages,
    over_reply,
    playing,
    presence,
    problems,
)
from services.conversation.events import Effect, Event
from services.conversation.floor import State
from services.conversation.session_config import SessionConfig
from services.conversation.session_state import MAX_CONTEXT_TURNS, SessionState, context_turn

UNHEARD_S = DEFAULT_LIMITS.unheard_seconds
"""How long a session waits for a client that has gone without ever having said anything.

Such a one mostly never learned that there is a session: a page that was closed while it opened one.
A client says something as soon as it hears `started`, if only a ping.
"""


class Session:
    """One session's machine. See the module's docstring."""

    def __init__(self, config: SessionConfig, now: float) -> None:
        self._session = SessionState(config, now)

    # --- what others may ask ------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Who has the floor."""
        return self._session.state

    @property
    def turn_number(self) -> int:
        """The turn under way, or the next one."""
        return self._session.turn_number

    @property
    def generation(self) -> int:
        """The newest generation."""
        return self._session.generation

    @property
    def unsaved_turns(self) -> int:
        """Turns that are finished and not stored yet."""
        return self._session.totals.turns - self._session.totals.saved

    @property
    def learner_speaking(self) -> bool:
        """Whether the learner is heard speaking."""
        return self._session.listening.speaking

    @property
    def turn_taking(self) -> learner_pb2.TurnTakingPreferences:
        """How turns are taken now, with what is known of the learner's pace."""
        session = self._session
        preferences = learner_pb2.TurnTakingPreferences()
        preferences.CopyFrom(session.preferences)
        preferences.typical_pause_ms = session.typical_pause_ms
        return preferences

    @property
    def waiting_text_ms(self) -> float | None:
        """Where in the learner's audio the oldest text was typed that is no turn yet, if any."""
        return self._session.acts.first_text_ms

    def context(self) -> list[ai_pb2.ContextTurn]:
        """Return the turns as an engine shall remember them, oldest first.

        A reply that is still being played counts as heard; if it is not, the engine is told by an
        interrupt of its generation, which is the last one that the engine knows of.
        """
        session = self._session
        turns = list(session.context)
        if session.turn is not None and session.turn.done:
            turns.append(context_turn(session.turn.learner_text, session.turn.text))
        return turns[-MAX_CONTEXT_TURNS:]

    def note_audio(self, end_ms: float, now: float) -> bool:
        """The learner's audio has come up to `end_ms` of the time line. Called for every frame.

        Return whether a reply that was held goes on with it: a `Tick` is due then.
        """
        session = self._session
        session.time_line.came(end_ms, now)
        session.microphone.came(now)
        return presence.came(session, now)

    def summary(self, now: float) -> conversation_pb2.SessionSummary:
        """Return what has happened so far."""
        return self._session.totals.summary((now - self._session.origin) * 1000)

    def deadline(self) -> float | None:
        """Return when `Tick` is due next; None after the end."""
        session = self._session
        if session.state is State.ENDED:
            return None
        times = [session.origin + session.config.session_s]
        if session.gone_at is None:
            times.append(session.client_at + session.config.idle_s)
        else:
            times.append(session.gone_at + _grace_s(session))
        waited_for = (
            session.listening.decide_at,
            session.patience_ends_at(),
            session.drain_at,
            session.closing_at,
            session.silence_at(),
            presence.away_at(session),
            presence.let_go_at(session),
        )
        times.extend(at for at in waited_for if at is not None)
        if session.turn is not None:
            times.extend(session.turn.deadlines())
        return min(times)

    # --- events -------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; return what is to be done, in order."""
        session = self._session
        session.effects = []
        if session.state is not State.ENDED or isinstance(event, events.TurnStored):
            self._dispatch(event, now)
        return session.effects

    def _dispatch(self, event: Event, now: float) -> None:
        session = self._session
        match event:
            case events.FromClient(request):
                presence.came(session, now)
                from_client.on_client(session, request, now)
            case events.FromEngine(response):
                from_engine.on_engine(session, response, now)
            case events.Tick():
                self._on_tick(now)
            case events.TurnStored(turn_id, number):
                self._on_stored(turn_id, number)
            case events.Opened():
                self._on_opened()
            case events.ClientGone():
                from_client.on_client_gone(session, now)
            case events.ClientBack(start_seq, heard):
                session.heard_from = True
                session.acts.client_back(start_seq)
                from_client.on_client_back(session, heard, now)
            case events.ClientDone():
                from_client.on_client_done(session, now)
            case events.EngineLost(error):
                from_engine.on_engine_lost(session, error, now)
            case events.EngineBack():
                from_engine.on_engine_back(session, now)
            case events.EngineCaughtUp():
                from_engine.on_engine_caught_up(session)
            case events.EngineGivenUp(error):
                ending.stop(session, error, now)
            case events.EngineDone():
                session.engine_finished = True
                ending.end_if_finished(session, now)
            case events.Failing(error):
                session.tell_once(error)
            case events.Refused(error, cause_seq, fatal):
                session.tell(error, cause_seq=cause_seq, fatal=fatal)
                if fatal:
                    ending.end(session, error, now)
            case events.Draining(time_left):
                ending.on_draining(session, time_left, now)

    def _on_opened(self) -> None:
        session = self._session
        broken_off = session.config.broken_off
        if broken_off is not None:
            turn = broken_off.turn
            session.send(
                messages.reply_ended(
                    turn.number,
                    turn.generation,
                    turn.reply_end_reason,
                    turn.heard_text,
                    turn.heard_ms,
                    turn.stages,
                )
            )
            session.totals.add(turn)
            session.effects.append(broken_off)
        if session.config.tutor_opens and session.next_number == 1:
            session.want(ai_pb2.REPLY_PURPOSE_OPENING)

    def _on_tick(self, now: float) -> None:
        session = self._session
        config = session.config
        if now >= session.origin + config.session_s:
            return ending.stop(session, problems.too_long(), now)
        if session.gone_at is not None and now >= session.gone_at + _grace_s(session):
            return ending.end(session, None, now)
        if session.gone_at is None and now >= session.client_at + config.idle_s:
            return ending.stop(session, problems.idle(), now)
        if _due(session.closing_at, now):
            return ending.close(session, now)
        if _due(session.listening.decide_at, now):
            over_reply.decide_in_the_end(session, now)
        elif _due(session.patience_ends_at(), now):
            session.engine_up = False
            session.effects.append(events.RestartEngine())
        if _due(session.silence_at(), now) and (silent_ms := session.microphone.take(now)):
            session.effects.append(events.HearSilence(silent_ms))
        if _due(presence.away_at(session), now):
            presence.hold(session, now)
        if _due(presence.let_go_at(session), now):
            presence.let_go(session, now)
        playing.play(session, now)
        return ending.drain_if_due(session, now)

    def _on_stored(self, turn_id: str, number: int) -> None:
        self._session.totals.saved += 1
        saved = conversation_pb2.TurnSaved(turn_id=turn_id, number=number)
        self._session.send(messages.Response(turn=number, turn_saved=saved))


def _grace_s(session: SessionState) -> float:
    """Return how long the session waits for a client that is gone."""
    resume_s = session.config.resume_s
    return resume_s if session.heard_from else min(resume_s, UNHEARD_S)


def _due(at: float | None, now: float) -> bool:
    return at is not None and now >= at
