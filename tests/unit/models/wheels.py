"""Tiny wheels, manifests that name them, and a registry that hands them out."""

import hashlib
import shutil
import threading
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from parley_models.errors import SourceError
from parley_models.manifest import Manifest, Package, parse_manifest

NOISE = bytes(range(256)) * 40
"""Some content that is not all alike."""


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_wheel(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


class Registry:
    """Stands in for pip: copies wheels from a folder; counts; fails where told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.downloads: list[str] = []
        self.broken: set[str] = set()
        self._lock = threading.Lock()

    def add(self, name: str, members: Mapping[str, bytes]) -> str:
        """Publishes a package; gives the manifest's entry for it."""
        wheel = make_wheel(self.folder / f"{name}.whl", members)
        data = wheel.read_bytes()
        return f'[package.{name}]\nversion = "1.0"\nsha256 = "{sha(data)}"\nbytes = {len(data)}\n'

    def __call__(self, package: Package, folder: Path, on_total: Callable[[int], None], /) -> Path:
        with self._lock:
            self.downloads.append(package.name)
        if package.name in self.broken:
            raise SourceError(f"no {package.name} today")
        folder.mkdir(parents=True, exist_ok=True)
        on_total(package.bytes // 2)
        return Path(shutil.copy(self.folder / f"{package.name}.whl", folder))


def file_entry(
    path: str, body: bytes, hub: str | None = None, parts: Mapping[tuple[str, str], bytes] = {}
) -> str:
    """A `[[model.file]]`; `parts` maps (package, member) to content."""
    listed = "".join(
        f'  {{ package = "{p}", member = "{m}", sha256 = "{sha(b)}", bytes = {len(b)} }},\n'
        for (p, m), b in parts.items()
    )
    return (
        f'[[model.file]]\npath = "{path}"\nsha256 = "{sha(body)}"\nbytes = {len(body)}\n'
        + (f'hub = "{hub}"\n' if hub else "")
        + (f"parts = [\n{listed}]\n" if listed else "")
    )


def model_entry(name: str, *files: str, extra: str = "") -> str:
    """A `[[model]]` with its files."""
    return (
        f'[[model]]\nname = "{name}"\nrole = "vad"\ntitle = "t"\nlicence = "MIT"\n'
        f'upstream = "https://example.org"\n{extra}\n' + "".join(files)
    )


def manifest_of(*entries: str) -> Manifest:
    return parse_manifest("schema = 1\n" + "\n".join(entries))
