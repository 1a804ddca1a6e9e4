"""The names that people sign in with: which are allowed, and which are the same.

Names are of every script. Nobody is shown another's name, so what matters is that one person can
type their own on any keyboard, and that no name holds what nobody sees or could type again.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import DEFAULT_LIMITS

_MIN_CHARACTERS = DEFAULT_LIMITS.min_username_characters
_MAX_CHARACTERS = DEFAULT_LIMITS.max_username_characters
_MAX_EMAIL_CHARACTERS = DEFAULT_LIMITS.max_email_characters
_MAX_LOCAL_CHARACTERS = DEFAULT_LIMITS.max_email_local_characters
# A part of the form of an address, like its dots (RFC 1035, 2.3.4).
_MAX_LABEL_CHARACTERS = 63
_MARKS = frozenset("._-+")
# What an address may have beside those and letters and digits (`atext`, RFC 5322, 3.2.3).
_ADDRESS_MARKS = frozenset("!#$%&'*/=?^`{|}~") | _MARKS
_MAX_MARKS_ON_A_LETTER = DEFAULT_LIMITS.max_marks_on_a_letter
# Letters and marks without a shape (Default_Ignorable_Code_Point): names would look the same.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# Scripts that are written together (UTS #39, 5.2, "highly restrictive").
_WRITTEN_TOGETHER = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
)
# First words of character names that tell of no script.
_OF_ANY_SCRIPT = frozenset({"COMBINING", "MODIFIER", "DIGIT", "IDEOGRAPHIC"})


@dataclass(frozen=True, slots=True)
class Username:
    """A name to sign in with: `shown` as it was typed, `key` as it is compared."""

    shown: str
    key: str


def comparable(text: str) -> str:
    """Return the form of a username in which two that look the same are the same.

    NFKC folds compatibility forms (full width letters, ligatures), casefold the letter case; the
    second NFKC is what Unicode asks for after casefolding (UAX #15, toNFKC_Casefold).
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", folded)


def parse_username(text: str) -> Username:
    """Return the username in `text`: an email address where it has an @, else a name.

    Raises:
        InvalidArgument: INVALID_REQUEST, naming what is wrong with `username`.
    """
    shown = unicodedata.normalize("NFKC", text)
    key = comparable(text)
    wrong = _wrong_with_address(key) if "@" in key else _wrong_with_name(key)
    if wrong or (wrong := _wrong_with_writing(key)):
        raise InvalidArgument(
            f"The username {wrong}.",
            reason="INVALID_REQUEST",
            fields=[FieldViolation("username", wrong)],
        )
    return Username(shown, key)


def _wrong_with_name(key: str) -> str:
    if not _MIN_CHARACTERS <= len(key) <= _MAX_CHARACTERS:
        return f"must have {_MIN_CHARACTERS} to {_MAX_CHARACTERS} characters"
    if not _is_made_of(key, _MARKS):
        return "may have letters, digits and . _ - + only, or be an email address"
    if not key[0].isalnum():
        return "must begin with a letter or a digit"
    return ""


def _wrong_with_address(key: str) -> str:
    local, _, domain = key.rpartition("@")
    labels = domain.split(".")
    formed = (
        len(key) <= _MAX_EMAIL_CHARACTERS
        and 0 < len(local) <= _MAX_LOCAL_CHARACTERS
        and all(_is_made_of(atom, _ADDRESS_MARKS) for atom in local.split("."))
        and len(labels) > 1
        and all(_is_label(label) for label in labels)
        # A network's name never looks like a part of an IP address (RFC 3696, 2).
        and not labels[-1].isdecimal()
    )
    return "" if formed else "must be an email address, such as ada@example.org, if it has an @"


def _is_label(label: str) -> bool:
    return (
        0 < len(label) <= _MAX_LABEL_CHARACTERS
        and _is_made_of(label, frozenset("-"))
        and not label.startswith("-")
        and not label.endswith("-")
    )


def _is_made_of(text: str, marks: frozenset[str]) -> bool:
    """Tell whether `text` has letters, decimal digits and these marks alone, and any of them."""

    def is_allowed(character: str) -> bool:
        # Marks (M) belong to letters of many scripts, such as the vowels of Hindi.
        category = unicodedata.category(character)
        return character in marks or category[0] == "L" or category in ("Nd", "Mn", "Mc")

    return bool(text) and all(map(is_allowed, text))


def _wrong_with_writing(key: str) -> str:
    if _INVISIBLE.search(key):
        return "may not have characters that nobody sees"
    marks = 0
    for character in key:
        marks = marks + 1 if unicodedata.category(character) == "Mn" else 0
        if marks > _MAX_MARKS_ON_A_LETTER:
            return f"may not have more than {_MAX_MARKS_ON_A_LETTER} marks on one letter"
    # An address is written by others: only its two sides are each of one script.
    if not all(_is_of_one_script(part) for part in key.split("@")):
        return "may not mix letters or digits of different scripts"
    return ""


def _is_of_one_script(text: str) -> bool:
    letters = {_script(each) for each in text if unicodedata.category(each)[0] in "LM"}
    letters -= _OF_ANY_SCRIPT
    digits = {ord(each) - unicodedata.decimal(each) for each in text if each.isdecimal()}
    together = any(letters <= scripts for scripts in _WRITTEN_TOGETHER)
    return (len(letters) < 2 or together) and len(digits) < 2


def _script(character: str) -> str:
    # Python knows no scripts, but a letter's name begins with its script's.
    return unicodedata.name(character, "").partition(" ")[0]
