"""Requests in which one field is as much as the contract allows, or one more."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from services.common.contract_limits import ContractLimit, below, limits_of
from services.common.ids import new_id
from services.common.limits_page import SERVICES


@dataclass(frozen=True)
class Place:
    """A limit where it stands in the request of a method."""

    method: MethodDescriptor
    path: tuple[FieldDescriptor, ...]
    limit: ContractLimit

    @property
    def dotted(self) -> str:
        """The path as a violation names it, but for the places in lists."""
        return ".".join(each.name for each in self.path)

    def __str__(self) -> str:
        """Return the method and the path."""
        owner = self.method.containing_service.full_name.split(".")[1]
        return f"{owner}.{self.method.name} {self.dotted}{'[]' if self.limit.of_items else ''}"

    def request(self, beyond: int) -> Any:
        """Return a good request in which the field is `beyond` more than it may be."""
        made = good(self.method.input_type, self.path)
        inner: Any = made
        for field in self.path[:-1]:
            inner = getattr(inner, field.name)
            if field.is_repeated:
                if not inner:
                    inner.append(good(field.message_type, self.path[self.path.index(field) + 1 :]))
                inner = inner[0]
            else:
                inner.SetInParent()
        _fill(inner, self.limit, beyond)
        return made


def places() -> Iterator[Place]:
    """Yield every place of every limit in the requests of the contract."""
    for service in SERVICES:
        for method in service.methods:
            for path in below(method.input_type):
                for limit in limits_of(path[-1]):
                    yield Place(method, path, limit)


def good(message: Descriptor, path: tuple[FieldDescriptor, ...] = ()) -> Message:
    """Return a message that keeps the rules, with the beginning of `path` in it."""
    made = GetMessageClass(message)()
    for field in message.fields:
        rules = _rules(field)
        choice = field.containing_oneof
        chosen = path[:1] and path[0].containing_oneof is choice
        first = choice is not None and choice.fields[0] is field
        required = choice is not None and choice.GetOptions().Extensions[validate_pb2.oneof]
        if path[:1] == (field,) or (
            not (choice and chosen)
            and (_needed(field, rules) or (first and required and required.required))
        ):
            _set_good(made, field, rules, path[1:] if path[:1] == (field,) else ())
    return made


def _needed(field: FieldDescriptor, rules: Any) -> bool:
    unset = (validate_pb2.IGNORE_IF_ZERO_VALUE, validate_pb2.IGNORE_ALWAYS)
    if rules.ignore in unset or field.containing_oneof is not None:
        return False
    return bool(
        rules.required
        or rules.string.min_len
        or rules.string.uuid
        or rules.bytes.min_len
        or rules.repeated.min_items
        or rules.uint32.gte
        or rules.float.gte
        or getattr(rules.enum, "not_in", None)
        or getattr(rules.enum, "in", None)
    )


def _set_good(
    made: Any, field: FieldDescriptor, rules: Any, rest: tuple[FieldDescriptor, ...]
) -> None:
    if field.is_repeated:
        items = getattr(made, field.name)
        for _ in range(max(1, rules.repeated.min_items)):
            items.append(_good_item(field, rest))
    elif field.message_type is not None:
        inner = getattr(made, field.name)
        inner.CopyFrom(good(field.message_type, rest))
        inner.SetInParent()
    elif field.type == FieldDescriptor.TYPE_BYTES:
        setattr(made, field.name, bytes(rules.bytes.min_len))
    elif field.type == FieldDescriptor.TYPE_STRING:
        setattr(made, field.name, _good_text(field, rules))
    elif field.type == FieldDescriptor.TYPE_ENUM:
        setattr(made, field.name, 1)
    elif field.type == FieldDescriptor.TYPE_BOOL:
        setattr(made, field.name, True)
    else:
        setattr(made, field.name, 1)


def _good_item(field: FieldDescriptor, rest: tuple[FieldDescriptor, ...] = ()) -> Any:
    if field.message_type is not None:
        return good(field.message_type, rest)
    return _good_text(field, _rules(field).repeated.items)


def _good_text(field: FieldDescriptor, rules: Any) -> str:
    if rules.string.uuid:
        return new_id()
    if field.name == "username":
        # New each time: it is registered with.
        return f"limits-{secrets.token_hex(6)}"
    return "three-odd-words"[: rules.string.max_len or None]


def _fill(message: Any, limit: ContractLimit, beyond: int) -> None:
    field, size = limit.field, int(limit.most) + beyond
    if limit.of_items:
        del getattr(message, field.name)[:]
        getattr(message, field.name).append("a" * size)
    elif field.is_repeated:
        del getattr(message, field.name)[:]
        getattr(message, field.name).extend(_good_item(field) for _ in range(size))
    elif field.message_type is not None and field.message_type is Duration.DESCRIPTOR:
        getattr(message, field.name).seconds = size
    elif field.type == FieldDescriptor.TYPE_BYTES:
        setattr(message, field.name, bytes(size))
    elif field.type == FieldDescriptor.TYPE_STRING:
        setattr(message, field.name, _text(field.name, size))
    else:
        setattr(message, field.name, size)


def _text(name: str, size: int) -> str:
    if name == "username":
        return _email(size)
    if name == "first_language":
        # A language tag: parts of eight letters at most.
        return ("en" + "-abcdefgh" * size)[:size]
    return "a" * size


def _email(size: int) -> str:
    """Return an email address of so many characters: only those are so long."""
    local, first, second = secrets.token_hex(32), "b" * 63, "c" * 63
    return f"{local}@{first}.{second}.{'d' * (size - len(f'{local}@{first}.{second}.'))}"


def _rules(field: FieldDescriptor) -> Any:
    return field.GetOptions().Extensions[validate_pb2.field]
