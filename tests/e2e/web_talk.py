"""The ways into a session that a browser has, spoken by hand: grpc-web and WebSocket frames.

async with WAYS["push"](caller) as talk:
    await talk.start()
    await talk.send(text={"text": "Hello"})
    await talk.until("turn_saved")

Like `RawTalk` it hides nothing: no reconnecting, every refusal as it came.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from parley.conversation.v1 import conversation_pb2
from services.common.codes import Code
from services.common.errors import ParleyError, error_for_code
from services.common.status import from_status
from tests.e2e.caller import BOUND_S, Caller

SERVICE = "/parley.conversation.v1.ConversationService"
AFFINITY = "x-parley-affinity"
FRAME_SAMPLES = 640
"""40 ms at 16 kHz."""


class WebTalk(ABC):
    """One session. A loudspeaker is feigned: all is heard at once, unless `listens` is False."""

    def __init__(self, caller: Caller, *, token: str | None = None) -> None:
        self.address = caller.target
        self.besides = caller.besides
        self.token = caller.token if token is None else token
        self.seq = 0
        self.listens = True
        self.conversation_id = ""
        self.handle = ""
        self.affinity = ""
        self.last_seq = 0
        self.saved: list[tuple[int, str]] = []
        self.notices: list[ParleyError] = []
        self.spoken: list[bytes] = []
        self.transcript = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @abstractmethod
    async def open(self, start: conversation_pb2.StartSession) -> None:
        """Send the first message."""

    @abstractmethod
    async def write(self, message: conversation_pb2.ConverseRequest) -> None:
        """Send a message."""

    @abstractmethod
    async def next(self) -> conversation_pb2.ConverseResponse:
        """Return the next response; EOFError after a good end, a `ParleyError` after another."""

    @abstractmethod
    async def close(self) -> None:
        """Break the connection, as a page that is closed does."""

    def number(self) -> int:
        self.seq += 1
        return self.seq

    async def start(self, **fields: Any) -> conversation_pb2.SessionStarted:
        fields.setdefault("engine", "scripted")
        self.number()
        async with asyncio.timeout(BOUND_S):
            await self.open(conversation_pb2.StartSession(**fields))
        return (await self.until("started")).started

    async def send(self, **message: Any) -> None:
        await self.write(conversation_pb2.ConverseRequest(seq=self.number(), **message))

    async def speak(self, pcm: bytes, first_sample: int = 0) -> int:
        """Say this at twice the pace of speech; return where the next sample stands."""
        for at in range(0, len(pcm), 2 * FRAME_SAMPLES):
            await self.send(
                audio={
                    "pcm": pcm[at : at + 2 * FRAME_SAMPLES],
                    "first_sample": first_sample + at // 2,
                }
            )
            await asyncio.sleep(FRAME_SAMPLES / 16_000 / 2)
        return first_sample + len(pcm) // 2

    async def microphone(self, loud: asyncio.Event) -> None:
        """Send silence at the pace of speech; from `loud` on, a second and a half of a tone."""
        loop, silence, sample = asyncio.get_running_loop(), bytes(2 * FRAME_SAMPLES), 0
        began_at, to_say = loop.time(), frames(tone(1.5))
        while True:
            frame_ = next(to_say, silence) if loud.is_set() else silence
            await self.send(audio={"pcm": frame_, "first_sample": sample})
            sample += FRAME_SAMPLES
            await asyncio.sleep(began_at + sample / 16_000 - loop.time())

    async def until(self, kind: str) -> conversation_pb2.ConverseResponse:
        async with asyncio.timeout(BOUND_S):
            while True:
                response = await self.read()
                if response.WhichOneof("message") == kind:
                    return response

    async def read(self) -> conversation_pb2.ConverseResponse:
        response = await self.next()
        self.last_seq = max(self.last_seq, response.seq)
        kind = response.WhichOneof("message")
        if kind == "started":
            self.conversation_id = response.started.conversation_id
            self.handle = response.started.resume_handle
        elif kind == "turn_saved":
            self.saved.append((response.turn_saved.number, response.turn_saved.turn_id))
        elif kind == "transcript":
            self.transcript = response.transcript.transcript.clean
        elif kind == "notice":
            self.notices.append(from_status(response.notice.status))
        elif kind == "reply_audio":
            audio = response.reply_audio
            self.spoken.append(audio.pcm)
            if self.listens:
                ends_ms = audio.offset_ms + len(audio.pcm) // 48
                await self.heard(response.generation, ends_ms)
        return response

    async def heard(self, generation: int, audio_ms: int) -> None:
        # What is said to a session that has just ended is nobody's loss.
        with contextlib.suppress(ParleyError, ConnectionClosed):
            await self.send(heard={"generation": generation, "audio_ms": audio_ms})


class GrpcWebTalk(WebTalk):
    """The responses of a session over grpc-web: `Subscribe`."""

    def __init__(self, caller: Caller, *, token: str | None = None) -> None:
        super().__init__(caller, token=token)
        self.client = httpx.AsyncClient(
            base_url=f"http://{self.address}", timeout=httpx.Timeout(BOUND_S)
        )
        self._leave = contextlib.AsyncExitStack()
        self._parts: AsyncIterator[tuple[int, bytes]] | None = None
        self.first_seq = 0

    @property
    def headers(self) -> dict[str, str]:
        sent = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", **self.besides}
        if self.token:
            sent["authorization"] = f"Bearer {self.token}"
        if self.affinity:
            sent[AFFINITY] = self.affinity
        return sent

    async def open(self, start: conversation_pb2.StartSession) -> None:
        request = conversation_pb2.SubscribeRequest(
            start=start, seq=self.seq, first_seq=self.first_seq
        )
        response = await self._leave.enter_async_context(
            self.client.stream(
                "POST", f"{SERVICE}/Subscribe", content=frame(request), headers=self.headers
            )
        )
        raise_for_headers(response.headers)
        self.affinity = response.headers.get(AFFINITY, self.affinity)
        self._parts = parts(response.aiter_raw())

    async def next(self) -> conversation_pb2.ConverseResponse:
        assert self._parts is not None
        try:
            flag, body = await anext(self._parts)
        except StopAsyncIteration:
            raise EOFError("the stream has ended before") from None
        if flag & 0x80:
            raise_for_trailers(body)
            raise EOFError("the stream ended in good order")
        return conversation_pb2.SubscribeResponse.FromString(body).response

    async def push(self, *messages: conversation_pb2.ConverseRequest) -> int:
        """Push a batch; return what is acknowledged."""
        request = conversation_pb2.PushRequest(
            conversation_id=self.conversation_id, requests=messages
        )
        response = await self.client.post(
            f"{SERVICE}/Push", content=frame(request), headers=self.headers
        )
        raise_for_headers(response.headers)
        last_seq = 0
        for flag, body in split(response.content):
            if flag & 0x80:
                raise_for_trailers(body)
            else:
                last_seq = conversation_pb2.PushResponse.FromString(body).last_seq
        return last_seq

    async def close(self) -> None:
        await self._leave.aclose()
        await self.client.aclose()


class PushTalk(GrpcWebTalk):
    """The learner's side in unary calls, one a message."""

    async def write(self, message: conversation_pb2.ConverseRequest) -> None:
        await self.push(message)


class UploadTalk(GrpcWebTalk):
    """The learner's side as one streamed request."""

    def __init__(self, caller: Caller, *, token: str | None = None) -> None:
        super().__init__(caller, token=token)
        self.upload: StreamedRequest | None = None
        self._before: list[StreamedRequest] = []
        self._beginning = asyncio.Lock()

    async def write(self, message: conversation_pb2.ConverseRequest) -> None:
        async with self._beginning:
            if self.upload is None:
                await self.begin_upload()
        assert self.upload is not None
        request = conversation_pb2.UploadRequest(request=message)
        if not self.upload.begun:
            request.conversation_id = self.conversation_id
        await self.upload.write(frame(request))

    async def begin_upload(self) -> None:
        """Begin the stream; another that was open goes on until the server ends it."""
        if self.upload is not None:
            self._before.append(self.upload)
        self.upload = await StreamedRequest.open(self.address, f"{SERVICE}/Upload", self.headers)

    async def half_close(self) -> int:
        """End the stream in good order; return what is acknowledged."""
        assert self.upload is not None
        await self.upload.end()
        return await self.answer(self.upload)

    async def answer(self, upload: StreamedRequest) -> int:
        """Return what is acknowledged once the server has ended a stream."""
        headers, body = await upload.answer()
        raise_for_headers(headers)
        last_seq = 0
        for flag, part in split(body):
            if flag & 0x80:
                raise_for_trailers(part)
            else:
                last_seq = conversation_pb2.UploadResponse.FromString(part).last_seq
        return last_seq

    async def close(self) -> None:
        for each in (*self._before, self.upload):
            if each is not None:
                each.abort()
        await super().close()


class StreamedRequest:
    """An HTTP/1.1 request whose body comes bit by bit, and whose answer may come before its end.

    By hand: HTTP libraries read no answer before they have sent everything.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.begun = False

    @classmethod
    async def open(cls, address: str, path: str, headers: dict[str, str]) -> Self:
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        sent = {"host": address, "transfer-encoding": "chunked", **headers}
        lines = (f"POST {path} HTTP/1.1", *(f"{key}: {value}" for key, value in sent.items()))
        writer.write("\r\n".join((*lines, "", "")).encode())
        return cls(reader, writer)

    async def write(self, data: bytes) -> None:
        self.begun = True
        self._writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        # What is written to a stream that the server has ended is nobody's loss.
        with contextlib.suppress(OSError):
            await self._writer.drain()

    async def end(self) -> None:
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def answer(self) -> tuple[dict[str, str], bytes]:
        """Return the answer's headers and body."""
        async with asyncio.timeout(BOUND_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().splitlines()[1:]
            pairs = (line.partition(":") for line in head if line)
            headers = {key.strip().lower(): value.strip() for key, _, value in pairs}
            if headers.get("transfer-encoding") != "chunked":
                return headers, await self._reader.readexactly(int(headers["content-length"]))
            body = b""
            while size := int(await self._reader.readline(), 16):
                body += await self._reader.readexactly(size)
                await self._reader.readline()
            return headers, body

    def abort(self) -> None:
        self._writer.transport.abort()


class WebSocketTalk(WebTalk):
    """Both sides over one WebSocket."""

    def __init__(self, caller: Caller, *, token: str | None = None) -> None:
        super().__init__(caller, token=token)
        self.socket: ClientConnection | None = None
        self.closed: tuple[int, str] | None = None

    async def handshake(self, **options: Any) -> None:
        """Connect; the session is opened by the first message."""
        offered = ["parley.v1", *([f"parley.token.{self.token}"] if self.token else [])]
        query = f"?at={self.affinity}" if self.affinity else ""
        options.setdefault("additional_headers", self.besides)
        self.socket = await connect(
            f"ws://{self.address}/ws{query}", subprotocols=offered, max_size=None, **options
        )
        assert self.socket.response is not None
        self.affinity = self.socket.response.headers.get(AFFINITY, self.affinity)

    async def open(self, start: conversation_pb2.StartSession) -> None:
        if self.socket is None:
            await self.handshake()
        await self.write(conversation_pb2.ConverseRequest(seq=self.seq, start=start))

    async def write(self, message: conversation_pb2.ConverseRequest) -> None:
        assert self.socket is not None
        # Whether it was closed, and why, is read.
        with contextlib.suppress(ConnectionClosed):
            await self.socket.send(message.SerializeToString())

    async def next(self) -> conversation_pb2.ConverseResponse:
        """Also keep the close code; what it says must be what the last notice says."""
        assert self.socket is not None
        try:
            data = await self.socket.recv()
        except ConnectionClosed as closed:
            raise self._end(closed) from None
        assert isinstance(data, bytes)
        return conversation_pb2.ConverseResponse.FromString(data)

    def _end(self, closed: ConnectionClosed) -> Exception:
        if closed.rcvd is None:
            return closed
        self.closed = (closed.rcvd.code, closed.rcvd.reason)
        if closed.rcvd.code == 1000:
            return EOFError("the connection was closed in good order")
        told = self.notices[-1]
        assert self.closed == (4000 + told.code.value, told.reason)
        return told

    async def close(self) -> None:
        if self.socket is not None:
            self.socket.transport.abort()
            await self.socket.wait_closed()


WAYS: dict[str, type[WebTalk]] = {
    "upload": UploadTalk,
    "push": PushTalk,
    "websocket": WebSocketTalk,
}


def tone(seconds: float) -> bytes:
    """Return what a scripted engine takes for speech: int16 mono PCM at 16 kHz."""
    at = np.arange(int(seconds * 16_000)) * (2 * np.pi * 200 / 16_000)
    return (6_000 * np.sin(at)).astype("<i2").tobytes()


def frames(pcm: bytes) -> Iterator[bytes]:
    """Cut PCM into frames."""
    size = 2 * FRAME_SAMPLES
    return (pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size))


def frame(message: Message) -> bytes:
    """Frame a message as grpc-web does: a flag byte, the length, the bytes."""
    body = message.SerializeToString()
    return b"\x00" + len(body).to_bytes(4, "big") + body


def split(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Return the frames of a whole grpc-web body: flag and content."""
    while len(body) >= 5:
        size = int.from_bytes(body[1:5], "big")
        yield body[0], body[5 : 5 + size]
        body = body[5 + size :]


async def parts(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """Return the frames of a grpc-web body as they come."""
    left = b""
    async for chunk in chunks:
        left += chunk
        while len(left) >= 5 and len(left) >= 5 + (size := int.from_bytes(left[1:5], "big")):
            yield left[0], left[5 : 5 + size]
            left = left[5 + size :]


def raise_for_headers(headers: Any) -> None:
    """Raise the refusal of a call that was answered by headers alone."""
    if headers.get("grpc-status", "0") != "0":
        raise refusal(headers)


def raise_for_trailers(body: bytes) -> None:
    """Raise what a grpc-web stream ended with, unless it ended well."""
    pairs = (line.partition(":") for line in body.decode().splitlines())
    trailers = {key.strip().lower(): value.strip() for key, _, value in pairs}
    if trailers["grpc-status"] != "0":
        raise refusal(trailers)


def refusal(headers: Any) -> ParleyError:
    encoded = headers.get("grpc-status-details-bin", "")
    if not encoded:
        code = Code(int(headers["grpc-status"]))
        return error_for_code(code)(headers.get("grpc-message", ""), reason=code.name)
    return from_status(Status.FromString(base64.b64decode(encoded + "=" * (-len(encoded) % 4))))
