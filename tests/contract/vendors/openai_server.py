"""A stand-in for OpenAI's HTTP interface, with the rules on which real servers insist."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.contract.vendors.faults import Fault, Refusal, send_events
from tests.contract.vendors.http_server import HttpServer, Reply, Request, http_server

KEY = "sk-test-openai"
MODEL = "test-model"
_PIECE = re.compile(r"\s*\S+")


@dataclass(slots=True)
class OpenAiServer:
    """The stand-in: set ``reply`` and ``fault`` before it is asked."""

    reply: str = "Nice to meet you! What do you like?"
    finish_reason: str = "stop"
    fault: Fault | None = None
    key: str | None = KEY
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
