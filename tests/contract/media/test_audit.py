"""Who took a recording away or deleted it is in the trail, under ids."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from parley.media.v1 import media_pb2 as pb
from parley.types.v1 import audio_pb2
from services.common.ids import new_id
from services.media.adapters.objects import Objects
from tests.contract.media.conftest import TUTOR, Media, tone


def trail(media: Media) -> list[dict[str, Any]]:
    (file,) = (media.data_dir / "audit" / "media").iterdir()
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def noted(media: Media, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(each.get(name) for name in ("event", *names)) for each in trail(media)]


async def test_downloads_and_deletions_are_noted(media: Media):
    mine, kept = [
        (await media.recorded(tone(16_000, 0.2), tone(24_000, 0.2))).recording_id for _ in range(2)
    ]
    identity = media.callers.user(media.user_id)
    for offset in (0, 100, 200):
        ranged = pb.DownloadRecordingRequest(
            recording_id=mine,
            track=TUTOR,
            encoding=audio_pb2.AUDIO_ENCODING_FLAC,
            offset=offset,
            length=100,
        )
        assert [each async for each in media.stub.DownloadRecording(ranged, metadata=identity)]
    for _ in range(2):
        await media.ask("DeleteRecording", pb.DeleteRecordingRequest(recording_id=mine))
    await media.stub.DeleteRecording(
        pb.DeleteRecordingRequest(recording_id=kept), metadata=media.callers.service("history")
    )
    who = media.user_id
    assert noted(media, "user_id", "recording_id", "file", "service") == [
        ("recording_downloaded", who, mine, "tutor.flac", None),
        ("recording_deleted", who, mine, None, None),
        ("recording_deleted", None, kept, None, "history"),
    ]
    assert all(each["session_id"] and each["request_id"] for each in trail(media)[:2])


async def test_a_link_is_noted_without_the_link(media: Media, monkeypatch: pytest.MonkeyPatch):
    async def signed(self: Objects, key: str, lifetime: timedelta) -> str:
        return f"https://bucket.example/{key}?signature=secret"

    monkeypatch.setattr(Objects, "require_links", lambda self: None)
    monkeypatch.setattr(Objects, "link", signed)
    recording_id = (await media.recorded(tone(16_000, 0.2), tone(24_000, 0.2))).recording_id
    request = pb.CreateDownloadUrlRequest(
        recording_id=recording_id, track=TUTOR, encoding=audio_pb2.AUDIO_ENCODING_FLAC
    )
    answer = await media.ask("CreateDownloadUrl", request)
    assert "secret" in answer.url
    (line,) = trail(media)
    assert (line["event"], line["recording_id"]) == ("download_link_made", recording_id)
    assert datetime.fromisoformat(line["until"]).timestamp() == answer.expires_at.seconds
    assert "secret" not in repr(line)


async def test_who_asks_for_another_users_recording_is_noted(media: Media):
    recording_id = (await media.recorded(tone(16_000, 0.2), tone(24_000, 0.2))).recording_id
    stranger = new_id()
    delete = pb.DeleteRecordingRequest(recording_id=recording_id)
    for call in (
        media.get(recording_id, stranger),
        media.ask("DeleteRecording", delete, stranger),
        media.get(new_id(), stranger),
    ):
        assert (await media.refused(call)).reason == "RECORDING_NOT_FOUND"
    refused = ("anothers_recording_refused", stranger, recording_id)
    # Each of these calls came with a sign-in of its own.
    assert noted(media, "user_id", "recording_id") == [refused, refused]


async def test_what_is_erased_with_an_account_is_noted_with_who_asked(media: Media):
    await media.recorded(tone(16_000, 0.2), tone(24_000, 0.2))
    for _ in range(2):
        await media.stub.EraseUser(
            pb.EraseUserRequest(user_id=media.user_id), metadata=media.callers.service("user")
        )
    erased = ("user_erased", media.user_id, 1, "user")
    assert noted(media, "user_id", "recordings", "service") == [erased]
