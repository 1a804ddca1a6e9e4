"""Pipecat's messages on its WebSocket, as far as a client needs them.

The layout is that of Pipecat's `frames.proto`, package `pipecat`; the descriptor is built here so
that a client needs nothing of Pipecat's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
# Message, then its fields as name, number, type. Fields that no client reads are left out.
_AUDIO = (
    ("audio", 3, _FIELD.TYPE_BYTES),
    ("sample_rate", 4, _FIELD.TYPE_UINT32),
    ("num_channels", 5, _FIELD.TYPE_UINT32),
)
_FRAMES = (("audio", 2, ".Audio"), ("message", 4, ".Message"), ("interruption", 5, ".Interruption"))


@dataclass(frozen=True, slots=True)
class BotAudio:
    """Int16 mono PCM of the reply."""

    pcm: bytes
    rate_hz: int


@dataclass(frozen=True, slots=True)
class Interrupted:
    """What is still to be played is void."""


@dataclass(frozen=True, slots=True)
class ClientMessage:
    """A message to the client's program (RTVI): `kind` is its `type`."""

    kind: str
    data: dict[str, Any]


Incoming: TypeAlias = BotAudio | Interrupted | ClientMessage


def encode_audio(pcm: bytes, rate_hz: int) -> bytes:
    """Return the message that carries `pcm` (int16 mono) to the server."""
    frame = _Frame()
    frame.audio.audio = pcm
    frame.audio.sample_rate = rate_hz
    frame.audio.num_channels = 1
    return bytes(frame.SerializeToString())


def decode(data: bytes) -> Incoming | None:
    """Return what a message from the server says; None for a kind that no client needs."""
    frame = _Frame.FromString(data)
    kind = frame.WhichOneof("frame")
    if kind == "audio":
        return BotAudio(frame.audio.audio, frame.audio.sample_rate)
    if kind == "interruption":
        return Interrupted()
    if kind == "message":
        content = json.loads(frame.message.data)
        return ClientMessage(content.get("type", ""), content.get("data") or {})
    return None


def _frame_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="bench/pipecat_frames.proto", package="bench_pipecat", syntax="proto3"
    )

    def add(name: str, *fields: tuple[str, int, Any]) -> descriptor_pb2.DescriptorProto:
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            message.field.add(name=field, number=number, type=kind, label=_FIELD.LABEL_OPTIONAL)
        return message

    add("Audio", *_AUDIO)
    add("Message", ("data", 1, _FIELD.TYPE_STRING))
    add("Interruption")
    frame = file.message_type.add(name="Frame")
    frame.oneof_decl.add(name="frame")
    for field, number, kind in _FRAMES:
        frame.field.add(
            name=field,
            number=number,
            type=_FIELD.TYPE_MESSAGE,
            type_name=f".bench_pipecat{kind}",
            label=_FIELD.LABEL_OPTIONAL,
            oneof_index=0,
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("bench_pipecat.Frame"))


_Frame = _frame_class()
