"""Why Parley does not start, in words for the person who typed the command."""

from __future__ import annotations


class LauncherError(Exception):
    """Parley cannot start or go on; the message says why and what to do."""

    exit_code = 1


class WrongSettingsError(LauncherError):
    """Settings are wrong; the message lists every one of them."""

    exit_code = 2


class PortsTakenError(LauncherError):
    """Ports are in use; the message names each, who holds it and the setting that moves it."""

    exit_code = 3


class AlreadyRunningError(LauncherError):
    """Another launcher runs on the same data folder."""

    exit_code = 4


class NotReadyError(LauncherError):
    """A program did not become ready; the message holds the end of its log."""

    exit_code = 5
