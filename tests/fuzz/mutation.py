"""Messages made wrong: by what the descriptor says of them, by their wire format, or blindly."""

from __future__ import annotations

import struct
from dataclasses import replace
from random import Random
from typing import Any

from google.protobuf.descriptor import Descriptor

from tests.fuzz.generation import Generator, Hints
from tests.fuzz.wire import (
    FIXED32,
    FIXED64,
    LENGTH,
    VARINT,
    Node,
    node_at,
    paths,
    put_together,
    taken_apart,
    varint,
    with_siblings,
)

Nodes = tuple[Node, ...]

_NUMBERS = (
    *(0, 1, 2, 99, 0x7F, 0x80, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63),
    *(2**64 - 1, 2**64 - 2, 2**64, 2**70, 253402300800, 2**64 - 62135596801),
)
_FLOATS = (float("nan"), float("inf"), float("-inf"), -0.0, -1.0, 1e308, 5e-324)
_TEXTS = (
    *(b"", b"\0", b"a\0b", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3"),
    *("\u202e".encode(), "\ufeff".encode(), "\U0001f468\u200d\U0001f469".encode(), b"a" * 255),
    *(b"../../../etc/passwd", b"' OR 1=1 --", b"%s%n{0}{{", b"\r\n\r\nx: y", b"a" * 70_000),
    *(("e" + "\u0301" * 500).encode(), b"NaN", b"-1", b"00000000-0000-0000-0000-000000000000"),
)
# Protobuf gives up at 100.
_DEEP = (20, 99, 101, 300)
_MOST_AT_ONCE = 4

# The fields that the contract's streams begin with.
_OPENING = ("start", "config", "metadata")


class Mutator:
    """Makes messages from one seed: the same seed, the same messages."""

    def __init__(self, seed: str, hints: Hints) -> None:
        self._random = Random(seed)
        self._generator = Generator(self._random, hints)
        self._changes = (
            *(self._other_value, self._other_value, self._other_value),
            *(self._dropped, self._repeated, self._moved, self._other_type, self._unknown),
            *(self._second_choice, self._false_length, self._nested, self._opaque),
        )

    def valid(self, descriptor: Descriptor) -> bytes:
        """Return a message that keeps the rules, as nearly all that are drawn do."""
        return self._generator.message(descriptor).SerializeToString()

    def opening(self, descriptor: Descriptor) -> bytes:
        """Return a valid message with the first field set that may open a stream of these."""
        made: Any = self._generator.message(descriptor)
        names = [each.name for each in descriptor.fields if each.name in _OPENING]
        if names:
            field = descriptor.fields_by_name[names[0]]
            made.ClearField(field.name)
            self._generator.fill(made, field)
        return bytes(made.SerializeToString())

    def message(self, descriptor: Descriptor) -> tuple[bytes, bool]:
        """Return a message, and whether it is other than a good one.

        One time in eight it is good, one in eight blind bytes, else mutated; a mutation may have
        nothing to change, or put back what was there.
        """
        good = self.valid(descriptor)
        data = self._broken(good, descriptor)
        return data, data != good

    def _broken(self, good: bytes, descriptor: Descriptor) -> bytes:
        match self._random.randrange(8):
            case 0:
                return good
            case 1:
                return self._blind(good)
        nodes = taken_apart(good, descriptor)
        for _ in range(self._random.randint(1, _MOST_AT_ONCE)):
            nodes = self._random.choice(self._changes)(nodes, descriptor)
        return put_together(nodes)

    # --- by the descriptor ---------------------------------------------------------------------

    def _second_choice(self, nodes: Nodes, descriptor: Descriptor) -> Nodes:
        """Set another member of a oneof as well, or another field once more."""
        if not descriptor.fields:
            return nodes
        made: Any = self._generator.message(descriptor)
        made.Clear()
        self._generator.fill(made, self._random.choice(descriptor.fields))
        return (*nodes, *taken_apart(made.SerializeToString(), descriptor))

    def _nested(self, nodes: Nodes, _: Descriptor) -> Nodes:
        """Put a message into itself, many times over."""
        found = self._any(nodes)
        if found is None:
            return nodes
        inner = b""
        for _level in range(self._random.choice(_DEEP)):
            inner = put_together((Node(found[1].number, LENGTH, inner),))
        return with_siblings(nodes, found[0], (replace(found[1], wire=LENGTH, value=inner),))

    # --- by the wire format --------------------------------------------------------------------

    def _other_value(self, nodes: Nodes, _: Descriptor) -> Nodes:
        found = self._any(nodes)
        if found is None:
            return nodes
        path, node = found
        value: Any
        match node.wire:
            case 0:
                value = self._random.choice(_NUMBERS)
            case 1:
                value = struct.pack("<d", self._random.choice(_FLOATS))
            case 5:
                value = struct.pack("<I", self._random.getrandbits(32))
            case _ if isinstance(node.value, tuple):
                value = ()
            case _:
                value = self._random.choice(_TEXTS)
        return with_siblings(nodes, path, (replace(node, value=value),))

    def _dropped(self, nodes: Nodes, _: Descriptor) -> Nodes:
        found = self._any(nodes)
        return nodes if found is None else with_siblings(nodes, found[0], ())

    def _repeated(self, nodes: Nodes, _: Descriptor) -> Nodes:
        found = self._any(nodes)
        if found is None:
            return nodes
        times = self._random.choice((2, 3, 60, 1200))
        if len(put_together((found[1],))) * times > 200_000:
            times = 2
        return with_siblings(nodes, found[0], (found[1],) * times)

    def _moved(self, nodes: Nodes, _: Descriptor) -> Nodes:
        return tuple(self._random.sample(nodes, len(nodes)))

    def _other_type(self, nodes: Nodes, _: Descriptor) -> Nodes:
        found = self._any(nodes)
        if found is None:
            return nodes
        made = self._scalar(found[1].number, self._random.choice((0, 1, 2, 3, 4, 5, 6, 7)))
        return with_siblings(nodes, found[0], (made,))

    def _unknown(self, nodes: Nodes, _: Descriptor) -> Nodes:
        number = self._random.choice((0, 15, 16, 99, 19_000, 2**29 - 1, 2**29, 2**32))
        made = self._scalar(number, self._random.choice((VARINT, FIXED64, LENGTH, FIXED32)))
        place = self._random.randint(0, len(nodes))
        return (*nodes[:place], made, *nodes[place:])

    def _false_length(self, nodes: Nodes, _: Descriptor) -> Nodes:
        counted = [each for each in paths(nodes) if node_at(nodes, each).wire == LENGTH]
        if not counted:
            return nodes
        path = self._random.choice(counted)
        lie = self._random.choice((-3, -1, 1, 2, 1000, 2**31, 2**63))
        return with_siblings(nodes, path, (replace(node_at(nodes, path), lie=lie),))

    def _opaque(self, nodes: Nodes, _: Descriptor) -> Nodes:
        """Put bytes of no meaning where a message or a text is expected."""
        found = self._any(nodes)
        if found is None:
            return nodes
        noise = self._random.randbytes(self._random.randint(0, 40))
        return with_siblings(nodes, found[0], (Node(found[1].number, LENGTH, noise),))

    def _scalar(self, number: int, wire: int) -> Node:
        if wire == VARINT:
            return Node(number, wire, self._random.choice(_NUMBERS))
        sizes = {FIXED64: 8, FIXED32: 4}
        return Node(number, wire, self._random.randbytes(sizes.get(wire, 6)))

    def _any(self, nodes: Nodes) -> tuple[tuple[int, ...], Node] | None:
        every = list(paths(nodes))
        if not every:
            return None
        path = self._random.choice(every)
        return path, node_at(nodes, path)

    # --- blindly -------------------------------------------------------------------------------

    def _blind(self, data: bytes) -> bytes:
        broken = bytearray(data)
        match self._random.randrange(5):
            case 0:
                return self._random.randbytes(self._random.randint(0, 400))
            case 1:
                return data[: self._random.randint(0, len(data))]
            case 2:
                return data + self._random.randbytes(self._random.randint(1, 20))
            case 3:
                return varint(2**64 + self._random.getrandbits(8)) + data
            case _:
                for _ in range(self._random.randint(1, 8) if broken else 0):
                    broken[self._random.randrange(len(broken))] ^= 1 << self._random.randrange(8)
                return bytes(broken)
