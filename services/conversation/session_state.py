"""Everything that a session knows, and what it is about to do. Pure.

The parts of the session machine (`from_client`, `from_engine`, `over_reply`, `playing`, `replying`,
`ending`) are functions over this; `session` joins them.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from typing import Any

from parley.ai.v1 import ai_pb2
from parley.types.v1 import turn_pb2
from services.common.errors import ParleyError
from services.conversation import events, messages
from services.conversation.acts import Acts
from services.conversation.events import Effect
from services.conversation.floor import TRANSITIONS, State, Trigger
from services.conversation.listening import Listening
from services.conversation.quiet_microphone import ENOUGH_S, ONSET_S, QuietMicrophone
from services.conversation.session_config import SessionConfig
from services.conversation.time_line import TimeLine
from services.conversation.totals import Totals
from services.conversation.turn import OpenTurn

# What an engine is told of the past, as the contract bounds it: turns, and characters of each.
MAX_CONTEXT_TURNS = 200
_MAX_LEARNER_CHARACTERS = 8_000
MAX_TUTOR_CHARACTERS = 16_000


class SessionState:
    """One session's knowledge.

    Times named `…_at` are monotonic seconds.

    effects: what is to be done, in order; emptied before each event.
    turn: the turn under way; None while the learner has the floor.
    silenced: every generation up to this one is over for the client.
    changes: everything changed since the start, for an engine that takes another's place.
    retrying: the turn under way was asked for again, of another engine.
    untold: what a new engine must be told that its predecessor was not: it came between the two.
    client_at, reported_at: when anything came of the client; its report on the reply under way.
    reports: it has reported in this connection, or on coming back: what it plays, it reports.
    reports_regularly: such reports have come by themselves, as often as is asked of clients.
    to_be_heard_again: the engine was lost in the middle of what the learner was saying.
    turn_ended_at: when the client last said that its turn is over.
    wanted: what the tutor was asked to say unasked, while the engine has not taken it up.
    final_shown: the last words that the client was shown, where they were final ones.
    words_shown: it was shown words of an utterance that is no turn yet.
    asked: what the engine was asked to answer in a lost one's place, and has not taken up yet.
    """

    def __init__(self, config: SessionConfig, now: float) -> None:
        self.config = config
        self.origin = now - config.elapsed_s
        self.state = State.LISTENING
        self.effects: list[Effect] = []
        self.turn: OpenTurn | None = None
        self.next_number = config.next_turn
        self.silenced = config.last_generation
        self.listening = Listening()
        self.context = deque(config.context, MAX_CONTEXT_TURNS)
        self.totals = Totals.of(config.past)
        self.preferences = config.turn_taking
        self.typical_pause_ms = config.turn_taking.typical_pause_ms
        self.captions_only = config.captions_only
        self.changes = ai_pb2.ChangeEngineSettings()
        self.final_shown = ""
        self.words_shown = False
        # Also by the process that held the session before.
        self.hinted = _hinted(config)
        self.typed_at: float | None = None
        self.time_line = TimeLine(config.accounted_ms, now)
        self.muted = False
        self.microphone = QuietMicrophone(now)
        self.client_at = now
        self.reported_at: float | None = None
        self.reports = False
        self.reports_regularly = False
        self.gone_at: float | None = None
        # A client that has said anything knows of the session, and may come back to it.
        self.heard_from = config.elapsed_s > 0
        self.engine_up = True
        self.engine_finished = False
        self.retrying = False
        self.untold: ai_pb2.InterruptReply | None = None
        self.asked: tuple[turn_pb2.UtteranceSource.ValueType, str] | None = None
        self.acts = Acts(config.accounted_seq)
        self.to_be_heard_again = False
        self.turn_ended_at: float | None = None
        self.wanted: ai_pb2.ReplyPurpose.ValueType | None = None
        self.told: set[str] = set()
        self.closing_at: float | None = None
        self.drain_at: float | None = None

    @property
    def turn_number(self) -> int:
        """The turn under way, or the next one."""
        return self.turn.number if self.turn else self.next_number

    @property
    def generation(self) -> int:
        """The newest generation."""
        return self.turn.generation if self.turn else self.silenced

    @property
    def spoken_turn(self) -> int:
        """The turn that what the learner says now will be."""
        return self.next_number if self.turn is None else self.turn.number + 1

    def patience_ends_at(self) -> float | None:
        """Return when an engine that has not begun to answer counts as lost."""
        turn = self.turn
        if turn is None or turn.began or not self.engine_up:
            return None
        return turn.opened_at + self.config.reply_timeout_s

    def silence_at(self) -> float | None:
        """Return when the engine is due to hear silence in the place of audio that does not come.

        Who mutes while speaking has fallen silent; who is muted needs no hint. One who has let the
        button go may, but not who has never spoken; while it is down, what does not come is late.
        """
        if self.gone_at is not None or self.closing_at is not None or not self.engine_up:
            return None
        microphone, speech = self.microphone, self.listening.under_way
        if self.muted:
            return microphone.due_at(ENOUGH_S if speech else ONSET_S)
        button_up = self.preferences.push_to_talk and self.turn is None and not speech
        return microphone.due_at(ENOUGH_S) if button_up and microphone.used else None

    @property
    def said_it_all(self) -> bool:
        """Whether the client ended the turn, and has sent nothing of a next one since."""
        return self.turn_ended_at is not None and self.microphone.came_at <= self.turn_ended_at

    @property
    def owes_an_answer(self) -> bool:
        """Whether something was said, typed, or asked of the tutor that is not answered yet."""
        answered = self.turn is None or self.turn.done
        speaks = self.listening.under_way or self.to_be_heard_again
        return not answered or speaks or bool(self.acts.texts())

    def want(self, purpose: ai_pb2.ReplyPurpose.ValueType) -> None:
        """Have the tutor speak unasked."""
        self.wanted = purpose
        self.engine(request_reply={"purpose": purpose})

    def move(self, trigger: Trigger) -> None:
        """Move the floor."""
        self.microphone.begin_again()
        self.state = TRANSITIONS[self.state, trigger]

    def send(self, response: messages.Response) -> None:
        """Send a response to the client."""
        self.effects.append(events.Send(response))

    def send_of(self, turn: OpenTurn, **message: Any) -> None:
        """Send a response that belongs to the reply of `turn`."""
        self.send(messages.Response(turn=turn.number, generation=turn.generation, **message))

    def engine(self, **message: Any) -> None:
        """Send a message to the engine."""
        self.effects.append(events.ToEngine(ai_pb2.ConverseRequest(**message)))

    def tell(self, error: ParleyError, *, cause_seq: int = 0, fatal: bool = False) -> None:
        """Send a notice of `error` to the client."""
        self.effects.append(events.Tell(error, cause_seq, fatal))

    def tell_once(self, error: ParleyError) -> None:
        """Send a notice of `error`, once in a session."""
        if error.reason not in self.told:
            self.told.add(error.reason)
            self.tell(error)

    def time_of_day(self, now: float) -> datetime:
        """Return the time of day at `now`."""
        return self.config.started_at + timedelta(seconds=now - self.origin)


def _hinted(config: SessionConfig) -> bool:
    """Whether the learner has said nothing since the tutor last spoke unasked."""
    cut_off = (config.broken_off.turn,) if config.broken_off is not None else ()
    last = next(reversed((*config.past, *cut_off)), None)
    if last is None or last.source != turn_pb2.UTTERANCE_SOURCE_NONE:
        return False
    # An opening is no hint.
    return not (config.tutor_opens and last.number == 1)


def context_turn(learner: str, tutor: str) -> ai_pb2.ContextTurn:
    """Return a turn as an engine shall remember it."""
    return ai_pb2.ContextTurn(
        learner=learner[:_MAX_LEARNER_CHARACTERS], tutor=tutor[:MAX_TUTOR_CHARACTERS]
    )
