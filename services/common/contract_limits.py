"""The most that each field of a request may be, read from the rules in the protos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration

# Of each type of rule: those that bound it, and what they count.
_MOST = {
    "bytes": ("max_len", " bytes"),
    "string": ("max_len", " characters"),
    "repeated": ("max_items", " items"),
    "duration": ("lte", " s"),
    "uint32": ("lte", ""),
    "float": ("lte", ""),
}
# What bounds a value from above in other words: nothing may, or the tables here would lack it.
_OTHER_BOUNDS = frozenset({"lt", "len", "max_bytes", "len_bytes", "max_pairs"})


@dataclass(frozen=True, slots=True)
class ContractLimit:
    """One bound: of a field, or of every item of a repeated one.

    most: seconds for a duration.
    unit: with a space before it, or empty.
    """

    field: FieldDescriptor
    of_items: bool
    most: float
    unit: str

    @property
    def name(self) -> str:
        """`Message.field`, and `[]` behind it where it is every item's."""
        owner = self.field.containing_type
        assert owner is not None
        return f"{owner.name}.{self.field.name}{'[]' if self.of_items else ''}"

    @property
    def told(self) -> str:
        """The bound for a person."""
        return f"{self.most:,.0f}{self.unit}"


def limits_of(field: FieldDescriptor) -> Iterator[ContractLimit]:
    """Yield the bounds of one field.

    Raises:
        ValueError: it has a rule that bounds it in a way which is not known here.
    """
    rules: Any = field.GetOptions().Extensions[validate_pb2.field]
    yield from _bounds(field, rules, of_items=False)
    if rules.HasField("repeated"):
        yield from _bounds(field, rules.repeated.items, of_items=True)


def below(message: Descriptor) -> Iterator[tuple[FieldDescriptor, ...]]:
    """Yield the path to every field of `message` and of the messages in it, each type once."""
    yield from _below(message, (), frozenset({message.full_name}))


def limits_below(messages: Iterable[Descriptor]) -> dict[str, ContractLimit]:
    """Return the limits of all fields in `messages` and in what they hold, by name."""
    return {
        each.name: each
        for message in messages
        for path in below(message)
        for each in limits_of(path[-1])
    }


def _below(
    message: Descriptor, path: tuple[FieldDescriptor, ...], seen: frozenset[str]
) -> Iterator[tuple[FieldDescriptor, ...]]:
    for field in message.fields:
        yield (*path, field)
        inner = field.message_type
        if inner is not None and inner.full_name not in seen:
            yield from _below(inner, (*path, field), seen | {inner.full_name})


def _bounds(field: FieldDescriptor, rules: Any, *, of_items: bool) -> Iterator[ContractLimit]:
    kind = rules.WhichOneof("type")
    if kind is None:
        return
    given = getattr(rules, kind)
    unknown = {each.name for each, _ in given.ListFields()} & _OTHER_BOUNDS
    if unknown:
        raise ValueError(f"{field.full_name}: {', '.join(sorted(unknown))} is not known here")
    rule, unit = _MOST.get(kind, ("", ""))
    for each, most in given.ListFields():
        if each.name == rule:
            seconds = most.seconds if isinstance(most, Duration) else most
            yield ContractLimit(field, of_items, float(seconds), unit)
        elif each.name in ("lte", "max_len", "max_items"):
            raise ValueError(f"{field.full_name}: {kind}.{each.name} is not known here")
