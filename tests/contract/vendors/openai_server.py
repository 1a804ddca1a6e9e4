"""A stand-in for OpenAI's HTTP interface, with the rules on which real servers insist."""

from __future__ import annotations

import email
import email.message
import io
import json
import re
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.contract.vendors.faults import Break, Fault, Refusal, send_body, send_events
from tests.contract.vendors.http_server import HttpServer, Reply, Request, http_server

KEY = "sk-test-openai"
MODEL = "test-model"
SPEECH_S = 0.6
"""How long every text takes to say, in seconds."""
_PIECE = re.compile(r"\s*\S+")


@dataclass(slots=True)
class OpenAiServer:
    """The stand-in: set ``reply`` and ``fault`` before it is asked."""

    reply: str = "Nice to meet you! What do you like?"
    finish_reason: str = "stop"
    fault: Fault | None = None
    key: str | None = KEY
    heard_s: list[float] = field(default_factory=list)
    """How long each recording was, in seconds."""
    http: HttpServer = field(init=False)

    @property
    def base_url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.http.port}/v1"

    async def answer(self, request: Request, reply: Reply) -> None:
        """Answer one request as the vendor does."""
        if isinstance(self.fault, Refusal):
            await self._refuse(reply, self.fault)
        elif self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            await self._refuse(reply, Refusal(401, "invalid_api_key"))
        elif request.path == "/v1/chat/completions":
            await self._chat(request.json(), reply)
        elif request.path == "/v1/audio/transcriptions":
            await self._transcribe(_form(request), reply)
        elif request.path == "/v1/audio/speech":
            await self._speak(request.json(), reply)
        else:
            await self._refuse(reply, Refusal(404, "not_found"))

    async def _chat(self, asked: dict[str, Any], reply: Reply) -> None:
        if asked["model"] != MODEL:
            await self._refuse(reply, Refusal(404, "model_not_found"))
            return
        if wrong := _wrong(asked):
            await self._refuse(reply, Refusal(400, wrong))
            return
        limit = asked.get("max_tokens", asked.get("max_completion_tokens", 1000))
        pieces = _PIECE.findall(self.reply)
        ended = self.finish_reason if len(pieces) <= limit else "length"
        events = [_event(_chunk({"role": "assistant", "content": ""}))]
        events += [_event(_chunk({"content": piece})) for piece in pieces[:limit]]
        usage = _chunk({}) | {"choices": [], "usage": {"completion_tokens": len(pieces)}}
        last = [_event(_chunk({}, ended)), _event(usage), b"data: [DONE]\n\n"]
        await send_events(reply, events, last, self.fault)

    async def _transcribe(self, asked: dict[str, bytes], reply: Reply) -> None:
        if asked["model"].decode() != MODEL:
            await self._refuse(reply, Refusal(404, "model_not_found"))
            return
        with wave.open(io.BytesIO(asked["file"])) as audio:
            assert (audio.getframerate(), audio.getnchannels()) == (16_000, 1)
            self.heard_s.append(audio.getnframes() / 16_000)
        answer: dict[str, Any] = {"text": self.reply}
        if asked["response_format"] == b"verbose_json":
            words = self.reply.split()
            answer |= {"language": "english", "duration": self.heard_s[-1], "task": "transcribe"}
            answer["words"] = [
                {"word": word, "start": 0.1 * index, "end": 0.1 * index + 0.08}
                for index, word in enumerate(words)
            ]
        body = json.dumps(answer, ensure_ascii=False).encode()
        pieces = [body[: len(body) // 2], body[len(body) // 2 :]]
        wrong = {Break.GARBAGE: b"{not json", Break.WRONG_FORM: b'{"text": 7}'}
        await send_body(reply, "application/json", pieces, self.fault, wrong)

    async def _speak(self, asked: dict[str, Any], reply: Reply) -> None:
        if asked["model"] != MODEL:
            await self._refuse(reply, Refusal(404, "model_not_found"))
            return
        assert asked["input"].strip()
        assert asked["response_format"] == "pcm"
        samples = int(SPEECH_S * 24_000 / asked["speed"])
        pcm = (b"\x10\x27\xf0\xd8" * samples)[: 2 * samples]
        # Pieces of odd lengths, as a network makes them.
        pieces = [pcm[i : i + 2001] for i in range(0, len(pcm), 2001)]
        wrong = {Break.GARBAGE: b"RIFF....WAVE" * 100, Break.WRONG_FORM: b'{"audio": ""}'}
        await send_body(reply, "audio/pcm", pieces, self.fault, wrong)

    async def _refuse(self, reply: Reply, refusal: Refusal) -> None:
        # The sentence quotes what was asked, as real ones do: it must never be passed on.
        error = {
            "message": "SECRET-PROMPT was refused",
            "type": "invalid_request_error" if refusal.status == 400 else "error",
            "param": None,
            "code": refusal.code or None,
        }
        await reply.json(refusal.status, {"error": error}, refusal.headers)


def _wrong(asked: dict[str, Any]) -> str:
    """Return the code of what OpenAI would refuse in a request for chat."""
    messages = asked["messages"]
    if not messages or any(not each["content"] for each in messages):
        return "empty_content"
    if len(asked.get("stop", ())) > 4:
        return "too_many_stop_strings"
    if not 0 <= asked.get("temperature", 1) <= 2:
        return "temperature"
    return ""


def _form(request: Request) -> dict[str, bytes]:
    """Return the fields of a form with files (RFC 7578)."""
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + request.body)
    fields: dict[str, bytes] = {}
    for part in message.get_payload():
        assert isinstance(part, email.message.Message)
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        fields[str(name)] = payload
    return fields


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
    }


def _event(value: object) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


@asynccontextmanager
async def openai_server() -> AsyncIterator[OpenAiServer]:
    """Run the stand-in on a free port."""
    vendor = OpenAiServer()
    async with http_server(vendor.answer) as vendor.http:
        yield vendor
