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
and never hangs. This page is generated from `services/common/limits.py` and from the rules in
`protos/`.

## Of every service

| limit | value | why | crossing it gives |
|---|---|---|---|
"""

_TRANSPORT = """
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

Sessions at once, upload sizes, lengths of recordings, attempts to sign in, times at the gateway
and times to drain are settings: [settings.md](settings.md).
"""


def render_limits(limits: Limits = DEFAULT_LIMITS) -> str:
    """Return the text of `docs/limits.md`."""
    rows = (
        f"| `{each.name}` | {getattr(limits, each.name):,} {each.metadata['unit']} "
        f"| {each.metadata['why']} | {each.metadata['crossing']} |\n"
        for each in fields(limits)
    )
    requests = (method.input_type for service in SERVICES for method in service.methods)
    contract = (f"| `{each.name}` | {each.told} |\n" for each in limits_below(requests).values())
    return _HEADER + "".join(rows) + _TRANSPORT + _CONTRACT_HEADER + "".join(contract) + _FOOTER
