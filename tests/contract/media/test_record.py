"""Record: every sample of both sides is kept, whatever breaks."""

import asyncio
from typing import Any

import grpc.aio
import numpy as np
import pytest

from parley.media.v1 import media_pb2 as pb
from parley.types.v1 import audio_pb2
from services.common.errors import Code
from services.common.ids import new_id
from services.common.status import from_rpc_error
from tests.contract.media.conftest import (
    LEARNER,
    TUTOR,
    Media,
    Serve,
    Taping,
    decoded,
    sha256,
    started,
    tone,
)

PCM = audio_pb2.AUDIO_ENCODING_PCM_S16LE
WAV = audio_pb2.AUDIO_ENCODING_WAV
FLAC = audio_pb2.AUDIO_ENCODING_FLAC


async def failure(taping: Taping) -> Any:
    """Return the error that a stream ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        while await taping.call.read() is not grpc.aio.EOF:
            pass
    return from_rpc_error(caught.value)


async def test_only_the_conversation_service_may_record(media: Media) -> None:
    for identity in (media.callers.user(media.user_id), media.callers.service("history")):
        call = media.stub.Record(metadata=identity)
        error = await media.refused(call.read())
        assert (error.code, error.reason) == (Code.PERMISSION_DENIED, "SERVICE_IDENTITY_REQUIRED")


async def test_a_stream_begins_with_start(media: Media) -> None:
    call = media.stub.Record(metadata=media.callers.service("conversation"))
    taping = Taping(call, started(media.user_id))
    await taping.audio(LEARNER, tone(16_000, 0.1))
    error = await failure(taping)
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "START_REQUIRED")


async def test_start_comes_once(media: Media) -> None:
    taping = await media.tape()
    await taping.write(start=taping.start)
    error = await failure(taping)
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "ALREADY_STARTED")


@pytest.mark.parametrize(
    "form",
    [
        {"encoding": audio_pb2.AUDIO_ENCODING_MP3},
        {"encoding": PCM, "channels": 2},
        {"encoding": PCM, "sample_rate_hz": 7_999},
    ],
)
async def test_a_format_that_is_not_live_audio_is_refused(
    media: Media, form: dict[str, Any]
) -> None:
    taping = await media.tape(started(media.user_id, tutor_format=form))
    error = await failure(taping)
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "AUDIO_FORMAT_UNSUPPORTED")
    assert all(each.field.startswith("start.tutor_format") for each in error.fields)


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        (pb.RecordAudio(track=LEARNER, pcm=b"\0\0\0"), "AUDIO_FRAME_INVALID"),
        (pb.RecordAudio(track=LEARNER, pcm=b""), "INVALID_REQUEST"),
        (pb.RecordAudio(track=audio_pb2.AUDIO_TRACK_MIX, pcm=b"\0\0"), "INVALID_REQUEST"),
        (pb.RecordAudio(track=LEARNER, pcm=b"\0" * 65_538), "INVALID_REQUEST"),
        (pb.RecordAudio(track=LEARNER, pcm=b"\0\0", first_sample=2**63), "RECORDING_TOO_LONG"),
        (pb.RecordAudio(track=LEARNER, pcm=b"\0" * 80_000), "MESSAGE_TOO_LARGE"),
    ],
)
async def test_bad_audio_ends_the_stream_and_keeps_what_came_before(
    media: Media, audio: pb.RecordAudio, reason: str
) -> None:
    voice = tone(16_000, 0.3)
    taping = await media.tape()
    await taping.audio(LEARNER, voice)
    await taping.write(audio=audio)
    assert (await failure(taping)).reason == reason
    again = await media.tape(taping.start)
    assert (await again.read()).learner_samples == len(voice)
    assert (await again.finish()).learner_sha256 == sha256(voice)


async def test_a_duration_beyond_the_limit_is_refused(media: Media) -> None:
    taping = await media.tape()
    await taping.write(finish=pb.RecordFinish(duration_ms=2**50))
    error = await failure(taping)
    assert (error.code, error.reason) == (Code.RESOURCE_EXHAUSTED, "RECORDING_TOO_LONG")


async def test_both_sides_are_kept_to_the_sample(media: Media) -> None:
    learner, tutor = tone(16_000, 3.0), tone(24_000, 3.0, 300)
    recording = await media.recorded(learner, tutor)
    assert recording.state == pb.RECORDING_STATE_READY
    assert recording.duration_ms == 3_000
    assert list(recording.tracks) == [LEARNER, TUTOR]
    assert (recording.learner_sha256, recording.tutor_sha256) == (sha256(learner), sha256(tutor))
    assert 0 < recording.original_bytes < 2 * (len(learner) + len(tutor))
    for track, samples in ((LEARNER, learner), (TUTOR, tutor)):
        got = await media.download(recording.recording_id, track=track, encoding=FLAC)
        assert np.array_equal(decoded(got.data)[0], samples)
    assert not media.files("spool")


async def test_samples_are_acknowledged_once_they_are_on_disk(media: Media) -> None:
    taping = await media.tape()
    response = await taping.read()
    assert (response.learner_samples, response.tutor_samples) == (0, 0)
    await taping.audio(LEARNER, tone(16_000, 0.5))
    await taping.audio(TUTOR, tone(24_000, 0.2))
    await taping.on_disk(8_000, 4_800)
    sizes = {path.name: path.stat().st_size for path in media.files("spool")}
    assert sizes == {"learner.pcm": 16_000, "tutor.pcm": 9_600}
    await taping.finish()


async def test_gaps_are_silence_overlaps_are_skipped_and_tracks_end_together(media: Media) -> None:
    voice = tone(16_000, 1.0)
    taping = await media.tape()
    await taping.audio(LEARNER, voice[:8_000], first=4_000)
    await taping.audio(LEARNER, voice[4_000:], first=8_000)  # half of it is there already
    await taping.audio(TUTOR, tone(24_000, 0.5), first=48_000)
    recording = await taping.finish(4_321)
    expected = np.zeros(4_321 * 16, np.int16)
    expected[4_000:20_000] = voice
    assert recording.duration_ms == 4_321
    assert recording.learner_sha256 == sha256(expected)
    tutor = np.zeros(4_321 * 24, np.int16)
    tutor[48_000:60_000] = tone(24_000, 0.5)
    assert recording.tutor_sha256 == sha256(tutor)


async def test_a_duration_shorter_than_the_audio_cuts_nothing(media: Media) -> None:
    taping = await media.tape()
    await taping.audio(LEARNER, tone(16_000, 1.0))
    assert (await taping.finish(200)).duration_ms == 1_000


async def test_a_recording_without_a_sample_says_so(media: Media) -> None:
    recording = await (await media.tape()).finish()
    assert recording.state == pb.RECORDING_STATE_FAILED
    assert recording.failure == "Nothing was recorded."
    error = await media.refused(media.download(recording.recording_id))
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "RECORDING_FAILED")


@pytest.mark.parametrize("break_off", ["cancel", "half_close"])
async def test_a_broken_stream_is_continued_where_it_stood(media: Media, break_off: str) -> None:
    voice = tone(16_000, 2.0)
    taping = await media.tape()
    await taping.audio(LEARNER, voice[:12_800])
    if break_off == "cancel":
        await taping.on_disk(12_800)
        taping.call.cancel()
    else:
        await taping.call.done_writing()
        while await taping.call.read() is not grpc.aio.EOF:
            pass
    again = await media.tape(taping.start)
    position = (await again.read()).learner_samples
    assert position == 12_800
    await again.audio(LEARNER, voice[position - 1_600 :], first=position - 1_600)
    assert (await again.finish()).learner_sha256 == sha256(voice)


async def test_a_newer_stream_takes_over(media: Media) -> None:
    """A sender that reconnects does not wait until its old connection is seen to be dead."""
    taping = await media.tape()
    await taping.audio(LEARNER, tone(16_000, 1.0))
    again = await media.tape(taping.start)
    await again.read()
    error = await failure(taping)
    assert (error.code, error.reason) == (Code.ABORTED, "RECORDING_TAKEN_OVER")
    await again.audio(LEARNER, tone(16_000, 1.0))
    assert (await again.finish()).learner_sha256 == sha256(tone(16_000, 1.0))


async def test_finishing_again_gives_the_same_recording(media: Media) -> None:
    """The sender may have lost the last response."""
    taping = await media.tape()
    await taping.audio(LEARNER, tone(16_000, 0.5))
    first = await taping.finish()
    again = await media.tape(taping.start)
    assert (await again.read()).recording == first


@pytest.mark.parametrize("other", ["conversation_id", "user_id", "tutor_format"])
async def test_an_id_of_another_recording_is_refused(media: Media, other: str) -> None:
    taping = await media.tape()
    await taping.read()
    value: Any = {"sample_rate_hz": 22_050} if other == "tutor_format" else new_id()
    start = pb.RecordStart()
    start.CopyFrom(taping.start)
    start.ClearField(other)
    start.MergeFrom(pb.RecordStart(**{other: value}))
    error = await failure(await media.tape(start))
    assert (error.code, error.reason) == (Code.ALREADY_EXISTS, "RECORDING_CONFLICT")
    await taping.finish(100)


async def test_a_recording_that_was_deleted_cannot_be_recorded(media: Media) -> None:
    taping = await media.tape()
    await taping.audio(LEARNER, tone(16_000, 0.2))
    await taping.on_disk(3_200)
    request = pb.DeleteRecordingRequest(recording_id=taping.start.recording_id)
    await media.ask("DeleteRecording", request)
    for stream in (taping, await media.tape(taping.start)):
        error = await failure(stream)
        assert (error.code, error.reason) == (Code.NOT_FOUND, "RECORDING_NOT_FOUND")
    assert not media.files("spool")


async def test_odd_rates_are_kept_too(media: Media) -> None:
    learner = np.arange(-500, 500, dtype=np.int16)
    start = started(media.user_id, learner_format={"sample_rate_hz": 11_111})
    taping = await media.tape(start)
    audio = pb.RecordAudio(track=LEARNER, pcm=learner.astype("<i2").tobytes())
    await taping.write(audio=audio)
    recording = await taping.finish()
    got = await media.download(recording.recording_id, track=LEARNER, encoding=WAV)
    samples, rate = decoded(got.data)
    assert rate == 11_111
    assert np.array_equal(samples[: len(learner)], learner)
    assert not samples[len(learner) :].any()


async def test_a_recording_left_alone_is_completed_after_its_time(serve_media: Serve) -> None:
    voice = tone(16_000, 0.7)
    async with serve_media(resume_seconds=0.05, sweep_seconds=0.05) as media:
        taping = await media.tape()
        await taping.audio(LEARNER, voice)
        await taping.on_disk(len(voice))
        taping.call.cancel()
        async with asyncio.timeout(20):
            while (found := await media.get(taping.start.recording_id)).state != (
                pb.RECORDING_STATE_READY
            ):
                pass
    assert found.learner_sha256 == sha256(voice)


async def test_a_live_recording_is_never_abandoned_however_long_it_is(serve_media: Serve) -> None:
    async with serve_media(resume_seconds=0.0, sweep_seconds=0.01) as media:
        taping = await media.tape()
        for second in range(3):
            await taping.audio(LEARNER, tone(16_000, 1.0), first=16_000 * second)
            await taping.on_disk(16_000 * (second + 1))
        found = await media.get(taping.start.recording_id)
        assert found.state == pb.RECORDING_STATE_RECORDING
        assert (await taping.finish()).duration_ms == 3_000


async def test_while_the_spool_is_full_none_begins_and_those_under_way_go_on(
    serve_media: Serve,
) -> None:
    """A store that is away for days must not fill the disk that everything else lives on."""
    async with serve_media(max_spool_bytes=1_000) as media:
        taping = await media.tape()
        await taping.audio(LEARNER, tone(16_000, 0.5))
        await taping.on_disk(learner=8_000)
        error = await failure(await media.tape())
        assert (error.code, error.reason) == (Code.UNAVAILABLE, "STORAGE_UNAVAILABLE")
        assert error.retry_after is not None
        await taping.audio(LEARNER, tone(16_000, 0.5), first=8_000)
        stored = await taping.finish()
        assert stored.duration_ms >= 1_000
        await media.recorded(tone(16_000, 0.1), tone(24_000, 0.1))


async def test_a_service_that_stops_in_the_middle_keeps_what_came_and_lets_go_of_it(
    serve_media: Serve,
) -> None:
    """A stream's end was still being noted when the database was closed under it, and stayed
    locked.
    """
    voice = tone(16_000, 1.0)
    async with serve_media(sweep_seconds=0.02) as media:
        taping = await media.tape()
        await taping.audio(LEARNER, voice[:8_000])
        await taping.on_disk(learner=8_000)
    async with serve_media() as media:
        again = await media.tape(taping.start)
        await again.audio(LEARNER, voice[8_000:], first=8_000)
        assert (await again.finish()).learner_sha256 == sha256(voice)
