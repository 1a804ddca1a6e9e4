"""Pipecat's messages: what we write is what its own descriptor reads, and the other way round."""

from __future__ import annotations

import json

import pytest
from google.protobuf.message import DecodeError

from bench.peers.pipecat_wire import BotAudio, ClientMessage, Interrupted, decode, encode_audio

# As Pipecat's own serializer (1.14) writes them.
AUDIO_FROM_SERVER = bytes.fromhex(
    "1210" + "0807" + "1a04" + "01000200" + "20c0bb01" + "2801" + "3000"
)
INTERRUPTION = bytes.fromhex("2a00")
TRANSCRIPTION = bytes.fromhex("1a04" + "1a026869")


def framed(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2, len(content)]) + content


def test_bytes_that_are_no_message_are_refused():
    with pytest.raises(DecodeError):
        decode(b"\xff\xff\xff")


def test_audio_of_the_server_is_read_with_its_rate():
    assert decode(AUDIO_FROM_SERVER) == BotAudio(b"\x01\x00\x02\x00", 24_000)


def test_an_interruption_is_read():
    assert decode(INTERRUPTION) == Interrupted()


def test_a_client_message_is_read_by_its_type():
    text = json.dumps({"label": "rtvi-ai", "type": "user-llm-text", "data": {"text": "Hi."}})
    message = framed(4, framed(1, text.encode()))
    assert decode(message) == ClientMessage("user-llm-text", {"text": "Hi."})


def test_a_client_message_without_data_has_none():
    message = framed(4, framed(1, b'{"type": "bot-stopped-speaking"}'))
    assert decode(message) == ClientMessage("bot-stopped-speaking", {})


def test_kinds_that_no_client_needs_are_passed_over():
    assert decode(TRANSCRIPTION) is None


def test_learner_audio_comes_out_as_it_went_in():
    assert decode(encode_audio(b"\x05\x00", 16_000)) == BotAudio(b"\x05\x00", 16_000)
