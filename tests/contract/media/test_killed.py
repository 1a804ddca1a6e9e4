"""A media service that is killed: what was acknowledged is played afterwards."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from parley.media.v1 import media_pb2 as pb
from parley.media.v1.media_pb2_grpc import MediaServiceStub
from parley.types.v1 import audio_pb2
from services.common.ids import new_id
from tests.contract.media.conftest import (
    LEARNER,
    Callers,
    Media,
    Serve,
    decoded,
    sha256,
    tone,
)


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
