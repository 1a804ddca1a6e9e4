"""The models folder: what is in it, where, and whether it is still what was installed.

    store = ModelStore(models_dir)
    preset = store.require("default")                 # or an error that names the command to run
    folder = store.path(preset.roles[Role.VAD])

Hardly more than reading; `fetch.py` writes. One folder a model, named as in the manifest:

    <models_dir>/<model>/<file> …  receipt.json
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path

import platformdirs

from parley_models.errors import LibraryMissingError, ModelMissingError, ModelsError
from parley_models.hashing import sha256_of
from parley_models.manifest import Kind, Manifest, Model, Preset, load_manifest
from parley_models.receipts import RECEIPT_NAME, InstalledFile, read_receipt


def default_models_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """PARLEY_MODELS_DIR, else `models` below PARLEY_DATA_DIR, else below the user's data folder."""
    if models_dir := environ.get("PARLEY_MODELS_DIR"):
        return Path(models_dir).expanduser()
    if data_dir := environ.get("PARLEY_DATA_DIR"):
        return Path(data_dir).expanduser() / "models"
    return Path(platformdirs.user_data_dir("parley")) / "models"


def fetch_command(names: Sequence[str] = (), preset: str | None = None) -> str:
    """The command line that installs these."""
    what = f"--preset {preset}" if preset else " ".join(names)
    return f"parley models fetch {what}"


class State(StrEnum):
    """How a model stands."""

    INSTALLED = "installed"
    MISSING = "missing"
    OUTDATED = "outdated"
    """Installed for another manifest, or a file has gone or changed its size."""


class Fault(StrEnum):
    """What `verify` found wrong with a file."""

    MISSING = "missing"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What `verify` says of one file. `fault` is None when it is as installed."""

    model: str
    path: str
    fault: Fault | None


class ModelStore:
    """A models folder read against a manifest. Cheap to make; keeps nothing open."""

    def __init__(self, models_dir: Path, manifest: Manifest | None = None) -> None:
        self.models_dir = models_dir
        self.manifest = manifest or load_manifest()

    def folder(self, name: str) -> Path:
        """Where the model is or would be. Raises UnknownNameError."""
        return self.models_dir / self.manifest.model(name).name

    def path(self, name: str) -> Path:
        """The folder of an installed model.

        Raises UnknownNameError, and ModelMissingError when it is not installed completely. Files
        are looked at by size, not read: `verify` reads them. A model that comes as a library has
        no folder, and asking for it is a mistake of the caller: ModelsError.
        """
        library = self.manifest.model(name).library
        if library is not None:
            raise ModelsError(f"{name} comes as the library {library.distribution}: import it.")
        if self.state(name) is not State.INSTALLED:
            raise ModelMissingError((name,), self.models_dir, fetch_command((name,)))
        return self.folder(name)

    def require(self, preset: str) -> Preset:
        """The preset, once everything in it is installed.

        Raises UnknownNameError; ModelMissingError that names every missing model and the one
        command that installs them; LibraryMissingError where a library is absent or another
        version than the manifest's.
        """
        wanted = self.manifest.preset(preset)
        missing = self.missing(wanted.model_names)
        if missing:
            raise ModelMissingError(missing, self.models_dir, fetch_command(preset=preset))
        return wanted

    def forget(self, name: str) -> None:
        """Makes an installed model count as missing, so that the next fetch checks every file.

        Nothing else is deleted. Raises UnknownNameError.
        """
        (self.folder(name) / RECEIPT_NAME).unlink(missing_ok=True)

    def missing(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of `names` that a fetch would install. Raises LibraryMissingError."""
        missing = []
        for name in names:
            model = self.manifest.model(name)
            if self.state(name) is State.INSTALLED:
                continue
            if model.library is not None:
                raise LibraryMissingError(
                    name,
                    model.library.distribution,
                    model.library.version,
                    installed_version(model.library.distribution),
                )
            missing.append(name)
        return tuple(missing)

    def state(self, name: str) -> State:
        """How the model stands, by its receipt and the sizes of its files."""
        model = self.manifest.model(name)
        if model.library is not None:
            found = installed_version(model.library.distribution)
            if found is None:
                return State.MISSING
            return State.INSTALLED if found == model.library.version else State.OUTDATED
        receipt = read_receipt(self.folder(name))
        if receipt is None:
            return State.MISSING
        expected = self._expected(model, receipt.files)
        same = receipt.fingerprint == model.fingerprint and all(
            _size(self.folder(name) / path) == file.bytes for path, file in expected.items()
        )
        return State.INSTALLED if same else State.OUTDATED

    def verify(
        self, name: str, on_bytes: Callable[[int], None] = lambda _: None
    ) -> Iterator[FileCheck]:
        """Reads every file of an installed model and compares hashes. Raises UnknownNameError.

        A model that was never installed yields one fault for each file it should have. A library
        yields nothing: its files are pip's to check.
        """
        model = self.manifest.model(name)
        if model.kind is Kind.LIBRARY:
            return
        folder = self.folder(name)
        receipt = read_receipt(folder)
        expected = self._expected(model, receipt.files if receipt else {})
        for path, file in expected.items():
            fault: Fault | None = None
            if _size(folder / path) is None:
                fault = Fault.MISSING
            elif sha256_of(folder / path, on_bytes) != file.sha256:
                fault = Fault.CHANGED
            yield FileCheck(name, path, fault)

    def _expected(
        self, model: Model, receipt_files: Mapping[str, InstalledFile]
    ) -> Mapping[str, InstalledFile]:
        """What the files must be: from the manifest where it can know, else from the receipt."""
        if model.kind is Kind.DERIVED:
            absent = InstalledFile(sha256="", bytes=-1)
            return {o.path: receipt_files.get(o.path, absent) for o in model.outputs}
        return {f.path: InstalledFile(f.sha256, f.bytes) for f in model.files}


def installed_version(distribution: str) -> str | None:
    """The version of an installed library, or None. Imports nothing of it."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
