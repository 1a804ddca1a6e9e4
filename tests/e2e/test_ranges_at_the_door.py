"""A recording played as players do, through the gateway: piece by piece, in every form."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Awaitable, Callable

import av
import grpc.aio
import httpx
import psutil
import pytest

from parley.media.v1 import media_pb2 as pb
from parley.media.v1.media_pb2_grpc import MediaServiceStub
from parley.types.v1 import audio_pb2
from services.common.status import from_rpc_error
from tests.contract.media.hostile import sound
from tests.e2e import grpc_web
from tests.e2e.caller import BOUND_S, Caller, caller
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(120),
    pytest.mark.leaves_behind("a running Parley that the tests share"),
]

FORMS = (
    audio_pb2.AUDIO_ENCODING_FLAC,
    audio_pb2.AUDIO_ENCODING_OGG_OPUS,
    audio_pb2.AUDIO_ENCODING_MP3,
    audio_pb2.AUDIO_ENCODING_WAV,
)
SIZED_MS = 2_000

Get = Callable[[pb.DownloadRecordingRequest], Awaitable[list[pb.DownloadRecordingResponse]]]


async def sent(one: Caller, data: bytes) -> pb.Recording:
    """Upload a file, as a program does."""

    async def requests() -> AsyncIterator[pb.UploadAudioRequest]:
        yield pb.UploadAudioRequest(metadata=pb.UploadMetadata(file_name="note.m4a"))
        for at in range(0, len(data), 65_536):
            yield pb.UploadAudioRequest(chunk=data[at : at + 65_536])

    stub = MediaServiceStub(one.channel)
    response = await stub.UploadAudio(requests(), metadata=one.metadata, timeout=BOUND_S)
    assert isinstance(response, pb.UploadAudioResponse)
    return response.recording


def natively(one: Caller) -> Get:
    """Return what asks as a program does."""
    stub = MediaServiceStub(one.channel)

    async def get(request: pb.DownloadRecordingRequest) -> list[pb.DownloadRecordingResponse]:
        call = stub.DownloadRecording(request, metadata=one.metadata, timeout=BOUND_S)
        return [each async for each in call]

    return get


def as_a_page(one: Caller, web: httpx.AsyncClient) -> Get:
    """Return what asks as a page does."""

    async def get(request: pb.DownloadRecordingRequest) -> list[pb.DownloadRecordingResponse]:
        path = "/parley.media.v1.MediaService/DownloadRecording"
        answer = await grpc_web.call(web, path, request, dict(one.metadata))
        assert answer.code == 0, answer.text
        return [pb.DownloadRecordingResponse.FromString(each) for each in answer.messages]

    return get


async def test_ranges_of_every_form_put_together_are_the_file_by_every_client(
    scripted_stack: Stack,
) -> None:
    async with (
        caller(scripted_stack.address) as one,
        httpx.AsyncClient(base_url=scripted_stack.url, timeout=BOUND_S) as web,
    ):
        recording_id = (await sent(one, sound("ipod", "aac"))).recording_id
        for get in (natively(one), as_a_page(one, web)):
            for form in FORMS:
                wanted = pb.DownloadRecordingRequest(recording_id=recording_id, encoding=form)
                info, whole = told(await get(wanted))
                assert info.total_bytes == len(whole)
                assert abs(played_ms(whole) - SIZED_MS) < 200
                wanted.length = len(whole) // 3 + 1
                parts = b""
                while len(parts) < len(whole):
                    wanted.offset = len(parts)
                    info, part = told(await get(wanted))
                    assert info.total_bytes == len(whole)
                    assert 0 < len(part) <= wanted.length
                    parts += part
                assert parts == whole


async def test_a_download_whose_codec_processes_are_killed_is_whole_or_may_be_tried_again(
    scripted_stack: Stack,
) -> None:
    async with caller(scripted_stack.address) as one:
        recording_id = (await sent(one, sound("wav", "pcm_s16le"))).recording_id
        get = natively(one)
        wanted = pb.DownloadRecordingRequest(recording_id=recording_id)
        for cut_ms in range(100, 103):
            wanted.to_ms = SIZED_MS - cut_ms
            for each in psutil.Process(scripted_stack.pid("media")).children():
                each.kill()
            try:
                responses = await get(wanted)
            except grpc.aio.AioRpcError as error:
                refusal = from_rpc_error(error)
                if not refusal.retryable:
                    raise refusal from error
                responses = await get(wanted)
            _, data = told(responses)
            assert abs(played_ms(data) - wanted.to_ms) < 200


def told(
    responses: list[pb.DownloadRecordingResponse],
) -> tuple[pb.DownloadInfo, bytes]:
    """Return what a download says of itself, and its bytes."""
    assert responses[0].HasField("info")
    return responses[0].info, b"".join(each.chunk for each in responses)


def played_ms(data: bytes) -> int:
    """Decode all of a file; return how long it is."""
    samples = rate_hz = 0
    with av.open(io.BytesIO(data), "r") as file:
        for frame in file.decode(audio=0):
            samples, rate_hz = samples + frame.samples, frame.sample_rate
    return samples * 1000 // rate_hz
