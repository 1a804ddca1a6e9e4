"""The id that names a call in logs and errors, on every service it passes."""

from __future__ import annotations

import re

from services.common.ids import new_id

REQUEST_ID_KEY = "x-request-id"

# What a caller may send: it goes into logs, so no spaces, quotes or line ends, and not endless.
_ACCEPTED = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def choose_request_id(given: str | bytes | None) -> str:
    """Return the caller's id when it is acceptable, else a new one."""
    if isinstance(given, str) and _ACCEPTED.fullmatch(given):
        return given
    return new_id()
