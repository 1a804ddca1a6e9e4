"""One live session as a stream that survives its connection.

    async with client.converse(StartSession()) as stream:
        await stream.send_audio(pcm, first_sample=0)
        async for response in stream:
            ...

A connection that breaks is made again with the resume handle, for at most `RECONNECT_FOR_S`; what
the server sent meanwhile comes again, once, and recent audio that it did not get is sent again.
A server that said that it goes away, and whose machine then refuses connections, has been stopped:
that is found out within `STOPPED_AFTER_S`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Self

import grpc
import grpc.aio

from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import learner_pb2
from parley_cli.failures import CliFailure, ExitCode, failure_from_error, refusal_from_error

# The server keeps a session for a reconnection about this long; longer waiting is in vain.
RECONNECT_FOR_S = 30.0
# A server that announced its end and is restarted listens again within a second or two, or is
# replaced behind its gateway, which goes on listening.
STOPPED_AFTER_S = 3.0
# First pause before another try, and the longest: quick after a blip, gentle on a restart.
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 3.0
# The race that hides a status is lost in about one of six tries; five in a row is one in ten
# thousand.
_HIDDEN_STATUS_TRIES = 5
# Sent audio kept for sending again: what the network can swallow before the break is noticed.
_BACKLOG_FRAMES = 500

_STOPPING = "SERVICE_STOPPING"

Authorize = Callable[..., Awaitable[tuple[tuple[str, str], ...]]]
ConverseResponse = conversation_pb2.ConverseResponse


class ConverseStream:
    """A live session. Enter it, then iterate in one task; send from any number of tasks.

    Entering returns when the server has answered `started`, and raises `CliFailure` where it
    refuses. `started` is also the first response of the iteration. Iteration ends after `ended`.
    Leaving cancels whatever is under way; call `finish` and iterate to the end for a good ending.

    Reconnecting happens inside the iteration: sends other than audio wait for it.

    Args:
        method: the stub's `Converse`.
        start: how to open the session; its resume fields are filled in here.
        authorize: returns call metadata; `rejected=token` renews.
        server: for messages to people.
        on_connection: called with False when the connection is lost and True when it is back.
    """

    def __init__(
        self,
        method: Callable[..., Any],
        start: conversation_pb2.StartSession,
        *,
        authorize: Authorize,
        server: str,
        on_connection: Callable[[bool], None] | None = None,
    ) -> None:
        self._method = method
        self._start = start
        self._authorize = authorize
        self._server = server
        self._on_connection = on_connection or (lambda _connected: None)
        self._call: Any = None
        self._first: ConverseResponse | None = None
        self._connected = asyncio.Event()
        self._closed = False
        self._ended = False
        self._dropped = False
        self._going_away = False
        self._writing = asyncio.Lock()
        self._seq = 0
        self._last_seq = 0
        self._resume_handle = ""
        self._backlog: deque[tuple[int, bytes]] = deque(maxlen=_BACKLOG_FRAMES)
        self.started = conversation_pb2.SessionStarted()

    async def __aenter__(self) -> Self:
        try:
            self._first = await self._open()
        except BaseException:
            self._cancel_call()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        self._connected.set()
        self._cancel_call()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ConverseResponse:
        while True:
            if self._first is not None:
                response, self._first = self._first, None
            else:
                if self._ended or self._closed:
                    raise StopAsyncIteration
                try:
                    response = await self._call.read()
                except grpc.aio.AioRpcError as error:
                    self._first = await self._reconnect(error)
                    continue
                if response is grpc.aio.EOF:
                    self._first = await self._reconnect(None)
                    continue
            if response.HasField("started") and response.started.resumed:
                # Numbered when it was sent, before the older messages that follow it.
                return response
            if response.seq and response.seq <= self._last_seq:
                continue
            self._note(response)
            return response

    # -- sending -----------------------------------------------------------------------------

    async def send_audio(self, pcm: bytes, first_sample: int) -> None:
        """Send 1 to 200 ms of the microphone. Without a connection it is kept for the next one."""
        self._backlog.append((first_sample, pcm))
        if self._connected.is_set():
            await self._write(audio=_audio(pcm, first_sample))

    async def send_text(self, text: str) -> None:
        """Send a typed utterance of 1 to 2000 characters."""
        await self._send(text=conversation_pb2.LearnerText(text=text))

    async def send_heard(
        self, generation: int, audio_ms: int, play_delay_ms: float | None = None
    ) -> None:
        """Report how much of a reply has been played. Dropped without a connection."""
        if self._connected.is_set():
            await self._write(
                heard=conversation_pb2.Heard(
                    generation=generation, audio_ms=audio_ms, play_delay_ms=play_delay_ms
                )
            )

    async def interrupt(self, generation: int = 0, heard_ms: int = 0) -> None:
        """Stop a reply; 0 means whichever is being said."""
        await self._send(
            interrupt=conversation_pb2.Interrupt(generation=generation, heard_ms=heard_ms)
        )

    async def end_turn(self) -> None:
        """End the utterance without waiting for silence."""
        await self._send(end_turn=conversation_pb2.EndTurn())

    async def change_settings(
        self,
        *,
        turn_taking: learner_pb2.TurnTakingPreferences | None = None,
        muted: bool | None = None,
    ) -> None:
        """Change the live session."""
        await self._send(
            settings=conversation_pb2.ChangeSettings(turn_taking=turn_taking, muted=muted)
        )

    async def ping(self, nonce: int) -> None:
        """Ask for a pong. Dropped without a connection."""
        if self._connected.is_set():
            await self._write(ping=conversation_pb2.Ping(nonce=nonce))

    async def finish(self) -> None:
        """Ask for the end; `ended` follows in the iteration."""
        await self._send(finish=conversation_pb2.Finish())

    def drop_connection(self) -> None:
        """Give up a connection that has gone quiet; the iteration makes a new one."""
        self._dropped = True
        self._cancel_call()

    # -- inside ------------------------------------------------------------------------------

    async def _send(self, **message: Any) -> None:
        while True:
            await self._connected.wait()
            if self._is_closed() or await self._write(**message):
                return

    def _is_closed(self) -> bool:
        return self._closed

    async def _write(self, **message: Any) -> bool:
        """Write one message; False where the connection is gone (the reader will notice)."""
        async with self._writing:
            call = self._call
            self._seq += 1
            request = conversation_pb2.ConverseRequest(seq=self._seq, **message)
            request.client_time.GetCurrentTime()
            try:
                await call.write(request)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                if call is self._call and not self._closed:
                    self._connected.clear()
                return False
            return True

    async def _open(self) -> ConverseResponse:
        """Open a connection and wait for `started`; the token is renewed once where refused."""
        metadata = await self._authorize()
        renewed = False
        hidden = 0
        while True:
            try:
                return await self._open_with(metadata)
            except grpc.aio.AioRpcError as error:
                if _status_is_hidden(error) and hidden < _HIDDEN_STATUS_TRIES:
                    hidden += 1
                elif error.code() is grpc.StatusCode.UNAUTHENTICATED and not renewed:
                    renewed = True
                    rejected = metadata[0][1].removeprefix("Bearer ")
                    metadata = await self._authorize(rejected=rejected)
                else:
                    raise failure_from_error(error, server=self._server) from error

    async def _open_with(self, metadata: tuple[tuple[str, str], ...]) -> ConverseResponse:
        start = conversation_pb2.StartSession()
        start.CopyFrom(self._start)
        start.resume_handle = self._resume_handle
        start.last_seq = self._last_seq if self._resume_handle else 0
        self._call = self._method(metadata=metadata)
        if not await self._write(start=start):
            # The status says why; reading raises it.
            await self._call.read()
        response = await self._call.read()
        if response is grpc.aio.EOF:
            raise CliFailure("The server closed the session before it began.")
        if response.HasField("started"):
            self.started = response.started
            self._resume_handle = response.started.resume_handle or self._resume_handle
        self._connected.set()
        return response  # type: ignore[no-any-return]

    async def _reconnect(self, error: grpc.aio.AioRpcError | None) -> ConverseResponse:
        """Come back with the resume handle, or raise what ended the session."""
        lost = error is None or self._dropped or _worth_another_try(error)
        if not lost or not self._resume_handle:
            if error is None:
                raise CliFailure("The server closed the conversation without a word.")
            raise failure_from_error(error, server=self._server) from error
        self._dropped = False
        self._connected.clear()
        self._on_connection(False)
        self._going_away |= error is not None and refusal_from_error(error).reason == _STOPPING
        lost_at = time.monotonic()
        pause = _FIRST_PAUSE_S
        while True:
            try:
                response = await self._open()
            except CliFailure as failure:
                cause = failure.__cause__
                if not isinstance(cause, grpc.aio.AioRpcError) or not _worth_another_try(cause):
                    # What ended the session, in the server's words. (A write that races with
                    # the end hides it from grpc.aio's first status; it shows here.)
                    raise
                now = time.monotonic()
                self._going_away |= refusal_from_error(cause).reason == _STOPPING
                if self._going_away and _refused(cause) and now - lost_at > STOPPED_AFTER_S:
                    raise CliFailure(
                        f"Parley at {self._server} was stopped, and the conversation with it.",
                        advice="Turns that were saved are in `parley history` when it runs again.",
                        exit_code=ExitCode.UNREACHABLE,
                        details=f"{failure.message}\n{failure.details}",
                    ) from failure
                if now + pause > lost_at + RECONNECT_FOR_S:
                    raise CliFailure(
                        "The connection was lost and the conversation could not be resumed.",
                        advice="Turns that were saved are in `parley history`.",
                        exit_code=ExitCode.UNREACHABLE,
                        details=f"{failure.message}\n{failure.details}",
                    ) from failure
            else:
                self._going_away = False
                self._on_connection(True)
                await self._send_again(response.started.next_sample)
                return response
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _send_again(self, next_sample: int) -> None:
        for first_sample, pcm in list(self._backlog):
            if first_sample >= next_sample:
                await self._write(audio=_audio(pcm, first_sample))

    def _note(self, response: ConverseResponse) -> None:
        self._last_seq = max(self._last_seq, response.seq)
        kind = response.WhichOneof("message")
        if kind == "resume_handle":
            self._resume_handle = response.resume_handle.handle
        elif kind == "ended":
            self._ended = True
        elif kind == "go_away":
            self._going_away = True
        elif kind == "notice" and response.notice.fatal:
            # The stream's status follows; coming back would meet the same end.
            self._resume_handle = ""

    def _cancel_call(self) -> None:
        if self._call is not None:
            self._call.cancel()


def _status_is_hidden(error: grpc.aio.AioRpcError) -> bool:
    """Whether grpc.aio replaced the server's status by its own.

    A write that races with the server's refusal fails inside gRPC, and that failure overwrites the
    status (grpcio 1.85). Nothing was opened, so asking again is safe, and soon wins the race.
    """
    return error.code() is grpc.StatusCode.INTERNAL and "from Core" in (error.details() or "")


def _worth_another_try(error: grpc.aio.AioRpcError) -> bool:
    refusal = refusal_from_error(error)
    return refusal.connection_lost or refusal.retryable


def _refused(error: grpc.aio.AioRpcError) -> bool:
    """Whether nobody listens at the server's own address.

    A gateway that cannot reach what is behind it says the same of that in other words.
    """
    details = error.details() or ""
    return "Failed to connect to remote host" in details and "refused" in details


def _audio(pcm: bytes, first_sample: int) -> conversation_pb2.LearnerAudio:
    return conversation_pb2.LearnerAudio(pcm=pcm, first_sample=first_sample)
