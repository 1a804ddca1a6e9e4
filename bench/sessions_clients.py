"""The sessions of `bench-sessions`: Parley's over gRPC, Pipecat's over its WebSocket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
from websockets.asyncio.client import ClientConnection, connect

from bench.live import RATE_HZ
from bench.peers.pipecat_wire import BotAudio, decode, encode_audio
from bench.sessions_load import LOUD, QUIET, LoadedSession
from parley.conversation.v1 import conversation_pb2
from parley_cli.client.parley_client import ParleyClient

_FRAME_SAMPLES = RATE_HZ // 50
# A player reports what was heard five times a second, as the terminal client does.
_HEARD_EVERY_FRAMES = 10
_PCM_BYTES_A_SECOND = 2 * 24_000

Authorize = Callable[[], Awaitable[tuple[tuple[str, str], ...]]]


class ParleySession(LoadedSession):
    """A session on the bare stub: what a client library costs is not the server's affair."""

    def __init__(self, phase: float, client: ParleyClient, *, recording: bool = False) -> None:
        super().__init__(phase)
        self._client = client
        self._recording = recording
        self._call: Any = None
        self._seq = 0
        self._generation = 0
        # Of the reply being heard: milliseconds that came, and that were played by now.
        self._came_ms = 0.0
        self._played_ms = 0

    async def open(self) -> None:
        """Open the stream and the session."""
        metadata = await self._client.authorization()
        self._call = self._client.conversation.Converse(metadata=metadata)
        start = conversation_pb2.StartSession(
            no_recording=not self._recording, client="bench-sessions"
        )
        start.turn_taking.no_hints = True
        await self._write(start=start)

    async def send(self, frame: int, pcm: bytes) -> None:
        """Send a frame, and now and then what was heard."""
        audio = conversation_pb2.LearnerAudio(pcm=pcm, first_sample=frame * _FRAME_SAMPLES)
        await self._write(audio=audio)
        if self._generation and self._played_ms < self._came_ms:
            self._played_ms = min(self._played_ms + 20, int(self._came_ms))
            if frame % _HEARD_EVERY_FRAMES == 0 or self._played_ms >= self._came_ms:
                await self._write(
                    heard=conversation_pb2.Heard(
                        generation=self._generation, audio_ms=self._played_ms
                    )
                )

    async def listen(self) -> None:
        """Read responses."""
        while (response := await self._call.read()) is not grpc.aio.EOF:
            kind = response.WhichOneof("message")
            if kind == "reply_audio":
                if response.generation != self._generation:
                    self._generation, self._came_ms, self._played_ms = response.generation, 0.0, 0
                seconds = len(response.reply_audio.pcm) / _PCM_BYTES_A_SECOND
                self._came_ms += 1000 * seconds
                self.heard(seconds)
            elif kind == "notice" and response.notice.fatal:
                raise ConnectionError(response.notice.status.message)
        if not self.stopping:
            raise ConnectionError("the stream ended")

    async def finish(self) -> None:
        """Say that the session is over; `listen` reads to its end."""
        await self._write(finish=conversation_pb2.Finish())

    async def close(self) -> None:
        """Drop the call, if it is not over."""
        if self._call is not None:
            self._call.cancel()

    async def _write(self, **message: Any) -> None:
        self._seq += 1
        await self._call.write(conversation_pb2.ConverseRequest(seq=self._seq, **message))


class PipecatSession(LoadedSession):
    """A session on Pipecat's WebSocket."""

    _loud = encode_audio(LOUD, RATE_HZ)
    _quiet = encode_audio(QUIET, RATE_HZ)

    def __init__(self, phase: float, url: str) -> None:
        super().__init__(phase)
        self._url = url
        self._socket: ClientConnection | None = None

    async def open(self) -> None:
        """Connect."""
        self._socket = await connect(self._url, compression=None, max_size=None, open_timeout=30)

    async def send(self, frame: int, pcm: bytes) -> None:
        """Send a frame."""
        assert self._socket is not None
        await self._socket.send(self._loud if pcm is LOUD else self._quiet)

    async def listen(self) -> None:
        """Read messages."""
        assert self._socket is not None
        async for message in self._socket:
            if isinstance(message, bytes):
                match decode(message):
                    case BotAudio(pcm, rate_hz):
                        self.heard(len(pcm) / 2 / rate_hz)
        if not self.stopping:
            raise ConnectionError("the socket was closed")

    async def finish(self) -> None:
        """Close the socket."""
        await self.close()

    async def close(self) -> None:
        """Disconnect."""
        if self._socket is not None:
            await self._socket.close()
