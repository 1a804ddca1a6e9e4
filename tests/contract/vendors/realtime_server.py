"""A stand-in for OpenAI's Realtime, with the rules on which the real server insists."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from tests.contract.vendors.faults import Break, Broken, Fault, Refusal
from tests.contract.vendors.websocket_server import (
    MS_PER_WORD,
    RATE_HZ,
    Connections,
    break_connection,
    refusal,
    send,
    sound,
    websocket_server,
)

KEY = "sk-test-realtime"
MODEL = "test-realtime"
VOICES = ("marin", "cedar")
_LINE = re.compile(r'Say exactly this and nothing else: "(.*)"', re.DOTALL)
_SECRET = "SECRET-PROMPT was refused"


@dataclass(slots=True)
class Item:
    """One item of a conversation, and how much of a reply's sound is left in it."""

    id: str
    role: str
    words: list[str]
    audio_ms: int = 0
    heard_ms: int | None = None

    @property
    def text(self) -> str:
        """What the model has of it."""
        if self.heard_ms is None:
            return " ".join(self.words)
        return " ".join(self.words[: round(self.heard_ms / MS_PER_WORD)])


@dataclass(slots=True)
class Talk:
    """One connection: what the model would see."""

    session: dict[str, Any] = field(default_factory=dict)
    items: list[Item] = field(default_factory=list)
    buffer: bytes = b""
    heard_ms: list[int] = field(default_factory=list)
    replying: asyncio.Task[None] | None = None
    errors: list[str] = field(default_factory=list)

    @property
    def remembers(self) -> list[tuple[str, str]]:
        """Who said what."""
        return [(item.role, item.text) for item in self.items if item.text]


@dataclass(slots=True)
class RealtimeServer(Connections):
    """The stand-in: say what it hears and what it replies, and what goes wrong."""

    hears: list[str] = field(default_factory=lambda: ["Hello, my name is Ana."])
    """What is said in the first item of sound, the second, and so on; the last again and again."""
    replies: list[str] = field(default_factory=lambda: ["Nice to meet you! What do you like?"])
    fault: Fault | None = None
    at: str = "reply"
    """Where the fault is: at "setup", while it is told of speech ("hear"), or in a "reply"."""
    failing: str = ""
    """The code of the failure that ends the next reply."""
    cannot_write: bool = False
    pace_s: float = 0.0
    """How long each word of a reply takes to come."""
    talks: list[Talk] = field(default_factory=list)
    _of: dict[ServerConnection, Talk] = field(default_factory=dict)
    _replied: int = 0
    _heard: int = 0
    _ids: int = 0

    @property
    def base_url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def remembers(self) -> list[tuple[str, str]]:
        """What the model of the last connection has in its memory."""
        return self.talks[-1].remembers

    @property
    def rules(self) -> str:
        """The instructions of the last connection."""
        return str(self.talks[-1].session["instructions"])

    async def expire(self) -> None:
        """End every session for its age."""
        for connection in tuple(self._of):
            await self._error(connection, "session_expired")
            await connection.close(1001)

    def refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse the handshake where the key or the model is wrong."""
        if isinstance(self.fault, Refusal) and self.at != "reply":
            return _refused(connection, self.fault)
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return _refused(connection, Refusal(401, "invalid_api_key"))
        if request.path != f"/v1/realtime?model={MODEL}":
            return _refused(connection, Refusal(404, "model_not_found"))
        return None

    async def begin(self, connection: ServerConnection) -> None:
        """Greet."""
        talk = Talk()
        self.talks.append(talk)
        self._of[connection] = talk
        await send(connection, {"type": "session.created", "session": {"type": "realtime"}})

    async def answer(self, connection: ServerConnection, event: dict[str, Any]) -> None:
        """Take one event of the client's."""
        talk = self._of[connection]
        kind = event["type"]
        if self._breaks("setup") and kind == "session.update":
            await self._break(connection)
        if self._breaks("hear") and kind == "input_audio_buffer.append":
            await self._break(connection)
        match kind:
            case "session.update":
                await self._update(connection, talk, event["session"])
            case "conversation.item.create":
                await self._create(connection, talk, event["item"])
            case "input_audio_buffer.append":
                talk.buffer += base64.b64decode(event["audio"], validate=True)
            case "input_audio_buffer.clear":
                talk.buffer = b""
                await send(connection, {"type": "input_audio_buffer.cleared"})
            case "input_audio_buffer.commit":
                await self._commit(connection, talk)
            case "response.create":
                await self._reply(connection, talk, event.get("response", {}))
            case "response.cancel":
                await self._cancel(connection, talk)
            case "conversation.item.truncate":
                await self._truncate(connection, talk, event)
            case "conversation.item.delete":
                await self._delete(connection, talk, event["item_id"])
            case _:
                await self._error(connection, "unknown_event")

    # --- the session ----------------------------------------------------------------------------

    async def _update(
        self, connection: ServerConnection, talk: Talk, session: dict[str, Any]
    ) -> None:
        sound_in, sound_out = session["audio"]["input"], session["audio"]["output"]
        wrong = (
            session["type"] != "realtime"
            or sound_in["format"] != {"type": "audio/pcm", "rate": RATE_HZ}
            or sound_in["turn_detection"] is not None
            or sound_out["voice"] not in VOICES
            or not 0.25 <= sound_out["speed"] <= 1.5
            or "tools" in session
        )
        if wrong:
            await self._error(connection, "invalid_value")
            return
        talk.session = session
        await send(connection, {"type": "session.updated", "session": session})

    async def _create(self, connection: ServerConnection, talk: Talk, item: dict[str, Any]) -> None:
        content = item["content"][0]
        wanted = "output_text" if item["role"] == "assistant" else "input_text"
        if content["type"] != wanted or not content["text"]:
            await self._error(connection, "invalid_value")
            return
        made = Item(self._id("item"), item["role"], content["text"].split())
        talk.items.append(made)
        await send(connection, {"type": "conversation.item.added", "item": {"id": made.id}})

    async def _commit(self, connection: ServerConnection, talk: Talk) -> None:
        length_ms = len(talk.buffer) // 2 * 1000 // RATE_HZ
        if length_ms < 100:
            await self._error(connection, "input_audio_buffer_commit_empty")
            return
        talk.buffer = b""
        talk.heard_ms.append(length_ms)
        text = self.hears[min(self._heard, len(self.hears) - 1)]
        self._heard += 1
        item = Item(self._id("item"), "user", text.split())
        talk.items.append(item)
        await send(connection, {"type": "input_audio_buffer.committed", "item_id": item.id})
        kind = "conversation.item.input_audio_transcription."
        if self.cannot_write:
            error = {"type": "transcription_error", "code": "audio_unintelligible"}
            await send(connection, {"type": kind + "failed", "item_id": item.id, "error": error})
            return
        for word in item.words:
            delta = {"type": kind + "delta", "item_id": item.id, "content_index": 0}
            await send(connection, delta | {"delta": word})
        done = {"type": kind + "completed", "item_id": item.id, "content_index": 0}
        await send(connection, done | {"transcript": f"{text}\n"})

    # --- replies ----------------------------------------------------------------------------------

    async def _reply(
        self, connection: ServerConnection, talk: Talk, wanted: dict[str, Any]
    ) -> None:
        if talk.replying is not None and not talk.replying.done():
            await self._error(connection, "conversation_already_has_active_response")
            return
        talk.replying = asyncio.create_task(self._say(connection, talk, wanted))
        if not self.pace_s:
            await talk.replying

    async def _say(self, connection: ServerConnection, talk: Talk, wanted: dict[str, Any]) -> None:
        line = _LINE.search(wanted.get("instructions", ""))
        text = line[1] if line else self.replies[min(self._replied, len(self.replies) - 1)]
        self._replied += 0 if line else 1
        aloud = wanted.get("output_modalities") != ["text"]
        response = {"id": self._id("resp"), "metadata": wanted.get("metadata")}
        item = Item(self._id("item"), "assistant", [])
        of = {"response_id": response["id"], "item_id": item.id}
        try:
            if isinstance(self.fault, Broken) and self.fault.how is Break.SILENT:
                await self._break_if("reply", connection, 0)
            await send(connection, {"type": "response.created", "response": response})
            added = {"type": "response.output_item.added", "item": {"id": item.id}}
            await send(connection, added | {"response_id": response["id"]})
            talk.items.append(item)
            for index, word in enumerate(text.split()):
                await self._break_if("reply", connection, index)
                if self.failing:
                    break
                item.words.append(word)
                delta = f" {word}" if index else word
                if aloud:
                    words = {"type": "response.output_audio_transcript.delta", "delta": delta}
                    await send(connection, of | words)
                    item.audio_ms += MS_PER_WORD
                    data = base64.b64encode(sound()).decode()
                    audio = {"type": "response.output_audio.delta", "delta": data}
                    await send(connection, of | audio)
                else:
                    await send(
                        connection, of | {"type": "response.output_text.delta", "delta": delta}
                    )
                if self.pace_s:
                    await asyncio.sleep(self.pace_s)
            await self._break_if("reply", connection, None)
        except asyncio.CancelledError:
            details = {"type": "cancelled", "reason": "client_cancelled"}
            await self._done(connection, response, "cancelled", details)
            return
        if self.failing:
            code, self.failing = self.failing, ""
            error = {"type": "server_error", "code": code}
            await self._done(connection, response, "failed", {"type": "failed", "error": error})
            return
        await self._done(connection, response, "completed", None)

    async def _done(
        self, connection: ServerConnection, response: dict[str, Any], status: str, details: Any
    ) -> None:
        usage = {"input_tokens": 90, "output_tokens": 42, "total_tokens": 132}
        done = response | {"status": status, "status_details": details, "usage": usage}
        await send(connection, {"type": "response.done", "response": done})

    async def _cancel(self, connection: ServerConnection, talk: Talk) -> None:
        if talk.replying is None or talk.replying.done():
            await self._error(connection, "response_cancel_not_active")
            return
        talk.replying.cancel()
        await asyncio.wait({talk.replying})

    async def _truncate(
        self, connection: ServerConnection, talk: Talk, event: dict[str, Any]
    ) -> None:
        item = next((each for each in talk.items if each.id == event["item_id"]), None)
        if item is None or item.role != "assistant":
            await self._error(connection, "item_truncate_invalid_item_id")
        elif event["audio_end_ms"] > item.audio_ms or event["content_index"] != 0:
            await self._error(connection, "invalid_value")
        else:
            item.heard_ms = event["audio_end_ms"]
            told = {"type": "conversation.item.truncated", "item_id": item.id}
            await send(connection, told)

    async def _delete(self, connection: ServerConnection, talk: Talk, wanted: str) -> None:
        if all(each.id != wanted for each in talk.items):
            await self._error(connection, "item_delete_invalid_item_id")
            return
        talk.items = [each for each in talk.items if each.id != wanted]
        await send(connection, {"type": "conversation.item.deleted", "item_id": wanted})

    # --- faults -----------------------------------------------------------------------------------

    def _breaks(self, where: str) -> bool:
        return self.at == where and isinstance(self.fault, Broken)

    async def _break_if(self, where: str, connection: ServerConnection, index: int | None) -> None:
        """Break here where the fault is; None is behind the last word."""
        after = self.fault.after if isinstance(self.fault, Broken) else 0
        if self._breaks(where) and index in (None, after):
            await self._break(connection)

    async def _break(self, connection: ServerConnection) -> None:
        assert isinstance(self.fault, Broken)
        how = self.fault.how
        await break_connection(connection, how)

    async def _error(self, connection: ServerConnection, code: str) -> None:
        self._of[connection].errors.append(code)
        error = {"type": "invalid_request_error", "code": code, "message": _SECRET}
        await send(connection, {"type": "error", "event_id": "e", "error": error})

    def _id(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}_{self._ids}"


def _refused(connection: ServerConnection, fault: Refusal) -> Response:
    error = {"type": "invalid_request_error", "code": fault.code or None, "message": _SECRET}
    response = refusal(connection, fault.status, {"error": error})
    for name, value in fault.headers.items():
        response.headers[name] = value
    return response


@asynccontextmanager
async def realtime_server() -> AsyncIterator[RealtimeServer]:
    """Run the stand-in on a free port."""
    vendor = RealtimeServer()
    async with websocket_server(vendor, vendor.answer, vendor.refuse, vendor.begin):
        try:
            yield vendor
        finally:
            replies = [talk.replying for talk in vendor.talks if talk.replying]
            for reply in replies:
                reply.cancel()
            await asyncio.gather(*replies, return_exceptions=True)
