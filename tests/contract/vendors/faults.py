"""Faults that vendors' stand-ins have on demand, and how a streamed answer has them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tests.contract.vendors.http_server import ConnectionCut, Reply


class Break(StrEnum):
    """What goes wrong with an answer that had begun well."""

    SILENT = "silent"
    """Nothing comes, not even a status."""
    STALLS = "stalls"
    """The rest never comes; the connection stays."""
    CUT = "cut"
    """The connection ends without the end of the answer."""
    ENDS_EARLY = "ends_early"
    """The answer ends properly, and too soon."""
    GARBAGE = "garbage"
    """What comes is not what the format says."""
    WRONG_FORM = "wrong_form"
    """What comes is JSON of another shape."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer with a failing status; the vendor gives it its own body."""

    status: int
    code: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Broken:
    """An answer that breaks after so many pieces."""

    how: Break
    after: int = 0


Fault = Refusal | Broken


async def never() -> None:
    """Wait for the client to hang up."""
    await asyncio.Event().wait()


async def send_events(
    reply: Reply, events: Iterable[bytes], last: Iterable[bytes], fault: Fault | None
) -> None:
    """Send a stream of server-sent ``events`` and the ``last`` ones, with ``fault`` among them."""
    broken = fault if isinstance(fault, Broken) else None
    if broken is not None and broken.how is Break.SILENT:
        await never()
    await reply.begin(200, "text/event-stream; charset=utf-8")
    for index, event in enumerate(events):
        if broken is not None and index == broken.after:
            await break_off(reply, broken.how)
            return
        await reply.send(event)
    if broken is not None:
        await break_off(reply, broken.how)
        return
    for event in last:
        await reply.send(event)
    await reply.end()


async def break_off(reply: Reply, how: Break) -> None:
    """Break a begun stream of events."""
    match how:
        case Break.STALLS:
            await never()
        case Break.CUT:
            raise ConnectionCut
        case Break.GARBAGE:
            await reply.send(b"event: content_block_delta\ndata: {not json\n\n")
        case Break.WRONG_FORM:
            await reply.send(
                b'event: content_block_delta\ndata: {"type": "content_block_delta", "delta": 7,'
                b' "choices": [{"delta": 7}]}\n\n'
            )
    await reply.end()


async def send_body(
    reply: Reply,
    content_type: str,
    pieces: Sequence[bytes],
    fault: Fault | None,
    wrong: Mapping[Break, bytes],
) -> None:
    """Send an answer in ``pieces`` with ``fault``; ``wrong`` is what comes in their place."""
    broken = fault if isinstance(fault, Broken) else None
    if broken is None:
        await reply.begin(200, content_type)
        for piece in pieces:
            await reply.send(piece)
        await reply.end()
        return
    if broken.how is Break.SILENT:
        await never()
    await reply.begin(200, content_type)
    if broken.how in wrong:
        await reply.send(wrong[broken.how])
        await reply.end()
        return
    for piece in pieces[: broken.after]:
        await reply.send(piece)
    await break_off(reply, broken.how)
