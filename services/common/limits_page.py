"""`docs/limits.md`: the limits of `services.common.limits`, and those that the contract sets.

The contract's are read from the rules in the protos, so that the page cannot differ from what is
enforced. This module imports every stub; only what writes or checks the page imports it.
"""

from __future__ import annotations

from dataclasses import fields

from google.protobuf.descriptor import ServiceDescriptor

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.history.v1 import history_pb2
from parley.media.v1 import media_pb2
from parley.user.v1 import user_pb2
from services.common.contract_limits import limits_below
from services.common.limits import DEFAULT_LIMITS, Limits

SERVICES: tuple[ServiceDescriptor, ...] = tuple(
    service
    for file in (user_pb2, conversation_pb2, ai_pb2, history_pb2, media_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)
"""Every service of the contract."""

_HEADER = """\
# Limits

What is larger, longer, faster or more is refused with a documented status ([errors.md](errors.md))
and never hangs. This page is generated from `services/common/limits.py`, from the rules in
`protos/` and from `tests/tried_limits.py`.

## Of every service

| limit | value | why | crossing it gives |
|---|---|---|---|
"""

_TRANSPORT = """
A session's own limits are told to its client in `started.limits`. Time of a call counts at the
service; the gateway's own, which are settings, lie above it. Metadata counts as HTTP/2 does it,
with 32 bytes more for each entry; the gateway takes as much of a request's whole head, and 100
headers, and answers more with HTTP 431.

A message above `max_message_bytes` is refused by the length that it announces, before any of it is
held in memory, and before anybody is asked who sends it. No code of Parley sees it, so the status
is a bare RESOURCE_EXHAUSTED without details, whose text says `message larger than max`. It means
MESSAGE_TOO_LARGE: the same message will be refused again. `concurrent_calls` gives a bare
RESOURCE_EXHAUSTED too; that one says `Concurrent RPC limit exceeded`, means TOO_MANY_CALLS, and can
be tried again.
"""

_CONTRACT_HEADER = """
## Of the contract

Crossing one gives INVALID_REQUEST, and `BadRequest` names the field; in a live conversation it
comes as a notice, and the session goes on. `[]` is each item of a list.

| field | at most |
|---|---|
"""

_FOOTER = """
Live audio may have any rate from 8,000 to 48,000 Hz; another is refused with
AUDIO_FORMAT_UNSUPPORTED. How long a recording for `Transcribe` may be is its recognizer's matter:
120 s for those that Parley brings, then AUDIO_TOO_LONG.

## Of an installation

These are settings: [settings.md](settings.md) has their values and what each is for, and further
times, of the gateway and of draining.

| setting | crossing it gives |
|---|---|
"""

OF_SETTINGS = {
    "PARLEY_CONVERSATION_MAX_SESSIONS": "AT_CAPACITY",
    "PARLEY_AI_MAX_SESSIONS": "AT_CAPACITY",
    "PARLEY_CONVERSATION_RESUME_SECONDS": "RESUME_HANDLE_INVALID",
    "PARLEY_USER_LOGIN_ATTEMPTS": "TOO_MANY_ATTEMPTS",
    "PARLEY_USER_REGISTRATIONS_PER_HOUR": "TOO_MANY_ATTEMPTS",
    "PARLEY_USER_PASSWORD_QUEUE": "TOO_MANY_ATTEMPTS",
    "PARLEY_MEDIA_MAX_UPLOAD_BYTES": "FILE_TOO_LARGE",
    "PARLEY_MEDIA_MAX_UPLOADS_BYTES": "FILE_TOO_LARGE",
    "PARLEY_MEDIA_MAX_RECORDING_SECONDS": "FILE_TOO_LARGE",
    "PARLEY_MEDIA_DECODE_SECONDS": "BAD_AUDIO, with the problem `too_costly`",
    "PARLEY_GATEWAY_MAX_STREAMS": "TOO_MANY_CALLS; a WebSocket's handshake gets HTTP 503",
    "PARLEY_GATEWAY_MAX_CONNECTIONS": "the connection is closed",
    "PARLEY_GATEWAY_SLOW_CLIENT_SECONDS": "the connection is closed",
    "PARLEY_GATEWAY_UNARY_TIMEOUT_SECONDS": "DEADLINE_EXCEEDED",
}
"""The settings that a client can come to, and what it gets."""

OF_EDGE = {
    "the head of a request": ("16 KiB and 100 headers", "HTTP 431"),
    "streams of a connection": ("1,000", "the client's library waits for one to end"),
    "requests that wait for a connection": (
        "256, to one service",
        "TOO_MANY_CALLS; a WebSocket's handshake gets HTTP 503",
    ),
}
"""Bounds of the gateway that are no settings: how much, and what crossing one gives."""

_EDGE_HEADER = """
## Of the gateway

These are the same everywhere: they stand in `gateway/envoy.yaml.j2`.

| limit | value | crossing it gives |
|---|---|---|
"""


def render_limits(tried: str, limits: Limits = DEFAULT_LIMITS) -> str:
    """Return the text of `docs/limits.md`; `tried` is its section on what tries each limit."""
    rows = (
        f"| `{each.name}` | {getattr(limits, each.name):,} {each.metadata['unit']} "
        f"| {each.metadata['why']} | {each.metadata['crossing']} |\n"
        for each in fields(limits)
    )
    requests = (method.input_type for service in SERVICES for method in service.methods)
    contract = (f"| `{each.name}` | {each.told} |\n" for each in limits_below(requests).values())
    set_here = (f"| `{name}` | {crossing} |\n" for name, crossing in OF_SETTINGS.items())
    edge = (f"| {name} | {most} | {crossing} |\n" for name, (most, crossing) in OF_EDGE.items())
    of_services = _HEADER, *rows, _TRANSPORT, _CONTRACT_HEADER, *contract
    of_installations = _FOOTER, *set_here, _EDGE_HEADER, *edge
    return "".join((*of_services, *of_installations, tried))
