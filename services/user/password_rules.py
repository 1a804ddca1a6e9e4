"""What a new password must be: long enough, and not one that guessers try first.

The rules of NIST SP 800-63B (revision 4, 3.1.1.2): a least length, no rules of composition, and a
list of what is refused. The list is of the 30,000 most common passwords those that are long enough
(NOTICE says whose work it is).
"""

from __future__ import annotations

import gzip
import unicodedata
from functools import cache
from itertools import pairwise
from pathlib import Path

from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import DEFAULT_LIMITS

MIN_CHARACTERS = DEFAULT_LIMITS.min_password_characters
MAX_CHARACTERS = DEFAULT_LIMITS.max_password_characters

_COMMON = Path(__file__).parent / "common_passwords.txt.gz"
# "abcabcabc" is as easy as "abc".
_MAX_REPEATED = 4


def check_new_password(password: str, username_key: str, field: str) -> None:
    """Refuse a password that is too easy to guess; `field` is what the request calls it.

    Raises:
        InvalidArgument: INVALID_REQUEST for its length, PASSWORD_TOO_COMMON.
    """
    # Letters that are put together count once, and a sign that stands for many letters counts once
    # as well, though what is hashed has them all (see `passwords`).
    length = min(len(unicodedata.normalize(form, password)) for form in ("NFC", "NFKC"))
    if not MIN_CHARACTERS <= length <= MAX_CHARACTERS:
        why = f"must have {MIN_CHARACTERS} to {MAX_CHARACTERS} characters"
        raise InvalidArgument(
            f"The password {why}.", reason="INVALID_REQUEST", fields=[FieldViolation(field, why)]
        )
    why = _why_easy(unicodedata.normalize("NFKC", password).casefold(), username_key)
    if why:
        raise InvalidArgument(
            f"The password {why}. Choose another.",
            reason="PASSWORD_TOO_COMMON",
            fields=[FieldViolation(field, why)],
        )


def _why_easy(password: str, username_key: str) -> str:
    if password in common_passwords():
        return "is one of the most common passwords"
    if password in (username_key, username_key.partition("@")[0]):
        return "is the username"
    if any(_repeats(password, length) for length in range(1, _MAX_REPEATED + 1)):
        return "repeats one short piece"
    steps = {ord(after) - ord(before) for before, after in pairwise(password)}
    if steps in ({1}, {-1}):
        return "is a row of neighbouring characters"
    return ""


def _repeats(password: str, length: int) -> bool:
    piece = password[:length]
    return (piece * (len(password) // length + 1)).startswith(password)


@cache
def common_passwords() -> frozenset[str]:
    """Return the common passwords of at least `MIN_CHARACTERS` characters, casefolded."""
    with gzip.open(_COMMON, "rt", encoding="utf-8") as lines:
        return frozenset(line.rstrip("\n") for line in lines)
