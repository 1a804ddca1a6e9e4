"""`docs/limits.md`: the limits of `services.common.limits`, and those that the contract sets.

The contract's are read from the rules in the protos, so that the page cannot differ from what is
enforced. This module imports every stub; only what writes or checks the page imports it.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor, FileDescriptor

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.history.v1 import history_pb2
from parley.media.v1 import media_pb2
from parley.user.v1 import user_pb2
from services.common.limits import DEFAULT_LIMITS, Limits

# What a caller is likely to meet; every rule of every field stands in the protos.
CONTRACT: tuple[tuple[FileDescriptor, str], ...] = (
    (conversation_pb2.DESCRIPTOR, "LearnerAudio.pcm"),
    (conversation_pb2.DESCRIPTOR, "LearnerText.text"),
    (conversation_pb2.DESCRIPTOR, "PushRequest.requests"),
    (ai_pb2.DESCRIPTOR, "TranscribeRequest.pcm"),
    (ai_pb2.DESCRIPTOR, "GenerateRequest.messages"),
    (ai_pb2.DESCRIPTOR, "ChatMessage.text"),
    (ai_pb2.DESCRIPTOR, "GenerateRequest.max_tokens"),
    (ai_pb2.DESCRIPTOR, "SynthesizeRequest.text"),
    (history_pb2.DESCRIPTOR, "ListConversationsRequest.page_size"),
    (history_pb2.DESCRIPTOR, "GetConversationRequest.page_size"),
    (history_pb2.DESCRIPTOR, "SearchTurnsRequest.query"),
    (history_pb2.DESCRIPTOR, "SearchTurnsRequest.page_size"),
    (history_pb2.DESCRIPTOR, "ListMistakesRequest.page_size"),
    (history_pb2.DESCRIPTOR, "ExportConversationsRequest.conversation_ids"),
    (media_pb2.DESCRIPTOR, "UploadAudioRequest.chunk"),
    (user_pb2.DESCRIPTOR, "RegisterRequest.username"),
    (user_pb2.DESCRIPTOR, "RegisterRequest.password"),
)

# Of each type of field: the rule that bounds it, and what it counts.
_MOST = {
    "bytes": ("max_len", "bytes"),
    "string": ("max_len", "characters"),
    "repeated": ("max_items", "items"),
    "uint32": ("lte", ""),
}

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
comes as a notice, and the session goes on.

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
    contract = (f"| `{path}` | {_told(file, path)} |\n" for file, path in CONTRACT)
    return _HEADER + "".join(rows) + _TRANSPORT + _CONTRACT_HEADER + "".join(contract) + _FOOTER


def most(file: FileDescriptor, path: str) -> int:
    """Return the most that the field of `path` (`LearnerText.text`) may be, or have."""
    rules, kind = _rules(file, path)
    return int(getattr(getattr(rules, kind), _MOST[kind][0]))


def _told(file: FileDescriptor, path: str) -> str:
    _, kind = _rules(file, path)
    return f"{most(file, path):,} {_MOST[kind][1]}".rstrip()


def _rules(file: FileDescriptor, path: str) -> tuple[Any, str]:
    message, _, name = path.partition(".")
    field: FieldDescriptor = file.message_types_by_name[message].fields_by_name[name]
    options: Any = field.GetOptions()
    rules = options.Extensions[validate_pb2.field]
    return rules, rules.WhichOneof("type")
