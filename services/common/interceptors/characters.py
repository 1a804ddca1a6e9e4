"""Which characters a person's request may hold, in every service, whatever the field.

A control character is nothing that anybody means: it forges lines in what is listed, and NUL ends a
string early in some databases and cannot be stored in others. So identifiers and names have none.
What people type or paste at length may have all but NUL; it has lines, and odd blanks of the
program that it comes from. Passwords may have anything: they are hashed whole, and never stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from services.common.errors import FieldViolation

TYPED_AT_LENGTH = frozenset(
    {
        *("text", "query", "reference", "description", "role", "opening_line", "vocabulary"),
        *("interests", "goals"),
    }
)
"""The fields that may have all but NUL, by name. Those beside have no control character."""

PASSWORDS = frozenset({"password", "old_password", "new_password"})
"""The fields that may have anything."""

# Unicode's category Cc; protobuf itself refuses half characters.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_NUL = re.compile("\x00")

_MESSAGE, _STRING = FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_STRING


@dataclass(frozen=True, slots=True)
class _Texts:
    """Where a type of message has texts, and what finds a wrong character in each of them."""

    single: tuple[tuple[str, Callable[[str], object]], ...]
    listed: tuple[tuple[str, Callable[[str], object]], ...]
    inside: tuple[str, ...]
    inside_each: tuple[str, ...]


def fits(message: Any) -> bool:
    """Tell whether nothing is wrong with the texts of `message`: 0.3 us for each."""
    texts = _texts_of(message.DESCRIPTOR)
    for name, finds in texts.single:
        if finds(getattr(message, name)):
            return False
    for name, finds in texts.listed:
        if any(map(finds, getattr(message, name))):
            return False
    for name in texts.inside:
        if message.HasField(name) and not fits(getattr(message, name)):
            return False
    return all(all(map(fits, getattr(message, name))) for name in texts.inside_each)


def unfit(message: Any, path: str = "") -> Iterator[FieldViolation]:
    """Yield what is wrong with the texts of `message`, which lies at `path` of another."""
    for field, value in message.ListFields():
        kind = field.type
        if kind not in (_STRING, _MESSAGE) or field.name in PASSWORDS:
            continue
        name = f"{path}.{field.name}" if path else field.name
        each_of = enumerate(value) if field.is_repeated else [(None, value)]
        for index, each in each_of:
            place = name if index is None else f"{name}[{index}]"
            if kind == _MESSAGE:
                yield from unfit(each, place)
            elif wrong := _wrong_with(field.name, each):
                yield FieldViolation(place, wrong)


def _wrong_with(name: str, text: str) -> str:
    if not _finder(name)(text):
        return ""
    character = "the character NUL" if name in TYPED_AT_LENGTH else "control characters"
    return f"may not have {character}"


def _finder(name: str) -> Callable[[str], object]:
    return (_NUL if name in TYPED_AT_LENGTH else _CONTROL).search


@cache
def _texts_of(message: Descriptor) -> _Texts:
    texts = [each for each in message.fields if each.type == _STRING and each.name not in PASSWORDS]
    # A type that holds itself is looked into as deep as the message goes.
    inside = [each for each in message.fields if each.type == _MESSAGE]
    return _Texts(
        tuple((each.name, _finder(each.name)) for each in texts if not each.is_repeated),
        tuple((each.name, _finder(each.name)) for each in texts if each.is_repeated),
        tuple(each.name for each in inside if not each.is_repeated),
        tuple(each.name for each in inside if each.is_repeated),
    )
