"""The delayed line adds distance and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from bench.delayed_line import delayed_line


@contextlib.asynccontextmanager
async def echo() -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_round_trip_takes_twice_the_delay_and_bytes_keep_their_order():
    async with echo() as port:
        with delayed_line(port, 30) as near:
            reader, writer = await asyncio.open_connection("127.0.0.1", near)
            begun = time.monotonic()
            for part in (b"one ", b"two ", b"three"):
                writer.write(part)
                await asyncio.sleep(0)
            assert await reader.readexactly(13) == b"one two three"
            assert 0.055 < time.monotonic() - begun < 0.5
            writer.close()
            await writer.wait_closed()


async def test_what_is_far_away_is_no_narrower():
    """Pieces travel beside each other: many do not take many delays."""
    async with echo() as port:
        with delayed_line(port, 50) as near:
            reader, writer = await asyncio.open_connection("127.0.0.1", near)
            begun = time.monotonic()
            size = 4 * 2**20
            writer.write(bytes(size))
            assert len(await reader.readexactly(size)) == size
            assert time.monotonic() - begun < 1.5
            writer.close()
            await writer.wait_closed()


async def test_the_end_of_one_side_ends_the_other():
    async with echo() as port:
        with delayed_line(port, 5) as near:
            reader, writer = await asyncio.open_connection("127.0.0.1", near)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()


async def test_nobody_at_the_far_end_is_a_closed_connection():
    async with echo() as port:
        pass
    with delayed_line(port, 5) as near:
        reader, writer = await asyncio.open_connection("127.0.0.1", near)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()


@pytest.mark.parametrize("delay_ms", [0, 1])
async def test_it_stops_with_connections_open(delay_ms):
    async with echo() as port:
        with delayed_line(port, delay_ms) as near:
            reader, writer = await asyncio.open_connection("127.0.0.1", near)
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()
