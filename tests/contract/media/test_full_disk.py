"""A disk that takes no more costs no sound that was acknowledged, and none that comes again."""

from __future__ import annotations

import errno
import os
from typing import Any

import grpc.aio
import pytest

from services.common.errors import Code
from services.common.status import from_rpc_error
from tests.contract.media.conftest import LEARNER, Media, sha256, tone


async def test_a_recording_goes_on_where_it_was_when_there_is_room_again(
    media: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    voice = tone(16_000, 2.0)
    taping = await media.tape()
    await taping.audio(LEARNER, voice[:12_800])
    await taping.on_disk(12_800)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        await taping.audio(LEARNER, voice[12_800:], first=12_800)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            while await taping.call.read() is not grpc.aio.EOF:
                pass
    error = from_rpc_error(caught.value)
    assert (error.code, error.reason) == (Code.UNAVAILABLE, "STORAGE_UNAVAILABLE")
    assert error.retry_after is not None
    again = await media.tape(taping.start)
    assert (await again.read()).learner_samples == 12_800
    await again.audio(LEARNER, voice[12_800:], first=12_800)
    assert (await again.finish()).learner_sha256 == sha256(voice)
