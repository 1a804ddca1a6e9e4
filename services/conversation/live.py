"""One live session: the machine with what it moves.

A session outlives its connections. Transports are thin: they hand the client's messages to
`receive`, and write what a `Connection` gives them.

Every event goes through the machine at once, on the event loop, and its effects are carried out
before anything else happens; nothing there waits. What may wait has a task of its own: the engine's
messages, the recording, and the end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.media.v1 import media_pb2
from parley.types.v1 import learner_pb2, scenario_pb2
from services.common.clock import Clock
from services.common.errors import Internal, ParleyError, ResourceExhausted, Unavailable
from services.common.limits import Limits
from services.common.status import to_status
from services.conversation import problems
from services.conversation.adapters.engine import Engine, Engines
from services.conversation.audio_gate import AudioGate
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
from services.conversation.journal import (
    ConversationBegun,
    ConversationOver,
    Journal,
    RecordingKept,
    TurnFinished,
)
from services.conversation.learner_audio import LearnerAudio, pcm_format
from services.conversation.push_order import PushOrder
from services.conversation.recorder import Recorder, Recordings
from services.conversation.responses import Response, Responses
from services.conversation.session import Session, SessionConfig

_log = structlog.get_logger(__name__)

# A supervised ai process is back, its models loaded, within this time; a learner waits no longer.
ENGINE_AWAY_S = 15.0

# A connection to a service that was started again is found within 2 s; a start waits so long.
START_PATIENCE_S = 2.5

_FIRST_RETRY_S = 0.1
_LONGEST_RETRY_S = 1.0

# At the end of a session: how long `ended` waits for the last turns to be stored.
_SETTLE_S = 3.0


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What bounds a session; told to the client in `started.limits`."""

    session_s: float
    idle_s: float
    utterance_ms: int
    audio_message_ms: int
    resume_s: float
    audio_ahead_ms: int
    message_bytes: int

    @classmethod
    def of(cls, limits: Limits, resume_s: float) -> SessionLimits:
        """Take them from the process's limits."""
        return cls(
            session_s=limits.conversation_max_seconds,
            idle_s=limits.conversation_idle_seconds,
            utterance_ms=limits.max_utterance_ms,
            audio_message_ms=limits.max_audio_message_ms,
            resume_s=resume_s,
            audio_ahead_ms=limits.max_audio_ahead_ms,
            message_bytes=limits.max_stream_message_bytes,
        )

    def to_message(self) -> conversation_pb2.SessionLimits:
        """Return them as the client is told."""
        return conversation_pb2.SessionLimits(
            session_s=int(self.session_s),
            idle_s=int(self.idle_s),
            utterance_ms=self.utterance_ms,
            audio_message_ms=self.audio_message_ms,
            resume_s=int(self.resume_s),
            audio_ahead_ms=self.audio_ahead_ms,
            message_bytes=self.message_bytes,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What one session is to be.

    handle: what the client resumes with; `handle_hash` what is stored of it.
    stored: it is in the database already: resumed from there.
    """

    conversation_id: str
    user_id: str
    handle: str = field(repr=False)
    handle_hash: bytes = field(repr=False)
    start: conversation_pb2.StartSession
    scenario: scenario_pb2.Scenario
    profile: learner_pb2.LearnerProfile
    turn_taking: learner_pb2.TurnTakingPreferences
    voice: str
    input_rate_hz: int
    recording_id: str
    started_at: datetime
    limits: SessionLimits
    stored: bool = False
    elapsed_s: float = 0.0
    next_turn: int = 1
    last_generation: int = 0
    last_seq: int = 0
    context: tuple[ai_pb2.ContextTurn, ...] = ()
    first_notices: tuple[ParleyError, ...] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every session of the process shares."""

    engines: Engines
    recordings: Recordings
    journal: Journal
    clock: Clock
    max_kept_responses: int
    reply_timeout_s: float


class Connection:
    """A client's connection: what to write to it, in order.

    `aborted` is set by the transport: it is called when the connection must end, though it may be
    in the middle of a write; `error` says why.
    """

    def __init__(self, responses: Responses, first: list[Response]) -> None:
        self._responses = responses
        self._first = deque(first)
        self.error: ParleyError | None = None
        self.aborted: Callable[[], None] = _nothing

    async def next(self) -> Response | None:
        """Return the next response to write; None after the last. Safe to cancel.

        Raises:
            ParleyError: the connection ends with it.
        """
        while True:
            if self.error is not None:
                raise self.error
            if self._first:
                return self._first.popleft()
            response = self._responses.next()
            if response is not None:
                return response
            if self._responses.finished:
                if self._responses.error is not None:
                    raise self._responses.error
                return None
            await self._responses.wait()

    def abort(self, error: ParleyError) -> None:
        """End the connection with `error`."""
        if self.error is None:
            self.error = error
            self._responses.wake()
            self.aborted()


class LiveSession:
    """One session. `run` is its life; it returns when everything of it has been put away."""

    def __init__(self, plan: Plan, around: Surroundings) -> None:
        self.plan = plan
        self._around = around
        self._clock = around.clock
        self.responses = Responses(around.max_kept_responses, last_seq=plan.last_seq)
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.error: ParleyError | None = None
        """What its connection ends with; None for a session that ended in good order."""
        self._audio = LearnerAudio(
            plan.input_rate_hz,
            plan.limits.audio_message_ms,
            int(plan.elapsed_s * plan.input_rate_hz),
        )
        self.push_order = PushOrder()
        self._gate = AudioGate(plan.limits.audio_ahead_ms)
        self._connection: Connection | None = None
        self._engine: Engine | None = None
        self._engine_ready = ai_pb2.EngineReady()
        self._listening: asyncio.Task[None] | None = None
        self._recorder: Recorder | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._input_ended = False
        self._ended = asyncio.Event()
        self._ending: End | Suspend | None = None
        self._session: Session
        self._group: asyncio.TaskGroup

    # --- for transports -----------------------------------------------------------------------

    @property
    def conversation_id(self) -> str:
        """The conversation's id."""
        return self.plan.conversation_id

    @property
    def session(self) -> Session:
        """The machine; there is one once the session is ready."""
        return self._session

    @property
    def connected(self) -> bool:
        """Whether a client is connected."""
        return self._connection is not None

    @property
    def over(self) -> bool:
        """Whether the session has ended."""
        return self._ending is not None

    def attach(self, *, last_seq: int | None = None) -> Connection:
        """Connect a client; one that was connected before is disconnected (TAKEN_OVER).

        Args:
            last_seq: for a client that comes back, the last response it has handled; what came
                after it is sent again.
        """
        if self._connection is not None:
            self._connection.abort(problems.taken_over())
        first: list[Response] = []
        if last_seq is not None:
            first = [self._started(resumed=True), *self.responses.since(last_seq)]
        self._connection = Connection(self.responses, first)
        if last_seq is not None:
            self.handle(ClientBack())
        return self._connection

    def detach(self, connection: Connection) -> None:
        """The connection broke; the client may come back."""
        if connection is self._connection:
            self._connection = None
            self.handle(ClientGone())

    def client_done(self, connection: Connection) -> None:
        """The client has closed its side in good order. A connection that is gone has not."""
        if connection is self._connection:
            self._input_ended = True
            self.handle(ClientDone())

    async def receive(self, request: conversation_pb2.ConverseRequest) -> None:
        """Take one message of the client's. Waits where audio comes too fast or an engine is slow.

        What is wrong with it becomes a notice.
        """
        if request.HasField("audio"):
            await self._on_audio(request)
        else:
            self.handle(FromClient(request))

    def refuse(self, error: ParleyError, cause_seq: int) -> None:
        """A message of the client's could not even be read."""
        self.handle(Refused(error, cause_seq))

    def drain(self, time_left: float) -> None:
        """The process will stop in `time_left` seconds."""
        self.handle(Draining(time_left))

    # --- the life -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Open the engine, be live, put everything away. Cancelling it drops the session."""
        try:
            try:
                self._engine = await self._first_engine()
            except ParleyError as error:
                self._fail(error)
                return
            self._begin(self._engine)
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._listening = group.create_task(self._listen(self._engine))
                recording = self._start_recording(group)
                self.handle(Opened())
                self._tell_first_notices()
                self.ready.set_result(None)
                await self._ended.wait()
                await self._put_away(recording)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._engine is not None:
                await self._engine.close()
            if not self.ready.done():
                self.ready.cancel()
            if not self.responses.finished:
                self.error = self.error or problems.stopping()
            self.responses.close(self.error)

    def crashed(self) -> None:
        """The session failed in a way nobody foresaw: its client is told so."""
        error = Internal("Something went wrong on our side.", reason="INTERNAL")
        self._fail(error)
        self.error = error
        if self._connection is not None:
            self._connection.abort(error)

    def _fail(self, error: ParleyError) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)

    def _begin(self, engine: Engine) -> None:
        plan, ready = self.plan, engine.ready
        self._engine_ready = ready
        limits = plan.limits
        self._session = Session(
            SessionConfig(
                conversation_id=plan.conversation_id,
                engine=ready.engine,
                started_at=plan.started_at,
                output_rate_hz=ready.output_format.sample_rate_hz,
                turn_taking=plan.turn_taking,
                captions_only=plan.start.captions_only,
                tutor_opens=plan.start.tutor_opens,
                next_turn=plan.next_turn,
                last_generation=plan.last_generation,
                context=plan.context,
                elapsed_s=plan.elapsed_s,
                session_s=limits.session_s,
                idle_s=limits.idle_s,
                resume_s=limits.resume_s,
                reply_timeout_s=self._around.reply_timeout_s,
            ),
            self._clock.monotonic(),
        )
        if plan.stored:
            return
        self._around.journal.submit(
            ConversationBegun(
                conversation_id=plan.conversation_id,
                user_id=plan.user_id,
                handle_hash=plan.handle_hash,
                start=plan.start,
                engine=ready.engine,
                voice=ready.voice,
                scenario_id=plan.scenario.scenario_id,
                scenario_title=plan.scenario.title,
                input_rate_hz=plan.input_rate_hz,
                output_rate_hz=ready.output_format.sample_rate_hz,
                recording_id=plan.recording_id,
                at=plan.started_at,
            ),
            failed=self._storage_failing,
        )
        self.responses.put(self._started(resumed=False))

    def _tell_first_notices(self) -> None:
        for error in self.plan.first_notices:
            self.handle(Failing(error))

    def _started(self, *, resumed: bool) -> Response:
        # Of a session that goes on it is not counted: its `seq` is 0.
        plan, ready = self.plan, self._engine_ready
        started = conversation_pb2.SessionStarted(
            conversation_id=plan.conversation_id,
            input_format=pcm_format(plan.input_rate_hz),
            output_format=ready.output_format,
            resume_handle=plan.handle,
            limits=plan.limits.to_message(),
            engine=ready.engine,
            voice=ready.voice,
            scenario=plan.scenario,
            resumed=resumed,
            next_turn=self._session.turn_number,
            next_sample=self._audio.next_sample,
        )
        return conversation_pb2.ConverseResponse(started=started)

    # --- events and effects -------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        """Give the machine one event, and do what it says."""
        for effect in self._session.handle(event, self._clock.monotonic()):
            self._apply(effect)
        self._arm()
        if self.responses.overflowing:
            self.responses.shelve()
            if self._connection is not None:
                self._connection.abort(problems.client_too_slow())

    def _apply(self, effect: Effect) -> None:
        match effect:
            case Send(response):
                self.responses.put(response)
            case RecordTutor(pcm, at_ms):
                if self._recorder is not None:
                    rate = self._engine_ready.output_format.sample_rate_hz
                    self._recorder.tutor(pcm, max(0, int(at_ms * rate / 1000)))
            case ToEngine(request):
                if self._engine is not None:
                    self._engine.post(request)
            case Tell(error, cause_seq, fatal):
                notice = conversation_pb2.Notice(
                    status=to_status(error), cause_seq=cause_seq, fatal=fatal
                )
                self.responses.put(conversation_pb2.ConverseResponse(notice=notice))
            case Silence(generation):
                self.responses.silence(generation)
            case SaveTurn():
                self._save(effect)
            case RestartEngine():
                self._lose_engine()
            case End() | Suspend():
                self._ending = effect
                self._ended.set()

    def _save(self, effect: SaveTurn) -> None:
        turn = effect.turn
        taken = self._around.journal.submit(
            TurnFinished(self.conversation_id, self.plan.user_id, turn, self._clock.now()),
            done=lambda: self.handle(TurnStored(turn.turn_id, turn.number)),
            failed=self._storage_failing,
        )
        if not taken:
            self._later(Refused(problems.storage_gone(), fatal=True))

    def _storage_failing(self) -> None:
        self._later(Failing(problems.storage_failing()))

    def _later(self, event: Event) -> None:
        # Not at once: it may be called while the machine's effects are being carried out.
        asyncio.get_running_loop().call_soon(self.handle, event)

    def _arm(self) -> None:
        when = self._session.deadline()
        if when == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = None
        if when is not None:
            delay = max(0.0, when - self._clock.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._timer_at = None
        self.handle(Tick())

    # --- the learner's audio ------------------------------------------------------------------

    async def _on_audio(self, request: conversation_pb2.ConverseRequest) -> None:
        audio, now = self._audio, self._clock.monotonic()
        try:
            taken = audio.take(request.audio.pcm, request.audio.first_sample)
            wait = self._gate.admit(len(taken.pcm) // 2 * 1000 / audio.rate_hz, now)
        except ParleyError as error:
            fatal = isinstance(error, ResourceExhausted)
            self.handle(Refused(error, request.seq, fatal=fatal))
            return
        self._session.note_audio(audio.end_ms, now)
        if self._recorder is not None:
            self._recorder.learner(taken.pcm, taken.first_sample)
        engine = self._engine
        if engine is not None:
            for piece in taken.for_engine:
                await engine.send_audio(piece)
            audio.trim_kept(speaking=self._session.learner_speaking)
        else:
            audio.trim_kept(speaking=True)
        if wait > 0:
            await self._clock.sleep(wait)

    # --- the engine ---------------------------------------------------------------------------

    def _start_engine(self, first_sample: int) -> ai_pb2.StartEngine:
        plan = self.plan
        start = ai_pb2.StartEngine(
            conversation_id=plan.conversation_id,
            engine=plan.start.engine,
            voice=plan.voice,
            input_format=pcm_format(16_000),
            profile=plan.profile,
            scenario=plan.scenario,
            history=plan.context,
            turn_taking=plan.turn_taking,
            last_generation=plan.last_generation,
            next_turn=plan.next_turn,
            first_sample=first_sample,
            captions_only=plan.start.captions_only,
        )
        if plan.start.HasField("speech_rate"):
            start.speech_rate = plan.start.speech_rate
        return start

    async def _first_engine(self) -> Engine:
        until = self._clock.monotonic() + START_PATIENCE_S
        while True:
            try:
                return await self._open_engine(self._start_engine(self._audio.engine_position))
            except Unavailable:
                if self._clock.monotonic() + _FIRST_RETRY_S > until:
                    raise
                await self._clock.sleep(_FIRST_RETRY_S)

    async def _open_engine(self, start: ai_pb2.StartEngine) -> Engine:
        return await self._around.engines.open(start)

    async def _listen(self, engine: Engine) -> None:
        error: ParleyError = problems.engine_unavailable()
        try:
            while (message := await engine.receive()) is not None:
                self._to_session_time(message)
                self.handle(FromEngine(message))
            if self._input_ended:
                self.handle(EngineDone())
                return
        except ParleyError as broken:
            _log.warning("engine_lost", reason=broken.reason)
        if not self.over:
            await self._reconnect(error)

    def _to_session_time(self, message: ai_pb2.ConverseResponse) -> None:
        kind = message.WhichOneof("message")
        if kind in ("speech_started", "speech_ended"):
            part = getattr(message, kind)
            part.at_ms = self._audio.session_ms(part.at_ms)
        elif kind in ("transcript", "turn_committed"):
            part = getattr(message, kind)
            part.start_ms = self._audio.session_ms(part.start_ms)
            part.end_ms = self._audio.session_ms(part.end_ms)

    def _lose_engine(self) -> None:
        """The engine has stopped answering: leave it, and get another."""
        _log.warning("engine_silent")
        if self._listening is not None:
            self._listening.cancel()
        self._listening = self._group.create_task(self._reconnect(problems.engine_unavailable()))

    async def _reconnect(self, error: ParleyError) -> None:
        lost, self._engine = self._engine, None
        speaking = self._session.learner_speaking
        self.handle(EngineLost(error))
        if lost is not None:
            await lost.close()
        until = self._clock.monotonic() + ENGINE_AWAY_S
        wait = _FIRST_RETRY_S
        while not self.over:
            # What the learner was saying is heard again by the new engine.
            position = self._audio.kept_from if speaking else self._audio.engine_position
            try:
                engine = await self._open_engine(self._restart(position))
            except ParleyError as failed:
                if not failed.retryable or self._clock.monotonic() + wait > until:
                    self.handle(EngineGivenUp(problems.engine_gone()))
                    return
            else:
                await self._take_up(engine, position)
                return
            await self._clock.sleep(wait)
            wait = min(wait * 2, _LONGEST_RETRY_S)
            speaking = True

    def _restart(self, position: int) -> ai_pb2.StartEngine:
        start = self._start_engine(position)
        start.ClearField("history")
        start.history.extend(self._session.context())
        start.last_generation = self._session.generation
        start.next_turn = self._session.turn_number
        return start

    async def _take_up(self, engine: Engine, position: int) -> None:
        """Give the new engine what it has missed, then let everything go to it again."""
        while pieces := self._audio.kept_since(position):
            for piece in pieces:
                await engine.send_audio(piece)
                position += len(piece) // 2
        self._engine = engine
        self.handle(EngineBack())
        _log.info("engine_back")
        self._listening = self._group.create_task(self._listen(engine))

    # --- the recording ------------------------------------------------------------------------

    def _start_recording(self, group: asyncio.TaskGroup) -> asyncio.Task[None] | None:
        plan = self.plan
        if plan.start.no_recording:
            return None
        start = media_pb2.RecordStart(
            recording_id=plan.recording_id,
            conversation_id=plan.conversation_id,
            user_id=plan.user_id,
            learner_format=pcm_format(plan.input_rate_hz),
            tutor_format=self._engine_ready.output_format,
        )
        start.started_at.FromDatetime(plan.started_at)
        self._recorder = Recorder(
            self._around.recordings,
            start,
            self._clock,
            failing=lambda: self._later(Failing(problems.recording_failing())),
        )
        return group.create_task(self._recorder.run())

    # --- the end ------------------------------------------------------------------------------

    async def _put_away(self, recording: asyncio.Task[None] | None) -> None:
        journal, plan, ending = self._around.journal, self.plan, self._ending
        assert ending is not None
        if self._listening is not None:
            self._listening.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_S):
                await journal.settled(self.conversation_id)
        summary = self._session.summary(self._clock.monotonic())
        self.error = ending.error
        if isinstance(ending, End):
            ended = conversation_pb2.SessionEnded(summary=summary)
            self.responses.put(conversation_pb2.ConverseResponse(ended=ended))
        self.responses.close(self.error)
        if self._recorder is not None:
            await self._put_away_recording(recording, summary.duration_ms, ending)
        if isinstance(ending, End):
            over = ConversationOver(
                self.conversation_id, plan.user_id, summary.duration_ms, self._clock.now()
            )
            journal.submit(over)

    async def _put_away_recording(
        self, task: asyncio.Task[None] | None, duration_ms: int, ending: End | Suspend
    ) -> None:
        recorder = self._recorder
        if recorder is None or task is None:
            return
        if isinstance(ending, Suspend):
            # Its stream just breaks; who resumes the session goes on with the same recording.
            await recorder.flushed()
            task.cancel()
            return
        recorder.finish(duration_ms)
        await asyncio.wait({task})
        stored = recorder.recording
        if stored is not None:
            self._around.journal.submit(
                RecordingKept(
                    self.conversation_id,
                    self.plan.user_id,
                    stored.recording_id,
                    stored.duration_ms,
                    self._clock.now(),
                )
            )


def _nothing() -> None:
    """What an abort calls before the transport has said what it wants called."""
