"""Recordings in a store that speaks S3, over HTTP: in parts while talks run, links, encryption."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc.aio
import httpx
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from sqlalchemy import update

from parley.media.v1 import media_pb2 as pb
from parley.types.v1 import audio_pb2
from services.common.clock import ManualClock, SystemClock
from services.common.database import Database
from services.common.errors import Code
from services.common.ids import new_id
from services.media import commands
from services.media.adapters.s3_multipart import S3Multipart
from services.media.adapters.sealing_keys import KEY_NAME, new_key
from services.media.adapters.tables import RecordingRow
from services.media.bootstrap import open_housekeeper, open_store
from services.media.settings import MediaSettings
from tests.contract.media.conftest import (
    LEARNER,
    TUTOR,
    Callers,
    Media,
    Samples,
    Serve,
    Taping,
    decoded,
    sha256,
    started,
    tone,
)
from tests.contract.media.test_killed import process
from tests.s3 import VARIABLE, client, lists_by_prefix

FLAC = audio_pb2.AUDIO_ENCODING_FLAC
WAV = audio_pb2.AUDIO_ENCODING_WAV
MP3 = audio_pb2.AUDIO_ENCODING_MP3

PREFIX = "of/parley/"

REFUSED = (400, 403)
"""What servers say to whoever may not: Amazon 403; rclone 400 where it sees no signature, or an old
one."""


Completed = list[tuple[str, list[int]]]


@dataclass
class Bucket:
    """A bucket on the server, as Amazon's own client sees it."""

    endpoint: str
    name: str

    @property
    def settings(self) -> dict[str, Any]:
        return {"store_url": f"s3://{self.name}/{PREFIX}", "store_endpoint": self.endpoint}

    @property
    def environment(self) -> dict[str, str]:
        return {f"media_{name}": value for name, value in self.settings.items()}

    def objects(self) -> dict[str, bytes]:
        """Return all that can be read, by its key."""
        s3 = client(self.endpoint)
        found = s3.list_objects_v2(Bucket=self.name).get("Contents", [])
        return {
            each["Key"]: s3.get_object(Bucket=self.name, Key=each["Key"])["Body"].read()
            for each in found
        }

    def uploads(self) -> dict[str, str]:
        """Return the ids of uploads that are not complete, by their keys."""
        s3 = client(self.endpoint)
        try:
            found = s3.list_multipart_uploads(Bucket=self.name)
        except s3.exceptions.NoSuchUpload:
            # So rclone says that there is none.
            return {}
        return {each["Key"]: each["UploadId"] for each in found.get("Uploads", [])}

    def parts(self, key: str) -> list[int]:
        """Return the numbers of the parts that are there."""
        upload = self.uploads()[key]
        found = client(self.endpoint).list_parts(Bucket=self.name, Key=key, UploadId=upload)
        return [each["PartNumber"] for each in found.get("Parts", [])]


@pytest.fixture
def bucket(s3_endpoint: str, s3_bucket: str) -> Bucket:
    return Bucket(s3_endpoint, s3_bucket)


@pytest.fixture
async def media(serve_media: Serve, bucket: Bucket) -> AsyncIterator[Media]:
    async with serve_media(**bucket.settings, live_upload_seconds=0.02) as found:
        yield found


def noise(seconds: float) -> Samples:
    """Return sound that FLAC makes no smaller: 96 kB a second."""
    values = np.random.default_rng(3).integers(-(2**15), 2**15, round(48_000 * seconds))
    return values.astype(np.int16)


LONG_VOICE = noise(125)
"""Of more than two parts of 5 MiB."""

PIECE = 32_000


@pytest.fixture
def voice(monkeypatch: pytest.MonkeyPatch) -> Samples:
    """Return sound of more than two parts, which are smaller here; a server that is named may take
    none but those of S3's own size.
    """
    if VARIABLE in os.environ:
        return LONG_VOICE
    monkeypatch.setattr(S3Multipart, "part_bytes", 256 * 1024)
    return noise(7)


async def say(taping: Taping, voice: Samples, first: int, last: int) -> None:
    """Send so much of a voice, in the largest messages."""
    for at in range(first, last, PIECE):
        pcm = voice[at : min(at + PIECE, last)].astype("<i2").tobytes()
        audio = pb.RecordAudio(track=TUTOR, pcm=pcm, first_sample=at)
        await taping.write(audio=audio)
    await taping.on_disk(tutor=last)


def long_talk(user_id: str) -> pb.RecordStart:
    form = {"encoding": audio_pb2.AUDIO_ENCODING_PCM_S16LE, "sample_rate_hz": 48_000}
    return started(user_id, tutor_format=form | {"channels": 1})


async def half_said(media: Media, bucket: Bucket, voice: Samples) -> tuple[str, Taping]:
    """Begin a talk, and go on until its second part is there; return its object's key as well."""
    start = long_talk(media.user_id)
    key = f"{PREFIX}recordings/{start.recording_id}/tutor.flac"
    taping = await media.tape(start)
    await say(taping, voice, 0, len(voice))
    await until_there(bucket, key, [2])
    return key, taping


async def until_there(bucket: Bucket, key: str, parts: list[int]) -> None:
    async with asyncio.timeout(30):
        while key not in await asyncio.to_thread(
            bucket.uploads
        ) or parts != await asyncio.to_thread(bucket.parts, key):
            await asyncio.sleep(0.05)


@pytest.fixture
def completed(monkeypatch: pytest.MonkeyPatch) -> Completed:
    """Return the objects that are made of parts from now on: their keys, and which parts."""
    found: Completed = []

    async def complete(
        parts: S3Multipart, key: str, upload_id: str, tags: Mapping[int, str]
    ) -> None:
        await really(parts, key, upload_id, tags)
        found.append((key, sorted(tags)))

    really = S3Multipart.complete
    monkeypatch.setattr(S3Multipart, "complete", complete)
    return found


async def test_parts_arrive_while_the_talk_runs(
    media: Media, bucket: Bucket, voice: Samples, completed: Completed
) -> None:
    key, taping = await half_said(media, bucket, voice)
    recording = await taping.finish()
    assert recording.tutor_sha256 == sha256(voice)
    assert bucket.uploads() == {}
    assert completed == [(key.removeprefix(PREFIX), [1, 2, 3])]
    got = await media.download(recording.recording_id, track=TUTOR, encoding=FLAC)
    assert sha256(decoded(got.data)[0]) == sha256(voice)
    assert set(bucket.objects()) == {key, key.replace("tutor", "learner")}


async def test_a_deleted_talk_leaves_no_part(media: Media, bucket: Bucket, voice: Samples) -> None:
    _, taping = await half_said(media, bucket, voice)
    request = pb.DeleteRecordingRequest(recording_id=taping.start.recording_id)
    await media.ask("DeleteRecording", request)
    with pytest.raises(grpc.aio.AioRpcError):
        while True:
            await taping.read()
    assert bucket.uploads() == {}
    assert not media.folders("spool")


async def test_after_a_kill_the_upload_goes_on_where_it_was(
    data_dir: Path,
    callers: Callers,
    serve_media: Serve,
    database_settings: dict[str, Any],
    bucket: Bucket,
    completed: Completed,
) -> None:
    told = database_settings | bucket.environment | {"media_live_upload_seconds": "0.02"}
    half = len(LONG_VOICE) - 48_000
    async with process(data_dir, callers, told) as (killed, pid):
        start = long_talk(killed.user_id)
        key = f"{PREFIX}recordings/{start.recording_id}/tutor.flac"
        taping = await killed.tape(start)
        await say(taping, LONG_VOICE, 0, half)
        await until_there(bucket, key, [2])
        before = bucket.uploads()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(grpc.aio.AioRpcError):
            while True:
                await taping.read()
    async with serve_media(**bucket.settings, live_upload_seconds=0.02) as media:
        again = await media.tape(start)
        assert (await again.read()).tutor_samples == half
        assert bucket.uploads() == before
        await say(again, LONG_VOICE, half, len(LONG_VOICE))
        recording = await again.finish()
    assert recording.tutor_sha256 == sha256(LONG_VOICE)
    assert bucket.uploads() == {}
    assert completed == [(key.removeprefix(PREFIX), [1, 2, 3])]


async def test_parts_that_nobody_completes_are_thrown_away_and_no_others(
    serve_media: Serve,
    database_settings: dict[str, Any],
    data_dir: Path,
    bucket: Bucket,
    voice: Samples,
) -> None:
    """As when a machine burns down in the middle of a talk, with its disk."""
    if not lists_by_prefix(bucket.endpoint, bucket.name):
        pytest.skip("the server that was named tells uploads of single objects alone")
    settings = bucket.settings | {"live_upload_seconds": 0.02, "sweep_seconds": 0.05}
    async with serve_media(**settings) as media:
        lost, cut = await half_said(media, bucket, voice)
        owner = media.user_id
    cut.call.cancel()
    shutil.rmtree(data_dir / "media" / "spool")
    assert set(bucket.uploads()) == {lost}
    async with serve_media(**settings, resume_seconds=0.05) as media:
        media.user_id = owner
        async with asyncio.timeout(20):
            while (await media.get(lost.split("/")[-2])).state != pb.RECORDING_STATE_FAILED:
                await asyncio.sleep(0.05)
        going_on, taping = await half_said(media, bucket, voice)
        told = MediaSettings(data_dir=data_dir, **(bucket.settings | database_settings))
        for days, left in ((0.5, {lost, going_on}), (2, {going_on})):
            clock = ManualClock(SystemClock().now() + timedelta(days=days))
            async with Database.open(told.database_url) as database:
                await open_housekeeper(told, database, open_store(told), clock).look()
            assert set(bucket.uploads()) == left
        assert (await taping.finish()).state == pb.RECORDING_STATE_READY


async def test_what_is_past_its_time_is_gone_from_the_bucket_and_nothing_else(
    serve_media: Serve, database_settings: dict[str, Any], data_dir: Path, bucket: Bucket
) -> None:
    beside = {"Bucket": bucket.name, "Key": f"{PREFIX}of-somebody-else"}
    client(bucket.endpoint).put_object(**beside, Body=b"x")
    settings = bucket.settings | {"retention_days": 1, "sweep_seconds": 0.05}
    async with serve_media(**settings) as media:
        due = await media.recorded(tone(16_000, 0.2), tone(24_000, 0.2))
        before = set(bucket.objects())
        young = await media.recorded(tone(16_000, 0.2), tone(24_000, 0.2))
        assert len(bucket.objects()) == 5
        told = MediaSettings(data_dir=data_dir, **(bucket.settings | database_settings))
        async with Database.open(told.database_url) as database, database.transaction() as session:
            day_ago = SystemClock().now() - timedelta(days=1)
            await session.execute(
                update(RecordingRow)
                .where(RecordingRow.recording_id == due.recording_id)
                .values(touched_at=day_ago)
            )
        async with asyncio.timeout(20):
            while any(due.recording_id in key for key in bucket.objects()):
                await asyncio.sleep(0.05)
        left = set(bucket.objects())
        assert left >= {key for key in before if due.recording_id not in key}
        assert len(left) == 3
        error = await media.refused(media.get(due.recording_id))
        assert error.reason == "RECORDING_NOT_FOUND"
        assert (await media.get(young.recording_id)).state == pb.RECORDING_STATE_READY


class TestLinks:
    @pytest.fixture
    async def recording(self, media: Media) -> pb.Recording:
        return await media.recorded(tone(16_000, 0.5), tone(24_000, 0.5, 300))

    @staticmethod
    async def link(media: Media, recording: pb.Recording, seconds: int = 60, **who: str) -> str:
        request = pb.CreateDownloadUrlRequest(
            recording_id=recording.recording_id,
            track=LEARNER,
            encoding=FLAC,
            ttl=Duration(seconds=seconds),
        )
        response = await media.ask("CreateDownloadUrl", request, **who)
        assert isinstance(response, pb.CreateDownloadUrlResponse)
        return response.url

    @staticmethod
    async def fetched(url: str) -> httpx.Response:
        async with httpx.AsyncClient() as browser:
            return await browser.get(url)

    async def test_it_plays_without_a_token(self, media: Media, recording: pb.Recording) -> None:
        answer = await self.fetched(await self.link(media, recording))
        assert answer.status_code == 200
        assert sha256(decoded(answer.content)[0]) == recording.learner_sha256

    async def test_what_is_changed_in_it_is_refused(
        self, media: Media, recording: pb.Recording
    ) -> None:
        url = await self.link(media, recording)
        other = await media.recorded(tone(16_000, 0.2), tone(24_000, 0.2))
        for before, after in (
            ("X-Amz-Expires=60", "X-Amz-Expires=6000"),
            ("learner.flac", "tutor.flac"),
            (recording.recording_id, other.recording_id),
            (url[-8:], "00000000"),
            (f"?{urlsplit(url).query}", ""),
        ):
            assert before in url
            assert (await self.fetched(url.replace(before, after))).status_code in REFUSED, before

    async def test_it_opens_nothing_but_reading(
        self, media: Media, recording: pb.Recording, bucket: Bucket
    ) -> None:
        url = await self.link(media, recording)
        before = bucket.objects()
        async with httpx.AsyncClient() as browser:
            assert (await browser.put(url, content=b"x")).status_code in REFUSED
            assert (await browser.delete(url)).status_code in REFUSED
        assert bucket.objects() == before

    async def test_it_ends_with_its_time(self, media: Media, recording: pb.Recording) -> None:
        url = await self.link(media, recording, seconds=1)
        async with asyncio.timeout(20):
            while (await self.fetched(url)).status_code not in REFUSED:
                await asyncio.sleep(0.1)

    async def test_nobody_gets_one_to_anothers_recording(
        self, media: Media, recording: pb.Recording
    ) -> None:
        error = await media.refused(self.link(media, recording, user_id=new_id()))
        assert (error.code, error.reason) == (Code.NOT_FOUND, "RECORDING_NOT_FOUND")

    @pytest.mark.parametrize("ended_by", ["recording", "account"])
    async def test_it_leads_nowhere_when_the_recording_or_its_owner_is_gone(
        self, media: Media, recording: pb.Recording, ended_by: str
    ) -> None:
        url = await self.link(media, recording)
        if ended_by == "recording":
            request = pb.DeleteRecordingRequest(recording_id=recording.recording_id)
            await media.ask("DeleteRecording", request)
        else:
            await media.stub.EraseUser(
                pb.EraseUserRequest(user_id=media.user_id), metadata=media.callers.service("user")
            )
        assert (await self.fetched(url)).status_code == 404


class TestEncryptedByParley:
    OLD, NEW = new_key("2025"), new_key("2026")

    async def test_the_bucket_holds_nothing_that_can_be_heard(
        self, serve_media: Serve, bucket: Bucket
    ) -> None:
        voice, other = tone(16_000, 3.0), tone(24_000, 3.0)
        async with serve_media(**bucket.settings, sealing_keys=self.OLD) as media:
            recording = await media.recorded(voice, other)
            kept = bucket.objects()
            assert len(kept) == 3
            for name, data in kept.items():
                assert b"fLaC" not in data
                assert name.endswith(KEY_NAME) or len(data) > 50_000
                # As evenly spread as noise: nothing of a tone's shape is left.
                if len(data) > 50_000:
                    counts = np.bincount(np.frombuffer(data, np.uint8), minlength=256)
                    assert counts.max() < 2 * counts.mean()
            key = self.OLD.partition(":")[2].encode()
            assert all(key not in data for data in kept.values())
            got = await media.download(recording.recording_id, track=LEARNER, encoding=FLAC)
            assert sha256(decoded(got.data)[0]) == sha256(voice)
            part = await media.download(
                recording.recording_id, track=LEARNER, encoding=FLAC, offset=65_000, length=2_000
            )
            assert part.data == got.data[65_000:67_000]
            cut = await media.download(
                recording.recording_id, track=TUTOR, encoding=WAV, from_ms=1_000, to_ms=2_000
            )
            assert np.array_equal(decoded(cut.data)[0], other[24_000:48_000])

    async def test_parts_that_arrive_while_the_talk_runs_are_sealed_too(
        self, serve_media: Serve, bucket: Bucket, voice: Samples, completed: Completed
    ) -> None:
        settings = bucket.settings | {"live_upload_seconds": 0.02, "sealing_keys": self.OLD}
        async with serve_media(**settings) as media:
            key, taping = await half_said(media, bucket, voice)
            recording = await taping.finish()
            assert recording.tutor_sha256 == sha256(voice)
            assert completed == [(key.removeprefix(PREFIX), [1, 2, 3])]
            assert b"fLaC" not in bucket.objects()[key]
            got = await media.download(recording.recording_id, track=TUTOR, encoding=FLAC)
            assert sha256(decoded(got.data)[0]) == sha256(voice)

    async def test_there_are_no_links_to_it(self, serve_media: Serve, bucket: Bucket) -> None:
        async with serve_media(**bucket.settings, sealing_keys=self.OLD) as media:
            recording = await media.recorded(tone(16_000, 0.2), tone(24_000, 0.2))
            request = pb.CreateDownloadUrlRequest(recording_id=recording.recording_id)
            error = await media.refused(media.ask("CreateDownloadUrl", request))
            assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "LINKS_NOT_SUPPORTED")

    async def test_without_its_key_it_is_refused_and_with_it_played_again(
        self, serve_media: Serve, bucket: Bucket
    ) -> None:
        voice = tone(16_000, 0.5)
        async with serve_media(**bucket.settings, sealing_keys=self.OLD) as media:
            recording, owner = await media.recorded(voice, voice[:24]), media.user_id
        wrong = new_key("2025")
        for keys in (None, self.NEW, wrong):
            async with serve_media(**bucket.settings, sealing_keys=keys) as media:
                media.user_id = owner
                for encoding in (FLAC, MP3):
                    error = await media.refused(
                        media.download(recording.recording_id, track=LEARNER, encoding=encoding)
                    )
                    assert (error.code, error.reason) == (
                        Code.FAILED_PRECONDITION,
                        "RECORDING_SEALED",
                    )
                request = pb.CreateDownloadUrlRequest(
                    recording_id=recording.recording_id, track=LEARNER, encoding=FLAC
                )
                error = await media.refused(media.ask("CreateDownloadUrl", request))
                # Without any key there would be links, and this one led to noise.
                assert error.reason == ("LINKS_NOT_SUPPORTED" if keys else "RECORDING_SEALED")
        async with serve_media(**bucket.settings, sealing_keys=f"{self.NEW},{self.OLD}") as media:
            media.user_id = owner
            got = await media.download(recording.recording_id, track=LEARNER, encoding=FLAC)
            assert recording.learner_sha256 == sha256(decoded(got.data)[0])

    async def test_what_was_changed_in_the_bucket_is_refused(
        self, serve_media: Serve, bucket: Bucket
    ) -> None:
        async with serve_media(**bucket.settings, sealing_keys=self.OLD) as media:
            recording = await media.recorded(tone(16_000, 3.0), tone(24_000, 0.1))
            key = f"{PREFIX}recordings/{recording.recording_id}/learner.flac"
            data = bytearray(bucket.objects()[key])
            data[70_000] ^= 1
            client(bucket.endpoint).put_object(Bucket=bucket.name, Key=key, Body=bytes(data))
            error = await media.refused(
                media.download(recording.recording_id, track=LEARNER, encoding=FLAC)
            )
            assert error.reason == "RECORDING_SEALED"

    async def test_another_key_opens_all_without_any_being_written_anew(
        self,
        serve_media: Serve,
        bucket: Bucket,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        voice = tone(16_000, 0.5)
        async with serve_media(**bucket.settings, sealing_keys=self.OLD) as media:
            recordings = [await media.recorded(voice, voice) for _ in range(2)]
            owner = media.user_id
        before = bucket.objects()
        capsys.readouterr()
        for name, value in bucket.environment.items():
            monkeypatch.setenv(f"PARLEY_{name.upper()}", value)
        monkeypatch.setenv("PARLEY_MEDIA_SEALING_KEYS", f"{self.NEW},{self.OLD}")
        assert await asyncio.to_thread(commands.main, ["keys", "list"]) == 0
        assert await asyncio.to_thread(commands.main, ["keys", "rewrap"]) == 0
        assert await asyncio.to_thread(commands.main, ["keys", "rewrap"]) == 0
        assert await asyncio.to_thread(commands.main, ["keys", "list"]) == 0
        total = f"2 encrypted by Parley in {bucket.settings['store_url']}"
        assert capsys.readouterr().out.splitlines() == [
            "2025  2",
            total,
            "2 wrapped anew, 0 already were",
            "0 wrapped anew, 2 already were",
            "2026  2",
            total,
        ]
        after = bucket.objects()
        changed = {name for name, data in after.items() if before[name] != data}
        assert changed == {name for name in before if name.endswith(KEY_NAME)}
        async with serve_media(**bucket.settings, sealing_keys=self.NEW) as media:
            media.user_id = owner
            for each in recordings:
                got = await media.download(each.recording_id, track=LEARNER, encoding=FLAC)
                assert sha256(decoded(got.data)[0]) == sha256(voice)

    async def test_a_recording_from_before_there_were_keys_still_plays(
        self, serve_media: Serve, bucket: Bucket
    ) -> None:
        voice = tone(16_000, 0.5)
        async with serve_media(**bucket.settings) as media:
            recording, owner = await media.recorded(voice, voice), media.user_id
        async with serve_media(**bucket.settings, sealing_keys=self.NEW) as media:
            media.user_id = owner
            got = await media.download(recording.recording_id, track=LEARNER, encoding=FLAC)
            assert sha256(decoded(got.data)[0]) == sha256(voice)

    async def test_a_local_folder_is_encrypted_as_well(self, serve_media: Serve) -> None:
        voice = tone(16_000, 0.5)
        async with serve_media(sealing_keys=self.OLD) as media:
            recording = await media.recorded(voice, voice)
            kept = [path.read_bytes() for path in media.files("objects")]
            assert len(kept) == 3
            assert all(b"fLaC" not in data for data in kept)
            got = await media.download(recording.recording_id, track=LEARNER, encoding=FLAC)
            assert sha256(decoded(got.data)[0]) == sha256(voice)


async def test_housekeeping_by_hand_tells_what_it_did(
    serve_media: Serve,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with serve_media(**bucket.settings) as media:
        recording = await media.recorded(tone(16_000, 0.2), tone(24_000, 0.2))
        request = pb.DeleteRecordingRequest(recording_id=recording.recording_id)
        await media.ask("DeleteRecording", request)
    key = f"{PREFIX}recordings/{recording.recording_id}/learner.flac"
    client(bucket.endpoint).put_object(Bucket=bucket.name, Key=key, Body=b"x")
    for name, value in bucket.environment.items():
        monkeypatch.setenv(f"PARLEY_{name.upper()}", value)
    assert await asyncio.to_thread(commands.main, ["housekeeping"]) == 0
    said = capsys.readouterr().out
    assert "recordings  0" in said
    assert "leftovers  1" in said
    assert bucket.objects() == {}
