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
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from statistics import median

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import audio_pb2, learner_pb2, speech_pb2, turn_pb2
from services.common.errors import ParleyError
from services.common.ids import new_id
from services.conversation import problems
from services.conversation.events import (
    ClientBack,
    ClientDone,
    ClientGone,
    Draining,
    Effect,
    End,
    EngineBack,
    EngineDone,
    EngineGivenUp,
    EngineLost,
    Event,
    Failing,
    FromClient,
    FromEngine,
    Opened,
    RecordTutor,
    Refused,
    RestartEngine,
    SaveTurn,
    Send,
    Silence,
    Suspend,
    Tell,
    Tick,
    ToEngine,
    TurnStored,
)
from services.conversation.interruption import Meaning, meaning
from services.conversation.pacing import Piece
from services.conversation.playback import ASSUMED_DELAY_S
from services.conversation.stages import join_stages, silence_of
from services.conversation.turn import OpenTurn

# Speech that begins in the last moments of a reply does not stop it: there is nothing to save, and
# stopping would make the tutor swallow its last word.
_ALMOST_OVER_MS = 300

# After speech over a reply ended, this long for its words to come; recognition takes 150-250 ms.
_WORDS_WAIT_S = 0.9

# Speech this long over a reply is no "mhm", whether or not an engine that gives no partial
# transcripts has words for it.
_WORDLESS_LIMIT_S = 2.5

# How long the client's side may be closed before the session ends without the engine's last word.
_CLOSING_S = 60.0

# Before the end of a drain: time to tell the client and store the last turn.
_DRAIN_RESERVE_S = 2.0

# Typed utterances kept while the engine is away. Full policy: refused with a notice.
_MAX_HELD_TEXTS = 8

# What an engine is told of the past, as the contract bounds it.
_MAX_CONTEXT_TURNS = 200


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
    # A newer turn takes the place of the reply under way.
    (State.REPLYING, Trigger.COMMITTED): State.REPLYING,
    (State.PAUSED, Trigger.COMMITTED): State.REPLYING,
    # Perhaps an interruption: hold back until there are words.
    (State.REPLYING, Trigger.SPEECH_OVER_REPLY): State.PAUSED,
    # It was none.
    (State.PAUSED, Trigger.DISMISSED): State.REPLYING,
    # Heard to its end, interrupted, or failed.
    (State.REPLYING, Trigger.REPLY_OVER): State.LISTENING,
    (State.PAUSED, Trigger.REPLY_OVER): State.LISTENING,
    (State.LISTENING, Trigger.END): State.ENDED,
    (State.REPLYING, Trigger.END): State.ENDED,
    (State.PAUSED, Trigger.END): State.ENDED,
}


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What a session begins with.

    started_at: the time of day of the session's origin.
    elapsed_s: how long it has been going already; more than 0 where it was resumed from storage.
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
    session_s: float = 7_200
    idle_s: float = 300
    resume_s: float = 120
    reply_timeout_s: float = 30


@dataclass(slots=True)
class _Totals:
    """What the session adds up for its summary."""

    turns: int = 0
    saved: int = 0
    learner_ms: int = 0
    tutor_ms: int = 0
    silences: list[float] = field(default_factory=list)


class Session:
    """One session's machine. See the module's docstring."""

    def __init__(self, config: SessionConfig, now: float) -> None:
        self._config = config
        self._origin = now - config.elapsed_s
        self._state = State.LISTENING
        self._effects: list[Effect] = []
        self._turn: OpenTurn | None = None
        self._next_number = config.next_turn
        self._silenced = config.last_generation
        self._preferences = config.turn_taking
        self._captions_only = config.captions_only
        # Everything changed since the start, for an engine that takes another's place.
        self._changes = ai_pb2.ChangeEngineSettings()
        self._context: deque[ai_pb2.ContextTurn] = deque(config.context, _MAX_CONTEXT_TURNS)
        self._totals = _Totals()
        # The learner's utterance over a reply, as far as it is known.
        self._speaking = False
        self._unresolved = False
        self._spoke_at = now
        self._words = ""
        self._decide_at: float | None = None
        self._final_shown = ""
        self._hinted = False
        self._typed_at: float | None = None
        # Where the learner's audio stands: position on the time line, and when it came.
        self._audio_ms = 0.0
        self._audio_at = now
        self._client_at = now
        self._gone_at: float | None = None
        self._engine_up = True
        self._engine_finished = False
        self._retrying = False
        self._held_texts: deque[str] = deque()
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
        """Whether an utterance is under way that is no turn yet."""
        return self._speaking

    def context(self) -> list[ai_pb2.ContextTurn]:
        """Return the finished turns as an engine shall remember them, oldest first."""
        return list(self._context)

    def note_audio(self, end_ms: float, now: float) -> None:
        """The learner's audio has come up to `end_ms` of the time line. Called for every frame."""
        self._audio_ms = end_ms
        self._audio_at = self._client_at = now

    def summary(self, now: float) -> conversation_pb2.SessionSummary:
        """Return what has happened so far."""
        totals = self._totals
        return conversation_pb2.SessionSummary(
            turns=totals.turns,
            turns_saved=totals.saved,
            learner_speech_ms=totals.learner_ms,
            tutor_speech_ms=totals.tutor_ms,
            duration_ms=max(0, int((now - self._origin) * 1000)),
            median_silence_ms=int(median(totals.silences)) if totals.silences else 0,
        )

    def deadline(self) -> float | None:
        """Return when `Tick` is due next; None after the end."""
        if self._state is State.ENDED:
            return None
        times = [self._origin + self._config.session_s]
        if self._gone_at is None:
            times.append(self._client_at + self._config.idle_s)
        else:
            times.append(self._gone_at + self._config.resume_s)
        times += [
            at for at in (self._decide_at, self._drain_at, self._closing_at) if at is not None
        ]
        if self._turn is not None:
            times += self._turn_deadlines(self._turn)
        return min(times)

    def _turn_deadlines(self, turn: OpenTurn) -> list[float]:
        found: list[float | None] = []
        if not turn.engine_began and self._engine_up:
            found.append(turn.opened_at + self._config.reply_timeout_s)
        position = turn.pacer.next_position_ms
        if position is not None:
            found.append(turn.playback.reaches_at(position))
        elif turn.engine_done:
            found.append(turn.playback.over_at(turn.audio_ms))
        return [at for at in found if at is not None]

    # --- events -------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; return what is to be done, in order."""
        self._effects = []
        if self._state is State.ENDED and not isinstance(event, TurnStored):
            return []
        match event:
            case FromClient(request):
                self._client_at = now
                self._on_client(request, now)
            case FromEngine(response):
                self._on_engine(response, now)
            case Tick():
                self._on_tick(now)
            case TurnStored(turn_id, number):
                self._totals.saved += 1
                self._send(turn=number, turn_saved={"turn_id": turn_id, "number": number})
            case Opened():
                self._on_opened()
            case ClientGone():
                self._on_client_gone(now)
            case ClientBack():
                self._on_client_back(now)
            case ClientDone():
                self._on_client_done(now)
            case EngineLost(error):
                self._on_engine_lost(error, now)
            case EngineBack():
                self._on_engine_back(now)
            case EngineGivenUp(error):
                self._notice(error, fatal=True)
                self._end(now, error)
            case EngineDone():
                self._engine_finished = True
                self._end_if_finished(now)
            case Failing(error):
                self._notice_once(error)
            case Refused(error, cause_seq, fatal):
                self._notice(error, cause_seq=cause_seq, fatal=fatal)
                if fatal:
                    self._end(now, error)
            case Draining(time_left):
                self._on_draining(time_left, now)
        return self._effects

    def _on_opened(self) -> None:
        if self._config.tutor_opens and self._next_number == 1:
            self._engine(request_reply={"purpose": ai_pb2.REPLY_PURPOSE_OPENING})

    def _on_tick(self, now: float) -> None:
        if now >= self._origin + self._config.session_s:
            self._stop(now, problems.too_long())
            return
        if self._gone_at is not None and now >= self._gone_at + self._config.resume_s:
            self._end(now, None)
            return
        if self._gone_at is None and now >= self._client_at + self._config.idle_s:
            self._stop(now, problems.idle())
            return
        if self._closing_at is not None and now >= self._closing_at:
            self._end(now, None)
            return
        if self._decide_at is not None and now >= self._decide_at:
            self._decide_without_words(now)
        turn = self._turn
        waiting = turn is not None and not turn.engine_began and self._engine_up
        if turn and waiting and now >= turn.opened_at + self._config.reply_timeout_s:
            self._effects.append(RestartEngine())
        self._play(now)
        self._drain_if_due(now)

    # --- the client ---------------------------------------------------------------------------

    def _on_client(self, request: conversation_pb2.ConverseRequest, now: float) -> None:
        kind = request.WhichOneof("message")
        if kind == "heard":
            self._on_heard(request.heard, now)
        elif kind == "text":
            self._on_text(request.text.text, request.seq, now)
        elif kind == "interrupt":
            self._on_interrupt(request.interrupt, now)
        elif kind == "end_turn":
            self._on_end_turn(now)
        elif kind == "settings":
            self._on_settings(request.settings)
        elif kind == "ping":
            self._on_ping(request.ping.nonce, now)
        elif kind == "finish":
            self._end(now, None)
        elif kind == "start":
            self._notice(problems.already_started(), cause_seq=request.seq)

    def _on_heard(self, heard: conversation_pb2.Heard, now: float) -> None:
        turn = self._turn
        if turn is None or heard.generation != turn.generation:
            return
        if heard.HasField("play_delay_ms") and turn.play_delay_ms is None:
            turn.play_delay_ms = heard.play_delay_ms
        turn.playback.report(heard.audio_ms, now)
        self._play(now)

    def _on_text(self, text: str, seq: int, now: float) -> None:
        if self._turn is not None:
            self._interrupt(now, take=False)
        self._typed_at = now
        if self._engine_up:
            self._engine(text={"text": text})
        elif len(self._held_texts) < _MAX_HELD_TEXTS:
            self._held_texts.append(text)
        else:
            self._notice(problems.engine_unavailable(), cause_seq=seq)

    def _on_interrupt(self, interrupt: conversation_pb2.Interrupt, now: float) -> None:
        turn = self._turn
        if turn is None or interrupt.generation not in (0, turn.generation):
            return
        if interrupt.heard_ms:
            turn.playback.report(interrupt.heard_ms, now)
        # Who stops the tutor while speaking wants what is being said to count.
        self._interrupt(now, take=self._unresolved)

    def _on_end_turn(self, now: float) -> None:
        if self._turn is not None:
            if not self._unresolved:
                return
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
            self._effects.append(ToEngine(ai_pb2.ConverseRequest(settings=change)))

    def _on_ping(self, nonce: int, now: float) -> None:
        pong = conversation_pb2.Pong(nonce=nonce)
        pong.server_time.FromDatetime(self._time_of_day(now))
        self._send(pong=pong)

    def _on_client_gone(self, now: float) -> None:
        self._gone_at = now
        if self._turn is not None:
            self._turn.playback.hold("disconnected", now)

    def _on_client_back(self, now: float) -> None:
        self._gone_at = None
        self._client_at = now
        if self._turn is not None:
            self._turn.playback.release("disconnected", now)
            self._play(now)

    def _on_client_done(self, now: float) -> None:
        if not self._engine_up:
            self._end(now, None)
            return
        self._closing_at = now + _CLOSING_S
        self._engine(end_turn={})
        self._engine(end_input={})

    # --- the engine ---------------------------------------------------------------------------

    def _on_engine(self, response: ai_pb2.ConverseResponse, now: float) -> None:
        kind = response.WhichOneof("message")
        if kind in ("reply_text", "reply_audio", "reply_ended"):
            turn = self._turn_of(response.generation, now)
            if turn is not None:
                turn.engine_began = True
                self._on_reply(kind, response, turn, now)
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
            self._send(notice={"status": response.notice.status})

    def _turn_of(self, generation: int, now: float) -> OpenTurn | None:
        """Return the turn that a piece of reply belongs to; None when it comes too late."""
        if generation <= self._silenced:
            return None
        if self._turn is None or generation > self._turn.generation:
            # The tutor speaks without having been asked, and the engine saw no need to say so.
            self._on_committed(
                generation,
                ai_pb2.TurnCommitted(source=turn_pb2.UTTERANCE_SOURCE_NONE),
                now,
            )
        turn = self._turn
        return turn if turn is not None and turn.generation == generation else None

    def _on_committed(self, generation: int, message: ai_pb2.TurnCommitted, now: float) -> None:
        if generation <= self._silenced:
            return
        if self._retrying and self._turn is not None:
            self._adopt(self._turn, generation, now)
            return
        if self._turn is not None:
            if generation <= self._turn.generation:
                return
            self._end_reply(turn_pb2.REPLY_END_REASON_INTERRUPTED, now, tell_engine=True)
        self._move(Trigger.COMMITTED)
        self._speaking = self._unresolved = False
        self._turn = self._opened_turn(generation, message, now)
        if message.source == turn_pb2.UTTERANCE_SOURCE_SPEECH:
            self._hinted = False
        self._typed_at = None
        if message.source != turn_pb2.UTTERANCE_SOURCE_NONE:
            self._show_final(message)
        self._send_reply_started(self._turn)
        self._engine(floor={"floor": ai_pb2.FLOOR_TUTOR})

    def _opened_turn(self, generation: int, message: ai_pb2.TurnCommitted, now: float) -> OpenTurn:
        spoken = message.source == turn_pb2.UTTERANCE_SOURCE_SPEECH
        speech_ended_at = self._arrival(message.end_ms, now) if spoken else self._typed_at
        unasked = message.source == turn_pb2.UTTERANCE_SOURCE_NONE
        kind = conversation_pb2.REPLY_KIND_ANSWER
        if unasked:
            opening = self._next_number == 1 and self._config.tutor_opens
            kind = (
                conversation_pb2.REPLY_KIND_OPENING if opening else conversation_pb2.REPLY_KIND_HINT
            )
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
            speech_ended_at=None if unasked else speech_ended_at,
            captions_only=self._captions_only,
        )

    def _adopt(self, turn: OpenTurn, generation: int, now: float) -> None:
        """The new engine has taken up the turn that the lost one had not begun to answer."""
        self._retrying = False
        self._silenced = turn.generation
        turn.generation = generation
        turn.opened_at = max(turn.opened_at, now)
        self._send_reply_started(turn)
        self._engine(floor={"floor": ai_pb2.FLOOR_TUTOR})

    def _show_final(self, message: ai_pb2.TurnCommitted) -> None:
        if self._final_shown != message.transcript.verbatim or not self._final_shown:
            update = conversation_pb2.TranscriptUpdate(
                transcript=message.transcript,
                final=True,
                start_ms=message.start_ms,
                end_ms=message.end_ms,
            )
            self._send(turn=self._next_number, transcript=update)
        self._final_shown = ""

    def _send_reply_started(self, turn: OpenTurn) -> None:
        started = conversation_pb2.ReplyStarted(kind=turn.kind)
        if not turn.captions_only:
            started.format.CopyFrom(
                audio_pb2.AudioFormat(
                    encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE,
                    sample_rate_hz=self._config.output_rate_hz,
                    channels=1,
                )
            )
        self._send(turn=turn.number, generation=turn.generation, reply_started=started)

    def _on_reply(
        self, kind: str, response: ai_pb2.ConverseResponse, turn: OpenTurn, now: float
    ) -> None:
        if kind == "reply_text":
            text = response.reply_text
            index = turn.add_text(text)
            turn.pacer.push(Piece(text.audio_offset_ms, 0, text_index=index))
        elif kind == "reply_audio":
            self._on_reply_audio(response.reply_audio, turn, now)
        else:
            turn.engine_done = True
            turn.engine_text = response.reply_ended.text
            turn.outcome = response.reply_ended.reason
        self._play(now)

    def _on_reply_audio(self, audio: ai_pb2.EngineReplyAudio, turn: OpenTurn, now: float) -> None:
        if turn.captions_only:
            return
        if turn.first_audio_at is None:
            turn.first_audio_at = now
            turn.engine_stages = list(audio.stages)
        duration_ms = len(audio.pcm) // 2 * 1000 // self._config.output_rate_hz
        if turn.pacer.push(Piece(audio.offset_ms, duration_ms, audio.pcm)):
            turn.audio_ms = max(turn.audio_ms, audio.offset_ms + duration_ms)
        else:
            self._notice_once(problems.reply_too_long())

    def _on_long_silence(self) -> None:
        busy = self._turn is not None or self._speaking or self._gone_at is not None
        if busy or self._hinted or self._preferences.no_hints:
            return
        # Once, until the learner speaks again: a tutor that goes on alone is no help.
        self._hinted = True
        self._engine(request_reply={"purpose": ai_pb2.REPLY_PURPOSE_HINT})

    def _on_engine_lost(self, error: ParleyError, now: float) -> None:
        self._engine_up = False
        self._speaking = self._unresolved = False
        if self._closing_at is not None:
            self._notice(error)
            self._end(now, None)
            return
        turn = self._turn
        if turn is not None and turn.engine_done:
            # Nothing is missing of this reply: it is played to its end.
            self._resume_if_paused(now, resolve=False)
        elif turn is not None and turn.engine_began:
            self._end_reply(turn_pb2.REPLY_END_REASON_FAILED, now)
        elif turn is not None:
            self._retrying = True
            self._resume_if_paused(now, resolve=False)
        self._notice(error)

    def _on_engine_back(self, now: float) -> None:
        self._engine_up = True
        if self._changes.ByteSize():
            self._effects.append(ToEngine(ai_pb2.ConverseRequest(settings=self._changes)))
        turn = self._turn
        if turn is None:
            while self._held_texts:
                self._engine(text={"text": self._held_texts.popleft()})
        elif self._retrying:
            turn.opened_at = now
            if turn.source == turn_pb2.UTTERANCE_SOURCE_NONE:
                opening = turn.kind == conversation_pb2.REPLY_KIND_OPENING
                purpose = ai_pb2.REPLY_PURPOSE_OPENING if opening else ai_pb2.REPLY_PURPOSE_HINT
                self._engine(request_reply={"purpose": purpose})
            else:
                words = turn.utterance.clean or turn.utterance.verbatim
                self._engine(text={"text": words[:2000]})
        else:
            self._engine(floor={"floor": ai_pb2.FLOOR_TUTOR})

    # --- speech over a reply ------------------------------------------------------------------

    def _on_speech_started(self, at_ms: int, now: float) -> None:
        self._speaking = True
        self._spoke_at = now
        self._words = ""
        turn = self._turn
        number = self._next_number if turn is None else turn.number + 1
        self._send(turn=number, speech_started={"at_ms": at_ms})
        if turn is None:
            return
        self._unresolved = True
        if self._preferences.no_barge_in or self._state is not State.REPLYING:
            return
        left_ms = turn.audio_ms - turn.playback.position_ms(now)
        if turn.engine_done and not turn.pacer and left_ms <= _ALMOST_OVER_MS:
            return
        self._move(Trigger.SPEECH_OVER_REPLY)
        turn.playback.hold("speech", now)
        self._decide_at = now + _WORDLESS_LIMIT_S
        self._send(turn=turn.number, generation=turn.generation, reply_paused={"reason": "speech"})

    def _on_speech_ended(self, at_ms: int, now: float) -> None:
        number = self._next_number if self._turn is None else self._turn.number + 1
        self._send(turn=number, speech_ended={"at_ms": at_ms})
        self._speaking = False
        if self._state is State.PAUSED:
            self._decide_at = now + _WORDS_WAIT_S
            self._decide(now, final=False)

    def _on_transcript(self, message: ai_pb2.EngineTranscript, now: float) -> None:
        if self._turn is not None and not self._unresolved:
            # Late words of an utterance that was dismissed, or is the turn under way.
            return
        number = self._next_number if self._turn is None else self._turn.number + 1
        update = conversation_pb2.TranscriptUpdate(
            transcript=message.transcript,
            final=message.final,
            start_ms=message.start_ms,
            end_ms=message.end_ms,
        )
        self._send(turn=number, transcript=update)
        self._final_shown = message.transcript.verbatim if message.final else ""
        if self._state is State.PAUSED:
            self._words = message.transcript.verbatim
            self._decide(now, final=message.final or not self._speaking)

    def _decide(self, now: float, *, final: bool) -> None:
        turn = self._turn
        if turn is None:
            return
        spoke_ms = (now - self._spoke_at) * 1000
        said = turn.heard(turn.playback.sent_ms) if turn.pieces else ""
        found = meaning(self._words, said=said, final=final, speech_ms=spoke_ms)
        if found is Meaning.INTERRUPTION:
            self._interrupt(now, take=True)
        elif found is Meaning.BACKCHANNEL and not self._speaking and (final or self._words):
            self._resume_if_paused(now, resolve=True)

    def _decide_without_words(self, now: float) -> None:
        if self._speaking:
            self._interrupt(now, take=True)
        else:
            self._words = ""
            self._resume_if_paused(now, resolve=True)

    def _on_dropped(self, now: float) -> None:
        self._speaking = self._unresolved = False
        self._resume_if_paused(now, resolve=False)

    def _resume_if_paused(self, now: float, *, resolve: bool) -> None:
        """It was no interruption: the reply goes on. `resolve`: the engine is to forget it."""
        turn = self._turn
        if self._state is not State.PAUSED or turn is None:
            return
        self._move(Trigger.DISMISSED)
        self._decide_at = None
        self._unresolved = False
        if resolve:
            self._engine(resolve={"take": False})
        self._send(turn=turn.number, generation=turn.generation, reply_resumed={})
        turn.playback.release("speech", now)
        self._play(now)

    def _interrupt(self, now: float, *, take: bool) -> None:
        """End the reply for the learner's sake. `take`: what is being said is the next turn."""
        unresolved = self._unresolved
        self._end_reply(turn_pb2.REPLY_END_REASON_INTERRUPTED, now, tell_engine=True)
        if unresolved:
            self._engine(resolve={"take": take})
        self._engine(floor={"floor": ai_pb2.FLOOR_LEARNER})

    # --- the reply ----------------------------------------------------------------------------

    def _play(self, now: float) -> None:
        """Send what may be sent, and notice when everything was played."""
        turn = self._turn
        if turn is None or self._state is not State.REPLYING or self._gone_at is not None:
            return
        # Captions wait for no loudspeaker.
        position = 2**31 if turn.captions_only else turn.playback.position_ms(now)
        for piece in turn.pacer.release(position):
            self._send_piece(turn, piece, now)
        self._record_played(turn, turn.playback.position_ms(now), last=False)
        if turn.engine_done and not turn.pacer:
            over_at = turn.playback.over_at(turn.audio_ms)
            silent = turn.captions_only or turn.audio_ms == 0
            if silent or (over_at is not None and now >= over_at):
                self._reply_played(turn, now)

    def _send_piece(self, turn: OpenTurn, piece: Piece, now: float) -> None:
        if not piece.pcm:
            text = turn.pieces[piece.text_index]
            words = [
                speech_pb2.Word(
                    text=word.text,
                    start_ms=word.start_ms,
                    end_ms=word.end_ms,
                    times_estimated=word.estimated,
                )
                for word in text.words
            ]
            self._send(
                turn=turn.number,
                generation=turn.generation,
                reply_text={
                    "text": text.text,
                    "audio_offset_ms": text.audio_offset_ms,
                    "words": words,
                },
            )
            return
        if not turn.playback.started:
            self._first_audio(turn, now)
        turn.playback.sent(piece.offset_ms + piece.duration_ms, now)
        at_ms = turn.reply_start_ms + piece.offset_ms + turn.playback.held_ms
        turn.record_sent(at_ms, piece.offset_ms, piece.pcm)
        self._effects.append(
            Send(
                conversation_pb2.ConverseResponse(
                    turn=turn.number,
                    generation=turn.generation,
                    reply_audio=conversation_pb2.ReplyAudio(
                        pcm=piece.pcm, offset_ms=piece.offset_ms
                    ),
                )
            )
        )

    def _first_audio(self, turn: OpenTurn, now: float) -> None:
        turn.reply_start_ms = (now + ASSUMED_DELAY_S - self._origin) * 1000
        if turn.speech_ended_at is None or turn.first_audio_at is None:
            return
        silence_ms = max(0.0, now - turn.speech_ended_at) * 1000
        sent_ms = (now - turn.first_audio_at) * 1000
        turn.stages = join_stages(turn.engine_stages, sent_ms=sent_ms, silence_ms=silence_ms)
        self._totals.silences.append(silence_of(turn.stages))

    def _record_played(self, turn: OpenTurn, heard_ms: int, *, last: bool) -> None:
        for at_ms, pcm in turn.played_audio(heard_ms, self._config.output_rate_hz, last=last):
            self._effects.append(RecordTutor(pcm, at_ms))

    def _reply_played(self, turn: OpenTurn, now: float) -> None:
        if turn.playback.stalled(turn.audio_ms):
            # The loudspeaker stopped, though nobody asked it to: the rest was not heard.
            self._end_reply(turn_pb2.REPLY_END_REASON_INTERRUPTED, now, tell_engine=True)
        else:
            self._end_reply(turn.outcome, now)
            if turn.outcome == turn_pb2.REPLY_END_REASON_COMPLETED:
                self._engine(reply_heard={"generation": turn.generation})
        if self._unresolved:
            # What began over the last words, or was not allowed to interrupt them.
            self._engine(resolve={"take": self._speaking})
            self._unresolved = False
        self._engine(floor={"floor": ai_pb2.FLOOR_LEARNER})
        self._end_if_finished(now)
        self._drain_if_due(now)

    def _end_reply(
        self,
        reason: turn_pb2.ReplyEndReason.ValueType,
        now: float,
        *,
        tell_engine: bool = False,
        move: bool = True,
    ) -> None:
        """The reply is over for everybody: told, remembered, and given to storage."""
        turn = self._turn
        if turn is None:
            return
        completed = reason == turn_pb2.REPLY_END_REASON_COMPLETED
        heard_ms = turn.audio_ms if completed else turn.playback.position_ms(now)
        heard = turn.text if completed else turn.heard(heard_ms)
        self._record_played(turn, heard_ms, last=True)
        turn.pacer.clear()
        self._turn = None
        self._silenced = turn.generation
        self._next_number = turn.number + 1
        self._decide_at = None
        self._retrying = False
        if move:
            self._move(Trigger.REPLY_OVER)
        if not completed:
            self._effects.append(Silence(turn.generation))
        self._send(
            turn=turn.number,
            generation=turn.generation,
            reply_ended={
                "reason": reason,
                "heard_text": heard,
                "heard_ms": heard_ms,
                "stages": turn.stages,
            },
        )
        if tell_engine:
            self._engine(
                interrupt={
                    "generation": turn.generation,
                    "heard_text": heard,
                    "heard_ms": heard_ms,
                }
            )
        self._keep(turn, reason, heard_ms, heard, now)

    def _keep(
        self,
        turn: OpenTurn,
        reason: turn_pb2.ReplyEndReason.ValueType,
        heard_ms: int,
        heard: str,
        now: float,
    ) -> None:
        learner = turn.utterance.clean or turn.utterance.verbatim
        self._context.append(ai_pb2.ContextTurn(learner=learner[:8000], tutor=heard[:16000]))
        self._totals.turns += 1
        self._totals.tutor_ms += heard_ms
        if turn.source == turn_pb2.UTTERANCE_SOURCE_SPEECH:
            self._totals.learner_ms += turn.end_ms - turn.start_ms
        self._effects.append(
            SaveTurn(
                turn.to_turn(
                    reason,
                    heard_ms,
                    heard,
                    now,
                    engine=self._config.engine,
                    started_at=self._time_of_day(turn.opened_at),
                )
            )
        )

    # --- the end ------------------------------------------------------------------------------

    def _stop(self, now: float, error: ParleyError) -> None:
        self._notice(error, fatal=True)
        self._end(now, error)

    def _end(self, now: float, error: ParleyError | None) -> None:
        self._end_reply(turn_pb2.REPLY_END_REASON_SESSION_ENDED, now, move=False)
        self._move(Trigger.END)
        self._effects.append(End(error))

    def _end_if_finished(self, now: float) -> None:
        if self._closing_at is not None and self._engine_finished and self._turn is None:
            self._end(now, None)

    def _on_draining(self, time_left: float, now: float) -> None:
        self._drain_at = now + max(0.0, time_left - _DRAIN_RESERVE_S)
        self._send(go_away={"time_left_ms": int(time_left * 1000)})
        self._drain_if_due(now)

    def _drain_if_due(self, now: float) -> None:
        """Let go between two turns; in the middle of one only when the time is up."""
        if self._drain_at is None or self._state is State.ENDED:
            return
        quiet = self._turn is None and not self._speaking
        if not quiet and now < self._drain_at:
            return
        error = problems.stopping()
        self._end_reply(turn_pb2.REPLY_END_REASON_SESSION_ENDED, now, move=False)
        self._move(Trigger.END)
        self._effects.append(Suspend(error))

    # --- small things -------------------------------------------------------------------------

    def _move(self, trigger: Trigger) -> None:
        self._state = TRANSITIONS[self._state, trigger]

    def _send(self, *, turn: int = 0, generation: int = 0, **message: object) -> None:
        response = conversation_pb2.ConverseResponse(
            turn=turn,
            generation=generation,
            **message,  # type: ignore[arg-type]
        )
        self._effects.append(Send(response))

    def _engine(self, **message: object) -> None:
        request = ai_pb2.ConverseRequest(**message)  # type: ignore[arg-type]
        self._effects.append(ToEngine(request))

    def _notice(self, error: ParleyError, *, cause_seq: int = 0, fatal: bool = False) -> None:
        self._effects.append(Tell(error, cause_seq, fatal))

    def _notice_once(self, error: ParleyError) -> None:
        if error.reason not in self._told:
            self._told.add(error.reason)
            self._notice(error)

    def _arrival(self, position_ms: float, now: float) -> float:
        """Return when the learner's audio at `position_ms` of the time line came."""
        return min(now, self._audio_at - (self._audio_ms - position_ms) / 1000)

    def _time_of_day(self, now: float) -> datetime:
        return self._config.started_at + timedelta(seconds=now - self._origin)
