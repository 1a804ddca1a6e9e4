"""A store whose objects Parley encrypts: whole, in stretches, in parts, with keys that change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.common.errors import FailedPrecondition
from services.media.adapters.objects import Objects
from services.media.adapters.rewrapping import count_by_key, rewrap
from services.media.adapters.sealed_chunks import CHUNK_BYTES
from services.media.adapters.sealed_objects import SealedObjects
from services.media.adapters.sealed_parts import SealedParts
from services.media.adapters.sealing_keys import KEY_NAME, SealingKeys, new_key
from services.media.ports import UploadGoneError
from tests.unit.media.conftest import MemoryObjects, MemoryParts

KEY = "recordings/a/learner.flac"
OLD, NEW = new_key("old"), new_key("new")


def at(folder: Path, keys: str = OLD) -> SealedObjects:
    return SealedObjects(Objects.at((folder / "store").as_uri()), SealingKeys.parse(keys))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3 * CHUNK_BYTES + 77))
    return path


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A file that begins as an original does."""
    path = tmp_path / "original"
    path.write_bytes(b"fLaC" + os.urandom(2 * CHUNK_BYTES))
    return path


def kept(folder: Path) -> dict[str, bytes]:
    found = (folder / "store").rglob("*")
    return {path.name: path.read_bytes() for path in found if path.is_file()}


async def test_what_is_put_is_read_back_and_lies_there_sealed(tmp_path: Path, file: Path) -> None:
    objects, data = at(tmp_path), file.read_bytes()
    await objects.put(KEY, file)
    assert set(kept(tmp_path)) == {"learner.flac", KEY_NAME}
    assert data[1_000:1_100] not in kept(tmp_path)["learner.flac"]
    for offset, length in ((0, len(data)), (65_530, 20), (len(data) - 5, 5), (0, 10**9)):
        assert await objects.read(KEY, offset, length) == data[offset : offset + length]
    with at(tmp_path).open(KEY) as reader:
        assert reader.read() == data
        reader.seek(70_000)
        assert reader.read(10) == data[70_000:70_010]
        assert reader.seek(-4, os.SEEK_END) == len(data) - 4
        assert reader.read() == data[-4:]


async def test_a_large_file_is_sealed_as_it_goes(tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(os.urandom(1024) * 6 * 1024)
    await at(tmp_path).put(KEY, large)
    with at(tmp_path).open(KEY) as reader:
        assert reader.read() == large.read_bytes()


async def test_objects_of_a_recording_share_a_key_and_no_two_recordings_do(
    tmp_path: Path, file: Path
) -> None:
    objects = at(tmp_path)
    await objects.put(KEY, file)
    one = kept(tmp_path)[KEY_NAME]
    await at(tmp_path).put("recordings/a/tutor.flac", file)
    assert kept(tmp_path)[KEY_NAME] == one
    await objects.put("recordings/b/learner.flac", file)
    other = (tmp_path / "store/recordings/b" / KEY_NAME).read_bytes()
    # Laid beside another recording, a key opens nothing.
    (tmp_path / "store/recordings/a" / KEY_NAME).write_bytes(other)
    with pytest.raises(FailedPrecondition, match="RECORDING_SEALED"):
        await at(tmp_path).read(KEY, 0, 1)


@pytest.mark.parametrize("left", [0, 5, 27, 28, 65_564, 2 * 65_564 + 20, 2 * 65_564 + 100])
async def test_what_is_left_of_one_that_was_cut_off_is_refused(
    tmp_path: Path, file: Path, left: int
) -> None:
    await at(tmp_path).put(KEY, file)
    path = tmp_path / "store" / KEY
    path.write_bytes(path.read_bytes()[:left])
    for offset in (3 * CHUNK_BYTES, 200_000, 10**9):
        with pytest.raises(FailedPrecondition, match="RECORDING_SEALED"):
            await at(tmp_path).read(KEY, offset, 1_000)

    def read() -> None:
        with at(tmp_path).open(KEY) as reader:
            reader.read()

    with pytest.raises(FailedPrecondition, match="RECORDING_SEALED"):
        read()


async def test_what_was_stored_again_is_read_anew(tmp_path: Path, file: Path) -> None:
    objects = at(tmp_path)
    await objects.put(KEY, file)
    await objects.read(KEY, 0, 1)
    file.write_bytes(b"short")
    await objects.put(KEY, file)
    assert await objects.read(KEY, 0, 100) == b"short"


async def test_what_is_deleted_takes_its_key_along(tmp_path: Path, file: Path) -> None:
    objects = at(tmp_path)
    await objects.put(KEY, file)
    await objects.delete_below("recordings/a/")
    assert kept(tmp_path) == {}
    with pytest.raises(FileNotFoundError):
        await objects.read(KEY, 0, 1)


async def test_without_keys_nothing_is_sealed_and_nothing_sealed_is_touched(
    tmp_path: Path, file: Path
) -> None:
    await at(tmp_path).put(KEY, file)
    before = kept(tmp_path)
    plain = at(tmp_path, "")
    for attempt in (plain.put("recordings/a/tutor.flac", file), plain.read(KEY, 0, 1)):
        with pytest.raises(FailedPrecondition, match="RECORDING_SEALED"):
            await attempt
    assert kept(tmp_path) == before
    await plain.put("recordings/b/learner.flac", file)
    assert (tmp_path / "store/recordings/b/learner.flac").read_bytes() == file.read_bytes()


async def test_rewrapping_tells_what_it_could_not_open(tmp_path: Path, file: Path) -> None:
    await at(tmp_path).put(KEY, file)
    await at(tmp_path, new_key("lost")).put("recordings/b/learner.flac", file)
    plain = Objects.at((tmp_path / "store").as_uri())
    done = await rewrap(plain, SealingKeys.parse(f"{NEW},{OLD}"))
    assert (done.wrapped, done.kept, done.closed) == (1, 0, ["recordings/b"])
    counted = await count_by_key(plain, SealingKeys.parse(NEW))
    assert (counted.opened, counted.closed) == ({"new": 1}, ["recordings/b"])
    assert await at(tmp_path, NEW).read(KEY, 0, 5) == file.read_bytes()[:5]


async def test_what_lost_its_key_is_refused_until_it_is_back(tmp_path: Path, file: Path) -> None:
    await at(tmp_path).put(KEY, file)
    objects, beside = at(tmp_path), tmp_path / "store/recordings/a" / KEY_NAME
    wrapped = beside.read_bytes()
    beside.unlink()
    for offset in (0, 70_000):
        with pytest.raises(FailedPrecondition, match="RECORDING_SEALED"):
            await objects.read(KEY, offset, 1_000)
    with pytest.raises(FailedPrecondition, match="RECORDING_SEALED"):
        objects.open(KEY)
    beside.write_bytes(wrapped)
    assert await objects.read(KEY, 0, 1_000) == file.read_bytes()[:1_000]


class CountedObjects(Objects):
    """Counts how often a recording's key was asked for."""

    keys_asked_for = 0

    async def get(self, key: str) -> bytes | None:
        self.keys_asked_for += 1
        return await super().get(key)


@pytest.mark.parametrize("keys", [OLD, ""], ids=["keys", "no keys"])
async def test_what_was_never_sealed_is_asked_for_its_key_once(
    tmp_path: Path, original: Path, keys: str
) -> None:
    await at(tmp_path, "").put(KEY, original)
    store = CountedObjects.at((tmp_path / "store").as_uri())
    assert isinstance(store, CountedObjects)
    objects, data = SealedObjects(store, SealingKeys.parse(keys)), original.read_bytes()
    for offset in (1_000, 0, 100_000, len(data) - 5):
        assert await objects.read(KEY, offset, 2_000) == data[offset : offset + 2_000]
    assert store.keys_asked_for == 1
    assert await objects.read(KEY, len(data), 1) == b""


async def test_what_was_never_sealed_is_read_anew_when_another_process_seals_it(
    tmp_path: Path, file: Path, original: Path
) -> None:
    await at(tmp_path, "").put(KEY, original)
    objects = at(tmp_path)
    assert await objects.read(KEY, 0, 4) == b"fLaC"
    await at(tmp_path).put(KEY, file)
    assert await objects.read(KEY, 70_000, 1_000) == file.read_bytes()[70_000:71_000]
    assert await objects.read(KEY, 0, 1_000) == file.read_bytes()[:1_000]


async def test_what_was_never_sealed_is_refused_when_what_replaced_it_lost_its_key(
    tmp_path: Path, file: Path, original: Path
) -> None:
    await at(tmp_path, "").put(KEY, original)
    objects, beside = at(tmp_path), tmp_path / "store/recordings/a" / KEY_NAME
    await objects.read(KEY, 0, 4)
    await at(tmp_path).put(KEY, file)
    wrapped = beside.read_bytes()
    beside.unlink()
    with pytest.raises(FailedPrecondition, match="RECORDING_SEALED"):
        await objects.read(KEY, 70_000, 1_000)
    beside.write_bytes(wrapped)
    assert await objects.read(KEY, 0, 1_000) == file.read_bytes()[:1_000]


async def test_a_keys_name_alone_is_not_believed(tmp_path: Path, file: Path) -> None:
    """The host's key was made anew under the name of the one before."""
    await at(tmp_path, new_key("host")).put(KEY, file)
    before = kept(tmp_path)
    plain, another = Objects.at((tmp_path / "store").as_uri()), SealingKeys.parse(new_key("host"))
    done = await rewrap(plain, another)
    assert (done.wrapped, done.kept, done.closed) == (0, 0, ["recordings/a"])
    counted = await count_by_key(plain, another)
    assert (counted.opened, counted.closed) == ({}, ["recordings/a"])
    assert kept(tmp_path) == before


class TestParts:
    """An upload in parts, over a store that knows nothing of keys."""

    PART = 200_000

    @pytest.fixture
    def below(self) -> MemoryParts:
        return MemoryParts(MemoryObjects(), self.PART)

    def parts(self, below: MemoryParts, objects: SealedObjects) -> SealedParts:
        below.part_bytes = self.PART
        parts = SealedParts(below, objects)
        # What the store below takes, sealed: whole chunks.
        below.part_bytes = len(b"x" * parts.part_bytes) + 28 * (parts.part_bytes // CHUNK_BYTES)
        return parts

    async def test_sealed_one_after_another_they_are_one_sealed_object(
        self, tmp_path: Path, below: MemoryParts
    ) -> None:
        objects = at(tmp_path)
        parts = self.parts(below, objects)
        data = os.urandom(2 * parts.part_bytes + 5)
        upload = await parts.begin(KEY)
        cut = [data[n * parts.part_bytes :][: parts.part_bytes] for n in range(3)]
        tags = {
            number: await parts.add(KEY, upload, number, cut[number - 1], last=number == 3)
            for number in (2, 3, 1)
        }
        assert below.part_bytes >= self.PART
        await parts.complete(KEY, upload, tags)
        path = tmp_path / "store" / KEY
        path.write_bytes(below.objects.stored[KEY])
        assert await objects.read(KEY, 0, len(data)) == data

    @pytest.mark.parametrize(
        ("then", "now"), [("", OLD), (OLD, "")], ids=["sealed from now on", "no longer sealed"]
    )
    async def test_one_that_began_with_other_keys_is_given_up(
        self, tmp_path: Path, below: MemoryParts, then: str, now: str
    ) -> None:
        """Half a file sealed and half not could never be read."""
        upload = await self.parts(below, at(tmp_path, then)).begin(KEY)
        following = self.parts(below, at(tmp_path, now))
        with pytest.raises((UploadGoneError, FailedPrecondition)):
            await following.add(KEY, upload, 2, bytes(following.part_bytes), last=False)
        await following.abandon(KEY, upload)
        assert below.uploads == {}
