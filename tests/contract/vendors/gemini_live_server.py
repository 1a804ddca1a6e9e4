"""A stand-in for Gemini Live, with the rules on which the real server insists.

It refuses by closing, as the real one does: the codes are those of WebSockets (RFC 6455, 7.4.1).
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from tests.contract.vendors.certificates import certificate
from tests.contract.vendors.faults import Break, Broken, Fault, Refusal
from tests.contract.vendors.websocket_server import (
    RATE_HZ,
    Broke,
    Connections,
    break_connection,
    refusal,
    send,
    sound,
    websocket_server,
)

KEY = "test-gemini"
MODEL = "test-live"
VOICES = ("Aoede", "Puck")
_PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
_LINE = re.compile(r'Say exactly this and nothing else: "(.*)"', re.DOTALL)
_BYTES_PER_WORD = 2 * 16_000 // 5
"""A word is heard every 200 ms."""
_CLOSED = {
    401: (1007, "API key not valid. Please pass a valid API key. SECRET-PROMPT"),
    403: (1008, "Your project has been denied access. SECRET-PROMPT"),
    404: (1008, "models/x is not found for API version v1beta. SECRET-PROMPT"),
    429: (1011, "You exceeded your current quota, please check your plan. SECRET-PROMPT"),
    500: (1011, "Internal error encountered. SECRET-PROMPT"),
    400: (1007, "Request contains an invalid argument. SECRET-PROMPT"),
}


@dataclass(slots=True)
class Talk:
    """One connection: what the model would see."""

    setup: dict[str, Any] = field(default_factory=dict)
    said: list[tuple[str, str]] = field(default_factory=list)
    history: bool = False
    active: bool = False
    audio: int = 0
    told: int = 0
    typed: list[str] = field(default_factory=list)
    hears: list[str] = field(default_factory=list)
    replying: asyncio.Task[None] | None = None

    @property
    def remembers(self) -> list[tuple[str, str]]:
        """Who said what."""
        return [(role, text) for role, text in self.said if text]


@dataclass(slots=True)
class GeminiLiveServer(Connections):
    """The stand-in: say what it hears and what it replies, and what goes wrong."""

    pem: Path = Path()
    """The certificate that clients have to trust: the client reads SSL_CERT_FILE."""
    hears: list[str] = field(default_factory=lambda: ["Hello, my name is Ana."])
    """What is said in the first activity, the second, and so on; the last again and again."""
    replies: list[str] = field(default_factory=lambda: ["Nice to meet you! What do you like?"])
    fault: Fault | None = None
    at: str = "reply"
    """Where the fault is: at "setup", while it is told of speech ("hear"), or in a "reply"."""
    cannot_write: bool = False
    pace_s: float = 0.0
    talks: list[Talk] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """The rules that the client broke."""
    _of: dict[ServerConnection, Talk] = field(default_factory=dict)
    _replied: int = 0
    _heard: int = 0

    @property
    def base_url(self) -> str:
        """Where it is."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def remembers(self) -> list[tuple[str, str]]:
        """What the model of the last connection has in its memory."""
        return self.talks[-1].remembers

    @property
    def rules(self) -> str:
        """The instructions of the last connection."""
        return str(self.talks[-1].setup["systemInstruction"]["parts"][0]["text"])

    async def expire(self) -> None:
        """Say to every client that its connection will end."""
        for connection in tuple(self._of):
            await send(connection, {"goAway": {"timeLeft": "10s"}})

    def refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse the handshake of whoever has the wrong address."""
        if request.path != _PATH:
            return refusal(connection, 404, {})
        return None

    async def begin(self, connection: ServerConnection) -> None:
        """Wait: the client speaks first."""
        talk = Talk()
        self.talks.append(talk)
        self._of[connection] = talk

    async def answer(self, connection: ServerConnection, message: dict[str, Any]) -> None:
        """Take one message of the client's."""
        talk = self._of[connection]
        message = _named(message)
        (kind,) = message
        if not talk.setup:
            await self._set_up(connection, talk, message["setup"])
        elif kind == "clientContent":
            await self._history(connection, talk, message[kind])
        elif kind == "realtimeInput":
            await self._input(connection, talk, message[kind])
        else:
            await self._wrong(connection, f"unknown message {kind}")

    # --- the session ----------------------------------------------------------------------------

    async def _set_up(
        self, connection: ServerConnection, talk: Talk, setup: dict[str, Any]
    ) -> None:
        request = connection.request
        assert request is not None
        if isinstance(self.fault, Refusal) and self.at != "reply":
            await self._close(connection, self.fault.status)
        if request.headers.get("x-goog-api-key") != KEY:
            await self._close(connection, 401)
        if setup["model"] != f"models/{MODEL}":
            await self._close(connection, 404)
        if self._breaks("setup"):
            await self._break(connection)
        config = setup["generationConfig"]
        voice = config["speechConfig"]["voiceConfig"]["prebuiltVoiceConfig"]["voiceName"]
        turns = setup["realtimeInputConfig"]
        if (
            config["responseModalities"] != ["AUDIO"]
            or voice not in VOICES
            or turns["automaticActivityDetection"] != {"disabled": True}
            or "tools" in setup
        ):
            await self._wrong(connection, "setup")
        talk.setup = setup
        wanted = setup.get("historyConfig", {}).get("initialHistoryInClientContent", False)
        talk.history = not wanted
        await send(connection, {"setupComplete": {"sessionId": "s"}})

    async def _history(
        self, connection: ServerConnection, talk: Talk, content: dict[str, Any]
    ) -> None:
        if talk.history:
            await self._wrong(connection, "history in the middle")
        for turn in content["turns"]:
            role = "assistant" if turn["role"] == "model" else turn["role"]
            talk.said.append((role, turn["parts"][0]["text"]))
        talk.history = bool(content["turnComplete"])

    async def _input(self, connection: ServerConnection, talk: Talk, given: dict[str, Any]) -> None:
        if not talk.history:
            await self._wrong(connection, "input before the history")
        (kind,) = given
        if kind == "activityStart":
            if talk.active:
                await self._wrong(connection, "two activities")
            talk.active, talk.audio, talk.told = True, 0, 0
            talk.typed.clear()
        elif not talk.active:
            await self._wrong(connection, f"{kind} outside of an activity")
        elif kind == "audio":
            await self._hear(connection, talk, given[kind])
        elif kind == "text":
            talk.typed.append(given[kind])
        elif kind == "activityEnd":
            talk.active = False
            await self._end(connection, talk)

    async def _hear(self, connection: ServerConnection, talk: Talk, blob: dict[str, Any]) -> None:
        if self._breaks("hear"):
            await self._break(connection)
        if blob["mimeType"] != "audio/pcm;rate=16000":
            await self._wrong(connection, "audio of another kind")
        if not talk.audio:
            text = self.hears[min(self._heard, len(self.hears) - 1)]
            talk.hears = text.split()
            self._heard += 1
        talk.audio += len(base64.urlsafe_b64decode(blob["data"]))
        while talk.audio // _BYTES_PER_WORD > talk.told < len(talk.hears):
            await self._tell_word(connection, talk)

    async def _tell_word(self, connection: ServerConnection, talk: Talk) -> None:
        word = talk.hears[talk.told]
        talk.told += 1
        if not self.cannot_write:
            text = word if talk.told == 1 else f" {word}"
            await self._content(connection, inputTranscription={"text": text})

    async def _end(self, connection: ServerConnection, talk: Talk) -> None:
        while talk.audio and talk.told < len(talk.hears):
            await self._tell_word(connection, talk)
        talk.said.append(("user", " ".join(talk.typed or talk.hears)))
        if isinstance(self.fault, Refusal):
            await self._close(connection, self.fault.status)
        talk.replying = asyncio.create_task(self._say(connection, talk))
        if not self.pace_s:
            await talk.replying

    # --- replies ----------------------------------------------------------------------------------

    async def _say(self, connection: ServerConnection, talk: Talk) -> None:
        line = _LINE.search(" ".join(talk.typed))
        text = line[1] if line else self.replies[min(self._replied, len(self.replies) - 1)]
        self._replied += 0 if line else 1
        said: list[str] = []
        place = len(talk.said)
        talk.said.append(("assistant", ""))
        for index, word in enumerate(text.split()):
            await self._break_if(connection, index)
            said.append(word)
            talk.said[place] = ("assistant", " ".join(said))
            data = base64.b64encode(sound()).decode()
            blob = {"mimeType": f"audio/pcm;rate={RATE_HZ}", "data": data}
            turn = {"role": "model", "parts": [{"inlineData": blob}]}
            await self._content(connection, modelTurn=turn)
            transcription = {"text": f" {word}" if index else word}
            await self._content(connection, outputTranscription=transcription)
            if self.pace_s:
                await asyncio.sleep(self.pace_s)
        await self._break_if(connection, None)
        await self._content(connection, generationComplete=True)
        usage = {"promptTokenCount": 90, "responseTokenCount": 42, "totalTokenCount": 132}
        content = {"turnComplete": True}
        await send(connection, {"serverContent": content, "usageMetadata": usage})

    async def _content(self, connection: ServerConnection, **content: object) -> None:
        await send(connection, {"serverContent": content})

    # --- faults -----------------------------------------------------------------------------------

    def _breaks(self, where: str) -> bool:
        return self.at == where and isinstance(self.fault, Broken)

    async def _break_if(self, connection: ServerConnection, index: int | None) -> None:
        """Break here where the fault is; None is behind the last word."""
        after = self.fault.after if isinstance(self.fault, Broken) else 0
        if self._breaks("reply") and index in (None, after):
            await self._break(connection)

    async def _break(self, connection: ServerConnection) -> None:
        assert isinstance(self.fault, Broken)
        # Of this server's answers nothing begins before its first piece.
        how = Break.STALLS if self.fault.how is Break.SILENT else self.fault.how
        await break_connection(connection, how)

    async def _wrong(self, connection: ServerConnection, rule: str) -> None:
        self.wrong.append(rule)
        await self._close(connection, 400)

    async def _close(self, connection: ServerConnection, status: int) -> None:
        code, reason = _CLOSED.get(status, _CLOSED[500])
        await connection.close(code, reason)
        raise Broke


def _named(message: Any) -> Any:
    """Return a message with one spelling of its names: JSON for protobuf may have either."""
    if isinstance(message, list):
        return [_named(each) for each in message]
    if not isinstance(message, dict):
        return message
    return {
        re.sub(r"_([a-z])", lambda found: found[1].upper(), name): _named(value)
        for name, value in message.items()
    }


@asynccontextmanager
async def gemini_live_server() -> AsyncIterator[GeminiLiveServer]:
    """Run the stand-in on a free port, and have clients that are made meanwhile trust it."""
    vendor = GeminiLiveServer()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        vendor.pem = certificate(Path(folder))
        tls.load_cert_chain(vendor.pem)
        async with _serving(vendor, tls):
            yield vendor
    assert not vendor.wrong


@asynccontextmanager
async def _serving(vendor: GeminiLiveServer, tls: ssl.SSLContext) -> AsyncIterator[None]:
    async with websocket_server(vendor, vendor.answer, vendor.refuse, vendor.begin, tls):
        try:
            yield
        finally:
            replies = [talk.replying for talk in vendor.talks if talk.replying]
            for reply in replies:
                reply.cancel()
            await asyncio.gather(*replies, return_exceptions=True)
