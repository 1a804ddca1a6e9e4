"""API keys: from the environment or from files, never shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from services.ai.engine_file import RemotePart

# What may stand in a header; a key with a line break in it was copied with something else.
_KEY = re.compile(r"[\x21-\x7e]{1,4096}")


class KeyMissingError(Exception):
    """A provider's key is not there or is none; the message says where it was looked for."""


def find_key(
    part: RemotePart, usual_variable: str | None, environment: Mapping[str, str]
) -> SecretStr | None:
    """Return the key of ``part``, or None where it needs none.

    ``usual_variable`` is where the provider's own tools look; it is only used for the provider's
    own address, so that a key never goes to somebody else. A variable's ``<NAME>_FILE`` may name a
    file with the key.

    Raises:
        KeyMissingError: a key is needed and there is none.
    """
    if part.api_key_file is not None:
        return _from_file(part.api_key_file)
    variable = part.api_key_env or (usual_variable if part.base_url is None else None)
    if not variable:
        return None
    value = environment.get(variable, "").strip()
    if value:
        return _checked(value, variable)
    file = environment.get(f"{variable}_FILE", "")
    if file:
        return _from_file(Path(file))
    raise KeyMissingError(f"set {variable}, or {variable}_FILE to a file with the key")


def _from_file(path: Path) -> SecretStr:
    try:
        value = path.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise KeyMissingError(f"the key file {path} cannot be read: {reason}") from error
    return _checked(value, str(path))


def _checked(value: str, where: str) -> SecretStr:
    if not _KEY.fullmatch(value):
        raise KeyMissingError(f"{where} does not hold an API key")
    return SecretStr(value)
