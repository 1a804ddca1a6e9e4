"""The session: who has the floor, what reaches the learner, and what is kept. A pure machine.

    effects = session.handle(event, now)        # now: monotonic seconds
    when = session.deadline()                   # handle(Tick(), when) is due then

It knows no gRPC, no SQL, no clock and no model. The engine decides when the learner's utterance is
a turn; this machine decides everything from there to the learner's ears. It holds to:

- What the tutor remembers of a reply is what was heard of it.
- Turns are numbered from 1 without gaps, and each is saved exactly once.
- A generation that is over for the client is silent for ever: nothing of it is sent.
- Nothing here waits for storage.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import learner_pb2, turn_pb2
from services.common.errors import ParleyError
from services.common.ids import new_id
from services.conversation import events, messages, problems
from services.conversation.acts import Acts
from services.conversation.events import Effect, Event
from services.conversation.interruption import Meaning
from services.conversation.listening import Listening
from services.conversation.time_line import TimeLine
from services.conversation.totals import Totals
from services.conversation.turn import OpenTurn

# Speech that begins in the last moments of a reply does not stop it: there is nothing to save, and
# stopping would make the tutor swallow its last word.
_ALMOST_OVER_MS = 300

# How long the client's side may be closed before the session ends without the engine's last word.
_CLOSING_S = 60.0

# Before the end of a drain: time to tell the client and store the last turn.
_DRAIN_RESERVE_S = 2.0

# What an engine is told of the past, as the contract bounds it: turns, and characters of each.
_MAX_CONTEXT_TURNS = 200
_MAX_LEARNER_CHARACTERS = 8_000
_MAX_TUTOR_CHARACTERS = 16_000
_MAX_TYPED_CHARACTERS = 2_000

_INTERRUPTED = turn_pb2.REPLY_END_REASON_INTERRUPTED
_SESSION_ENDED = turn_pb2.REPLY_END_REASON_SESSION_ENDED
_ACTS = frozenset({"text", "interrupt", "end_turn", "finish"})
_NONE = turn_pb2.UTTERANCE_SOURCE_NONE
_SPEECH = turn_pb2.UTTERANCE_SOURCE_SPEECH


class State(Enum):
    """Who has the floor."""

    LISTENING = "listening"
    REPLYING = "replying"
    PAUSED = "paused"
    ENDED = "ended"


class Trigger(Enum):
    """What moves the floor."""

    COMMITTED = "committed"
    SPEECH_OVER_REPLY = "speech over reply"
    DISMISSED = "dismissed"
    REPLY_OVER = "reply over"
    END = "end"


TRANSITIONS: dict[tuple[State, Trigger], State] = {
    # The utterance is a turn; the tutor answers.
    (State.LISTENING, Trigger.COMMITTED): State.REPLYING,
    # Perhaps an interruption: hold back until there are words.
    (State.REPLYING, Trigger.SPEECH_OVER_REPLY): State.PAUSED,
    # It was none.
    (State.PAUSED, Trigger.DISMISSED): State.REPLYING,
    # Heard to its end, interrupted, replaced by a newer turn, or failed.
    (State.REPLYING, Trigger.REPLY_OVER): State.LISTENING,
    (State.PAUSED, Trigger.REPLY_OVER): State.LISTENING,
    # A session ends with the floor at the learner: a reply under way is ended first.
    (State.LISTENING, Trigger.END): State.ENDED,
}


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What a session begins with.

    started_at: the time of day of the session's origin.
    elapsed_s: how long it has been going already; more than 0 where it was resumed from storage.
    past: its stored turns, in that case; accounted_ms, accounted_seq: as in `SaveTurn`, of the
        last of them.
    broken_off: the turn after them, whose process died while its reply was heard. `next_turn` and
        `context` have it already; it is told and stored first of all.
    """

    conversation_id: str
    engine: str
    started_at: datetime
    output_rate_hz: int
    turn_taking: learner_pb2.TurnTakingPreferences
    captions_only: bool = False
    tutor_opens: bool = False
    next_turn: int = 1
    last_generation: int = 0
    context: tuple[ai_pb2.ContextTurn, ...] = ()
    elapsed_s: float = 0.0
    past: tuple[turn_pb2.Turn, ...] = ()
    accounted_ms: int = 0
    accounted_seq: int = 0
    broken_off: events.SaveTurn | None = None
    session_s: float = 7_200
    idle_s: float = 300
    resume_s: float = 120
    reply_timeout_s: float = 30


class Session:
    """One session's machine. See the module's docstring."""

    def __init__(self, config: SessionConfig, now: float) -> None:
        self._config = config
        self._origin = now - config.elapsed_s
        self._state = State.LISTENING
        self._effects: list[Effect] = []
        self._turn: OpenTurn | None = None
        self._next_number = config.next_turn
        # Every generation up to this one is over for the client.
        self._silenced = config.last_generation
        self._listening = Listening()
        self._context = deque(config.context, _MAX_CONTEXT_TURNS)
        self._totals = Totals.of(config.past)
        self._preferences = config.turn_taking
        self._typical_pause_ms = config.turn_taking.typical_pause_ms
        self._captions_only = config.captions_only
        # Everything changed since the start, for an engine that takes another's place.
        self._changes = ai_pb2.ChangeEngineSettings()
        self._final_shown = ""
        self._hinted = False
        self._typed_at: float | None = None
        self._time_line = TimeLine(config.accounted_ms, now)
        self._client_at = now
        self._gone_at: float | None = None
        self._engine_up = True
        self._engine_finished = False
        self._retrying = False
        # What a new engine must be told that its predecessor was not: it came between the two.
        self._untold: ai_pb2.InterruptReply | None = None
        # What the engine was asked to answer in a lost one's place, and has not taken up yet.
        self._asked: tuple[turn_pb2.UtteranceSource.ValueType, str] | None = None
        self._acts = Acts(config.accounted_seq)
        self._told: set[str] = set()
        self._closing_at: float | None = None
        self._drain_at: float | None = None

    # --- what others may ask ------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Who has the floor."""
        return self._state

    @property
    def turn_number(self) -> int:
        """The turn under way, or the next one."""
        return self._turn.number if self._turn else self._next_number

    @property
    def generation(self) -> int:
        """The newest generation."""
        return self._turn.generation if self._turn else self._silenced

    @property
    def unsaved_turns(self) -> int:
        """Turns that are finished and not stored yet."""
        return self._totals.turns - self._totals.saved

    @property
    def learner_speaking(self) -> bool:
        """Whether the learner is heard speaking."""
        return self._listening.speaking

    @property
    def turn_taking(self) -> learner_pb2.TurnTakingPreferences:
        """How turns are taken now, with what is known of the learner's pace."""
        preferences = learner_pb2.TurnTakingPreferences()
        preferences.CopyFrom(self._preferences)
        if not preferences.typical_pause_ms:
            preferences.typical_pause_ms = self._typical_pause_ms
        return preferences

    def context(self) -> list[ai_pb2.ContextTurn]:
        """Return the turns as an engine shall remember them, oldest first.

        A reply that is still being played counts as heard; if it is not, the engine is told by an
        interrupt of its generation, which is the last one that the engine knows of.
        """
        turns = list(self._context)
        if self._turn is not None and self._turn.done:
            turns.append(_context_turn(self._turn.learner_text, self._turn.text))
        return turns[-_MAX_CONTEXT_TURNS:]

    def note_audio(self, end_ms: float, now: float) -> None:
        """The learner's audio has come up to `end_ms` of the time line. Called for every frame."""
        self._time_line.came(end_ms, now)
        self._client_at = now

    def summary(self, now: float) -> conversation_pb2.SessionSummary:
        """Return what has happened so far."""
        return self._totals.summary((now - self._origin) * 1000)

    def deadline(self) -> float | None:
        """Return when `Tick` is due next; None after the end."""
        if self._state is State.ENDED:
            return None
        times = [self._origin + self._config.session_s]
        if self._gone_at is None:
            times.append(self._client_at + self._config.idle_s)
        else:
            times.append(self._gone_at + self._config.resume_s)
        waited_for = (
            self._listening.decide_at,
            self._patience_ends_at(),
            self._drain_at,
            self._closing_at,
        )
        times.extend(at for at in waited_for if at is not None)
        if self._turn is not None:
            times.extend(self._turn.deadlines())
        return min(times)

    # --- events -------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; return what is to be done, in order."""
        self._effects = []
        if self._state is not State.ENDED or isinstance(event, events.TurnStored):
            self._dispatch(event, now)
        return self._effects

    def _dispatch(self, event: Event, now: float) -> None:
        match event:
            case events.FromClient(request):
                self._client_at = now
                self._on_client(request, now)
            case events.FromEngine(response):
                self._on_engine(response, now)
            case events.Tick():
                self._on_tick(now)
            case events.TurnStored(turn_id, number):
                self._on_stored(turn_id, number)
            case events.Opened():
                self._on_opened()
            case events.ClientGone():
                self._on_client_gone(now)
            case events.ClientBack(start_seq, heard):
                self._acts.client_back(start_seq)
                self._on_client_back(heard, now)
            case events.ClientDone():
                self._on_client_done(now)
            case events.EngineLost(error):
                self._on_engine_lost(error, now)
            case events.EngineBack():
                self._on_engine_back(now)
            case events.EngineGivenUp(error):
                self._stop(error, now)
            case events.EngineDone():
                self._engine_finished = True
                self._end_if_finished(now)
            case events.Failing(error):
                self._tell_once(error)
            case events.Refused(error, cause_seq, fatal):
                self._tell(error, cause_seq=cause_seq, fatal=fatal)
                if fatal:
                    self._end(error, now)
            case events.Draining(time_left):
                self._on_draining(time_left, now)

    def _on_opened(self) -> None:
        broken_off = self._config.broken_off
        if broken_off is not None:
            turn = broken_off.turn
            self._send(
                messages.reply_ended(
                    turn.number,
                    turn.generation,
                    turn.reply_end_reason,
                    turn.heard_text,
                    turn.heard_ms,
                    turn.stages,
                )
            )
            self._totals.add(turn)
            self._effects.append(broken_off)
        if self._config.tutor_opens and self._next_number == 1:
            self._engine(request_reply={"purpose": ai_pb2.REPLY_PURPOSE_OPENING})

    def _on_tick(self, now: float) -> None:
        config = self._config
        if now >= self._origin + config.session_s:
            return self._stop(problems.too_long(), now)
        if self._gone_at is not None and now >= self._gone_at + config.resume_s:
            return self._end(None, now)
        if self._gone_at is None and now >= self._client_at + config.idle_s:
            return self._stop(problems.idle(), now)
        if _due(self._closing_at, now):
            return self._end(None, now)
        if _due(self._listening.decide_at, now):
            self._act_on(self._listening.meaning_without_words(), now)
        elif _due(self._patience_ends_at(), now):
            self._engine_up = False
            self._effects.append(events.RestartEngine())
        self._play(now)
        return self._drain_if_due(now)

    def _patience_ends_at(self) -> float | None:
        """Return when an engine that has not begun to answer counts as lost."""
        turn = self._turn
        if turn is None or turn.began or not self._engine_up:
            return None
        return turn.opened_at + self._config.reply_timeout_s

    def _on_stored(self, turn_id: str, number: int) -> None:
        self._totals.saved += 1
        saved = conversation_pb2.TurnSaved(turn_id=turn_id, number=number)
        self._send(messages.Response(turn=number, turn_saved=saved))

    # --- the client ---------------------------------------------------------------------------

    def _on_client(self, request: conversation_pb2.ConverseRequest, now: float) -> None:
        kind = request.WhichOneof("message")
        if kind in _ACTS and self._acts.is_repeated(request.seq):
            return
        if kind == "heard":
            self._on_heard(request.heard, now)
        elif kind == "text":
            self._on_text(request.text.text, request.seq, now)
        elif kind == "interrupt":
            self._on_interrupt(request.interrupt, now)
        elif kind == "end_turn":
            self._on_end_turn(request.seq, now)
        elif kind == "settings":
            self._on_settings(request.settings)
        elif kind == "ping":
            pong = conversation_pb2.Pong(nonce=request.ping.nonce)
            pong.server_time.FromDatetime(self._time_of_day(now))
            self._send(messages.Response(pong=pong))
        elif kind == "finish":
            self._end(None, now)
        elif kind == "start":
            self._tell(problems.already_started(), cause_seq=request.seq)

    def _on_heard(self, heard: conversation_pb2.Heard, now: float) -> None:
        turn = self._turn
        if turn is None or heard.generation != turn.generation:
            return
        if heard.HasField("play_delay_ms") and turn.play_delay_ms is None:
            turn.play_delay_ms = heard.play_delay_ms
        turn.playback.report(heard.audio_ms, now)
        self._play(now)

    def _on_text(self, text: str, seq: int, now: float) -> None:
        refused = not self._engine_up and self._acts.full
        if not refused:
            self._acts.typed(seq, text)
        if self._turn is not None:
            self._interrupt(now, take=False)
        self._typed_at = now
        if self._engine_up:
            self._engine(text={"text": text})
        elif refused:
            self._tell(problems.engine_unavailable(), cause_seq=seq)

    def _on_interrupt(self, interrupt: conversation_pb2.Interrupt, now: float) -> None:
        turn = self._turn
        if turn is None or interrupt.generation not in (0, turn.generation):
            return
        if interrupt.heard_ms:
            turn.playback.report(interrupt.heard_ms, now)
        # Who stops the tutor while speaking wants what is being said to count.
        self._interrupt(now, take=True)

    def _on_end_turn(self, seq: int, now: float) -> None:
        if self._turn is not None and not self._listening.unresolved:
            return
        self._acts.turn_ended(seq)
        if self._turn is not None:
            self._interrupt(now, take=True)
        self._engine(end_turn={})

    def _on_settings(self, settings: conversation_pb2.ChangeSettings) -> None:
        change = ai_pb2.ChangeEngineSettings()
        if settings.HasField("turn_taking"):
            self._preferences = settings.turn_taking
            change.turn_taking.CopyFrom(settings.turn_taking)
        if settings.HasField("speech_rate"):
            change.speech_rate = settings.speech_rate
        if settings.HasField("voice"):
            change.voice = settings.voice
        if settings.HasField("captions_only"):
            self._captions_only = settings.captions_only
            change.captions_only = settings.captions_only
        if change.ByteSize():
            self._changes.MergeFrom(change)
            self._engine(settings=change)

    def _on_client_gone(self, now: float) -> None:
        self._gone_at = now
        if self._turn is not None:
            self._turn.playback.hold("disconnected", now)

    def _on_client_back(self, heard: conversation_pb2.Heard | None, now: float) -> None:
        self._gone_at = None
        self._client_at = now
        if heard is not None:
            # What it had been sent went on playing.
            self._on_heard(heard, now)
        if self._turn is not None:
            self._turn.playback.release("disconnected", now)
            self._play(now)

    def _on_client_done(self, now: float) -> None:
        if not self._engine_up:
            self._end(None, now)
            return
        self._closing_at = now + _CLOSING_S
        self._engine(end_turn={})
        self._engine(end_input={})

    # --- the engine ---------------------------------------------------------------------------

    def _on_engine(self, response: ai_pb2.ConverseResponse, now: float) -> None:
        kind = response.WhichOneof("message")
        if kind in ("reply_text", "reply_audio", "reply_ended"):
            self._on_reply(kind, response, now)
        elif kind == "transcript":
            self._on_transcript(response.transcript, now)
        elif kind == "speech_started":
            self._on_speech_started(response.speech_started.at_ms, now)
        elif kind == "speech_ended":
            self._on_speech_ended(response.speech_ended.at_ms, now)
        elif kind == "turn_committed":
            self._on_committed(response.generation, response.turn_committed, now)
        elif kind == "utterance_dropped":
            self._on_dropped(now)
        elif kind == "long_silence":
            self._on_long_silence()
        elif kind == "notice":
            notice = conversation_pb2.Notice(status=response.notice.status)
            self._send(messages.Response(notice=notice))

    def _on_reply(self, kind: str, response: ai_pb2.ConverseResponse, now: float) -> None:
        if response.generation <= self._silenced:
            return
        if self._turn is None or response.generation > self._turn.generation:
            # The tutor speaks without having been asked, and the engine saw no need to say so.
            unasked = ai_pb2.TurnCommitted(source=_NONE)
            self._on_committed(response.generation, unasked, now)
        turn = self._turn
        if turn is None or response.generation != turn.generation:
            return
        if kind == "reply_text":
            turn.add_text(response.reply_text)
        elif kind == "reply_ended":
            turn.finish(response.reply_ended)
        elif not turn.add_audio(response.reply_audio, now):
            self._tell_once(problems.reply_too_long())
        self._play(now)

    def _on_committed(self, generation: int, message: ai_pb2.TurnCommitted, now: float) -> None:
        if generation <= self.generation:
            return
        if self._is_asked(message):
            self._asked = None
            if self._turn is not None and self._retrying:
                self._adopt(self._turn, generation, now)
            else:
                self._decline(generation, now)
            return
        if self._turn is not None:
            # A newer turn takes the place of the reply under way.
            self._end_reply(_INTERRUPTED, now, tell_engine=True)
        self._note_turn_of(message)
        if message.source != _NONE:
            self._show_final(message)
        self._turn = self._opened_turn(generation, message, now)
        if self._gone_at is not None:
            self._turn.playback.hold("disconnected", now)
        self._move(Trigger.COMMITTED)
        self._listening.forget()
        self._typed_at = None
        self._hinted = self._hinted and message.source == _NONE
        self._typical_pause_ms = message.typical_pause_ms or self._typical_pause_ms
        self._start_reply(self._turn)

    def _note_turn_of(self, message: ai_pb2.TurnCommitted) -> None:
        if message.source == _SPEECH:
            self._acts.spoken_turn()
        elif message.source != _NONE:
            self._acts.typed_turn(message.transcript.verbatim)

    def _is_asked(self, message: ai_pb2.TurnCommitted) -> bool:
        """Whether this is the turn that a new engine was asked to answer in a lost one's place."""
        if self._asked is None:
            return False
        return message.source == _NONE or self._asked == (
            message.source,
            message.transcript.verbatim,
        )

    def _decline(self, generation: int, now: float) -> None:
        """The turn that was asked for again ended meanwhile: it is not begun a second time."""
        turn = self._turn
        if turn is not None and not turn.began:
            # A newer turn, whose answer the engine has left for the one that nobody wants.
            self._silenced = generation
            self._retrying = True
            self._ask_again(turn)
            return
        self._end_reply(_INTERRUPTED, now)
        self._silenced = generation
        self._engine(interrupt=ai_pb2.InterruptReply(generation=generation))
        self._engine(floor={"floor": ai_pb2.FLOOR_LEARNER})

    def _opened_turn(self, generation: int, message: ai_pb2.TurnCommitted, now: float) -> OpenTurn:
        speech_ended_at = None
        kind = conversation_pb2.REPLY_KIND_ANSWER
        if message.source == _SPEECH:
            speech_ended_at = self._time_line.arrival(message.end_ms, now)
        elif message.source != _NONE:
            speech_ended_at = self._typed_at
        elif self._config.tutor_opens and self._next_number == 1:
            kind = conversation_pb2.REPLY_KIND_OPENING
        else:
            kind = conversation_pb2.REPLY_KIND_HINT
        return OpenTurn(
            turn_id=new_id(),
            number=self._next_number,
            generation=generation,
            kind=kind,
            source=message.source,
            utterance=message.transcript,
            start_ms=message.start_ms,
            end_ms=max(message.start_ms, message.end_ms),
            opened_at=now,
            speech_ended_at=speech_ended_at,
            captions_only=self._captions_only,
            rate_hz=self._config.output_rate_hz,
            typical_pause_ms=message.typical_pause_ms,
        )

    def _show_final(self, message: ai_pb2.TurnCommitted) -> None:
        shown, self._final_shown = self._final_shown, ""
        if not shown or shown != message.transcript.verbatim:
            self._send(messages.transcript(self._next_number, message, final=True))

    def _start_reply(self, turn: OpenTurn) -> None:
        rate_hz = None if turn.captions_only else turn.rate_hz
        self._send(messages.reply_started(turn.number, turn.generation, turn.kind, rate_hz))
        self._engine(floor={"floor": ai_pb2.FLOOR_TUTOR})

    def _on_long_silence(self) -> None:
        busy = self._turn is not None or self._listening.speaking or self._gone_at is not None
        if busy or self._hinted or self._preferences.no_hints:
            return
        # Once, until the learner speaks again: a tutor that goes on alone is no help.
        self._hinted = True
        self._engine(request_reply={"purpose": ai_pb2.REPLY_PURPOSE_HINT})

    def _on_engine_lost(self, error: ParleyError, now: float) -> None:
        self._engine_up = False
        self._asked = self._untold = None
        turn = self._turn
        if self._state is State.PAUSED:
            # Nobody will tell any more what the learner says.
            self._act_on(Meaning.BACKCHANNEL, now)
        self._listening.forget()
        self._tell(error)
        if self._closing_at is not None:
            self._end(None, now)
        elif turn is not None and not turn.done:
            if turn.began or turn.retried:
                self._end_reply(turn_pb2.REPLY_END_REASON_FAILED, now)
            else:
                self._retrying = turn.retried = True

    def _on_engine_back(self, now: float) -> None:
        self._engine_up = True
        if self._changes.ByteSize():
            self._engine(settings=self._changes)
        if self._untold is not None:
            self._engine(interrupt=self._untold)
            self._untold = None
        turn = self._turn
        if turn is not None and self._retrying:
            turn.opened_at = max(turn.opened_at, now)
            self._ask_again(turn)
        elif turn is not None:
            self._engine(floor={"floor": ai_pb2.FLOOR_TUTOR})
        for text in self._acts.texts():
            self._engine(text={"text": text})

    def _ask_again(self, turn: OpenTurn) -> None:
        """Ask the new engine for the reply that the lost one had not begun."""
        if turn.source == _NONE:
            opening = turn.kind == conversation_pb2.REPLY_KIND_OPENING
            purpose = ai_pb2.REPLY_PURPOSE_OPENING if opening else ai_pb2.REPLY_PURPOSE_HINT
            self._asked = (_NONE, "")
            self._engine(request_reply={"purpose": purpose})
        else:
            text = turn.learner_text[:_MAX_TYPED_CHARACTERS]
            self._asked = (turn_pb2.UTTERANCE_SOURCE_TEXT, text)
            self._engine(text={"text": text})

    def _adopt(self, turn: OpenTurn, generation: int, now: float) -> None:
        """The new engine has taken up the turn that the lost one had not begun to answer."""
        self._retrying = False
        self._silenced = turn.generation
        turn.generation = generation
        turn.opened_at = max(turn.opened_at, now)
        self._start_reply(turn)

    # --- speech over a reply ------------------------------------------------------------------

    def _on_speech_started(self, at_ms: int, now: float) -> None:
        turn = self._turn
        started = conversation_pb2.SpeechStarted(at_ms=at_ms)
        self._send(messages.Response(turn=self._spoken_turn, speech_started=started))
        almost_over = turn is not None and turn.all_sent and turn.left_ms(now) <= _ALMOST_OVER_MS
        self._listening.began(now, at_ms, over_reply=turn is not None, counts=almost_over)
        if turn is None or almost_over or self._preferences.no_barge_in:
            return
        if self._state is State.REPLYING:
            self._move(Trigger.SPEECH_OVER_REPLY)
            turn.playback.hold("speech", now)
            paused = conversation_pb2.ReplyPaused(reason="speech")
            self._send_of(turn, reply_paused=paused)
        self._listening.wait_for_words(now)

    def _on_speech_ended(self, at_ms: int, now: float) -> None:
        ended = conversation_pb2.SpeechEnded(at_ms=at_ms)
        self._send(messages.Response(turn=self._spoken_turn, speech_ended=ended))
        self._listening.stopped()
        if self._state is State.PAUSED:
            self._listening.wait_for_words(now)
            self._decide(now, final=False)

    def _on_transcript(self, message: ai_pb2.EngineTranscript, now: float) -> None:
        if self._turn is not None and not self._listening.unresolved:
            # Late words of an utterance that was dismissed, or is the turn under way.
            return
        self._send(messages.transcript(self._spoken_turn, message, final=message.final))
        self._final_shown = message.transcript.verbatim if message.final else ""
        if self._state is State.PAUSED:
            self._listening.hear(message.transcript.verbatim)
            self._decide(now, final=message.final or not self._listening.speaking)

    @property
    def _spoken_turn(self) -> int:
        """The turn that what the learner says now will be."""
        return self._next_number if self._turn is None else self._turn.number + 1

    def _decide(self, now: float, *, final: bool) -> None:
        if self._turn is not None:
            said = self._turn.in_the_air(now)
            self._act_on(self._listening.meaning(now, said=said, final=final), now)

    def _act_on(self, meaning: Meaning, now: float) -> None:
        if meaning is Meaning.INTERRUPTION:
            self._interrupt(now, take=True)
        elif meaning is Meaning.BACKCHANNEL:
            if self._listening.unresolved:
                self._engine(resolve={"take": False})
            self._resume(now)

    def _on_dropped(self, now: float) -> None:
        self._listening.unresolved = False
        self._listening.stopped()
        self._resume(now)

    def _resume(self, now: float) -> None:
        """It was no interruption: the reply goes on from where it stopped."""
        turn = self._turn
        if turn is None or self._state is not State.PAUSED:
            return
        self._move(Trigger.DISMISSED)
        self._listening.forget()
        self._send_of(turn, reply_resumed=conversation_pb2.ReplyResumed())
        turn.playback.release("speech", now)
        self._play(now)

    def _interrupt(self, now: float, *, take: bool) -> None:
        """End the reply for the learner's sake. `take`: what is being said is the next turn."""
        self._end_reply(_INTERRUPTED, now, tell_engine=True)
        self._give_floor(take=take)

    def _give_floor(self, *, take: bool) -> None:
        if self._listening.unresolved:
            self._engine(resolve={"take": take})
        self._listening.unresolved = False
        self._listening.decided()
        self._engine(floor={"floor": ai_pb2.FLOOR_LEARNER})

    # --- the reply ----------------------------------------------------------------------------

    def _play(self, now: float) -> None:
        """Send what may be sent, and notice when everything was played."""
        turn = self._turn
        if turn is None or self._state is not State.REPLYING or self._gone_at is not None:
            return
        silent = turn.silence_ms is None
        self._effects.extend(turn.send_due(now, self._origin))
        if silent and turn.silence_ms is not None:
            self._totals.silences_ms.append(turn.silence_ms)
        if turn.over(now):
            self._on_played(turn, now)
        elif turn.should_be_kept(now):
            self._keep(turn, now)

    def _keep(self, turn: OpenTurn, now: float) -> None:
        """Let the turn be kept as it would be if this process died now."""
        reason = turn.outcome if turn.done else turn_pb2.REPLY_END_REASON_FAILED
        kept = self._as_stored(turn, reason, 0, "", now)
        settled_ms = self._time_line.settle(turn.end_ms, self._listening)
        self._effects.append(
            events.KeepTurn(kept, settled_ms, turn.typical_pause_ms, self._acts.settled_seq)
        )

    def _as_stored(
        self,
        turn: OpenTurn,
        reason: turn_pb2.ReplyEndReason.ValueType,
        heard_ms: int,
        heard: str,
        now: float,
    ) -> turn_pb2.Turn:
        engine, started_at = self._config.engine, self._time_of_day(turn.opened_at)
        return turn.to_turn(reason, heard_ms, heard, now, engine=engine, started_at=started_at)

    def _on_played(self, turn: OpenTurn, now: float) -> None:
        if turn.playback.stalled(turn.audio_ms):
            # The loudspeaker stopped, though nobody asked it to: the rest was not heard.
            turn.playback.give_up(now)
            self._end_reply(_INTERRUPTED, now, tell_engine=True)
        else:
            self._end_reply(turn.outcome, now)
            if turn.outcome == turn_pb2.REPLY_END_REASON_COMPLETED:
                self._engine(reply_heard={"generation": turn.generation})
        # What began over the last words is a turn; what was not allowed to interrupt is one if it
        # goes on now.
        self._give_floor(take=self._listening.counts or self._listening.speaking)
        self._end_if_finished(now)
        self._drain_if_due(now)

    def _end_reply(
        self,
        reason: turn_pb2.ReplyEndReason.ValueType,
        now: float,
        *,
        tell_engine: bool = False,
    ) -> None:
        """The reply is over for everybody: told, remembered, and given to storage."""
        turn = self._turn
        if turn is None:
            return
        self._turn = None
        self._silenced = turn.generation
        self._next_number = turn.number + 1
        retrying, self._retrying = self._retrying, False
        self._move(Trigger.REPLY_OVER)
        if reason == turn_pb2.REPLY_END_REASON_COMPLETED:
            heard_ms, heard = turn.audio_ms, turn.text
        else:
            heard_ms = turn.playback.position_ms(now)
            heard = turn.heard(heard_ms)
            self._effects.append(events.Silence(turn.generation))
        self._effects.extend(turn.record_played(heard_ms, last=True))
        self._send(
            messages.reply_ended(turn.number, turn.generation, reason, heard, heard_ms, turn.stages)
        )
        if tell_engine and not retrying:
            interrupt = ai_pb2.InterruptReply(
                generation=turn.generation,
                heard_text=heard[:_MAX_TUTOR_CHARACTERS],
                heard_ms=heard_ms,
            )
            self._engine(interrupt=interrupt)
            self._untold = None if self._engine_up else interrupt
        self._context.append(_context_turn(turn.learner_text, heard))
        finished = self._as_stored(turn, reason, heard_ms, heard, now)
        self._totals.add(finished)
        settled_ms = self._time_line.settle(turn.end_ms, self._listening)
        self._effects.append(
            events.SaveTurn(finished, settled_ms, turn.typical_pause_ms, self._acts.settled_seq)
        )

    # --- the end ------------------------------------------------------------------------------

    def _stop(self, error: ParleyError, now: float) -> None:
        self._tell(error, fatal=True)
        self._end(error, now)

    def _end(self, error: ParleyError | None, now: float) -> None:
        self._finish(lambda: events.End(error), now)

    def _finish(self, last: Callable[[], Effect], now: float) -> None:
        self._end_reply(_SESSION_ENDED, now)
        self._move(Trigger.END)
        self._effects.append(last())

    def _end_if_finished(self, now: float) -> None:
        """End when the client has closed its side and everything was answered."""
        if self._closing_at is not None and self._engine_finished and self._turn is None:
            self._end(None, now)

    def _on_draining(self, time_left: float, now: float) -> None:
        self._drain_at = now + max(0.0, time_left - _DRAIN_RESERVE_S)
        go_away = conversation_pb2.GoAway(time_left_ms=int(time_left * 1000))
        self._send(messages.Response(go_away=go_away))
        self._drain_if_due(now)

    def _drain_if_due(self, now: float) -> None:
        """Let go between two turns; in the middle of one only when the time is up."""
        if self._drain_at is None or self._state is State.ENDED:
            return
        quiet = self._turn is None and not self._listening.speaking
        if quiet or now >= self._drain_at:
            self._finish(lambda: events.Suspend(problems.stopping()), now)

    # --- small things -------------------------------------------------------------------------

    def _move(self, trigger: Trigger) -> None:
        self._state = TRANSITIONS[self._state, trigger]

    def _send(self, response: messages.Response) -> None:
        self._effects.append(events.Send(response))

    def _send_of(self, turn: OpenTurn, **message: Any) -> None:
        self._send(messages.Response(turn=turn.number, generation=turn.generation, **message))

    def _engine(self, **message: Any) -> None:
        self._effects.append(events.ToEngine(ai_pb2.ConverseRequest(**message)))

    def _tell(self, error: ParleyError, *, cause_seq: int = 0, fatal: bool = False) -> None:
        self._effects.append(events.Tell(error, cause_seq, fatal))

    def _tell_once(self, error: ParleyError) -> None:
        if error.reason not in self._told:
            self._told.add(error.reason)
            self._tell(error)

    def _time_of_day(self, now: float) -> datetime:
        return self._config.started_at + timedelta(seconds=now - self._origin)


def _context_turn(learner: str, tutor: str) -> ai_pb2.ContextTurn:
    return ai_pb2.ContextTurn(
        learner=learner[:_MAX_LEARNER_CHARACTERS], tutor=tutor[:_MAX_TUTOR_CHARACTERS]
    )


def _due(at: float | None, now: float) -> bool:
    return at is not None and now >= at
