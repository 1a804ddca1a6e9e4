"""Page tokens: where a list goes on, bound to the question that it answers.

A token is base64url of JSON `[version, question, position…]`. It is not signed: it holds only a
position, and every page is read under the caller's own id, so a forged one shows nothing that
its maker could not list anyway. `question` keeps a token of one query out of another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json

from services.common.errors import FieldViolation, InvalidArgument

_VERSION = 1


def question(*parts: object) -> str:
    """Return a short fingerprint of a method and its filters."""
    told = json.dumps([str(part) for part in parts]).encode()
    # 8 bytes: it guards against mix-ups, not against attack.
    return hashlib.sha256(told).hexdigest()[:16]


def encode(asked: str, *position: str | int) -> str:
    """Return the token of `position` in the list that answers `asked`."""
    raw = json.dumps([_VERSION, asked, *position], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(token: str, asked: str, *shape: type) -> tuple[str | int, ...] | None:
    """Return the position in `token`; None for the empty token, which means the beginning.

    Args:
        token: as it came from the caller.
        asked: the fingerprint of the present question.
        shape: the types of the position's parts.

    Raises:
        InvalidArgument: PAGE_TOKEN_INVALID, when the token is not one of this question.
    """
    if not token:
        return None
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        parts = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (UnicodeEncodeError, binascii.Error, ValueError, RecursionError):
        raise invalid() from None
    if not isinstance(parts, list) or parts[:2] != [_VERSION, asked]:
        raise invalid()
    position = parts[2:]
    if [type(part) for part in position] != list(shape):
        raise invalid()
    return tuple(position)


def invalid() -> InvalidArgument:
    """Return the error for a token that cannot be followed."""
    return InvalidArgument(
        "The page token is not one that this method gave for this query.",
        reason="PAGE_TOKEN_INVALID",
        fields=[FieldViolation("page_token", "start again without a token")],
    )
