"""Audio and messages that the tests of the ai service send."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from parley.ai.v1 import ai_pb2

if TYPE_CHECKING:
    from parley.ai.v1 import ai_pb2_grpc

CONVERSATION_ID = "01900000-0000-7000-8000-000000000001"

Start: TypeAlias = Callable[..., "AbstractAsyncContextManager[ai_pb2_grpc.AiServiceAsyncStub]"]


def speech(seconds: float) -> bytes:
    """Return a tone, which scripted voice activity takes for speech."""
    time = np.arange(int(seconds * 16_000)) / 16_000
    return (8000 * np.sin(2 * np.pi * 300 * time)).astype("<i2").tobytes()


def silence(seconds: float) -> bytes:
    """Return digital silence."""
    return bytes(2 * int(seconds * 16_000))


def frames(pcm: bytes) -> list[ai_pb2.ConverseRequest]:
    """Return ``pcm`` as messages of 20 ms."""
    return [
        ai_pb2.ConverseRequest(audio=ai_pb2.EngineAudio(pcm=pcm[i : i + 640]))
        for i in range(0, len(pcm), 640)
    ]


def start(**fields: object) -> ai_pb2.ConverseRequest:
    """Return the first message of a session."""
    fields = {"conversation_id": CONVERSATION_ID, "next_turn": 1} | fields
    return ai_pb2.ConverseRequest(start=ai_pb2.StartEngine(**fields))
