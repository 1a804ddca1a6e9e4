"""What the learners of a soak do: talk by voice and text, look back, upload; a third broken off."""

from __future__ import annotations

import asyncio
import io
import secrets
import time
import wave
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

import grpc.aio

from parley.conversation.v1 import conversation_pb2
from parley.history.v1 import history_pb2
from parley.media.v1 import media_pb2
from parley_cli.client.endpoint import parse_endpoint
from parley_cli.client.parley_client import ParleyClient
from parley_cli.failures import CliFailure
from services.common.errors import ParleyError
from services.common.status import from_rpc_error
from tests.e2e.caller import Caller, RawTalk
from tests.e2e.steady_learner import SteadyLearner

CANCELLED = 0.3
_PER_SIGN_IN = 20
_UPLOAD_S, _RATE_HZ = 4, 16_000
_PIECE_BYTES = 65_536
# After a refusal, as a client does that was told to wait.
_REFUSED_PAUSE_S = 0.5
_FAILURES = (ParleyError, CliFailure, grpc.aio.AioRpcError, AssertionError, ExceptionGroup)

EXPECTED_REASONS = frozenset({"TOO_MANY_CONVERSATIONS"})
"""What was broken off is kept for seconds, for a client that comes back: who breaks off three talks
in a row is refused the next, by the limit that the documents name."""

# Of the tries of one kind that were not broken off. Chance makes three breaks in a row rare.
MOST_EXPECTED = 0.1
# What one learner gets done of each kind in a minute, on two busy cores: a tenth of what was seen.
LEAST_A_MINUTE = 0.5


@dataclass(slots=True)
class Done:
    """What came of everything that was tried, by kind."""

    well: Counter[str] = field(default_factory=Counter)
    broken_off: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By kind and reason."""

    def wrong(self, seconds: float, learners: int) -> list[str]:
        """Return what must not be so: refusals that nobody expects, and kinds with too little."""
        found = [
            f"{kind} was refused {times} times: {reason}"
            for (kind, reason), times in sorted(self.refused.items())
            if reason not in EXPECTED_REASONS
        ]
        least = max(1, int(LEAST_A_MINUTE * learners * seconds / 60))
        for kind in KINDS:
            expected = sum(
                times
                for (refused, reason), times in self.refused.items()
                if refused == kind and reason in EXPECTED_REASONS
            )
            if expected > 1 + MOST_EXPECTED * (self.well[kind] + expected):
                found.append(f"{kind} was refused {expected} times, and done {self.well[kind]}")
            if self.well[kind] < least:
                found.append(f"{kind} was done {self.well[kind]} times, at least {least} is due")
            if seconds >= 60 and not self.broken_off[kind]:
                found.append(f"{kind} was never broken off")
        return found

    def table(self) -> str:
        """Return it as lines for people."""
        rows = ["| what | done | broken off | refused |", "|---|---|---|---|"]
        for kind in (*KINDS, *sorted({kind for kind, _ in self.refused} - set(KINDS))):
            refused = ", ".join(
                f"{times} {reason}"
                for (of, reason), times in sorted(self.refused.items())
                if of == kind
            )
            rows.append(f"| {kind} | {self.well[kind]} | {self.broken_off[kind]} | {refused} |")
        return "\n".join(rows)


async def one_learner(address: str, until: float, random: Random, done: Done) -> None:
    """Do one thing after another, by a new sign-in every so often; until a monotonic time."""
    while time.monotonic() < until:
        async with ParleyClient(parse_endpoint(address)) as client:
            try:
                await client.register(f"ana-{secrets.token_hex(4)}", secrets.token_urlsafe(24))
            except CliFailure as failure:
                done.refused["sign in", reason_of(failure)] += 1
                await asyncio.sleep(_REFUSED_PAUSE_S)
                continue
            for _ in range(_PER_SIGN_IN):
                if time.monotonic() < until:
                    await one_thing(address, client, random, done)


async def one_thing(address: str, client: ParleyClient, random: Random, done: Done) -> None:
    """Do something, or some of it."""
    kind = random.choices(list(KINDS), weights=[each.weight for each in KINDS.values()])[0]
    cut_s = random.uniform(0.0, KINDS[kind].lasts_s) if random.random() < CANCELLED else None
    try:
        async with asyncio.timeout(cut_s) as cut:
            await KINDS[kind].work(address, client)
        done.well[kind] += 1
    except TimeoutError:
        done.broken_off[kind] += 1
    except _FAILURES as failure:
        if cut.expired():
            # What is cancelled may say so in its own way.
            done.broken_off[kind] += 1
            return
        done.refused[kind, reason_of(failure)] += 1
        await asyncio.sleep(_REFUSED_PAUSE_S)


def reason_of(failure: BaseException) -> str:
    """Return why something failed, in the words of the contract where it has one for it."""
    return ", ".join(sorted(_reasons(failure)))


def _reasons(failure: BaseException) -> set[str]:
    if isinstance(failure, BaseExceptionGroup):
        return set().union(*map(_reasons, failure.exceptions))
    if isinstance(failure, CliFailure) and failure.__cause__ is not None:
        return _reasons(failure.__cause__)
    if isinstance(failure, grpc.aio.AioRpcError):
        return _reasons(from_rpc_error(failure))
    if isinstance(failure, ParleyError) and failure.reason:
        return {failure.reason}
    return {f"{type(failure).__name__}: {failure}".rstrip(": ")}


# --- what is done -------------------------------------------------------------------------------


async def by_text(address: str, client: ParleyClient) -> None:
    """Type two messages; broken off, the call is cancelled with all that it waits for."""
    caller = Caller(address)
    try:
        caller.token = await client.access_token()
        talk = RawTalk(caller)
        try:
            await talk.start()
            for text in ("Hello", "I like to cook"):
                await talk.send(text={"text": text})
                await talk.until("turn_saved")
            await talk.send(finish={})
            await talk.until("ended")
        finally:
            talk.call.cancel()
    finally:
        await caller.channel.close()


async def by_voice(_address: str, client: ParleyClient) -> None:
    """Say something and hear the answer."""
    start = conversation_pb2.StartSession(engine="scripted")
    async with client.converse(start) as stream, asyncio.TaskGroup() as group:
        learner = SteadyLearner(stream)
        learner.start(group)
        await learner.one_turn()
        await learner.finish()
        assert learner.wrong == []


async def look_back(_address: str, client: ParleyClient) -> None:
    """Read, search and play what was said."""
    listed = await client.call(
        client.history.ListConversations, history_pb2.ListConversationsRequest()
    )
    await client.call(client.history.SearchTurns, history_pb2.SearchTurnsRequest(query="cook"))
    for each in listed.conversations[:2]:
        if each.recording_id:
            await played_bytes(client, each.recording_id)


async def upload(_address: str, client: ParleyClient) -> None:
    """Upload a file, play it, and delete it."""
    content = await asyncio.to_thread(some_sound)

    async def pieces() -> AsyncIterator[media_pb2.UploadAudioRequest]:
        about = media_pb2.UploadMetadata(file_name="mine.wav", size_bytes=len(content))
        yield media_pb2.UploadAudioRequest(metadata=about)
        for at in range(0, len(content), _PIECE_BYTES):
            yield media_pb2.UploadAudioRequest(chunk=content[at : at + _PIECE_BYTES])

    call = client.media.UploadAudio(pieces(), metadata=await client.authorization(), timeout=60)
    try:
        recording_id = (await call).recording.recording_id
    finally:
        call.cancel()
    assert await played_bytes(client, recording_id) > 0
    await client.call(
        client.media.DeleteRecording, media_pb2.DeleteRecordingRequest(recording_id=recording_id)
    )


async def played_bytes(client: ParleyClient, recording_id: str) -> int:
    """Download a recording, and return how large it is."""
    request = media_pb2.DownloadRecordingRequest(recording_id=recording_id)
    size = 0
    async for piece in client.stream(client.media.DownloadRecording, request):
        size += len(piece.chunk)
    return size


def some_sound() -> bytes:
    """Return seconds of noise as a WAV file, unlike every other."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(_RATE_HZ)
        sound.writeframes(secrets.token_bytes(2 * _UPLOAD_S * _RATE_HZ))
    return file.getvalue()


@dataclass(frozen=True, slots=True)
class Kind:
    """Something that learners do: how often beside the others, and about how long it takes, so that
    what is cut is in the middle of something.
    """

    work: Callable[[str, ParleyClient], Awaitable[None]]
    weight: int
    lasts_s: float


KINDS = {
    "a talk by text": Kind(by_text, 2, 0.25),
    "a talk by voice": Kind(by_voice, 2, 4.0),
    "a look back": Kind(look_back, 1, 0.05),
    "an upload": Kind(upload, 1, 0.3),
}
