"""A sealed backup says nothing without its key, and nothing false with it."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from admin.backup import recordings
from admin.backup.making import make
from admin.backup.manifest import NAME
from admin.backup.restoring import Wanted, check, restore
from admin.backup.sealing import Seal, keys_in, make_key_file, sealed_size
from admin.backup.shelves import read_through
from admin.errors import AdminError, DamagedBackupError, UnfitBackupError, WrongUseError
from admin.installation import Installation
from admin.progress import showing
from services.media.adapters.sealed_chunks import CHUNK_BYTES
from services.media.adapters.sealing_keys import SealingKeys, new_key
from tests.unit.admin.parleys import SAID, Parley
from tests.unit.admin.test_manifest import signed
from tests.unit.admin.test_restore import assert_untouched, files

KEYS = SealingKeys.parse(new_key("backups"))
SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 5]


def nobody(_size: int) -> None:
    pass


@pytest.fixture
def target(installation: Any) -> Parley:
    return Parley(installation("restored"))


@pytest.fixture(scope="module")
def sealed(two_learners: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a sealed backup in a folder, to be copied."""
    place = tmp_path_factory.mktemp("sealed") / "backup"
    with showing(Console(quiet=True), quiet=True) as stages:
        parley = Installation.load({"PARLEY_DATA_DIR": str(two_learners)})
        make(parley, place, stages, keys=KEYS)
    return place


@pytest.fixture
def place(sealed: Path, tmp_path: Path) -> Path:
    """Return a sealed backup of what `parley` is, in a folder."""
    return shutil.copytree(sealed, tmp_path / "sealed")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("piece", [1000, CHUNK_BYTES, 1 << 20])
def test_a_file_of_any_size_opens_as_it_was_in_pieces_of_any_size(size: int, piece: int):
    said, made = bytes(range(251)) * (size // 251 + 1), Seal.new()
    sealed, opened = io.BytesIO(), io.BytesIO()
    length, _ = read_through(made.sealed("a", io.BytesIO(said[:size])), nobody, sealed)
    assert length == sealed_size(size) == len(sealed.getvalue())
    assert said[:size] not in sealed.getvalue() or size < 2
    taking = made.unsealed("a", length, opened)
    for at in range(0, length, piece):
        taking.write(sealed.getvalue()[at : at + piece])
    taking.finish()
    assert opened.getvalue() == said[:size]


@pytest.mark.parametrize("where", [0, CHUNK_BYTES + 40, -1])
@pytest.mark.parametrize("change", ["a byte", "an end", "a name"])
def test_what_was_changed_does_not_open(where: int, change: str):
    made, sealed = Seal.new(), io.BytesIO()
    size, _ = read_through(made.sealed("a", io.BytesIO(bytes(2 * CHUNK_BYTES))), nobody, sealed)
    data = bytearray(sealed.getvalue())
    if change == "a byte":
        data[where] ^= 1
    elif change == "an end":
        del data[size // 2 :]
    taking = made.unsealed("b" if change == "a name" else "a", len(data), io.BytesIO())
    with pytest.raises(DamagedBackupError):
        taking.write(bytes(data))
        taking.finish()


@pytest.mark.parametrize("name", ["sealed", "sealed.tar"])
def test_it_is_all_there_again_with_the_keys(
    parley: Parley, target: Parley, stages: Any, tmp_path: Path, name: str
):
    made = make(parley.installation, tmp_path / name, stages, keys=KEYS)
    assert made.missing == []
    assert check(tmp_path / name, stages) == check(tmp_path / name, stages, KEYS) == made
    restore(target.installation, tmp_path / name, stages, Wanted(keys=KEYS))
    assert target.all_rows() == parley.all_rows()
    assert files(target, "keys", "media") == files(parley, "keys", "media")


def test_nothing_in_it_can_be_read(parley: Parley, place: Path):
    secret = (parley.root / "keys" / "access" / "refresh.secret").read_bytes()
    for path in place.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for each in (SAID[:64], b"SQLite format", secret, b"0190-anna", b"PRIVATE"):
                assert each not in data, path.name


def test_what_it_is_made_of_is_never_where_it_goes(
    parley: Parley, stages: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    copy = recordings.copy_recordings
    seen: list[Path] = []

    def look(*arguments: Any) -> recordings.Copied:
        copied = copy(*arguments)
        seen.extend(each for each in (tmp_path / "there").rglob("*") if each.is_file())
        assert (parley.root / "backup.partial" / "user.sqlite3").is_file()
        return copied

    monkeypatch.setattr(recordings, "copy_recordings", look)
    (tmp_path / "there").mkdir()
    make(parley.installation, tmp_path / "there" / "b", stages, keys=KEYS)
    assert seen
    assert {each.name for each in seen} == {"learner.flac", "learner.pcm"}
    assert not any(SAID[:64] in each.read_bytes() for each in seen if each.exists())
    assert not (parley.root / "backup.partial").exists()


def test_without_a_key_parleys_own_keys_are_left_out_and_those_that_are_there_stay(
    parley: Parley, stages: Any, tmp_path: Path
):
    authority = parley.root / "tls" / "ca-key.pem"
    authority.parent.mkdir()
    authority.write_text("the authority's key")
    made = make(parley.installation, tmp_path / "bare", stages)
    assert {each.name.split("/")[0] for each in made.files} == {"db", "media"}
    before = files(parley, "keys", "media", "tls")
    restore(parley.installation, tmp_path / "bare", stages, Wanted(replace=True))
    assert files(parley, "keys", "media", "tls") == before
    made = make(parley.installation, tmp_path / "sealed", stages, keys=KEYS)
    assert {"keys/access/current.pem", "tls/ca-key.pem"} <= {each.name for each in made.files}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (None, "--key-file|sealed by the key backups"),
        (SealingKeys.parse(new_key("backups")), "another one of that name"),
        (SealingKeys.parse(new_key("others")), "the key backups, which is not in the key file"),
    ],
    ids=["none", "wrong", "another"],
)
def test_without_its_key_nothing_is_restored(
    place: Path, target: Parley, stages: Any, keys: SealingKeys | None, said: str
):
    with pytest.raises(UnfitBackupError, match=said):
        restore(target.installation, place, stages, Wanted(keys=keys))
    assert_untouched(target)


def test_an_older_key_opens_what_it_sealed(place: Path, target: Parley, stages: Any):
    both = SealingKeys({**SealingKeys.parse(new_key("newer")).keys, **KEYS.keys})
    restore(target.installation, place, stages, Wanted(keys=both))
    assert len(target.rows("user")["accounts"]) == 2


def test_a_manifest_that_somebody_else_signed_is_refused(place: Path, target: Parley, stages: Any):
    content = json.loads((place / NAME).read_bytes())
    content["deleted_since"] = ["0190-anna"]
    (place / NAME).write_bytes(signed(content))
    check(place, stages)
    for attempt in (
        lambda: check(place, stages, KEYS),
        lambda: restore(target.installation, place, stages, Wanted(keys=KEYS)),
    ):
        with pytest.raises(UnfitBackupError, match="the manifest was changed"):
            attempt()
    assert_untouched(target)


def test_what_a_later_version_adds_to_the_manifest_stays_sealed(
    parley: Parley, stages: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from admin.backup import manifest as module

    write = module.Manifest.write

    def with_more(made: Any) -> bytes:
        content = json.loads(write(made))
        return signed({**content, "mood": "good"})

    monkeypatch.setattr(module.Manifest, "write", with_more)
    make(parley.installation, tmp_path / "later", stages, keys=KEYS)
    assert b"mood" in (tmp_path / "later" / NAME).read_bytes()
    check(tmp_path / "later", stages, KEYS)


def test_recordings_sealed_in_their_store_are_sealed_anew_where_they_go(
    installation: Any, parley: Parley, stages: Any, tmp_path: Path
):
    settings = {"PARLEY_MEDIA_SEALING_KEYS": new_key("store")}
    there = Parley(installation("there", settings))
    make(parley.installation, tmp_path / "first", stages)
    restore(there.installation, tmp_path / "first", stages, Wanted())
    assert SAID[:64] not in there.original("rec-anna").read_bytes()
    assert there.original("rec-anna").with_name("key.json").exists()
    made = make(there.installation, tmp_path / "second", stages)
    assert made.missing == []
    back = Parley(installation("back"))
    restore(back.installation, tmp_path / "second", stages, Wanted())
    assert back.original("rec-anna").read_bytes() == SAID


@pytest.fixture
def bucket(installation: Any, parley: Parley, stages: Any, tmp_path: Path) -> Any:
    """Return a store elsewhere with sealed recordings, a backup of them, and what restores it."""
    store, key = tmp_path / "bucket", new_key("host")
    make(parley.installation, tmp_path / "first", stages)

    def named(name: str, key: str = key) -> Installation:
        settings = {"PARLEY_MEDIA_STORE_URL": store.as_uri(), "PARLEY_MEDIA_SEALING_KEYS": key}
        return installation(name, settings)

    restore(named("there"), tmp_path / "first", stages, Wanted())
    make(named("there"), tmp_path / "second", stages)
    return store / "recordings/rec-anna", tmp_path / "second", named


def test_a_restore_mends_a_damaged_key_in_the_store(bucket: Any, stages: Any, tmp_path: Path):
    folder, place, named = bucket
    (folder / "key.json").write_bytes(b"{")
    (folder / "tutor.flac").write_bytes(b"of another state")
    there = named("there")
    restore(there, place, stages, Wanted(replace=True))
    assert not there.folder.restoring.exists()
    assert sorted(each.name for each in folder.iterdir()) == ["key.json", "learner.flac"]
    assert make(there, tmp_path / "third", stages).damaged == []


def test_a_restore_mends_a_store_whose_key_the_host_has_lost(
    bucket: Any, stages: Any, tmp_path: Path
):
    """On a new machine, as after a disaster: the bucket alone is left."""
    _, place, named = bucket
    there = named("new", new_key("new"))
    restore(there, place, stages, Wanted())
    assert not there.folder.restoring.exists()
    assert make(there, tmp_path / "third", stages).damaged == []


def test_a_recording_that_cannot_be_put_back_is_named(bucket: Any, stages: Any):
    folder, place, named = bucket
    shutil.rmtree(folder)
    folder.write_bytes(b"no folder")
    with pytest.raises(AdminError, match="recording rec-anna cannot be put") as caught:
        restore(named("there"), place, stages, Wanted(replace=True))
    assert "same command again" in caught.value.advice
    folder.unlink()
    restore(named("there"), place, stages, Wanted(replace=True))
    assert (folder / "learner.flac").exists()


def test_a_store_whose_key_is_not_there_leaves_no_backup(
    installation: Any, parley: Parley, stages: Any, tmp_path: Path
):
    """A backup without what it could not read would pass for a whole one."""
    settings = {"PARLEY_MEDIA_SEALING_KEYS": new_key("store")}
    make(parley.installation, tmp_path / "first", stages)
    restore(installation("there", settings), tmp_path / "first", stages, Wanted())
    other = {"PARLEY_MEDIA_SEALING_KEYS": new_key("store")}
    with pytest.raises(AdminError, match="no key of this installation opens it"):
        make(installation("there", other), tmp_path / "second", stages)
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"no key", b"a:c2hvcnQ=", b"\xff\xfe\x00", b"a:" + b"A" * 44, None]
)
def test_what_is_no_key_file_is_told(tmp_path: Path, content: bytes | None):
    file = tmp_path / "backup.key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(WrongUseError) as caught:
        keys_in(file)
    assert "c2hvcnQ" not in str(caught.value)


def test_a_key_file_is_its_owners_alone_and_never_overwritten(tmp_path: Path):
    file = tmp_path / "backup.key"
    make_key_file(file, "2026-11")
    assert file.stat().st_mode & 0o077 == 0
    kept = file.read_bytes()
    assert keys_in(file).current == "2026-11"
    with pytest.raises(AdminError, match="there already"):
        make_key_file(file, "2026-12")
    assert file.read_bytes() == kept
    with pytest.raises(WrongUseError, match="cannot be named"):
        make_key_file(tmp_path / "other", "a b")
    assert not (tmp_path / "other").exists()
