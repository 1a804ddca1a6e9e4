"""The keys that sign access tokens: `parley admin keys`."""

from __future__ import annotations

from collections.abc import Sequence

from admin.errors import AdminError, NothingThereError
from admin.installation import Installation
from services.common.key_files import KeyFileError
from services.user.key_rotation import (
    KeyState,
    TooEarlyError,
    list_keys,
    replace_all,
    rotate,
)
from services.user.keys import CURRENT, access_folder


def listed(installation: Installation) -> Sequence[KeyState]:
    """Return the keys that verify tokens now.

    Raises:
        NothingThereError: there are none, and none are made.
        AdminError: a file is wrong or cannot be read.
    """
    _check_there_are_some(installation)
    try:
        return list_keys(installation.user.keys_dir)
    except (KeyFileError, OSError) as error:
        raise AdminError(f"The keys cannot be read: {error}") from error


def change(installation: Installation, *, compromised: bool) -> None:
    """Let the next key sign; or, after a leak, make all of them anew.

    Raises:
        NothingThereError: there are no keys to change.
        AdminError: the next key is not known everywhere yet, or a file cannot be written.
    """
    _check_there_are_some(installation)
    settings = installation.user
    try:
        if compromised:
            replace_all(settings.keys_dir)
        else:
            rotate(settings.keys_dir, settings.key_settled_seconds)
    except TooEarlyError as error:
        raise AdminError(str(error)) from error
    except (KeyFileError, OSError) as error:
        raise AdminError(f"The keys cannot be changed: {error}") from error


def _check_there_are_some(installation: Installation) -> None:
    # Making some would look like a rotation, in a folder that nobody uses.
    folder = access_folder(installation.user.keys_dir)
    if not (folder / CURRENT).exists():
        raise NothingThereError(
            f"There are no keys in {folder}.", "Is PARLEY_DATA_DIR the running Parley's?"
        )
