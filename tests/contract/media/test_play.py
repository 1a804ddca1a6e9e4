"""GetRecording, DownloadRecording, CreateDownloadUrl, DeleteRecording."""

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration

from parley.media.v1 import media_pb2 as pb
from parley.types.v1 import audio_pb2
from services.common.errors import Code
from services.common.ids import new_id
from services.common.limits import DEFAULT_LIMITS
from services.media.adapters import codec
from services.media.adapters.sealing_keys import new_key
from services.media.renditions import Encoding
from tests.contract.media.conftest import (
    LEARNER,
    TUTOR,
    Media,
    Samples,
    Serve,
    decoded,
    started,
    tone,
)

MIX = audio_pb2.AUDIO_TRACK_MIX
WAV = audio_pb2.AUDIO_ENCODING_WAV
FLAC = audio_pb2.AUDIO_ENCODING_FLAC
OPUS = audio_pb2.AUDIO_ENCODING_OGG_OPUS
MP3 = audio_pb2.AUDIO_ENCODING_MP3

CODEC_DELAY_MS = 60
"""What MP3 may add at both ends: two frames of 24 ms and the encoder's own delay."""


def loudness(samples: Samples, hertz: float, rate_hz: int) -> float:
    """Return the amplitude of one frequency in a stretch of sound."""
    at = np.arange(len(samples))
    turning = np.exp(-2j * np.pi * hertz * at / rate_hz)
    return float(abs((samples * turning).sum()) * 2 / len(samples))


@pytest.fixture
async def recording(media: Media) -> pb.Recording:
    """The learner speaks (440 Hz) for the first two seconds, the tutor (300 Hz) for the last."""
    tutor = np.concatenate([np.zeros(48_000, np.int16), tone(24_000, 1.0, 300)])
    return await media.recorded(tone(16_000, 2.0, 440), tutor)


async def test_nothing_is_told_or_played_without_a_token(media: Media) -> None:
    wanted: dict[str, Any] = {"recording_id": new_id()}
    stub = media.stub
    for call in (
        stub.GetRecording(pb.GetRecordingRequest(**wanted)),
        stub.DownloadRecording(pb.DownloadRecordingRequest(**wanted)).read(),
        stub.CreateDownloadUrl(pb.CreateDownloadUrlRequest(**wanted)),
        stub.DeleteRecording(pb.DeleteRecordingRequest(**wanted)),
    ):
        assert (await media.refused(call)).code in (Code.UNAUTHENTICATED, Code.PERMISSION_DENIED)


@pytest.mark.parametrize("whose", ["nobody's", "a stranger's"])
async def test_a_recording_that_is_not_ones_own_is_not_found(
    media: Media, recording: pb.Recording, whose: str
) -> None:
    stranger = new_id()
    recording_id = recording.recording_id if whose == "a stranger's" else new_id()
    conversation_id = recording.conversation_id if whose == "a stranger's" else new_id()
    by_conversation = pb.GetRecordingRequest(conversation_id=conversation_id)
    for call in (
        media.get(recording_id, stranger),
        media.ask("GetRecording", by_conversation, stranger),
        media.download(recording_id, stranger),
        media.ask(
            "DeleteRecording", pb.DeleteRecordingRequest(recording_id=recording_id), stranger
        ),
        media.ask(
            "CreateDownloadUrl", pb.CreateDownloadUrlRequest(recording_id=recording_id), stranger
        ),
    ):
        error = await media.refused(call)
        if error.reason != "LINKS_NOT_SUPPORTED":
            assert (error.code, error.reason) == (Code.NOT_FOUND, "RECORDING_NOT_FOUND")
    assert (await media.get(recording.recording_id)).state == pb.RECORDING_STATE_READY


async def test_a_recording_is_found_by_its_conversation(
    media: Media, recording: pb.Recording
) -> None:
    request = pb.GetRecordingRequest(conversation_id=recording.conversation_id)
    assert (await media.ask("GetRecording", request)).recording == recording


async def test_the_waveform_shows_who_spoke_when(media: Media, recording: pb.Recording) -> None:
    peaks = list(recording.waveform)
    assert len(peaks) == 30
    assert min(peaks) > 40
    quiet = await media.recorded(np.zeros(8_000, np.int16), np.zeros(12_000, np.int16))
    assert list(quiet.waveform) == [0] * 5


FORMS = (
    (WAV, "audio/wav", b"RIFF"),
    (FLAC, "audio/flac", b"fLaC"),
    (OPUS, "audio/ogg; codecs=opus", b"OggS"),
    (MP3, "audio/mpeg", b""),
    (audio_pb2.AUDIO_ENCODING_UNSPECIFIED, "audio/ogg; codecs=opus", b"OggS"),
)


async def test_every_form_of_every_track_has_the_right_sound_and_length(
    media: Media, recording: pb.Recording
) -> None:
    for track in (LEARNER, TUTOR, MIX, audio_pb2.AUDIO_TRACK_UNSPECIFIED):
        for encoding, content_type, magic in FORMS:
            which = f"{audio_pb2.AudioTrack.Name(track)} as {content_type}"
            got = await media.download(recording.recording_id, encoding=encoding, track=track)
            assert got.info.content_type == content_type
            assert got.info.total_bytes == len(got.data)
            assert got.info.duration_ms == 3_000
            assert got.data.startswith(magic), which
            samples, rate = decoded(got.data)
            assert abs(len(samples) / rate * 1000 - 3_000) <= CODEC_DELAY_MS, which
            early, late = samples[rate // 2 : rate], samples[round(2.3 * rate) : round(2.8 * rate)]
            assert (loudness(early, 440, rate) > 5_000) == (track != TUTOR), which
            assert (loudness(late, 300, rate) > 5_000) == (track != LEARNER), which


async def test_a_mix_of_two_loud_voices_does_not_clip(media: Media) -> None:
    loud = np.full(16_000, 32_000, np.int16)
    loud[::2] = -32_000
    recording = await media.recorded(loud[:16_000], np.repeat(loud, 2)[:24_000])
    got = await media.download(recording.recording_id, encoding=WAV)
    samples, _ = decoded(got.data)
    assert np.abs(samples.astype(int)).max() < 32_767


async def test_a_cut_is_exact_to_the_sample(media: Media, recording: pb.Recording) -> None:
    wanted: dict[str, Any] = {"recording_id": recording.recording_id, "track": LEARNER}
    whole = decoded((await media.download(encoding=WAV, **wanted)).data)[0]
    for from_ms, to_ms in ((0, 700), (500, 1_500), (1_999, 0), (2_999, 9_999)):
        for encoding in (WAV, FLAC):
            got = await media.download(encoding=encoding, from_ms=from_ms, to_ms=to_ms, **wanted)
            end = min(to_ms or 3_000, 3_000)
            assert got.info.duration_ms == end - from_ms
            assert np.array_equal(decoded(got.data)[0], whole[from_ms * 16 : end * 16])


@pytest.mark.parametrize("sealed", [False, True], ids=["plain", "sealed"])
async def test_what_is_left_of_an_original_is_refused_and_never_filled_with_silence(
    serve_media: Serve, sealed: bool
) -> None:
    keys = {"sealing_keys": new_key("host")} if sealed else {}
    async with serve_media(**keys) as media:
        recording = await media.recorded(tone(16_000, 2.0), tone(24_000, 2.0))
        (path,) = (each for each in media.files("objects") if each.name == "learner.flac")
        whole = path.read_bytes()
        half, late = len(whole) // 2, len(whole) * 3 // 4
        wanted: dict[str, Any] = {"recording_id": recording.recording_id, "encoding": WAV}
        for left in (
            b"",
            whole[:27],
            whole[:28],
            whole[:half],
            bytes(len(whole)),
            whole[:late] + bytes([whole[late] ^ 1]) + whole[late + 1 :],
        ):
            path.write_bytes(left)
            for more in ({"track": LEARNER}, {"track": MIX}, {"track": LEARNER, "from_ms": 900}):
                error = await media.refused(media.download(**wanted, **more))
                assert error.reason in ("RECORDING_DAMAGED", "RECORDING_SEALED")
            if len(left) < len(whole):
                error = await media.refused(
                    media.download(recording.recording_id, encoding=FLAC, track=LEARNER)
                )
                assert error.reason in ("RECORDING_DAMAGED", "RECORDING_SEALED")
        assert media.files("cache") == []
        path.write_bytes(whole)
        got = await media.download(**wanted, track=LEARNER)
        assert len(decoded(got.data)[0]) == 32_000


@pytest.mark.parametrize("sealed", [False, True], ids=["plain", "sealed"])
async def test_an_original_that_is_gone_is_lost_and_not_called_deleted(
    serve_media: Serve, sealed: bool
) -> None:
    """Whoever hears that it was deleted looks for nobody who could bring it back."""
    keys = {"sealing_keys": new_key("host")} if sealed else {}
    async with serve_media(**keys) as media:
        recording = await media.recorded(tone(16_000, 1.0), tone(24_000, 1.0))
        for path in media.files("objects"):
            path.unlink()
        for encoding in (WAV, FLAC):
            error = await media.refused(
                media.download(recording.recording_id, track=LEARNER, encoding=encoding)
            )
            assert (error.code, error.reason) == (Code.DATA_LOSS, "RECORDING_DAMAGED")


async def test_another_sound_in_the_place_of_a_sealed_original_is_refused(
    serve_media: Serve,
) -> None:
    """Without the key beside it, it would pass for one from before there were keys."""
    async with serve_media(sealing_keys=new_key("host")) as media:
        recording = await media.recorded(tone(16_000, 1.0), tone(24_000, 1.0))
    for each in media.files("objects"):
        if each.name == "key.json":
            each.unlink()
        else:
            rate_hz = 16_000 if each.name == "learner.flac" else 24_000
            codec.encode(each, Encoding.FLAC, rate_hz, [tone(rate_hz, 1.0, 880)])
    async with serve_media(sealing_keys=new_key("host")) as again:
        for track in (LEARNER, MIX):
            for encoding in (WAV, OPUS):
                error = await again.refused(
                    again.download(
                        recording.recording_id, media.user_id, track=track, encoding=encoding
                    )
                )
                assert error.reason == "RECORDING_DAMAGED"


async def test_a_range_outside_is_refused(media: Media, recording: pb.Recording) -> None:
    outside: tuple[dict[str, Any], ...] = (
        {"offset": 10_000_000},
        {"from_ms": 3_000},
        {"from_ms": 2**60},
        {"from_ms": 500, "to_ms": 500},
        {"from_ms": 900, "to_ms": 500},
        {"offset": 2**64 - 1},
    )
    for wanted in outside:
        error = await media.refused(media.download(recording.recording_id, **wanted))
        assert (error.code, error.reason) == (Code.OUT_OF_RANGE, "BAD_RANGE"), wanted


async def test_ranges_put_together_are_the_file(media: Media, recording: pb.Recording) -> None:
    for encoding in (WAV, FLAC, OPUS, MP3):
        wanted: dict[str, Any] = {"track": LEARNER, "encoding": encoding}
        whole = (await media.download(recording.recording_id, **wanted)).data
        parts, step = b"", len(whole) // 4 + 1
        for offset in range(0, len(whole), step):
            got = await media.download(recording.recording_id, offset=offset, length=step, **wanted)
            assert got.info.total_bytes == len(whole)
            parts += got.data
        assert parts == whole
        tail = await media.download(recording.recording_id, offset=len(whole) - 7, **wanted)
        assert tail.data == whole[-7:]


async def test_a_form_that_is_no_file_is_refused(media: Media, recording: pb.Recording) -> None:
    pcm = audio_pb2.AUDIO_ENCODING_PCM_S16LE
    error = await media.refused(media.download(recording.recording_id, encoding=pcm))
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "INVALID_REQUEST")


async def test_a_recording_in_progress_cannot_be_played(media: Media) -> None:
    taping = await media.tape()
    await taping.read()
    error = await media.refused(media.download(taping.start.recording_id))
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "RECORDING_IN_PROGRESS")
    await taping.finish(100)


async def test_many_who_want_the_same_file_wait_for_one_job(
    media: Media, recording: pb.Recording
) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(media.download(recording.recording_id)) for _ in range(30)]
    assert len({task.result().data for task in tasks}) == 1
    assert len(media.files("cache")) == 1


async def test_more_than_can_be_prepared_is_refused_with_a_time_to_retry(
    serve_media: Serve,
) -> None:
    few = replace(DEFAULT_LIMITS, waiting_renditions=2)
    async with serve_media(limits=few) as media:
        recording = await media.recorded(tone(16_000, 10.0), tone(24_000, 10.0))
        cuts = [
            media.download(recording.recording_id, encoding=MP3, to_ms=10_000 - at)
            for at in range(40)
        ]
        results = await asyncio.gather(*cuts, return_exceptions=True)
        refused = [each for each in results if isinstance(each, BaseException)]
        assert 0 < len(refused) < 40

        async def again(error: BaseException) -> None:
            raise error

        for each in refused:
            error = await media.refused(again(each))
            assert (error.code, error.reason) == (Code.RESOURCE_EXHAUSTED, "MEDIA_BUSY")
            assert error.retry_after


async def test_the_cache_stays_within_its_bound(serve_media: Serve) -> None:
    async with serve_media(cache_bytes=100_000) as media:
        recording = await media.recorded(tone(16_000, 2.0), tone(24_000, 2.0))
        for to_ms in range(1_000, 2_000, 100):
            got = await media.download(
                recording.recording_id, track=LEARNER, encoding=WAV, to_ms=to_ms
            )
            assert got.info.total_bytes == len(got.data)
            assert sum(path.stat().st_size for path in media.files("cache")) <= 100_000


async def test_a_cache_of_nothing_still_plays(serve_media: Serve) -> None:
    async with serve_media(cache_bytes=0) as media:
        recording = await media.recorded(tone(16_000, 0.5), tone(24_000, 0.5))
        got = await media.download(recording.recording_id)
        assert len(got.data) == got.info.total_bytes > 0
        assert not media.files("cache")


async def test_a_local_folder_has_no_links(media: Media, recording: pb.Recording) -> None:
    request = pb.CreateDownloadUrlRequest(recording_id=recording.recording_id)
    error = await media.refused(media.ask("CreateDownloadUrl", request))
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "LINKS_NOT_SUPPORTED")
    request.ttl.CopyFrom(Duration(seconds=90_000))
    assert (
        await media.refused(media.ask("CreateDownloadUrl", request))
    ).reason == "INVALID_REQUEST"


async def test_a_deleted_recording_leaves_no_file(media: Media, recording: pb.Recording) -> None:
    await media.download(recording.recording_id)
    assert media.files("objects")
    assert media.files("cache")
    request = pb.DeleteRecordingRequest(recording_id=recording.recording_id)
    for _ in range(2):  # idempotent
        await media.ask("DeleteRecording", request)
    assert not media.files("objects")
    assert not media.files("cache")
    for call in (media.get(recording.recording_id), media.download(recording.recording_id)):
        assert (await media.refused(call)).reason == "RECORDING_NOT_FOUND"
    by_conversation = pb.GetRecordingRequest(conversation_id=recording.conversation_id)
    error = await media.refused(media.ask("GetRecording", by_conversation))
    assert error.reason == "RECORDING_NOT_FOUND"


async def test_history_may_delete_any_recording_known_or_not(media: Media) -> None:
    recording = await media.recorded(tone(16_000, 0.2), tone(24_000, 0.2))
    unknown = new_id()
    for recording_id in (recording.recording_id, unknown):
        await media.stub.DeleteRecording(
            pb.DeleteRecordingRequest(recording_id=recording_id),
            metadata=media.callers.service("history"),
        )
    assert (await media.refused(media.get(recording.recording_id))).code is Code.NOT_FOUND
    taping = await media.tape(started(media.user_id, recording_id=unknown))
    assert (await media.refused(taping.read())).reason == "RECORDING_NOT_FOUND"


async def test_recordings_past_their_time_are_deleted(serve_media: Serve) -> None:
    async with serve_media(retention_days=30) as media:
        recording = await media.recorded(tone(16_000, 0.2), tone(24_000, 0.2))
        kept = (recording.delete_at.seconds - media_now()) / 86_400
        assert 29.9 < kept <= 30


def media_now() -> float:
    from services.common.clock import SystemClock

    return SystemClock().now().timestamp()
