"""A backup holds everything, whatever happens while it is taken, and nothing that dangles."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from admin.backup import databases, making, recordings
from admin.backup.making import make
from admin.backup.manifest import Manifest
from admin.backup.restoring import check
from admin.backup.sources import opened
from admin.errors import AdminError, NothingThereError
from admin.schema import connected
from services.media.adapters.objects import Objects
from services.media.adapters.sealed_objects import SealedObjects
from services.media.adapters.sealing_keys import KEY_NAME, SealingKeys, new_key
from services.media.adapters.tables import RecordingRow
from services.user.adapters.tables import ACCOUNTS
from tests.unit.admin.parleys import ANNA, BEN, MORNING, SAID, Parley, account, all_rows, record


def copied_rows(parley: Parley, place: Path, service: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a service as a backup in a folder has them."""
    from admin.backup.databases import url_of

    with connected(url_of(place / "db" / f"{service}.sqlite3")) as connection:
        return all_rows(connection, parley.installation.keeper(service).metadata)


def names(manifest: Manifest) -> set[str]:
    return {each.name for each in manifest.files}


def test_where_nothing_is_there_is_nothing_to_back_up(installation, stages, tmp_path: Path):
    with pytest.raises(NothingThereError):
        make(installation(), tmp_path / "b", stages)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["b", "b.tar"])
def test_everything_is_in_it(parley: Parley, stages, tmp_path: Path, place: str):
    trail = parley.root / "audit" / "user" / "2026-01-01.jsonl"
    trail.parent.mkdir(parents=True)
    trail.write_text('{"event": "signed_in"}\n')
    made = make(parley.installation, tmp_path / place, stages)
    assert names(made) == {
        *(f"db/{each}.sqlite3" for each in ("user", "conversation", "history", "media")),
        "audit/user/2026-01-01.jsonl",
        "media/objects/recordings/rec-anna/learner.flac",
        "media/objects/recordings/rec-ben/learner.flac",
        "media/spool/rec-live/learner.pcm",
    }
    assert made.services["user"].rows["accounts"] == 2
    assert made.missing == []
    assert check(tmp_path / place, stages) == made


def test_it_can_be_without_the_recordings(parley: Parley, stages, tmp_path: Path):
    made = make(parley.installation, tmp_path / "b", stages, with_recordings=False)
    assert not any(each.startswith("media") for each in names(made))
    assert not made.recordings


def test_it_changes_nothing(parley: Parley, stages, tmp_path: Path):
    before = parley.all_rows()
    make(parley.installation, tmp_path / "b", stages)
    assert parley.all_rows() == before


def test_a_key_keeps_its_time_of_change(parley: Parley, stages, tmp_path: Path):
    """The time says how long ago a key was retired: a fresh one would verify for ever."""
    key = parley.root / "keys" / "access" / "current.pem"
    os.utime(key, (1_700_000_000, 1_700_000_000.25))
    made = make(
        parley.installation, tmp_path / "b", stages, keys=SealingKeys.parse(new_key("backups"))
    )
    (entry,) = (each for each in made.files if each.name.endswith("current.pem"))
    assert entry.changed_at == 1_700_000_000.25


def test_a_recording_that_the_store_lost_is_told_of(parley: Parley, stages, tmp_path: Path):
    parley.original("rec-anna").unlink()
    made = make(parley.installation, tmp_path / "b", stages)
    assert made.missing == ["rec-anna"]
    assert "media/objects/recordings/rec-ben/learner.flac" in names(made)


def test_a_recording_of_another_size_than_listed_is_told_of(parley: Parley, stages, tmp_path: Path):
    parley.original("rec-anna").write_bytes(SAID[:-1])
    assert make(parley.installation, tmp_path / "b", stages).missing == ["rec-anna"]


def cut_to_nothing(original: Path) -> None:
    original.write_bytes(b"")


def cut_off(original: Path) -> None:
    original.write_bytes(original.read_bytes()[:-1])


def change(original: Path) -> None:
    data = bytearray(original.read_bytes())
    data[len(data) // 2] ^= 1
    original.write_bytes(data)


def lose_the_key(original: Path) -> None:
    original.with_name(KEY_NAME).unlink()


def break_the_key(original: Path) -> None:
    original.with_name(KEY_NAME).write_bytes(b"{")


def seal(parley: Parley, host_key: str, *recording_ids: str) -> None:
    """Have the store keep recordings as Parley does where the host gives it a key."""
    store = Objects.at((parley.root / "media" / "objects").as_uri())
    objects = SealedObjects(store, SealingKeys.parse(host_key))
    for each in recording_ids:
        plain = parley.original(each).rename(parley.root / each)
        asyncio.run(objects.put(f"recordings/{each}/learner.flac", plain))


@pytest.mark.parametrize("place", ["b", "b.tar"])
@pytest.mark.parametrize("harm", [cut_to_nothing, cut_off, change, lose_the_key, break_the_key])
def test_a_recording_whose_seal_is_broken_is_told_of_and_no_other_is_left_out(
    parley: Parley,
    installation,
    stages,
    tmp_path: Path,
    harm: Callable[[Path], None],
    place: str,
):
    key = new_key("host")
    seal(parley, key, "rec-anna", "rec-ben")
    harm(parley.original("rec-anna"))
    sealing = installation("data", {"PARLEY_MEDIA_SEALING_KEYS": key})
    made = make(sealing, tmp_path / place, stages)
    assert (made.missing, made.damaged) == ([], ["rec-anna"])
    copied = {each for each in names(made) if each.startswith("media/objects")}
    assert copied == {"media/objects/recordings/rec-ben/learner.flac"}
    assert check(tmp_path / place, stages).damaged == ["rec-anna"]


def test_settings_without_the_key_of_the_recordings_make_no_backup(
    parley: Parley, installation, stages, tmp_path: Path
):
    seal(parley, new_key("lost"), "rec-anna", "rec-ben")
    sealing = installation("data", {"PARLEY_MEDIA_SEALING_KEYS": new_key("host")})
    with pytest.raises(AdminError, match="cannot be read from its store"):
        make(sealing, tmp_path / "b", stages)
    assert not (tmp_path / "b").exists()


def test_a_recording_deleted_meanwhile_is_deleted_in_the_copy(
    parley: Parley, stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def delete_first(*arguments: Any) -> recordings.Copied:
        where = RecordingRow.recording_id == "rec-anna"
        parley.change("media", RecordingRow.__table__, where, deleted_at=MORNING)
        parley.original("rec-anna").unlink()
        return copy(*arguments)

    copy = recordings.copy_recordings
    monkeypatch.setattr(recordings, "copy_recordings", delete_first)
    made = make(parley.installation, tmp_path / "b", stages)
    assert made.missing == []
    (row,) = (
        each
        for each in copied_rows(parley, tmp_path / "b", "media")["recordings"]
        if each["recording_id"] == "rec-anna"
    )
    assert (row["deleted_at"], row["waveform"]) == (MORNING, b"")


def test_a_recording_completed_meanwhile_is_not_lost(
    parley: Parley, stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """By the list it was still being made, and its spool was gone when its turn came."""

    def complete_first(*arguments: Any) -> recordings.Copied:
        for file in parley.spool("rec-live").iterdir():
            file.unlink()
        parley.spool("rec-live").rmdir()
        return copy(*arguments)

    copy = recordings.copy_recordings
    monkeypatch.setattr(recordings, "copy_recordings", complete_first)
    make(parley.installation, tmp_path / "b", stages)
    spooled = tmp_path / "b" / "media" / "spool" / "rec-live" / "learner.pcm"
    assert spooled.read_bytes() == b"\x01\x02" * 500


def test_a_recording_that_went_on_meanwhile_is_copied_as_far_as_it_got(
    parley: Parley, stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def go_on(*arguments: Any) -> recordings.Copied:
        with (parley.spool("rec-live") / "learner.pcm").open("ab") as file:
            file.write(b"\x03\x04")
        return copy(*arguments)

    copy = recordings.copy_recordings
    monkeypatch.setattr(recordings, "copy_recordings", go_on)
    make(parley.installation, tmp_path / "b", stages)
    spooled = tmp_path / "b" / "media" / "spool" / "rec-live" / "learner.pcm"
    assert spooled.read_bytes() == b"\x01\x02" * 500 + b"\x03\x04"


def test_an_account_deleted_meanwhile_is_noted(
    parley: Parley, stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def delete_first(*arguments: Any) -> recordings.Copied:
        with connected(parley.installation.keeper("user").url) as connection:
            connection.execute(ACCOUNTS.delete().where(ACCOUNTS.c.user_id == BEN))
            connection.commit()
        return copy(*arguments)

    copy = recordings.copy_recordings
    monkeypatch.setattr(recordings, "copy_recordings", delete_first)
    assert make(parley.installation, tmp_path / "b", stages).deleted_since == [BEN]


def test_who_tells_is_copied_before_who_is_told(
    parley: Parley, stages, tmp_path: Path, monkeypatch
):
    """An event sent between two copies is in both or in the sender's alone, never in neither."""
    order = []
    copy = databases.copy_out

    def noted(keeper: Any, *arguments: Any) -> Any:
        order.append(keeper.name)
        return copy(keeper, *arguments)

    monkeypatch.setattr(making, "copy_out", noted)
    make(parley.installation, tmp_path / "b", stages)
    assert order == ["user", "conversation", "history", "media"]


def test_a_store_that_is_away_leaves_no_backup(
    parley: Parley, installation, stages, tmp_path: Path, monkeypatch
):
    from services.common.errors import Unavailable

    class Away:
        def open(self, _key: str) -> Any:
            raise Unavailable("away", reason="STORAGE_UNAVAILABLE")

    monkeypatch.setattr(recordings, "store_of", lambda _settings: Away())
    (tmp_path / "backups").mkdir()
    with pytest.raises(AdminError, match="cannot be read"):
        make(parley.installation, tmp_path / "backups" / "b", stages)
    assert list((tmp_path / "backups").iterdir()) == []


def test_many_recordings_are_all_in_it(parley: Parley, stages, tmp_path: Path):
    for number in range(8):
        record(parley, f"rec-{number:02}", ANNA)
    with opened(_made(parley, stages, tmp_path / "b.tar")) as source:
        originals = source.manifest.below("media/objects")
        assert len(originals) == 10
        for entry in originals:
            with source.open(entry.name) as file:
                assert file.read() == SAID


def test_an_account_made_meanwhile_leaves_the_copy_of_accounts_as_it_was(
    parley: Parley, stages, tmp_path: Path, monkeypatch
):
    def register_first(*arguments: Any) -> recordings.Copied:
        parley.put("user", ACCOUNTS, account("late"))
        return copy(*arguments)

    copy = recordings.copy_recordings
    monkeypatch.setattr(recordings, "copy_recordings", register_first)
    made = make(parley.installation, tmp_path / "b", stages)
    assert made.deleted_since == []
    accounts = copied_rows(parley, tmp_path / "b", "user")["accounts"]
    assert [each["user_id"] for each in accounts] == [ANNA, BEN]


def _made(parley: Parley, stages: Any, place: Path) -> Path:
    make(parley.installation, place, stages)
    return place
