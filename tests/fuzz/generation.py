"""Messages that keep the rules of the contract, drawn at random from a seeded generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any
from uuid import UUID

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

Hints = Mapping[str, Sequence[Any]]
"""By a field's name: values that mean something to the service."""

_TEXTS = (
    "",
    "a",
    "Yesterday I goed to the market.",
    "naïve café",
    "你好，老师",
    "a\u0301b",
    "  x ",
)
_DEEPEST = 4

# How often a hint is taken where there is one, and how often an optional field is there.
_HINTED, _PRESENT = 0.8, 0.6


class Generator:
    """Draws from `random`, so that one seed always makes the same messages."""

    def __init__(self, random: Random, hints: Hints) -> None:
        self._random = random
        self._hints = hints

    def message(self, descriptor: Descriptor, depth: int = 0) -> Message:
        """Return a message of this type; nearly all keep the rules of its fields."""
        made = GetMessageClass(descriptor)()
        chosen = {
            self._random.choice(oneof.fields).name
            for oneof in descriptor.oneofs
            # What proto calls `optional` is a oneof of one.
            if len(oneof.fields) > 1
        }
        for field in descriptor.fields:
            if field.containing_oneof is not None and len(field.containing_oneof.fields) > 1:
                if field.name in chosen:
                    self.fill(made, field, depth)
            elif _required(field) or self._random.random() < _PRESENT:
                self.fill(made, field, depth)
        return made

    def fill(self, made: Message, field: FieldDescriptor, depth: int = 0) -> None:
        """Set `field` of `made`."""
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return
        if field.is_repeated:
            rules = _rules(field).repeated
            most = min(rules.max_items or 3, 3)
            least = min(rules.min_items, most)
            for _ in range(self._random.randint(least, most)):
                if field.message_type is None:
                    getattr(made, field.name).append(self._scalar(field))
                elif depth < _DEEPEST:
                    inner = self.message(field.message_type, depth + 1)
                    getattr(made, field.name).add().CopyFrom(inner)
        elif field.message_type is not None:
            if depth < _DEEPEST:
                inner = self.message(field.message_type, depth + 1)
                getattr(made, field.name).CopyFrom(inner)
        else:
            setattr(made, field.name, self._scalar(field))

    def _scalar(self, field: FieldDescriptor) -> Any:
        hints = self._hints.get(field.name)
        if hints and self._random.random() < _HINTED:
            return self._random.choice(hints)
        rules = _rules(field)
        if rules.HasField("repeated"):
            rules = rules.repeated.items
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_BOOL:
                return self._random.random() < 0.5
            case FieldDescriptor.CPPTYPE_ENUM:
                assert field.enum_type is not None
                return self._random.choice(field.enum_type.values).number
            case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
                return self._bytes(rules.bytes)
            case FieldDescriptor.CPPTYPE_STRING:
                return self._text(rules.string)
            case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
                return self._random.choice((0.0, 0.5, 1.0, 1.5, 2.0))
            case _:
                return self._random.choice((0, 1, 2, 7, 20, 100))

    def _text(self, rules: Any) -> str:
        if rules.uuid:
            return str(UUID(int=self._random.getrandbits(128), version=4))
        text = self._random.choice(_TEXTS)
        least, most = rules.min_len, rules.max_len or 4096
        return (text + "a" * max(0, least - len(text)))[:most]

    def _bytes(self, rules: Any) -> bytes:
        most = min(rules.max_len or 1920, 1920)
        return self._random.randbytes(self._random.randint(rules.min_len, most) // 2 * 2)


def _rules(field: FieldDescriptor) -> Any:
    return field.GetOptions().Extensions[validate_pb2.field]


def _required(field: FieldDescriptor) -> bool:
    return bool(_rules(field).required)
