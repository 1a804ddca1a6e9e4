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
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.media.v1 import media_pb2
from parley.types.v1 import feedback_pb2, turn_pb2
from services.common.errors import Internal, ParleyError, ResourceExhausted
from services.common.status import to_status
from services.conversation import problems
from services.conversation.audio_gate import AudioGate
from services.conversation.connection import Connection
from services.conversation.engine_link import EngineLink
from services.conversation.events import (
    BargedIn,
    ClientBack,
    ClientDone,
    ClientGone,
    Draining,
    Effect,
    End,
    Event,
    Failing,
    FromClient,
    HearSilence,
    KeepTurn,
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
from services.conversation.feedback import TurnFeedback
from services.conversation.intake import Intake
from services.conversation.journal import (
    ConversationBegun,
    ConversationOver,
    RecordingKept,
    TurnAssessed,
    TurnFinished,
    TurnKept,
)
from services.conversation.learner_audio import ENGINE_RATE_HZ, LearnerAudio, pcm_format
from services.conversation.message_gate import MessageGate
from services.conversation.plan import Plan, Surroundings
from services.conversation.recorder import Recorder
from services.conversation.responses import Response, Responses
from services.conversation.session import Session
from services.conversation.session_config import SessionConfig

_log = structlog.get_logger(__name__)

# At the end of a session: how long `ended` waits for the last turns to be stored.
_SETTLE_S = 3.0

# The same where another process goes on with it: that one begins from what is stored, and a turn
# that is stored only afterwards would have its number taken. A busy disk takes its seconds.
_HAND_OVER_S = 15.0


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
            plan.accounted_ms * plan.input_rate_hz // 1000,
            unplaced_sample=int(plan.elapsed_s * plan.input_rate_hz),
        )
        # Its parts know it weakly: an ended session goes at once, and not when the collector comes.
        this: LiveSession = weakref.proxy(self)
        self.intake = Intake(this)
        self._message_gate = MessageGate(plan.limits.messages_per_s)
        self._gate = AudioGate(
            plan.limits.audio_ahead_ms, plan.limits.audio_held_back_s, catching_up=plan.stored
        )
        self._connection: Connection | None = None
        self._engine_ready = ai_pb2.EngineReady()
        self._feedback: TurnFeedback | None = None
        self._recorder: Recorder | None = None
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._ended = asyncio.Event()
        self._ending: End | Suspend | None = None
        self._session_or_none: Session | None = None
        self.sign_in = ""
        """The sign-in (`sid`) of whoever began or last resumed it: the session ends with it."""
        self._link = EngineLink(around.engines, around.clock, self._audio, this)

    # --- for transports -----------------------------------------------------------------------

    @property
    def conversation_id(self) -> str:
        """The conversation's id."""
        return self.plan.conversation_id

    @property
    def session(self) -> Session:
        """The machine. There is one once the session is ready."""
        assert self._session_or_none is not None
        return self._session_or_none

    @property
    def connected(self) -> bool:
        """Whether a client is connected."""
        return self._connection is not None

    @property
    def over(self) -> bool:
        """Whether the session has ended."""
        return self._ending is not None

    @property
    def over_for_good(self) -> bool:
        """Whether it has ended and nobody may go on with it, stored or not yet."""
        return isinstance(self._ending, End)

    def attach(self, back: ClientBack | None = None, *, last_seq: int = 0) -> Connection:
        """Connect a client; one that was connected before is disconnected (TAKEN_OVER).

        Args:
            back: what a client says that comes back; None for a new one.
            last_seq: the last response it has handled; what came after it is sent again.
        """
        if self._connection is not None:
            self._connection.abort(problems.taken_over())
        first: list[Response] = []
        if back is not None:
            first = [self._started(resumed=True), *self.responses.since(last_seq)]
        self._connection = Connection(self.responses, first)
        if back is not None:
            self.handle(back)
        return self._connection

    def detach(self, connection: Connection) -> None:
        """The connection broke; the client may come back."""
        if connection is self._connection:
            self._connection = None
            self.handle(ClientGone())

    def abandon(self) -> None:
        """Whoever opened it went away before it was ready: nobody knows of it."""
        if not self.ready.done():
            if self._task is not None:
                self._task.cancel()
        elif not self.ready.cancelled() and self.ready.exception() is None:
            self.handle(ClientGone())

    def client_done(self, connection: Connection) -> None:
        """The client has closed its side in good order. A connection that is gone has not."""
        if connection is self._connection:
            self.handle(ClientDone())

    async def receive(self, request: conversation_pb2.ConverseRequest) -> None:
        """Take one message of the client's. Waits where audio comes too fast or an engine is slow.

        What is wrong with it becomes a notice.
        """
        waiting = self.take(request)
        if waiting is not None:
            await waiting

    def take(self, request: conversation_pb2.ConverseRequest) -> Awaitable[None] | None:
        """Take one message as `receive` does; return what to await before the next, if anything.

        Four in five are audio that waits for more of its kind: those cost no coroutine.
        """
        now = self._clock.monotonic()
        if not self._message_gate.admits(now):
            self.handle(Refused(problems.messages_too_fast(), request.seq, fatal=True))
        elif request.HasField("audio"):
            return self._on_audio(request, now)
        else:
            self.handle(FromClient(request))
        return None

    def refuse(self, error: ParleyError, cause_seq: int) -> None:
        """A message of the client's could not even be read."""
        self.handle(Refused(error, cause_seq))

    def sign_out(self) -> None:
        """Its learner was signed out, here or at another device."""
        self.handle(Refused(problems.signed_out(), fatal=True))

    def drain(self, time_left: float) -> None:
        """The process will stop in `time_left` seconds."""
        self.handle(Draining(time_left))

    # --- the life -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Open the engine, be live, put everything away. Cancelling it drops the session."""
        self._task = asyncio.current_task()
        try:
            try:
                self._engine_ready = await self._link.open()
            except ParleyError as error:
                self._fail(error)
                return
            self._begin()
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(self._link.listen())
                recording = self._start_recording(group)
                self.handle(Opened())
                self._tell_first_notices()
                self.ready.set_result(None)
                await self._ended.wait()
                await self._let_engine_go(listening)
                await self._put_away(recording)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self.intake.close()
            await self._link.close()
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

    def _begin(self) -> None:
        plan, ready = self.plan, self._engine_ready
        limits = plan.limits
        self._session_or_none = Session(
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
                past=plan.past,
                accounted_ms=plan.accounted_ms,
                accounted_seq=plan.accounted_seq,
                broken_off=plan.broken_off,
                session_s=limits.session_s,
                idle_s=limits.idle_s,
                resume_s=limits.resume_s,
                reply_timeout_s=self._around.reply_timeout_s,
            ),
            self._clock.monotonic(),
        )
        self._feedback = TurnFeedback(
            self._around.assessments,
            ready.engine,
            plan.profile,
            plan.user_id,
            self._feedback_teller(),
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
            next_turn=self.session.turn_number,
            next_sample=self._audio.next_sample,
        )
        return conversation_pb2.ConverseResponse(started=started)

    # --- events and effects -------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        """Give the machine one event, and do what it says."""
        metrics = self._around.metrics
        metrics.happened(event)
        for effect in self.session.handle(event, self._clock.monotonic()):
            metrics.done(effect)
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
                self._link.post(request)
            case Tell(error, cause_seq, fatal):
                notice = conversation_pb2.Notice(
                    status=to_status(error), cause_seq=cause_seq, fatal=fatal
                )
                self.responses.put(conversation_pb2.ConverseResponse(notice=notice))
            case HearSilence(ms):
                for piece in self._audio.silence(ms):
                    self._link.post(ai_pb2.ConverseRequest(audio=ai_pb2.EngineAudio(pcm=piece)))
            case Silence(generation):
                self.responses.silence(generation)
            case SaveTurn():
                self._save(effect)
            case KeepTurn():
                self._around.journal.keep(TurnKept(self.conversation_id, effect))
                if not effect.awaits_words:
                    self._look_at(effect.turn)
            case BargedIn():
                pass
            case RestartEngine():
                self._link.restart()
            case End() | Suspend():
                self._ending = effect
                self._ended.set()

    def _save(self, effect: SaveTurn) -> None:
        turn = effect.turn
        self._look_at(turn)
        taken = self._around.journal.submit(
            TurnFinished(
                self.conversation_id,
                self.plan.user_id,
                turn,
                self._clock.now(),
                effect.accounted_ms,
                effect.typical_pause_ms,
                effect.accounted_seq,
            ),
            done=lambda: self._stored(turn),
            failed=self._storage_failing,
        )
        if not taken:
            self._later(Refused(problems.storage_gone(), fatal=True))

    def _stored(self, turn: turn_pb2.Turn) -> None:
        self.handle(TurnStored(turn.turn_id, turn.number))
        if self._feedback is not None:
            self._feedback.stored(turn)

    def _look_at(self, turn: turn_pb2.Turn) -> None:
        if self._feedback is not None:
            self._feedback.look_at(turn)

    def _feedback_teller(self) -> Callable[[turn_pb2.Turn, feedback_pb2.Feedback], None]:
        """Return what tells history of a turn's feedback, and the client while there is one.

        It may be called when the session is over, and does not keep it.
        """
        around, plan, this = self._around, self.plan, weakref.ref(self)

        def tell(turn: turn_pb2.Turn, feedback: feedback_pb2.Feedback) -> None:
            around.journal.submit(
                TurnAssessed(
                    plan.conversation_id, plan.user_id, turn.turn_id, feedback, around.clock.now()
                )
            )
            live = this()
            if live is not None and not live.over:
                told = conversation_pb2.TurnFeedback(turn_id=turn.turn_id, feedback=feedback)
                live.responses.put(
                    conversation_pb2.ConverseResponse(turn=turn.number, feedback=told)
                )

        return tell

    def _storage_failing(self) -> None:
        self._later(Failing(problems.storage_failing()))

    def _recording_failing(self) -> None:
        self._later(Failing(problems.recording_failing()))

    def _later(self, event: Event) -> None:
        # Not at once: it may be called while the machine's effects are being carried out.
        asyncio.get_running_loop().call_soon(self.handle, event)

    def _arm(self) -> None:
        when = self.session.deadline()
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

    def _on_audio(
        self, request: conversation_pb2.ConverseRequest, now: float
    ) -> Awaitable[None] | None:
        audio, message = self._audio, request.audio
        try:
            taken = audio.take(message.pcm, message.first_sample)
            wait = self._gate.admit(len(taken.pcm) // 2 * 1000 / audio.rate_hz, now)
        except ParleyError as error:
            fatal = isinstance(error, ResourceExhausted)
            self.handle(Refused(error, request.seq, fatal=fatal))
            return None
        if self.session.note_audio(audio.end_ms, now):
            self.handle(Tick())
        if self._recorder is not None:
            self._recorder.learner(taken.pcm, taken.first_sample)
        sending = self._link.send_audio(taken.for_engine)
        return sending if wait <= 0 else self._hold_back(sending, wait)

    async def _hold_back(self, sending: Awaitable[None] | None, wait: float) -> None:
        if sending is not None:
            await sending
        await self._clock.sleep(wait)

    # --- the engine ---------------------------------------------------------------------------

    @property
    def learner_speaking(self) -> bool:
        """Whether the learner is heard speaking."""
        return self.session.learner_speaking

    @property
    def waiting_text_ms(self) -> float | None:
        """Where in the learner's audio a text was typed that a new engine must be told."""
        return self.session.waiting_text_ms

    def start_message(self) -> ai_pb2.StartEngine:
        """Return what an engine that is opened now must know. See `engine_link.Session`."""
        plan, session = self.plan, self._session_or_none
        start = ai_pb2.StartEngine(
            conversation_id=plan.conversation_id,
            engine=plan.start.engine,
            voice=plan.voice,
            input_format=pcm_format(ENGINE_RATE_HZ),
            profile=plan.profile,
            scenario=plan.scenario,
            history=session.context() if session else plan.context,
            turn_taking=session.turn_taking if session else plan.turn_taking,
            last_generation=session.generation if session else plan.last_generation,
            next_turn=session.turn_number if session else plan.next_turn,
            captions_only=plan.start.captions_only,
            recent_corrections=plan.corrections,
            user_id=plan.user_id,
        )
        if plan.start.HasField("speech_rate"):
            start.speech_rate = plan.start.speech_rate
        return start

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
        telling = weakref.WeakMethod(self._recording_failing)

        def failing() -> None:
            # A recording may take longer than its session.
            tell = telling()
            if tell is not None:
                tell()

        self._recorder = Recorder(self._around.recordings, start, self._clock, failing=failing)
        return group.create_task(self._recorder.run())

    # --- the end ------------------------------------------------------------------------------

    async def _let_engine_go(self, listening: asyncio.Task[None]) -> None:
        """Give the engine back before `ended` is said.

        Whoever heard that may begin the next talk, and engines have few places. Storing the last
        turn and the recording may take long.
        """
        listening.cancel()
        await asyncio.wait({listening})
        await self._link.close()

    async def _put_away(self, recording: asyncio.Task[None] | None) -> None:
        journal, plan, ending = self._around.journal, self.plan, self._ending
        assert ending is not None
        settle_s = _HAND_OVER_S if isinstance(ending, Suspend) else _SETTLE_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settle_s):
                await journal.settled(self.conversation_id)
        summary = self.session.summary(self._clock.monotonic())
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
        if recorder.recording is None:
            self._around.later(_await_recording(recorder, self.plan, self._around))
        else:
            _recording_kept(recorder.recording, self.plan, self._around)


async def _await_recording(recorder: Recorder, plan: Plan, around: Surroundings) -> None:
    """Wait for a recording that takes its time, when all else of its session is gone."""
    await recorder.run_late()
    if recorder.recording is not None:
        _recording_kept(recorder.recording, plan, around)


def _recording_kept(stored: media_pb2.Recording, plan: Plan, around: Surroundings) -> None:
    around.journal.submit(
        RecordingKept(
            plan.conversation_id,
            plan.user_id,
            stored.recording_id,
            stored.duration_ms,
            around.clock.now(),
        )
    )
