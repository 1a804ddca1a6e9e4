"""A talk as JSON, one event a line, for programs. The schema is in docs/cli.md."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, TextIO

from google.protobuf.json_format import MessageToDict

from parley.conversation.v1 import conversation_pb2
from parley_cli.failures import refusal_from_status
from parley_cli.session import (
    ConnectionChanged,
    MuteChanged,
    Played,
    ReplySounded,
    SessionView,
    StagesKnown,
    Typed,
)
from parley_cli.talk.events import (
    TalkEvent,
    TurnMeasured,
    Unanswered,
    UtteranceBegan,
    UtteranceSent,
)

_NAMES: dict[type, str] = {
    ConnectionChanged: "connection",
    MuteChanged: "mute",
    Played: "heard",
    ReplySounded: "reply_sounded",
    Typed: "typed",
    TurnMeasured: "turn_measured",
    Unanswered: "unanswered",
    UtteranceBegan: "utterance_began",
    UtteranceSent: "utterance_sent",
}


class JsonPresenter:
    """Writes each event as one JSON object on one line, at once.

    Args:
        out: where to.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def on_event(self, event: TalkEvent, view: SessionView, at_ms: float) -> None:
        """Write an event."""
        del view
        fields = event_fields(event)
        if fields is not None:
            self._write({"event": fields.pop("event"), "t_ms": round(at_ms, 1), **fields})

    def on_level(self, level_dbfs: float) -> None:
        """Nothing: levels would drown the events."""

    def close(self, view: SessionView) -> None:
        """Nothing: `ended` was the last word."""

    def _write(self, fields: dict[str, Any]) -> None:
        self._out.write(json.dumps(fields, ensure_ascii=False) + "\n")
        self._out.flush()


def event_fields(event: TalkEvent) -> dict[str, Any] | None:
    """Return an event's fields with its name under `event`; None for what is not told."""
    if isinstance(event, conversation_pb2.ConverseResponse):
        return _response_fields(event)
    if isinstance(event, StagesKnown) or type(event) not in _NAMES:
        # The same stages stand in `turn_measured`.
        return None
    return {"event": _NAMES[type(event)], **_rounded(asdict(event))}


def _response_fields(response: conversation_pb2.ConverseResponse) -> dict[str, Any]:
    name = response.WhichOneof("message") or "unknown"
    fields: dict[str, Any] = {
        "event": name,
        "seq": response.seq,
        "turn": response.turn,
        "generation": response.generation,
    }
    if name == "unknown":
        return fields
    if name == "reply_audio":
        fields["offset_ms"] = response.reply_audio.offset_ms
        fields["bytes"] = len(response.reply_audio.pcm)
        return fields
    if name == "notice":
        refusal = refusal_from_status(response.notice.status)
        fields |= {
            "code": refusal.code.name,
            "reason": refusal.reason,
            "message": refusal.message,
            "retry_after_s": refusal.retry_after_s,
            "fatal": response.notice.fatal,
            "cause_seq": response.notice.cause_seq,
        }
        return fields
    message = MessageToDict(
        getattr(response, name),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    # 64-bit numbers come as strings by protobuf's JSON rules; programs here want numbers.
    fields |= _numbers(message)
    # What resumes a session is a key to it; it has no business in a log.
    if name in ("started", "resume_handle"):
        fields.pop("resume_handle", None)
        fields.pop("handle", None)
    return fields


_WIDE = frozenset(
    {
        "at_ms",
        "start_ms",
        "end_ms",
        "learner_speech_ms",
        "tutor_speech_ms",
        "duration_ms",
        "next_sample",
        "nonce",
    }
)


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: int(inner)
            if key in _WIDE and isinstance(inner, str) and inner.isdigit()
            else _numbers(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_numbers(inner) for inner in value]
    # Microseconds are the finest that any clock here tells.
    return round(value, 3) if isinstance(value, float) else value


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 1)
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value
