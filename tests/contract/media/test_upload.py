"""UploadAudio: hostile until it is samples."""

import asyncio
import errno
import io
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from parley.media.v1 import media_pb2 as pb
from parley.types.v1 import audio_pb2
from services.common.errors import Code, Unavailable
from services.common.ids import new_id
from services.media import uploads
from services.media.adapters.catalog import SqlCatalog
from tests.contract.media.conftest import LEARNER, TUTOR, Media, Samples, Serve, decoded, tone

SPEECH = Path(__file__).parents[2] / "data" / "speech"
WAV = audio_pb2.AUDIO_ENCODING_WAV


def encoded(
    samples: Samples, container: str, codec: str, rate_hz: int = 48_000, layout: str = "mono"
) -> bytes:
    """Return an audio file; stereo has the same samples on both sides."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate_hz)
        stream.layout = layout
        sides = 2 if layout == "stereo" else 1
        data = np.repeat(samples, sides).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(data, format="s16", layout=layout)
        frame.sample_rate = rate_hz
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


async def upload(media: Media, data: bytes, *, user_id: str = "", **metadata: Any) -> pb.Recording:
    async def requests() -> AsyncIterator[pb.UploadAudioRequest]:
        told = pb.UploadMetadata(**({"file_name": "a.wav"} | metadata))
        yield pb.UploadAudioRequest(metadata=told)
        for at in range(0, len(data), 65_536):
            yield pb.UploadAudioRequest(chunk=data[at : at + 65_536])

    identity = media.callers.user(user_id or media.user_id)
    response = await media.stub.UploadAudio(requests(), metadata=identity)
    assert isinstance(response, pb.UploadAudioResponse)
    return response.recording


FORMS = (
    ("wav", "pcm_s16le", 16_000, "mono"),
    ("wav", "pcm_s24le", 44_100, "stereo"),
    ("wav", "pcm_s16le", 96_000, "stereo"),
    ("flac", "flac", 22_050, "mono"),
    ("mp3", "libmp3lame", 44_100, "stereo"),
    ("ogg", "libopus", 48_000, "mono"),
    ("webm", "libopus", 48_000, "stereo"),
    ("ipod", "aac", 44_100, "stereo"),
)


async def test_a_file_becomes_a_recording_that_plays(media: Media) -> None:
    for container, codec, rate_hz, layout in FORMS:
        which = f"{codec} in {container}"
        data = encoded(tone(rate_hz, 1.5), container, codec, rate_hz, layout)
        recording = await upload(media, data, file_name="C:\\my\\..\\voice\u202e note.wav")
        assert recording.state == pb.RECORDING_STATE_READY, which
        assert list(recording.tracks) == [LEARNER]
        assert abs(recording.duration_ms - 1_500) < 80, which
        assert recording.file_name == "voice note.wav"
        assert recording.conversation_id == ""
        got = await media.download(recording.recording_id, encoding=WAV)  # the mix: its one track
        samples, rate = decoded(got.data)
        assert rate == min(rate_hz, 48_000), which
        assert np.abs(samples.astype(int)).max() > 6_000, which
        error = await media.refused(media.download(recording.recording_id, track=TUTOR))
        assert error.reason == "RECORDING_NOT_FOUND"
    assert not media.files("uploads")
    assert not media.files("spool")


async def test_an_uploaded_wav_is_kept_to_the_sample(media: Media) -> None:
    data = (SPEECH / "000360210.wav").read_bytes()
    recording = await upload(media, data)
    got = await media.download(recording.recording_id, encoding=WAV)
    assert np.array_equal(
        decoded(got.data)[0][:-16], decoded(data)[0][: len(decoded(got.data)[0]) - 16]
    )


BROKEN_FLAC = encoded(tone(16_000, 1.0), "flac", "flac", 16_000)
EMPTY_WAV = b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80>\0\0\0}\0\0\2\0\x10\0data\0\0\0\0"


NO_AUDIO_AT_ALL = (
    (b"", "BAD_AUDIO"),
    (b"I am a text file that is called a.wav", "BAD_AUDIO"),
    (b"#!EXTM3U\n/etc/passwd\n", "BAD_AUDIO"),
    (b"RIFF\xff\xff\xff\xffWAVE", "BAD_AUDIO"),
    (b"RIFF\xff\xff\xff\xffWAVEfmt " + b"\xff" * 500, "BAD_AUDIO"),
    (b"ID3" + b"\0" * 2_000, "BAD_AUDIO"),
    (b"\x1aE\xdf\xa3" + bytes(range(256)) * 8, "BAD_AUDIO"),
    (b"OggS" + b"\xff" * 2_000, "BAD_AUDIO"),
    (BROKEN_FLAC[:40], "BAD_AUDIO"),
    (EMPTY_WAV, "NO_AUDIO"),
)


async def test_what_is_not_audio_is_refused(media: Media) -> None:
    for data, reason in NO_AUDIO_AT_ALL:
        error = await media.refused(upload(media, data))
        assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, reason), data[:20]
        assert not media.files("uploads")
        assert not media.files("spool")


async def test_a_file_beyond_the_limits_is_refused(serve_media: Serve) -> None:
    async with serve_media(max_upload_bytes=100_000, max_recording_seconds=2.0) as media:
        wav = encoded(tone(16_000, 4.0), "wav", "pcm_s16le", 16_000)
        long = encoded(tone(16_000, 4.0), "mp3", "libmp3lame", 16_000)
        for data, told in ((wav, {}), (wav[:1_000], {"size_bytes": 100_001}), (long, {})):
            error = await media.refused(upload(media, data, **told))
            assert (error.code, error.reason) == (Code.RESOURCE_EXHAUSTED, "FILE_TOO_LARGE")
        assert not media.files("uploads")


async def test_a_file_has_so_many_bytes_and_no_more(serve_media: Serve) -> None:
    wav = encoded(tone(16_000, 0.5), "wav", "pcm_s16le", 16_000)
    async with serve_media(max_upload_bytes=len(wav)) as media:
        await upload(media, wav)
        error = await media.refused(upload(media, wav + b"\0"))
        assert (error.code, error.reason) == (Code.RESOURCE_EXHAUSTED, "FILE_TOO_LARGE")


async def test_the_files_of_one_account_take_so_much_and_no_more(serve_media: Serve) -> None:
    """Nothing bounded them: one learner could fill the disk."""
    async with serve_media(max_uploads_bytes=1) as media:
        wav = encoded(tone(16_000, 0.5), "wav", "pcm_s16le", 16_000)
        first = await upload(media, wav)
        error = await media.refused(upload(media, wav))
        assert (error.code, error.reason) == (Code.RESOURCE_EXHAUSTED, "FILE_TOO_LARGE")
        await upload(media, wav, user_id=new_id())
        await media.ask(
            "DeleteRecording", pb.DeleteRecordingRequest(recording_id=first.recording_id)
        )
        await upload(media, wav)


async def test_one_account_sends_two_files_at_once_and_no_more(media: Media) -> None:
    wav = encoded(tone(16_000, 0.5), "wav", "pcm_s16le", 16_000)
    identity = media.callers.user(media.user_id)
    told = pb.UploadAudioRequest(metadata=pb.UploadMetadata(file_name="slow.wav"))
    held = [media.stub.UploadAudio(metadata=identity) for _ in range(2)]
    for each in held:
        await each.write(told)
    async with asyncio.timeout(20):
        while len(media.folders("uploads")) < 2:
            await asyncio.sleep(0.01)
    error = await media.refused(upload(media, wav))
    assert (error.reason, error.retry_after) == ("MEDIA_BUSY", 5.0)
    await upload(media, wav, user_id=new_id())
    for each in held:
        each.cancel()
    async with asyncio.timeout(20):
        while media.folders("uploads"):
            await asyncio.sleep(0.01)
    await upload(media, wav)


async def test_a_retry_under_the_same_request_id_is_the_same_recording(media: Media) -> None:
    data, request_id = encoded(tone(16_000, 0.5), "wav", "pcm_s16le", 16_000), new_id()
    first = await upload(media, data, request_id=request_id)
    assert await upload(media, data, request_id=request_id) == first
    other = await upload(media, data, request_id=request_id, user_id=new_id())
    assert other.recording_id != first.recording_id


async def test_metadata_comes_first_and_once(media: Media) -> None:
    told = pb.UploadAudioRequest(metadata=pb.UploadMetadata(file_name="a"))
    chunk = pb.UploadAudioRequest(chunk=b"RIFF")
    for requests, reason in (([], "START"), ([chunk], "START"), ([told, told], "ALREADY")):
        identity = media.callers.user(media.user_id)
        error = await media.refused(media.stub.UploadAudio(iter(requests), metadata=identity))
        assert error.code is Code.FAILED_PRECONDITION
        assert error.reason.startswith(reason)


async def test_nothing_is_stored_without_a_token(media: Media) -> None:
    error = await media.refused(media.stub.UploadAudio(iter([])))
    assert (error.code, error.reason) == (Code.UNAUTHENTICATED, "TOKEN_MISSING")


async def test_an_upload_may_stand_still_so_long_and_no_longer(
    media: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.media.servicer._UPLOAD_IDLE_SECONDS", 0.3)
    wav = encoded(tone(16_000, 0.5), "wav", "pcm_s16le", 16_000)
    identity = media.callers.user(media.user_id)
    told = pb.UploadAudioRequest(metadata=pb.UploadMetadata(file_name="slow.wav"))
    for piece in (None, pb.UploadAudioRequest(chunk=wav[:1_000])):
        call = media.stub.UploadAudio(metadata=identity)
        began = time.monotonic()
        await call.write(told)
        if piece is not None:
            await call.write(piece)
        error = await media.refused(call)
        assert error.reason == "DEADLINE_EXCEEDED"
        assert time.monotonic() - began >= 0.3
        assert not media.files("uploads")


async def listed(media: Media) -> list[pb.Recording]:
    return list((await media.ask("ListRecordings", pb.ListRecordingsRequest())).recordings)


async def test_files_that_wait_for_the_store_leave_room_for_talks_and_count_as_stored(
    serve_media: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They passed the bound of what waits, and live talks were then recorded no more; and as they
    were not stored, no account had any.
    """
    wav = encoded(tone(16_000, 0.5), "wav", "pcm_s16le", 16_000)  # 16,000 bytes in the spool
    away = {"store_url": "s3://b/x", "store_endpoint": "http://127.0.0.1:9"}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    bounds = {"max_spool_bytes": 100_000, "max_uploads_bytes": 1}
    async with serve_media(**away, **bounds) as media:
        # All find room at the door; when they are decoded, each must find it again.
        users = [new_id() for _ in range(3)]

        async def reasons() -> list[str]:
            sent = [media.refused(upload(media, wav, user_id=each)) for each in users]
            return sorted([each.reason for each in await asyncio.gather(*sent)])

        assert await reasons() == ["STORAGE_UNAVAILABLE"] * 3
        assert len(media.folders("spool")) == 2
        assert await reasons() == ["FILE_TOO_LARGE", "FILE_TOO_LARGE", "STORAGE_UNAVAILABLE"]
        taping = await media.tape()
        await taping.audio(LEARNER, tone(16_000, 0.1))
        await taping.on_disk(learner=1_600)
        taping.call.cancel()


async def test_a_file_that_cannot_be_entered_leaves_nothing_on_the_disk(
    media: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lay in the spool, where nobody could find, delete or expire it."""

    async def away(*_: Any) -> None:
        raise Unavailable("away", reason="DATABASE_UNAVAILABLE", retry_after=1.0)

    wav = encoded(tone(16_000, 0.5), "wav", "pcm_s16le", 16_000)
    with monkeypatch.context() as patch:
        patch.setattr(SqlCatalog, "begin", away)
        assert (await media.refused(upload(media, wav))).reason == "DATABASE_UNAVAILABLE"
    assert not media.folders("spool")
    assert not media.folders("uploads")


async def test_a_file_that_was_entered_and_not_moved_is_found_and_can_be_sent_again(
    media: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    wav, request_id = encoded(tone(16_000, 0.5), "wav", "pcm_s16le", 16_000), new_id()
    with monkeypatch.context() as patch:
        patch.setattr(uploads, "_move", full)
        error = await media.refused(upload(media, wav, request_id=request_id))
        assert error.reason == "STORAGE_UNAVAILABLE"
    assert [each.state for each in await listed(media)] == [pb.RECORDING_STATE_RECORDING]
    other = encoded(tone(16_000, 0.5), "wav", "pcm_s16le", 22_050)
    error = await media.refused(upload(media, other, request_id=request_id))
    assert error.reason == "RECORDING_CONFLICT"
    stored = await upload(media, wav, request_id=request_id)
    assert stored.state == pb.RECORDING_STATE_READY
    assert [each.recording_id for each in await listed(media)] == [stored.recording_id]


async def test_the_same_file_twice_at_once_is_one_recording(media: Media) -> None:
    wav, request_id = encoded(tone(16_000, 0.5), "wav", "pcm_s16le", 16_000), new_id()
    twice = [upload(media, wav, request_id=request_id) for _ in range(2)]
    first, second = await asyncio.gather(*twice)
    assert first == second
    assert not media.folders("spool")
