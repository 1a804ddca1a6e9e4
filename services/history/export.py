"""What an export file holds: one JSON object a line, or plain text to read. UTF-8."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from google.protobuf.json_format import MessageToDict

from parley.history.v1 import history_pb2 as pb
from services.history.conversations import Conversation, TurnBody
from services.history.translate import from_conversation, from_turn

CHUNK_BYTES = 64 * 1024
"""The contract's bound of one piece."""


async def json_line(
    conversation: Conversation, turns: AsyncIterator[TurnBody]
) -> AsyncIterator[str]:
    """Yield one line in pieces: the fields of the summary, and `turns` with every TurnRecord."""
    head = _plain(from_conversation(conversation))
    yield json.dumps(head, ensure_ascii=False)[:-1] + ', "turns": ['
    separator = ""
    async for turn in turns:
        yield separator + json.dumps(_plain(from_turn(turn)), ensure_ascii=False)
        separator = ", "
    yield "]}\n"


async def plain_text(
    conversation: Conversation, turns: AsyncIterator[TurnBody]
) -> AsyncIterator[str]:
    """Yield a conversation as people read it."""
    title = conversation.scenario_title or conversation.scenario_id or "Conversation"
    yield f"{title}, {conversation.started_at:%Y-%m-%d %H:%M} UTC\n\n"
    async for body in turns:
        record = from_turn(body)
        said = record.turn.utterance.clean or record.turn.utterance.verbatim
        if said:
            yield f"You:   {said}\n"
        if record.turn.heard_text:
            yield f"Tutor: {record.turn.heard_text}\n"
        for each in record.feedback.corrections:
            yield f"       {each.original} -> {each.replacement} ({each.explanation})\n"
    yield "\n\n"


async def chunks(pieces: AsyncIterator[str]) -> AsyncIterator[bytes]:
    """Gather pieces of text into chunks of at most `CHUNK_BYTES`."""
    held = bytearray()
    async for piece in pieces:
        held += piece.encode()
        while len(held) >= CHUNK_BYTES:
            yield bytes(held[:CHUNK_BYTES])
            del held[:CHUNK_BYTES]
    if held:
        yield bytes(held)


def _plain(message: pb.ConversationSummary | pb.TurnRecord) -> dict[str, object]:
    return MessageToDict(message, preserving_proto_field_name=True)
