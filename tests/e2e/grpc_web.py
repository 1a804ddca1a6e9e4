"""grpc-web as a browser speaks it, with cookies, over HTTP/1.1."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote

import httpx
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

M = TypeVar("M", bound=Message)

_TRAILERS = 0x80


@dataclass(frozen=True)
class Answer:
    """What came back: the messages' bytes, the status, and the reason where it is an error."""

    messages: list[bytes]
    code: int
    text: str
    reason: str
    details: Status | None
    headers: httpx.Headers

    def one(self, kind: type[M]) -> M:
        """Return the single message of an answer that is no error."""
        assert self.code == 0, (self.code, self.text)
        (data,) = self.messages
        return kind.FromString(data)


async def call(
    client: httpx.AsyncClient, path: str, request: Message, metadata: dict[str, str] | None = None
) -> Answer:
    """Call the method `path` (`/package.Service/Method`) with one message."""
    body = request.SerializeToString()
    response = await client.post(
        path,
        content=b"\0" + len(body).to_bytes(4, "big") + body,
        headers={
            "content-type": "application/grpc-web+proto",
            "x-grpc-web": "1",
            **(metadata or {}),
        },
    )
    messages, trailers = _parts(response.content)
    # A call that ends at once has its status in the headers.
    status: Any = trailers or response.headers
    details = _details(status.get("grpc-status-details-bin", ""))
    return Answer(
        messages,
        int(status.get("grpc-status", -1)),
        unquote(status.get("grpc-message", "")),
        _reason(details),
        details,
        response.headers,
    )


def _parts(body: bytes) -> tuple[list[bytes], dict[str, str]]:
    messages, trailers = [], {}
    while body:
        flags, size = body[0], int.from_bytes(body[1:5], "big")
        data, body = body[5 : 5 + size], body[5 + size :]
        if flags & _TRAILERS:
            lines = (line.partition(":") for line in data.decode().splitlines())
            trailers = {name.lower(): value.strip() for name, _, value in lines}
        else:
            messages.append(data)
    return messages, trailers


def _details(text: str) -> Status | None:
    return Status.FromString(base64.b64decode(text + "=" * (-len(text) % 4))) if text else None


def _reason(status: Status | None) -> str:
    info = ErrorInfo()
    for each in status.details if status else ():
        if each.Unpack(info):
            return info.reason
    return ""
