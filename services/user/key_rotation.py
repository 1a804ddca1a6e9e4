"""Changing the key that signs access tokens, under a running service.

    python -m services.user keys list
    python -m services.user keys rotate

Rotating makes the next key sign, keeps the last one's tokens valid, and makes a new next key. The
running service notices within seconds. Nothing fails, because the next key was known everywhere
before it signed; so a rotation is refused until it surely is. Whatever moment the command is
stopped at, the folder holds a working set of keys.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from services.common.key_files import (
    KeyFileError,
    load_or_create_private_key,
    load_or_create_secret,
    load_public_key,
    publish_public_key,
)
from services.common.settings import SettingsError
from services.user.keys import (
    CURRENT,
    NEXT,
    REFRESH_SECRET,
    access_folder,
    key_id,
    retired_files,
)
from services.user.settings import UserSettings

EXIT_NOT_YET = 1
EXIT_WRONG = 2


class TooEarlyError(Exception):
    """The next key is not known everywhere yet; `seconds` from now it is."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The next key was made a short while ago, and not everybody has fetched it yet. "
            f"Try again in {seconds:.0f} s."
        )
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class KeyState:
    """One key: its id, what it is there for (`current`, `next`, `retired`), how old that is."""

    key_id: str
    role: str
    age_seconds: float


def list_keys(keys_dir: Path) -> list[KeyState]:
    """Return the keys that verify tokens now: the current one, the next, and the retired.

    Raises:
        KeyFileError, OSError: a file is wrong or cannot be read.
    """
    folder = access_folder(keys_dir)
    found = []
    for path, role in ((folder / CURRENT, "current"), (folder / NEXT, "next")):
        key = load_or_create_private_key(path).public_key()
        found.append(KeyState(key_id(key), role, _age(path)))
    found.extend(
        KeyState(key_id(load_public_key(path)), "retired", _age(path))
        for path in retired_files(folder)
    )
    return found


def rotate(keys_dir: Path, settled_seconds: float) -> None:
    """Let the next key sign from now on.

    Args:
        keys_dir: the folder that the user service was told.
        settled_seconds: how old the next key must be, so that everybody has fetched it.

    Raises:
        TooEarlyError: it is younger; nothing was changed.
        KeyFileError, OSError: a file is wrong, or cannot be read or written.
    """
    folder = access_folder(keys_dir)
    current = load_or_create_private_key(folder / CURRENT)
    load_or_create_private_key(folder / NEXT)
    _check_settled(folder, settled_seconds)
    # First the old key's public half: at no moment is a key missing whose tokens are about.
    publish_public_key(folder / f"retired-{key_id(current.public_key())}.pub", current)
    (folder / NEXT).replace(folder / CURRENT)
    load_or_create_private_key(folder / NEXT)
    _forget_expired(folder)


def replace_all(keys_dir: Path) -> None:
    """Throw every key away and make new ones: for keys that somebody else may have seen.

    Every access token stops working as soon as its verifier asks for keys again; clients get new
    ones with their refresh tokens. The secret behind those goes as well: whoever knows it can tell
    what follows a used one. A refresh whose answer was lost then has no successor any more, and
    its retry ends its session.

    Raises:
        OSError: a file cannot be removed or written.
    """
    folder = access_folder(keys_dir)
    for path in (
        folder / NEXT,
        folder / CURRENT,
        *folder.glob("*.pub"),
        folder / REFRESH_SECRET,
    ):
        path.unlink(missing_ok=True)
    for name in (CURRENT, NEXT):
        load_or_create_private_key(folder / name)
    load_or_create_secret(folder / REFRESH_SECRET)


def main(arguments: list[str]) -> int:
    """Run `keys list` or `keys rotate`; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m services.user keys", description="The keys that sign access tokens."
    )
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="show the keys that verify tokens now")
    rotating = actions.add_parser("rotate", help="let the next key sign; no call fails")
    rotating.add_argument(
        "--compromised",
        action="store_true",
        help="throw all keys away at once: every access token stops working",
    )
    chosen = parser.parse_args(arguments)
    try:
        settings = UserSettings.load()
        _check_there_are_keys(access_folder(settings.keys_dir))
        if chosen.action == "rotate" and chosen.compromised:
            replace_all(settings.keys_dir)
        elif chosen.action == "rotate":
            rotate(settings.keys_dir, settings.key_settled_seconds)
        for each in list_keys(settings.keys_dir):
            print(f"{each.role:8} {each.key_id}  for {each.age_seconds:.0f} s")  # noqa: T201
    except TooEarlyError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return EXIT_NOT_YET
    except (SettingsError, KeyFileError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return EXIT_WRONG
    return 0


def _check_there_are_keys(folder: Path) -> None:
    # Making some would look like a rotation, in a folder that nobody uses.
    if not (folder / CURRENT).exists():
        raise KeyFileError(f"No keys in {folder}: is PARLEY_DATA_DIR the running Parley's?")


def _check_settled(folder: Path, settled_seconds: float) -> None:
    age = _age(folder / NEXT)
    # The very first pair was published together: whoever knows one knows the other.
    first = age >= _age(folder / CURRENT) - 1.0 and not any(folder.glob("*.pub"))
    if age < settled_seconds and not first:
        raise TooEarlyError(settled_seconds - age)


def _forget_expired(folder: Path) -> None:
    live = set(retired_files(folder))
    for path in set(folder.glob("*.pub")) - live:
        path.unlink(missing_ok=True)


def _age(path: Path) -> float:
    return max(0.0, time.time() - path.stat().st_mtime)
