"""What is wrong gets its documented answer through the gateway, and others are served on."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import cast

import grpc
import grpc.aio
import numpy as np
import pytest

from parley.ai.v1 import ai_pb2, ai_pb2_grpc
from parley.user.v1 import user_pb2
from services.common.clock import ManualClock
from services.common.errors import ParleyError
from services.common.ids import new_id
from services.common.status import from_rpc_error
from services.user.key_ring import KeyRing
from services.user.keys import SigningKeys
from services.user.tokens import TokenIssuer
from tests.e2e.caller import (
    BOUND_S,
    STATUS_TRIES,
    Caller,
    RawTalk,
    StatusHiddenError,
    caller,
)
from tests.e2e.conftest import SPEECH, Learner
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(120),
    pytest.mark.leaves_behind("a running Parley that the tests share"),
]

SignUp = Callable[[Stack], Learner]


async def still_serves(one: Caller) -> None:
    """Hold a whole turn."""
    talk = RawTalk(one)
    await talk.start()
    await talk.send(text={"text": "Hello"})
    await talk.until("turn_saved")
    await talk.send(finish={})
    await talk.until("ended")


async def refusal(talk: RawTalk, **first: object) -> tuple[str, str]:
    """Open the stream with this message; return code and reason of the refusal."""
    with pytest.raises(ParleyError) as caught:
        await talk.open(**first)
    return caught.value.code.name, caught.value.reason


@pytest.mark.parametrize(
    ("first", "code", "reason"),
    [
        ({"audio": {"pcm": bytes(640)}}, "FAILED_PRECONDITION", "START_REQUIRED"),
        ({"start": {"engine": "no-such"}}, "INVALID_ARGUMENT", "UNKNOWN_ENGINE"),
        ({"start": {"voice": "no-such"}}, "INVALID_ARGUMENT", "UNKNOWN_VOICE"),
        ({"start": {"scenario_id": "no-such"}}, "INVALID_ARGUMENT", "UNKNOWN_SCENARIO"),
        ({"start": {"speech_rate": 9.0}}, "INVALID_ARGUMENT", "INVALID_REQUEST"),
    ],
)
async def test_a_wrong_start_is_refused_with_its_reason(
    scripted_stack: Stack, first: dict[str, object], code: str, reason: str
) -> None:
    async with caller(scripted_stack.address) as one:
        assert await refusal(RawTalk(one), **first) == (code, reason)
        await still_serves(one)


def expired_token(stack: Stack, user_id: str) -> str:
    """Return a token as the user service would have signed it twenty-odd minutes ago."""
    folder = stack.folder.root / "keys"
    clock = ManualClock()
    ring = KeyRing(folder, SigningKeys.open(folder), clock)
    return TokenIssuer(ring, clock, timedelta(minutes=10)).access_token(user_id, new_id())[0]


async def test_an_expired_token_is_refused(scripted_stack: Stack) -> None:
    async with caller(scripted_stack.address) as one:
        talk = RawTalk(one, expired_token(scripted_stack, one.user_id))
        assert await refusal(talk, start={}) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")
        await still_serves(one)


async def test_a_message_of_ten_megabytes_is_refused(scripted_stack: Stack) -> None:
    async with caller(scripted_stack.address) as one:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await one.user.Login(
                user_pb2.LoginRequest(username="x" * 10_000_000, password="y"), timeout=BOUND_S
            )
        # The transport's own status, without details: see docs/limits.md.
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "message larger than max" in (caught.value.details() or "")
        refused = from_rpc_error(caught.value)
        assert (refused.reason, refused.retryable) == ("MESSAGE_TOO_LARGE", False)
        await still_serves(one)


async def test_a_live_message_of_ten_megabytes_ends_that_session_alone(
    scripted_stack: Stack,
) -> None:
    async with caller(scripted_stack.address) as one:
        neighbour = RawTalk(one)
        await neighbour.start()
        refused = await refusal_of(one, audio={"pcm": bytes(10_000_000)})
        assert (refused.reason, refused.retryable) == ("MESSAGE_TOO_LARGE", False)
        await neighbour.send(text={"text": "Hello"})
        await neighbour.until("turn_saved")
        neighbour.call.cancel()


async def refusal_of(one: Caller, **message: object) -> ParleyError:
    """Send a message in a live session that it ends; return how. Ask again where that is hidden."""
    for _ in range(STATUS_TRIES):
        talk = RawTalk(one)
        await talk.start()
        await talk.send(**message)
        try:
            await talk.until("ended")
        except ParleyError as error:
            return error
        except StatusHiddenError:
            continue
    raise AssertionError(f"the status was hidden {STATUS_TRIES} times in a row")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"audio": {"pcm": bytes(641)}}, "AUDIO_FRAME_INVALID"),
        ({"audio": {"pcm": bytes(20_000)}}, "INVALID_REQUEST"),
        ({"text": {"text": "a" * 2001}}, "INVALID_REQUEST"),
        ({"audio": {"pcm": bytes(2_000_000)}}, "MESSAGE_TOO_LARGE"),
    ],
    ids=["half a sample", "more than the field takes", "a long text", "two megabytes"],
)
async def test_a_wrong_message_is_answered_with_a_notice_and_the_session_goes_on(
    scripted_stack: Stack, message: dict[str, object], reason: str
) -> None:
    async with caller(scripted_stack.address) as one:
        talk = RawTalk(one)
        await talk.start()
        await talk.send(**message)
        notice = (await talk.until("notice")).notice
        assert not notice.fatal
        assert talk.notices[0].reason == reason
        await talk.send(text={"text": "Hello"})
        await talk.until("turn_saved")
        talk.call.cancel()


@pytest.mark.models
async def test_ten_minutes_in_one_recording_are_more_than_is_recognised(
    local_stack: Stack,
) -> None:
    async with caller(local_stack.address) as one:
        assert await asyncio.to_thread(
            refusal_of_ten_minutes, local_stack.address, one.metadata
        ) == ("INVALID_ARGUMENT", "AUDIO_TOO_LONG")


def refusal_of_ten_minutes(address: str, metadata: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    """Send ten minutes of silence; return the refusal's code and reason.

    gRPC's blocking client, for grpc.aio hides the status of a stream that is refused in a write.
    """

    def requests() -> Iterator[ai_pb2.TranscribeRequest]:
        yield ai_pb2.TranscribeRequest(config=ai_pb2.TranscribeConfig())
        for _ in range(600 * 32_000 // 64_000):
            yield ai_pb2.TranscribeRequest(pcm=bytes(64_000))

    with grpc.insecure_channel(address) as channel:
        stub = ai_pb2_grpc.AiServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.Transcribe(requests(), metadata=metadata, timeout=BOUND_S))
        # The blocking client's error has the same members as grpc.aio's.
        error = from_rpc_error(cast(grpc.aio.AioRpcError, caught.value))
    return error.code.name, error.reason


def write_wav(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(16_000)
        audio.writeframes(samples.astype(np.int16).tobytes())
    return path


class TestAtTheTerminal:
    """Files that are no utterance are told apart before anything is sent."""

    def test_a_text_file_named_wav(
        self, scripted_stack: Stack, sign_up: SignUp, tmp_path: Path
    ) -> None:
        file = tmp_path / "letter.wav"
        file.write_text("Dear Sir or Madam")
        said = sign_up(scripted_stack).parley("talk", "--input", file, expect=2)
        assert "letter.wav is not a recording" in said

    def test_a_file_of_20_ms(self, scripted_stack: Stack, sign_up: SignUp, tmp_path: Path) -> None:
        file = write_wav(tmp_path / "click.wav", np.full(320, 1000))
        said = sign_up(scripted_stack).parley("talk", "--input", file, expect=2)
        assert "20 ms" in said

    def test_ten_minutes_of_silence(
        self, scripted_stack: Stack, sign_up: SignUp, tmp_path: Path
    ) -> None:
        file = write_wav(tmp_path / "silence.wav", np.zeros(600 * 16_000))
        said = sign_up(scripted_stack).parley("talk", "--input", file, expect=2)
        assert "speech" in said

    def test_an_unknown_engine(self, scripted_stack: Stack, sign_up: SignUp) -> None:
        recording = SPEECH / "014070080.wav"
        said = sign_up(scripted_stack).parley(
            "talk", "--input", recording, "--engine", "no-such", expect=2
        )
        assert "parley engines" in said

    def test_nobody_signed_in(self, scripted_stack: Stack, tmp_path: Path) -> None:
        learner = Learner(scripted_stack.address, tmp_path, "nobody", "nothing")
        said = learner.parley("talk", "--input", SPEECH / "014070080.wav", expect=3)
        assert "parley login" in said
