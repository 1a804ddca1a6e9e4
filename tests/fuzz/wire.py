"""Protobuf's wire format taken apart and put together again, rightly or wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from google.protobuf.descriptor import Descriptor

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Node:
    """One field as it is written.

    value: a number, the bytes as they are, or the fields of a message.
    lie: added to the length that is announced.
    """

    number: int
    wire: int
    value: int | bytes | tuple[Node, ...]
    lie: int = 0


Path = tuple[int, ...]
"""Where a node is: its place among the message's fields, then among its own, and so on."""


def taken_apart(data: bytes, descriptor: Descriptor | None) -> tuple[Node, ...]:
    """Return the fields of a well-formed message; what `descriptor` does not know stays bytes."""
    nodes, at = [], 0
    while at < len(data):
        tag, at = _varint_at(data, at)
        number, wire = tag >> 3, tag & 7
        value: int | bytes | tuple[Node, ...]
        if wire == VARINT:
            value, at = _varint_at(data, at)
        elif wire == LENGTH:
            length, at = _varint_at(data, at)
            value, at = data[at : at + length], at + length
            field = descriptor.fields_by_number.get(number) if descriptor else None
            if field is not None and field.message_type is not None:
                value = taken_apart(value, field.message_type)
        else:
            size = 8 if wire == FIXED64 else 4
            value, at = data[at : at + size], at + size
        nodes.append(Node(number, wire, value))
    return tuple(nodes)


def put_together(nodes: tuple[Node, ...]) -> bytes:
    """Return the bytes of these fields."""
    out = bytearray()
    for node in nodes:
        out += varint(node.number << 3 | node.wire)
        if isinstance(node.value, int):
            out += varint(node.value)
        elif isinstance(node.value, tuple):
            out += _counted(put_together(node.value), node.lie)
        elif node.wire == LENGTH:
            out += _counted(node.value, node.lie)
        else:
            out += node.value
    return bytes(out)


def varint(number: int) -> bytes:
    """Return `number`, which is not negative; one beyond 64 bits is written all the same."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def paths(nodes: tuple[Node, ...], above: Path = ()) -> Iterator[Path]:
    """Yield where every node is, those inside others included."""
    for place, node in enumerate(nodes):
        yield (*above, place)
        if isinstance(node.value, tuple):
            yield from paths(node.value, (*above, place))


def node_at(nodes: tuple[Node, ...], path: Path) -> Node:
    """Return the node at `path`."""
    node = nodes[path[0]]
    if len(path) == 1:
        return node
    assert isinstance(node.value, tuple)
    return node_at(node.value, path[1:])


def with_siblings(
    nodes: tuple[Node, ...], path: Path, instead: tuple[Node, ...]
) -> tuple[Node, ...]:
    """Return the message with the node at `path` replaced by `instead`: none, one or several."""
    place = path[0]
    if len(path) == 1:
        return (*nodes[:place], *instead, *nodes[place + 1 :])
    inner = nodes[place].value
    assert isinstance(inner, tuple)
    changed = replace(nodes[place], value=with_siblings(inner, path[1:], instead))
    return (*nodes[:place], changed, *nodes[place + 1 :])


def _counted(data: bytes, lie: int) -> bytes:
    return varint(max(0, len(data) + lie)) + data


def _varint_at(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
