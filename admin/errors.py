"""Why a command of the host's could not do what it was asked, and with what exit status it ends."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell sees. Documented in docs/operations.md; a number never changes its meaning."""

    OK = 0
    WRONG = 1
    USAGE = 2
    NOTHING = 3
    INCOMPLETE = 4
    ABORTED = 130


class AdminError(Exception):
    """An expected failure: one sentence that says what is wrong, and what to do about it."""

    exit_code = ExitCode.WRONG

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


class WrongUseError(AdminError):
    """The command, or the settings that it is run with, make no sense."""

    exit_code = ExitCode.USAGE


class NothingThereError(AdminError):
    """There is no Parley where the settings say, or nothing in it."""

    exit_code = ExitCode.NOTHING


class DamagedBackupError(AdminError):
    """A backup is not what was written: nothing of it was restored."""


class UnfitBackupError(AdminError):
    """A backup is whole, and cannot be restored here or by this Parley."""
