"""A stand-in for Edge's read-aloud service: its own name, TLS and WebSocket, on a free port here.

The official client is told nothing: its connector finds the service's name at this server, and it
trusts the certificate that was made for the test.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from html import unescape
from http import HTTPStatus
from pathlib import Path
from typing import Any

import av
import numpy as np
from aiohttp.abc import AbstractResolver, ResolveResult
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from services.ai.adapters.edge_speech import KeptConnector
from tests.contract.vendors.faults import Break, Broken, Fault, Refusal
from tests.contract.vendors.http_server import GRACE_S

NAME = "speech.platform.bing.com"
SPEECH_S = 0.9
"""How long every text takes to say, in seconds."""
_TICKS = 10_000_000
_SAID = re.compile(r"<prosody[^>]*>(.*)</prosody>", re.DOTALL)


@dataclass(slots=True)
class EdgeServer:
    """The stand-in: set ``fault`` before it is asked."""

    port: int = 0
    fault: Fault | None = None
    refuse_once: bool = False
    """Refuse the next handshake as one from a machine whose clock is wrong."""
    asked: list[str] = field(default_factory=list)
    """The SSML of every request."""
    connected: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def connector(self) -> KeptConnector:
        """Return a connector that finds the service here."""
        return connector(self.port)

    async def until_connected(self, count: int) -> None:
        """Wait until so many connections are open. Raises ``TimeoutError``."""
        async with asyncio.timeout(GRACE_S):
            while self.connected != count:
                self.changed.clear()
                await self.changed.wait()

    def refuse(self, connection: ServerConnection, _: Request) -> Response | None:
        """Refuse the handshake where that is the fault."""
        if self.refuse_once:
            self.refuse_once = False
            return connection.respond(HTTPStatus.FORBIDDEN, "")
        if isinstance(self.fault, Refusal):
            response = connection.respond(HTTPStatus(self.fault.status), "SECRET-PROMPT\n")
            for name, value in self.fault.headers.items():
                response.headers[name] = value
            return response
        return None

    async def answer(self, connection: ServerConnection) -> None:
        """Speak each text that is asked for."""
        self.connected += 1
        self.changed.set()
        try:
            config = str(await connection.recv())
            assert '"wordBoundaryEnabled":"true"' in config
            ssml = str(await connection.recv())
            self.asked.append(ssml)
            said = _SAID.search(ssml)
            assert said
            await self._speak(connection, unescape(said[1]))
        finally:
            self.connected -= 1
            self.changed.set()

    async def _speak(self, connection: ServerConnection, text: str) -> None:
        broken = self.fault if isinstance(self.fault, Broken) else None
        if broken and broken.how is Break.SILENT:
            await connection.wait_closed()
            return
        await connection.send("X-RequestId:1\r\nPath:turn.start\r\n\r\n{}")
        words = text.split()
        mp3 = _mp3()
        step = -(-len(mp3) // len(words))
        for index, word in enumerate(words):
            if broken and index == broken.after:
                await _break(connection, broken.how)
                return
            start = SPEECH_S * index / len(words)
            bare = word.strip(".,!?;:")
            await connection.send(_metadata(bare, start, SPEECH_S / len(words) * 0.9))
            head = b"X-RequestId:1\r\nContent-Type:audio/mpeg\r\nPath:audio\r\n"
            data = mp3[index * step : (index + 1) * step]
            await connection.send(len(head).to_bytes(2, "big") + head + data)
        last = b"X-RequestId:1\r\nPath:audio\r\n"
        await connection.send(len(last).to_bytes(2, "big") + last)
        await connection.send("X-RequestId:1\r\nPath:turn.end\r\n\r\n{}")


async def _break(connection: ServerConnection, how: Break) -> None:
    match how:
        case Break.STALLS:
            await connection.wait_closed()
        case Break.CUT:
            connection.transport.abort()
        case Break.ENDS_EARLY:
            await connection.close()
        case Break.GARBAGE:
            await connection.send("Path:audio.metadata\r\n\r\n{not json")
        case Break.WRONG_FORM:
            await connection.send('Path:audio.metadata\r\n\r\n{"Metadata": 7}')


def _metadata(word: str, start_s: float, length_s: float) -> str:
    data: dict[str, Any] = {
        "Offset": int(start_s * _TICKS),
        "Duration": int(length_s * _TICKS),
        "text": {"Text": word, "Length": len(word), "BoundaryType": "WordBoundary"},
    }
    body = json.dumps({"Metadata": [{"Type": "WordBoundary", "Data": data}]})
    return f"X-RequestId:1\r\nContent-Type:application/json\r\nPath:audio.metadata\r\n\r\n{body}"


@cache
def _mp3() -> bytes:
    """Return a tone as the service sends speech: MP3, 24 kHz, mono, 48 kbit/s."""
    time = np.arange(int(SPEECH_S * 24_000)) / 24_000
    tone = (0.3 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)
    file = io.BytesIO()
    # Frames alone, as the service sends them.
    bare = {"write_xing": "0", "id3v2_version": "0"}
    with av.open(file, "w", format="mp3", options=bare) as out:
        stream = out.add_stream("libmp3lame", rate=24_000, layout="mono")
        stream.bit_rate = 48_000
        frame = av.AudioFrame.from_ndarray(tone[None, :], format="fltp", layout="mono")
        frame.sample_rate = 24_000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


class _Here(AbstractResolver):
    """Finds every name at a port of the loopback."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        assert host == NAME
        return [
            ResolveResult(
                hostname=host,
                host="127.0.0.1",
                port=self._port,
                family=socket.AF_INET,
                proto=0,
                flags=0,
            )
        ]

    async def close(self) -> None:
        return


def connector(port: int) -> KeptConnector:
    """Return a connector that finds the service at a port of the loopback."""
    return KeptConnector(resolver=_Here(port))


@asynccontextmanager
async def edge_server(pem: Path) -> AsyncIterator[EdgeServer]:
    """Run the stand-in with the certificate ``pem``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    vendor = EdgeServer()
    async with serve(
        vendor.answer,
        "127.0.0.1",
        0,
        ssl=context,
        process_request=vendor.refuse,
        close_timeout=1,
    ) as server:
        vendor.port = next(iter(server.sockets)).getsockname()[1]
        yield vendor
