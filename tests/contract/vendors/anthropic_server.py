"""A stand-in for Anthropic's messages, with the rules on which the current models insist."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.contract.vendors.faults import Fault, Refusal, send_events
from tests.contract.vendors.http_server import HttpServer, Reply, Request, http_server

KEY = "sk-ant-test"
MODEL = "claude-haiku-5-5"
_PIECE = re.compile(r"\s*\S+")
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


@dataclass(slots=True)
class AnthropicServer:
    """The stand-in: set ``reply`` and ``fault`` before it is asked.

    ``error_after`` pieces it tells of an overload in the middle of its stream.
    """

    reply: str = "Nice to meet you! What do you like?"
    finish_reason: str = "end_turn"
    fault: Fault | None = None
    key: str | None = KEY
    error_after: int | None = None
    http: HttpServer = field(init=False)

    @property
    def base_url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.http.port}"

    async def answer(self, request: Request, reply: Reply) -> None:
        """Answer one request as the vendor does."""
        if isinstance(self.fault, Refusal):
            await self._refuse(reply, self.fault)
        elif self.key not in _keys(request):
            await self._refuse(reply, Refusal(401))
        elif request.path.partition("?")[0] != "/v1/messages":
            await self._refuse(reply, Refusal(404))
        elif "anthropic-version" not in request.headers:
            await self._refuse(reply, Refusal(400))
        else:
            await self._messages(request.json(), reply)

    async def _messages(self, asked: dict[str, Any], reply: Reply) -> None:
        if asked["model"] != MODEL:
            await self._refuse(reply, Refusal(404))
            return
        if _wrong(asked):
            await self._refuse(reply, Refusal(400))
            return
        pieces = _PIECE.findall(self.reply)
        ended = self.finish_reason if len(pieces) <= asked["max_tokens"] else "max_tokens"
        pieces = pieces[: asked["max_tokens"]]
        events = [_event(_start()), *_before_text(asked)]
        events += [_event(_delta({"type": "text_delta", "text": piece})) for piece in pieces]
        if self.error_after is not None:
            overload = {"type": "overloaded_error", "message": "SECRET-PROMPT"}
            events.insert(3 + self.error_after, _event({"type": "error", "error": overload}))
        last = [
            _event({"type": "content_block_stop", "index": 0}),
            _event(
                {
                    "type": "message_delta",
                    "delta": {"stop_reason": ended, "stop_sequence": None},
                    "usage": {"output_tokens": len(pieces)},
                }
            ),
            _event({"type": "message_stop"}),
        ]
        await send_events(reply, events, last, self.fault)

    async def _refuse(self, reply: Reply, refusal: Refusal) -> None:
        # The sentence quotes what was asked, as real ones do: it must never be passed on.
        kind = refusal.code or _TYPES.get(refusal.status, "api_error")
        error = {"type": kind, "message": "SECRET-PROMPT was refused"}
        body = {"type": "error", "error": error, "request_id": "req_1"}
        await reply.json(refusal.status, body, refusal.headers)


def _keys(request: Request) -> tuple[str, str]:
    """Return the key in each of the two headers in which clients send it."""
    authorization = request.headers.get("authorization", "")
    return request.headers.get("x-api-key", ""), authorization.removeprefix("Bearer ")


def _wrong(asked: dict[str, Any]) -> bool:
    """Whether a current model would refuse the request."""
    messages = asked["messages"]
    return (
        not messages
        or messages[0]["role"] != "user"
        or messages[-1]["role"] != "user"
        or any(not each["content"].strip() for each in messages)
        or any(not stop.strip() for stop in asked.get("stop_sequences", ()))
        or bool(asked.keys() & {"temperature", "top_p", "top_k"})
        or asked.get("thinking", {"type": "adaptive"})["type"] not in ("adaptive", "disabled")
    )


def _before_text(asked: dict[str, Any]) -> list[bytes]:
    """Return what comes before the text: thoughts, unless they are off, and a ping."""
    block: dict[str, Any] = {"type": "text", "text": ""}
    events = [{"type": "content_block_start", "index": 0, "content_block": block}, {"type": "ping"}]
    if asked.get("thinking", {}).get("type") != "disabled":
        events.insert(0, _delta({"type": "thinking_delta", "thinking": "Hm, a learner."}))
    return [_event(each) for each in events]


def _start() -> dict[str, Any]:
    return {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": MODEL,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 20, "output_tokens": 1},
        },
    }


def _delta(delta: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": delta}


def _event(value: dict[str, Any]) -> bytes:
    data = json.dumps(value, ensure_ascii=False)
    return f"event: {value['type']}\ndata: {data}\n\n".encode()


@asynccontextmanager
async def anthropic_server() -> AsyncIterator[AnthropicServer]:
    """Run the stand-in on a free port."""
    vendor = AnthropicServer()
    async with http_server(vendor.answer) as vendor.http:
        yield vendor
