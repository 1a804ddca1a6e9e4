"""A backup is there whole or not at all, and what was changed in it is noticed."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest

from admin.backup.manifest import NAME, Entry, Manifest, Tables
from admin.backup.shelves import SizeMismatchError, new_shelf
from admin.backup.sources import opened, verify
from admin.errors import AdminError, DamagedBackupError, NothingThereError

FILES = {
    "db/user.sqlite3": b"tables" * 50_000,
    "keys/access/current.pem": b"key",
    "media/objects/a": b"",
}


def nobody(_size: int) -> None:
    pass


def manifest(files: list[Entry]) -> Manifest:
    services = {"user": Tables("0001", "SQLite", indexed=True)}
    return Manifest("1", "2026-01-01", "2026-01-02", services, files)


def written(place: Path) -> Manifest:
    with new_shelf(place, nobody) as (shelf, complete):
        made = manifest([shelf.add(name, io.BytesIO(data)) for name, data in FILES.items()])
        (shelf.scratch / "half").write_bytes(b"made on the way")
        complete(made)
    return made


def contents(place: Path) -> dict[str, bytes]:
    found = {}
    with opened(place) as source:
        for entry in source.manifest.files:
            with source.open(entry.name) as file:
                found[entry.name] = file.read()
    return found


@pytest.fixture(params=["a folder", "a file.tar"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder / request.param


def test_nothing_is_left_of_one_that_fails(place: Path):
    with pytest.raises(AdminError, match="disk"), new_shelf(place, nobody) as (shelf, _complete):
        shelf.add("db/x", io.BytesIO(b"half"))
        raise OSError(28, "the disk is full")
    assert list(place.parent.iterdir()) == []


def test_one_that_was_never_completed_is_not_there(place: Path):
    with new_shelf(place, nobody) as (shelf, _complete):
        shelf.add("db/x", io.BytesIO(b"half"))
        assert not place.exists()
    assert list(place.parent.iterdir()) == []


def test_what_a_killed_one_left_is_no_backup_and_in_nobodys_way(place: Path):
    partial = place.with_name(f"{place.name}.partial")
    (partial / "whole").mkdir(parents=True)
    (partial / "whole" / "x").write_bytes(b"somebody's speech")
    with pytest.raises((DamagedBackupError, NothingThereError)), opened(place):
        pass
    with pytest.raises(DamagedBackupError), opened(partial):
        pass
    written(place)
    assert [each.name for each in place.parent.iterdir()] == [place.name]
    assert contents(place) == FILES


def test_two_at_once_are_refused_the_second(place: Path):
    with new_shelf(place, nobody) as (_shelf, _complete):
        with pytest.raises(AdminError, match="being written"), new_shelf(place, nobody):
            pass
        assert place.with_name(f"{place.name}.partial").exists()


def test_nothing_is_overwritten(place: Path):
    written(place)
    before = contents(place)
    with pytest.raises(AdminError, match="there already"), new_shelf(place, nobody):
        pass
    assert contents(place) == before


def test_whole_it_reads_as_it_was_written_and_is_its_owners_alone(place: Path):
    umask = os.umask(0o022)
    try:
        made = written(place)
    finally:
        os.umask(umask)
    with opened(place) as source:
        assert source.manifest == made
        verify(source, nobody)
    assert contents(place) == FILES
    for each in (place, *place.rglob("*")):
        assert stat.S_IMODE(each.stat().st_mode) & 0o077 == 0, each


def test_a_file_of_another_size_than_was_said_is_not_kept(place: Path):
    with new_shelf(place, nobody) as (shelf, complete):
        with pytest.raises(SizeMismatchError):
            shelf.add("db/x", io.BytesIO(b"12345"), size=6)
        complete(manifest([shelf.add("db/x", io.BytesIO(b"123456"), size=6)]))
    assert contents(place) == {"db/x": b"123456"}


def test_there_is_none_where_nothing_is(place: Path):
    with pytest.raises(NothingThereError), opened(place):
        pass


@pytest.mark.parametrize("name", list(FILES))
def test_a_missing_file_is_noticed(tmp_path: Path, name: str):
    written(tmp_path / "b")
    (tmp_path / "b" / name).unlink()
    assert_damaged(tmp_path / "b", name)


def test_a_changed_byte_is_noticed(tmp_path: Path):
    written(tmp_path / "b")
    file = tmp_path / "b" / "db/user.sqlite3"
    data = bytearray(file.read_bytes())
    data[100_000] ^= 1
    file.write_bytes(data)
    assert_damaged(tmp_path / "b", "content was changed")


@pytest.mark.parametrize("change", [-1, 1])
def test_a_changed_length_is_noticed(tmp_path: Path, change: int):
    written(tmp_path / "b")
    file = tmp_path / "b" / "db/user.sqlite3"
    data = file.read_bytes()
    file.write_bytes(data[:-1] if change < 0 else data + b"x")
    assert_damaged(tmp_path / "b", "bytes, not")


def test_a_missing_manifest_is_no_backup(tmp_path: Path):
    written(tmp_path / "b")
    (tmp_path / "b" / NAME).unlink()
    assert_damaged(tmp_path / "b", "not a whole one")


def test_a_tar_file_cut_off_anywhere_is_refused(tmp_path: Path):
    place = tmp_path / "b.tar"
    written(place)
    data = place.read_bytes()
    manifest_at = data.rindex(NAME.encode())
    for length in (0, 1, 511, 512, 100_000, manifest_at, manifest_at + 512, manifest_at + 900):
        cut = tmp_path / f"cut-{length}.tar"
        cut.write_bytes(data[:length])
        assert_damaged(cut)


def test_a_changed_byte_of_a_tar_file_is_noticed(tmp_path: Path):
    place = tmp_path / "b.tar"
    written(place)
    data = bytearray(place.read_bytes())
    data[data.index(b"tablestables") + 1000] ^= 1
    place.write_bytes(data)
    assert_damaged(place, "content was changed")


def test_a_file_that_is_no_tar_file_is_refused(tmp_path: Path):
    (tmp_path / "b.tar").write_bytes(os.urandom(4096))
    assert_damaged(tmp_path / "b.tar")


def assert_damaged(place: Path, why: str | None = None) -> None:
    with pytest.raises(DamagedBackupError, match=why), opened(place) as source:
        verify(source, nobody)


def test_on_a_disk_that_is_not_there_nothing_is_made(tmp_path: Path):
    place = tmp_path / "mounted" / "backups" / "monday"
    with pytest.raises(AdminError, match="There is no folder") as caught:
        written(place)
    assert "mounted?" in str(caught.value.advice)
    assert list(tmp_path.iterdir()) == []
