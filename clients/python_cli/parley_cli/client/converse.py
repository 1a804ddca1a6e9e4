"""One live session as a stream that survives its connection.

    async with client.converse(StartSession()) as stream:
        await stream.send_audio(pcm, first_sample=0)
        async for response in stream:
            ...

A connection that breaks, or is given up because it has gone silent, is made again with the resume
handle, for at most `RECONNECT_FOR_S`, whether the tries are refused or not answered at all; what
the server sent meanwhile comes again, once, and what the learner said and did meanwhile is sent
then: `backlog` tells what is kept, and what happens when it is full. A server that said that it
goes away, and whose machine then refuses connections, has been stopped: that is found out within
`STOPPED_AFTER_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Self

import grpc
import grpc.aio

from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import learner_pb2
from parley_cli.client.breaks import (
    goes_away,
    is_refused,
    is_silent,
    no_answer_within,
    not_resumed,
    status_is_hidden,
    stopped,
    worth_another_try,
)
from parley_cli.client.outgoing import Outgoing, is_being_cancelled, write
from parley_cli.client.way import Way
from parley_cli.failures import CliFailure, failure_from_error

# A network that drops for 30 s is survived: the tries lie up to 3 s apart. The server keeps a
# session for longer.
RECONNECT_FOR_S = 35.0
# A server that announced its end and is restarted listens again within a second or two, or is
# replaced behind its gateway, which goes on listening.
STOPPED_AFTER_S = 3.0
# A new session may wait for engines that are cold. One that goes on is there, or soon loaded; a try
# that is not answered went where nothing is carried, and the next goes another way.
_START_WITHIN_S = 20.0
_RESUME_WITHIN_S = 5.0
# Between the first two tries, and at most: quick after a blip, gentle on a restart.
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 3.0
# The race that hides a status is lost in about one of six tries; five in a row is one in ten
# thousand.
_HIDDEN_STATUS_TRIES = 5
# After `ended` only the status is to come; a server that does not send it is not waited for.
_STATUS_WITHIN_S = 1.0
_DEFAULT_RATE_HZ = 16_000

Authorize = Callable[..., Awaitable[tuple[tuple[str, str], ...]]]
ConverseResponse = conversation_pb2.ConverseResponse


class ConverseStream:
    """A live session. Enter it, then iterate in one task; send from any number of tasks.

    Entering returns when the server has answered `started`, and raises `CliFailure` where it
    refuses. `started` is also the first response of the iteration. Iteration ends after `ended`.
    Leaving cancels whatever is under way; call `finish` and iterate to the end for a good ending.

    Leaving after `ended` closes this side and waits a moment for the stream's status, so that the
    server counts a talk that ended well as one.

    Reconnecting happens inside the iteration. Everything is written by one task, in order, so any
    send may be cancelled; what it was to send goes out all the same. Audio, reports and pings never
    wait; the other sends return when their message was written.

    Args:
        way: where `Converse` is called; closed with the session.
        start: how to open the session; its resume fields are filled in here.
        authorize: returns call metadata; `rejected=token` renews.
        server: for messages to people.
        on_connection: called with False when the connection is lost and True when it is back.
    """

    def __init__(
        self,
        way: Way,
        start: conversation_pb2.StartSession,
        *,
        authorize: Authorize,
        server: str,
        on_connection: Callable[[bool], None] | None = None,
    ) -> None:
        self._way = way
        self._start = start
        self._authorize = authorize
        self._server = server
        self._on_connection = on_connection or (lambda _connected: None)
        self._call: Any = None
        self._first: ConverseResponse | None = None
        self._closed = False
        self._ended = False
        self._connected = False
        self._dropped = False
        self._going_away = False
        self._last_seq = 0
        self._resume_handle = ""
        self._out = Outgoing(start.input_format.sample_rate_hz or _DEFAULT_RATE_HZ)
        self._settings = conversation_pb2.ChangeSettings()
        self._heard = conversation_pb2.Heard()
        self._writer: asyncio.Task[None] | None = None
        self.started = conversation_pb2.SessionStarted()

    async def __aenter__(self) -> Self:
        try:
            self._first = await self._open(_START_WITHIN_S)
        except BaseException:
            self._cancel_call()
            await self._way.close()
            raise
        self._connected = True
        self._out.open(self._call, None)
        self._writer = asyncio.create_task(self._out.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        await self._out.close()
        try:
            if self._ended:
                with contextlib.suppress(TimeoutError, grpc.aio.AioRpcError):
                    async with asyncio.timeout(_STATUS_WITHIN_S):
                        await self._part()
        finally:
            if self._writer is not None:
                self._writer.cancel()
                await asyncio.gather(self._writer, return_exceptions=True)
            self._cancel_call()
            await self._way.close()

    async def _part(self) -> None:
        """Close this side in good order, and read to the stream's status."""
        if self._writer is not None:
            await asyncio.wait({self._writer})
        with contextlib.suppress(asyncio.InvalidStateError):
            await self._call.done_writing()
        while await self._call.read() is not grpc.aio.EOF:
            pass

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
                except asyncio.CancelledError:
                    # A call that was given up cancels its reader too.
                    if not self._dropped or is_being_cancelled():
                        raise
                    self._first = await self._reconnect(None)
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
        """Send 1 to 200 ms of the microphone."""
        self._out.post(audio=conversation_pb2.LearnerAudio(pcm=pcm, first_sample=first_sample))

    async def send_text(self, text: str) -> None:
        """Send a typed utterance of 1 to 2000 characters."""
        await self._send(text=conversation_pb2.LearnerText(text=text))

    async def send_heard(
        self, generation: int, audio_ms: int, play_delay_ms: float | None = None
    ) -> None:
        """Report how much of a reply has been played."""
        heard = conversation_pb2.Heard(
            generation=generation, audio_ms=audio_ms, play_delay_ms=play_delay_ms
        )
        if generation > self._heard.generation:
            self._heard.CopyFrom(heard)
        elif generation == self._heard.generation:
            # The delay is told once, and may have been lost with the connection.
            self._heard.MergeFrom(heard)
        if self._out.whole:
            self._out.post(heard=heard)

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
        """Change the live session. A new connection is told of all changes again."""
        change = conversation_pb2.ChangeSettings(turn_taking=turn_taking, muted=muted)
        self._settings.MergeFrom(change)
        await self._send(settings=change)

    async def ping(self, nonce: int) -> None:
        """Ask for a pong. Dropped without a connection."""
        if self._out.whole:
            self._out.post(ping=conversation_pb2.Ping(nonce=nonce))

    async def finish(self) -> None:
        """Ask for the end; `ended` follows in the iteration."""
        await self._send(finish=conversation_pb2.Finish())

    def drop_connection(self) -> None:
        """Give up a connection that has gone quiet; the iteration makes a new one.

        Nothing happens while one is being made.
        """
        if self._connected:
            self._dropped = True
            self._cancel_call()

    # -- inside ------------------------------------------------------------------------------

    async def _send(self, **message: Any) -> None:
        await self._out.written(self._out.post(**message))

    async def _open(self, within_s: float) -> ConverseResponse:
        """Open a call and wait so long for `started`; the token is renewed once where refused."""
        metadata = await self._authorize()
        renewed = False
        hidden = 0
        while True:
            try:
                return await self._open_within(within_s, metadata)
            except grpc.aio.AioRpcError as error:
                if status_is_hidden(error) and hidden < _HIDDEN_STATUS_TRIES:
                    hidden += 1
                elif error.code() is grpc.StatusCode.UNAUTHENTICATED and not renewed:
                    renewed = True
                    rejected = metadata[0][1].removeprefix("Bearer ")
                    metadata = await self._authorize(rejected=rejected)
                else:
                    raise failure_from_error(error, server=self._server) from error

    async def _open_within(
        self, seconds: float, metadata: tuple[tuple[str, str], ...]
    ) -> ConverseResponse:
        try:
            async with asyncio.timeout(seconds):
                return await self._open_with(metadata)
        except TimeoutError:
            self._cancel_call()
            raise no_answer_within(seconds) from None

    async def _open_with(self, metadata: tuple[tuple[str, str], ...]) -> ConverseResponse:
        start = conversation_pb2.StartSession()
        start.CopyFrom(self._start)
        start.resume_handle = self._resume_handle
        if self._resume_handle:
            start.last_seq = self._last_seq
            start.heard.CopyFrom(self._heard)
        self._call = self._way.call(metadata)
        if not await write(self._call, self._out.numbered(start=start)):
            # The status says why; reading raises it.
            await self._call.read()
        response = await self._call.read()
        if response is grpc.aio.EOF:
            raise CliFailure("The server closed the session before it began.")
        if response.HasField("started"):
            self.started = response.started
            self._resume_handle = response.started.resume_handle or self._resume_handle
        return response  # type: ignore[no-any-return]

    async def _reconnect(self, error: grpc.aio.AioRpcError | None) -> ConverseResponse:
        """Come back with the resume handle, or raise what ended the session."""
        silent = self._dropped
        lost = error is None or silent or worth_another_try(error)
        if not lost or not self._resume_handle:
            if error is None:
                raise CliFailure("The server closed the conversation without a word.")
            raise failure_from_error(error, server=self._server) from error
        self._connected = self._dropped = False
        self._out.broken()
        self._on_connection(False)
        self._going_away |= error is not None and goes_away(error)
        now = asyncio.get_running_loop().time
        lost_at = now()
        until = lost_at + RECONNECT_FOR_S
        pause = _FIRST_PAUSE_S
        last_failure = CliFailure("No answer came.")
        while True:
            tried_at = now()
            try:
                async with asyncio.timeout_at(until):
                    if silent:
                        await self._way.renew()
                    response = await self._open(_RESUME_WITHIN_S)
            except TimeoutError:
                raise not_resumed(last_failure) from last_failure
            except CliFailure as failure:
                last_failure = failure
                cause = failure.__cause__
                if not isinstance(cause, grpc.aio.AioRpcError) or not worth_another_try(cause):
                    # What ended the session, in the server's words. (A write that races with
                    # the end hides it from grpc.aio's first status; it shows here.)
                    raise
                silent = is_silent(cause)
                self._going_away |= goes_away(cause)
                if self._going_away and is_refused(cause) and now() - lost_at > STOPPED_AFTER_S:
                    raise stopped(self._server, failure) from failure
                if tried_at + pause > until:
                    raise not_resumed(failure) from failure
            else:
                self._connected = True
                self._going_away = False
                self._on_connection(True)
                self._send_again(response.started.next_sample)
                return response
            # A try that was not answered has waited long enough.
            await asyncio.sleep(max(0.0, tried_at + pause - now()))
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _send_again(self, next_sample: int) -> None:
        """Let go out over the new connection what the old one may have lost, and what waits."""
        self._out.open(self._call, next_sample)
        if self._settings.ByteSize():
            self._out.post(settings=self._settings)

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
