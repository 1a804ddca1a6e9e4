"""A word said once, an account deleted: the word and the voice are in no file any more."""

from __future__ import annotations

import asyncio
import secrets
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from parley.media.v1 import media_pb2
from parley.media.v1.media_pb2_grpc import MediaServiceStub
from parley.user.v1 import user_pb2
from tests.e2e.caller import BOUND_S, Caller, RawTalk
from tests.e2e.conftest import SPEECH
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.leaves_behind("a running Parley that the tests share"),
]

PASSWORD = "a long pass word"
ERASED_WITHIN_S = 60.0
AUDIO_BYTES = 640
# Of a stored file, from its middle on: what no other file has. Silence is stored as little else
# than zeros, which are everywhere.
WINDOW_BYTES = 24
DISTINCT_BYTES = 14


def found(stack: Stack, wanted: dict[str, bytes], *, logs: bool = True) -> list[str]:
    """Return which of `wanted` is in which file of the data folder: write-ahead logs and all."""
    root = stack.folder.root
    hits = []
    for path in sorted(root.rglob("*")):
        if path.is_file() and (logs or stack.folder.logs not in path.parents):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            hits += [
                f"{name} in {path.relative_to(root)}"
                for name, each in wanted.items()
                if each in content or each.decode("latin-1") in str(path)
            ]
    return hits


def audio_of(stack: Stack, recording_id: str) -> Iterator[tuple[str, bytes]]:
    """Yield a window of every file that holds the recording's sound."""
    for path in sorted((stack.folder.root / "media").rglob("*")):
        if path.is_file() and recording_id in str(path) and path.stat().st_size > 1_000:
            content = path.read_bytes()
            for at in range(len(content) // 2, len(content) - WINDOW_BYTES):
                window = content[at : at + WINDOW_BYTES]
                if len(set(window)) >= DISTINCT_BYTES:
                    yield f"sound {path.name}", window
                    break


async def registered(stack: Stack, name: str, word: str) -> Caller:
    caller = Caller(stack.address)
    request = user_pb2.RegisterRequest(username=name, password=PASSWORD, device_name=f"{word}'s")
    request.profile.display_name = f"{word} herself"
    request.profile.interests.append(f"the {word}")
    answer = await caller.user.Register(request, timeout=BOUND_S)
    caller.token = answer.tokens.access_token
    return caller


async def upload(caller: Caller, file: Path) -> str:
    stub = MediaServiceStub(caller.channel)
    content = file.read_bytes()
    call = stub.UploadAudio(metadata=caller.metadata)
    about = media_pb2.UploadMetadata(file_name="mine.wav", size_bytes=len(content))
    await call.write(media_pb2.UploadAudioRequest(metadata=about))
    for at in range(0, len(content), 65_536):
        await call.write(media_pb2.UploadAudioRequest(chunk=content[at : at + 65_536]))
    await call.done_writing()
    return str((await call).recording.recording_id)


async def speak_and_type(caller: Caller, word: str) -> str:
    """Say a recording aloud, type the word, and end; return the recording's id."""
    talk = RawTalk(caller)
    await talk.start(input_format={"encoding": 1, "sample_rate_hz": 16_000, "channels": 1})
    with wave.open(str(SPEECH / "000360210.wav")) as speech:
        assert speech.getframerate() == 16_000
        pcm = speech.readframes(speech.getnframes())
    for at in range(0, min(len(pcm), 200 * AUDIO_BYTES), AUDIO_BYTES):
        await talk.send(audio={"pcm": pcm[at : at + AUDIO_BYTES]})
    await talk.send(text={"text": f"The {word} stood behind the harbour."})
    saved = await talk.until("turn_saved")
    while word not in str(saved) and len(talk.saved) < 1:
        saved = await talk.until("turn_saved")
    await talk.send(finish={})
    await talk.until("ended")
    stub = MediaServiceStub(caller.channel)
    request = media_pb2.GetRecordingRequest(conversation_id=talk.conversation_id)
    answer = await stub.GetRecording(request, metadata=caller.metadata, timeout=BOUND_S)
    return str(answer.recording.recording_id)


async def until(
    stack: Stack, wanted: dict[str, bytes], there: bool, logs: bool = True
) -> list[str]:
    """Wait until all of `wanted` is in some file, or none of it in any; return what is where."""
    deadline = time.monotonic() + ERASED_WITHIN_S
    while True:
        hits = await asyncio.to_thread(found, stack, wanted, logs=logs)
        done = {each.split(" in ")[0] for each in hits} == set(wanted) if there else not hits
        if done or time.monotonic() > deadline:
            return hits
        await asyncio.sleep(0.5)


async def test_neither_a_word_nor_a_voice_is_in_any_file_after_the_account(
    scripted_stack: Stack, tmp_path: Path
):
    word = f"zz{secrets.token_hex(6)}"
    name = f"canary-{secrets.token_hex(6)}"
    caller = await registered(scripted_stack, name, word)
    try:
        spoken = await speak_and_type(caller, word)
        noise = np.random.default_rng(7).integers(-9_000, 9_000, 32_000, dtype=np.int16)
        with wave.open(str(tmp_path / "mine.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(noise.tobytes())
        sent = await upload(caller, tmp_path / "mine.wav")
        said = {"word": word.encode(), "name": name.encode()}
        ids = {"spoken": spoken.encode(), "sent": sent.encode()}
        # First that they can be found at all: a search that sees nothing proves nothing.
        before = await until(scripted_stack, said | ids, there=True)
        places = {each.split(" in ")[1].split("/")[0] for each in before}
        assert {each.split(" in ")[0] for each in before} == {*said, *ids}, before
        assert {"db", "media"} <= places
        sound = dict([*audio_of(scripted_stack, spoken), *audio_of(scripted_stack, sent)])
        assert len(sound) >= 2
        await caller.user.DeleteAccount(
            user_pb2.DeleteAccountRequest(password=PASSWORD),
            metadata=caller.metadata,
            timeout=BOUND_S,
        )
    finally:
        await caller.channel.close()
    assert await until(scripted_stack, said | sound, there=False) == []
    # The ids, which name nobody now, stand in logs and in the marks that keep what comes late from
    # being written; no file is called after them or holds them.
    marks = await asyncio.to_thread(found, scripted_stack, ids, logs=False)
    assert {each.split(" in ")[1].split("/")[0] for each in marks} <= {"db"}
