"""A session's tie to its engine: opened, listened to, and opened again when it breaks.

The session goes on meanwhile. A new engine is told what was said and heard so far, and hears again
what the learner was saying when the old one was lost.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Iterable
from typing import Protocol

import structlog

from parley.ai.v1 import ai_pb2
from parley.types.v1 import turn_pb2
from services.common.clock import Clock
from services.common.errors import ParleyError, Unavailable
from services.common.limits import DEFAULT_LIMITS
from services.conversation import problems
from services.conversation.adapters.engine import Engine, Engines
from services.conversation.events import (
    EngineBack,
    EngineCaughtUp,
    EngineDone,
    EngineGivenUp,
    EngineLost,
    Event,
    FromEngine,
)
from services.conversation.learner_audio import ENGINE_RATE_HZ, LearnerAudio

_log = structlog.get_logger(__name__)

# A supervised ai process is back, its models loaded, within this time; a learner waits no longer.
ENGINE_AWAY_S = DEFAULT_LIMITS.engine_away_seconds

# A connection to a service that was started again is found within 2 s; a start waits so long.
START_PATIENCE_S = 2.5

# One that is lost again before this has never really come back: its trouble goes on, and the
# learner's patience with it. Nothing that kills an engine takes longer to come up again.
STEADY_S = 5.0

_SPEECH = turn_pb2.UTTERANCE_SOURCE_SPEECH

_FIRST_RETRY_S = 0.1
_LONGEST_RETRY_S = 1.0


class Session(Protocol):
    """What the link asks of the session that it serves."""

    @property
    def learner_speaking(self) -> bool:
        """Whether the learner is heard speaking."""
        ...

    @property
    def over(self) -> bool:
        """Whether the session has ended, so that no engine is needed any more."""
        ...

    @property
    def waiting_text_ms(self) -> float | None:
        """Where in the learner's audio the oldest text was typed that is no turn yet, if any."""
        ...

    def start_message(self) -> ai_pb2.StartEngine:
        """Return what an engine that is opened now must know, but for the audio's position."""
        ...

    def handle(self, event: Event) -> None:
        """Take an event about the engine."""
        ...


class EngineLink:
    """The engine of one session. `open`, then `listen` in a task of its own."""

    def __init__(
        self, engines: Engines, clock: Clock, audio: LearnerAudio, session: Session
    ) -> None:
        self._engines = engines
        self._clock = clock
        self._audio = audio
        self._session = session
        self._engine: Engine | None = None
        # It takes what is posted, and what the learner has said meanwhile before anything newer.
        self._catching_up: Engine | None = None
        self._receiving: asyncio.Task[bool] | None = None
        self._input_ended = False
        # On the engine's time line: where speech last stopped, and up to where it is decided on.
        self._speech_end = self._decided = 0
        # Of the present or last outage: when it is given up, the next pause, when it was over.
        self._until = 0.0
        self._pause_s = 0.0
        self._back_at = -math.inf

    async def open(self) -> ai_pb2.EngineReady:
        """Open the first engine; return what it is.

        Raises:
            ParleyError: there is none to be had.
        """
        until = self._clock.monotonic() + START_PATIENCE_S
        while True:
            try:
                self._engine = await self._open_at(self._audio.engine_position)
            except Unavailable:
                if self._clock.monotonic() + _FIRST_RETRY_S > until:
                    raise
                await self._clock.sleep(_FIRST_RETRY_S)
            else:
                return self._engine.ready

    def post(self, request: ai_pb2.ConverseRequest) -> None:
        """Send something other than audio; without an engine it is dropped."""
        self._input_ended = self._input_ended or request.HasField("end_input")
        if self._engine is not None:
            self._engine.post(request)
        elif self._catching_up is not None and not request.HasField("audio"):
            self._catching_up.post(request)

    def send_audio(self, pieces: tuple[bytes, ...]) -> Awaitable[None] | None:
        """Send audio; return what to await before more of it is sent, if anything.

        Without an engine it is kept for the next one.
        """
        engine, audio = self._engine, self._audio
        if audio.keeps_much:
            audio.trim_kept(speaking=engine is None or self._session.learner_speaking)
        if engine is None:
            return None
        if len(pieces) == 1:
            return engine.send_audio(pieces[0])
        return self._send_all(engine, pieces) if pieces else None

    async def _send_all(self, engine: Engine, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            sending = engine.send_audio(piece)
            if sending is not None:
                await sending

    async def listen(self) -> None:
        """Hand the engine's messages to the session until its end, through as many as it takes."""
        while not self._session.over:
            receiving = self._receiving = asyncio.create_task(self._receive())
            try:
                await asyncio.wait({receiving})
            finally:
                receiving.cancel()
                await asyncio.gather(receiving, return_exceptions=True)
                # What it was broken off with knows this link.
                self._receiving = None
            # Cancelled: the engine was silent, and is left.
            if not receiving.cancelled() and receiving.result():
                self._session.handle(EngineDone())
                return
            if not await self._reconnect():
                return

    def restart(self) -> None:
        """The engine has stopped answering: leave it, and open another."""
        _log.warning("engine_silent")
        if self._receiving is not None:
            self._receiving.cancel()

    async def close(self) -> None:
        """Leave the engine."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.close()

    async def _receive(self) -> bool:
        """Hand messages over; return whether the engine ended because its input did."""
        engine = self._engine
        assert engine is not None
        try:
            while (message := await engine.receive()) is not None:
                self._note_decided(message)
                self._to_session_time(message)
                self._session.handle(FromEngine(message))
        except ParleyError as broken:
            _log.warning("engine_lost", reason=broken.reason)
            return False
        return self._input_ended

    async def _reconnect(self) -> bool:
        """Open another engine; False when there is none, and the session was told."""
        speaking = self._session.learner_speaking
        # What the learner was saying is heard again; what is a turn already, or none, is not.
        position = self._audio.engine_position
        if speaking:
            position = max(self._audio.kept_from, min(self._decided, position))
        await self.close()
        self._session.handle(EngineLost(problems.engine_unavailable()))
        now = self._clock.monotonic()
        if now >= self._back_at + STEADY_S:
            self._until, self._pause_s = now + ENGINE_AWAY_S, 0.0
        while not self._session.over:
            if self._clock.monotonic() + self._pause_s > self._until:
                break
            if self._pause_s:
                await self._clock.sleep(self._pause_s)
            self._pause_s = min(max(_FIRST_RETRY_S, self._pause_s * 2), _LONGEST_RETRY_S)
            position = max(position, self._audio.kept_from)
            try:
                engine = await self._open_at(position)
            except ParleyError as failed:
                if not failed.retryable:
                    break
                continue
            try:
                await self._take_up(engine, position)
            except BaseException:
                await engine.close()
                raise
            self._back_at = self._clock.monotonic()
            return True
        if not self._session.over:
            self._session.handle(EngineGivenUp(problems.engine_gone()))
        return False

    async def _open_at(self, position: int) -> Engine:
        start = self._session.start_message()
        start.first_sample = position
        return await self._engines.open(start)

    async def _take_up(self, engine: Engine, position: int) -> None:
        """Give the new engine what it has missed, then let everything go to it again."""
        typed_ms = self._session.waiting_text_ms
        if typed_ms is None:
            position = await self._hear_again(engine, position)
        else:
            position = await self._hear_again(engine, position, self._audio.engine_place(typed_ms))
        self._catching_up = engine
        try:
            self._session.handle(EngineBack())
            await self._hear_again(engine, position)
        finally:
            self._catching_up = None
        self._engine = engine
        self._session.handle(EngineCaughtUp())
        _log.info("engine_back")

    async def _hear_again(self, engine: Engine, position: int, until: int | None = None) -> int:
        """Give an engine what is kept from `position` on; return how far it has heard then."""
        while pieces := self._audio.kept_since(position):
            for piece in pieces:
                most = len(piece) if until is None else max(0, until - position) * 2
                if most == 0:
                    return position
                sending = engine.send_audio(piece[:most])
                if sending is not None:
                    await sending
                position += min(most, len(piece)) // 2
        return position

    def _note_decided(self, message: ai_pb2.ConverseResponse) -> None:
        kind = message.WhichOneof("message")
        if kind == "speech_ended":
            self._speech_end = _samples(message.speech_ended.at_ms)
        elif kind == "utterance_dropped":
            self._decided = max(self._decided, self._speech_end)
        elif kind == "turn_committed" and message.turn_committed.source == _SPEECH:
            self._decided = max(self._decided, _samples(message.turn_committed.end_ms))

    def _to_session_time(self, message: ai_pb2.ConverseResponse) -> None:
        kind = message.WhichOneof("message")
        if kind in ("speech_started", "speech_ended"):
            part = getattr(message, kind)
            part.at_ms = self._audio.session_ms(part.at_ms)
        elif kind in ("transcript", "turn_committed"):
            part = getattr(message, kind)
            part.start_ms = self._audio.session_ms(part.start_ms)
            part.end_ms = self._audio.session_ms(part.end_ms)


def _samples(ms: int) -> int:
    return ms * ENGINE_RATE_HZ // 1000
