"""How commands print lists, times and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def print_json_lines(messages: Iterable[Message]) -> None:
    """Print each message as one JSON object on one line, with the contract's field names."""
    for message in messages:
        fields = MessageToDict(
            message,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        typer.echo(json.dumps(fields, ensure_ascii=False))


def local_time(timestamp: Timestamp) -> str:
    """A point in time for people: here and to the minute."""
    if not timestamp.seconds:
        return ""
    return datetime.fromtimestamp(timestamp.seconds, tz=UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def duration(milliseconds: int) -> str:
    """A length of time for people."""
    seconds = round(milliseconds / 1000)
    return f"{seconds // 60}:{seconds % 60:02d}"


def short_ids(ids: list[str], least: int = 8) -> dict[str, str]:
    """The shortest prefix of each id that names it alone among `ids`.

    Ids begin with the time, so those of one minute share their first characters.
    """
    short: dict[str, str] = {}
    for full in ids:
        length = least
        while length < len(full) and sum(other.startswith(full[:length]) for other in ids) > 1:
            length += 1
        # A cut right after a dash looks like a mistake.
        short[full] = full[:length].rstrip("-")
    return short
