"""A learner with a password and a past, and everything that they see of it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import secrets
import wave
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from parley.history.v1 import history_pb2
from parley.media.v1 import media_pb2
from parley.media.v1.media_pb2_grpc import MediaServiceStub
from parley.types.v1 import audio_pb2
from parley.user.v1 import user_pb2
from tests.e2e.caller import BOUND_S, Caller, RawTalk
from tests.e2e.conftest import SPEECH

_FRAME_BYTES = 640
_FORMAT = {"encoding": 1, "sample_rate_hz": 16_000, "channels": 1}
# History lags by moments, and what broke off is given its time to be continued.
_PATIENCE_S = 60.0
_ASKED_EVERY_S = 0.2


@dataclass(slots=True)
class Learner:
    """One account."""

    address: str
    name: str = field(default_factory=lambda: f"learner-{secrets.token_hex(6)}")
    password: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    refresh_token: str = ""
    word: str = field(default_factory=lambda: f"zz{secrets.token_hex(6)}")

    async def register(self) -> Caller:
        """Make the account and return a caller that is signed in."""
        caller = Caller(self.address)
        request = user_pb2.RegisterRequest(username=self.name, password=self.password)
        request.profile.display_name = f"{self.word} herself"
        answer = await caller.user.Register(request, timeout=BOUND_S)
        caller.token = answer.tokens.access_token
        self.refresh_token = answer.tokens.refresh_token
        return caller

    async def sign_in(self, address: str) -> Caller:
        """Sign in with the same password, wherever Parley is now."""
        self.address = address
        caller = Caller(address)
        request = user_pb2.LoginRequest(username=self.name, password=self.password)
        try:
            answer = await caller.user.Login(request, timeout=BOUND_S)
        except BaseException:
            await caller.channel.close()
            raise
        caller.token = answer.tokens.access_token
        return caller


async def speak(caller: Caller, word: str) -> RawTalk:
    """Say a recording aloud and type a word; return the talk, which goes on."""
    talk = RawTalk(caller)
    await talk.start(input_format=_FORMAT)
    with wave.open(str(SPEECH / "000360210.wav")) as speech:
        pcm = speech.readframes(speech.getnframes())
    for at in range(0, min(len(pcm), 100 * _FRAME_BYTES), _FRAME_BYTES):
        await talk.send(audio={"pcm": pcm[at : at + _FRAME_BYTES]})
    await talk.send(text={"text": f"The {word} stood behind the harbour."})
    await talk.until("turn_saved")
    return talk


async def speak_and_end(caller: Caller, word: str) -> str:
    """Do the same, end the talk, and return its id."""
    talk = await speak(caller, word)
    await talk.send(finish={})
    await talk.until("ended")
    return talk.conversation_id


async def seen(caller: Caller, word: str, *conversations: str) -> dict[str, Any]:
    """Return all that a learner with these conversations sees of them, once it is there.

    Corrections come when they come, and are left out.
    """

    async def turns(conversation_id: str) -> list[tuple[int, str, str, str]]:
        found = (each.turn for each in await caller.turns(conversation_id))
        return [(t.number, t.turn_id, t.utterance.verbatim, t.reply_text) for t in found]

    listed = await _until(
        lambda: _conversations(caller), lambda found: len(found) >= len(conversations)
    )
    past: dict[str, Any] = {"profile": await _profile(caller), "listed": sorted(listed)}
    for each in conversations:
        past[each] = await _until(functools.partial(turns, each), bool)
    past["search"] = sorted(await _until(lambda: _search(caller, word), bool))
    return past


async def _profile(caller: Caller) -> bytes:
    answer = await caller.user.GetProfile(
        user_pb2.GetProfileRequest(), metadata=caller.metadata, timeout=BOUND_S
    )
    return bytes(answer.SerializeToString(deterministic=True))


async def _conversations(caller: Caller) -> list[str]:
    answer = await caller.history.ListConversations(
        history_pb2.ListConversationsRequest(), metadata=caller.metadata, timeout=BOUND_S
    )
    return [each.conversation_id for each in answer.conversations]


async def _search(caller: Caller, word: str) -> list[str]:
    answer = await caller.history.SearchTurns(
        history_pb2.SearchTurnsRequest(query=word), metadata=caller.metadata, timeout=BOUND_S
    )
    return [each.turn_id for each in answer.matches]


async def sound(caller: Caller, conversation_id: str) -> dict[str, str]:
    """Return what the recording is, with a digest of each side as WAV and as FLAC.

    Of one that broke off, once it was completed.
    """
    media = MediaServiceStub(caller.channel)

    async def found() -> media_pb2.Recording:
        request = media_pb2.GetRecordingRequest(conversation_id=conversation_id)
        answer = await media.GetRecording(request, metadata=caller.metadata, timeout=BOUND_S)
        return answer.recording

    recording = await _until(found, lambda each: each.state == media_pb2.RECORDING_STATE_READY)
    digests = {"id": recording.recording_id, "ms": str(recording.duration_ms)}
    for track in (audio_pb2.AUDIO_TRACK_LEARNER, audio_pb2.AUDIO_TRACK_TUTOR):
        for encoding in (audio_pb2.AUDIO_ENCODING_WAV, audio_pb2.AUDIO_ENCODING_FLAC):
            request = media_pb2.DownloadRecordingRequest(
                recording_id=recording.recording_id, track=track, encoding=encoding
            )
            digest = hashlib.sha256()
            async for piece in media.DownloadRecording(
                request, metadata=caller.metadata, timeout=BOUND_S
            ):
                digest.update(piece.chunk)
            digests[f"{track} {encoding}"] = digest.hexdigest()
    return digests


async def _until(ask: Any, enough: Any) -> Any:
    """Ask until the answer is enough; the last one where it never is."""
    answer = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    answer = await ask()
                    if enough(answer):
                        return answer
                await asyncio.sleep(_ASKED_EVERY_S)
    raise AssertionError(f"not seen in {_PATIENCE_S:g} s: the last answer was {answer}")
