"""A media service that is killed: what was acknowledged is played afterwards."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO

import grpc.aio
import pytest

from parley.media.v1 import media_pb2 as pb
from parley.media.v1.media_pb2_grpc import MediaServiceStub
from parley.types.v1 import audio_pb2
from services.common.codes import Code
from services.common.ids import new_id
from services.media.adapters.codec_child import CodecChild
from services.media.adapters.sealed_objects import SealedObjects
from tests.contract.media.conftest import (
    LEARNER,
    Callers,
    Media,
    Serve,
    decoded,
    sha256,
    tone,
)

WAV = audio_pb2.AUDIO_ENCODING_WAV


@asynccontextmanager
async def process(
    data_dir: Path, callers: Callers, database_settings: dict[str, Any]
) -> AsyncIterator[tuple[Media, int]]:
    """Run `python -m services.media` and connect to it; it is killed in the end."""
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.media",
        env=os.environ
        | {
            "PARLEY_DATA_DIR": str(data_dir),
            "PARLEY_MEDIA_PORT": "0",
            "PARLEY_MEDIA_METRICS_PORT": "0",
            "PARLEY_MEDIA_SYNC_SECONDS": "0.05",
            "PARLEY_LOG_FORMAT": "json",
            **{f"PARLEY_{name.upper()}": value for name, value in database_settings.items()},
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert running.stdout is not None
    try:
        async with asyncio.timeout(30):
            while (line := json.loads(await running.stdout.readline()))["event"] != "serving":
                pass
        async with grpc.aio.insecure_channel(line["address"]) as channel:
            yield Media(MediaServiceStub(channel), callers, new_id(), data_dir), running.pid
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()
        running._transport.close()  # type: ignore[attr-defined]  # its pipe is read no more


@pytest.mark.parametrize("afterwards", ["continued", "completed"])
async def test_what_was_acknowledged_before_a_kill_is_played_after_it(
    data_dir: Path,
    callers: Callers,
    serve_media: Serve,
    database_settings: dict[str, Any],
    afterwards: str,
) -> None:
    voice = tone(16_000, 3.0)
    async with process(data_dir, callers, database_settings) as (killed, pid):
        taping = await killed.tape()
        await taping.audio(LEARNER, voice[:16_000])
        await taping.on_disk(16_000)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(grpc.aio.AioRpcError):
            while True:
                await taping.read()
    start = taping.start
    resume_seconds = 0.05 if afterwards == "completed" else 300.0
    async with serve_media(resume_seconds=resume_seconds, sweep_seconds=0.05) as media:
        media.user_id = start.user_id
        if afterwards == "continued":
            again = await media.tape(start)
            assert (await again.read()).learner_samples == 16_000
            await again.audio(LEARNER, voice[16_000:], first=16_000)
            assert (await again.finish()).learner_sha256 == sha256(voice)
            return
        async with asyncio.timeout(20):
            while (await media.get(start.recording_id)).state != pb.RECORDING_STATE_READY:
                pass
        got = await media.download(
            start.recording_id, track=LEARNER, encoding=audio_pb2.AUDIO_ENCODING_WAV
        )
        assert sha256(decoded(got.data)[0]) == sha256(voice[:16_000])


async def test_who_downloads_while_codec_processes_are_killed_gets_the_file_or_may_try_again(
    media: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = await media.recorded(tone(16_000, 2.0), tone(24_000, 2.0, 300))
    whole = (await media.download(recording.recording_id, encoding=WAV)).data
    open_original, do = SealedObjects.open, CodecChild.do
    kills = 0
    working: list[int] = []

    def note_and_do(self: CodecChild, *job: Any) -> Any:
        working.append(self.pid)
        return do(self, *job)

    def kill_and_open(self: SealedObjects, key: str) -> BinaryIO:
        nonlocal kills
        if kills:
            # It waits for the very bytes that it asked for.
            os.kill(working[-1], signal.SIGKILL)
            kills -= 1
        return open_original(self, key)

    monkeypatch.setattr(CodecChild, "do", note_and_do)
    monkeypatch.setattr(SealedObjects, "open", kill_and_open)
    for path in media.files("cache"):
        path.unlink()
    kills = 1
    assert (await media.download(recording.recording_id, encoding=WAV)).data == whole
    assert kills == 0
    for path in media.files("cache"):
        path.unlink()
    kills = 2
    error = await media.refused(media.download(recording.recording_id, encoding=WAV))
    assert (error.code, error.reason) == (Code.INTERNAL, "TRANSCODING_FAILED")
    assert error.retryable
    assert not media.files("cache")
    assert (await media.download(recording.recording_id, encoding=WAV)).data == whole


async def test_a_recording_whose_codec_process_is_killed_loses_nothing(
    media: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when it has begun: the samples are on the disk, and another one goes on."""
    voice = tone(16_000, 2.0)
    await media.recorded(voice[:1_600], voice[:1_600])
    do = CodecChild.do
    killed: list[int] = []

    def kill_and_do(self: CodecChild, *job: Any) -> Any:
        if not killed:
            killed.append(self.pid)
            os.kill(self.pid, signal.SIGKILL)
        return do(self, *job)

    monkeypatch.setattr(CodecChild, "do", kill_and_do)
    recording = await media.recorded(voice, voice)
    assert killed
    assert recording.learner_sha256 == sha256(voice)


async def test_what_a_kill_left_half_made_is_gone_after_the_next_start(
    serve_media: Serve, data_dir: Path
) -> None:
    halves = [
        data_dir / "media" / name
        for name in (
            "cache/one/mix.ogg.part",
            "uploads/two/upload",
            "objects/recordings/three/learner.flac#1",
        )
    ]
    for each in halves:
        each.parent.mkdir(parents=True)
        each.write_bytes(b"half")
    kept = data_dir / "media" / "cache" / "one" / "mix.ogg"
    kept.write_bytes(b"whole")
    async with serve_media(), asyncio.timeout(20):
        while any(each.exists() for each in halves):
            await asyncio.sleep(0.01)
        assert kept.exists()
