"""The line does the one fault that it is told to do, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from tests.fault.line import Line, line, line_beside


@contextlib.asynccontextmanager
async def echo() -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def echo_over_a_line() -> AsyncIterator[tuple[Line, int]]:
    async with echo() as far, line(far) as both:
        yield both


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def echoes(self, said: bytes) -> bool:
        self.writer.write(said)
        async with asyncio.timeout(10):
            return await self.reader.readexactly(len(said)) == said

    async def is_over(self) -> bool:
        async with asyncio.timeout(10):
            try:
                return await self.reader.read(1) == b""
            except ConnectionResetError:
                return True

    def close(self) -> None:
        self.writer.transport.abort()


async def test_whole_it_changes_nothing():
    async with echo_over_a_line() as (_, port):
        client = await Client.to(port)
        assert await client.echoes(bytes(range(256)) * 4_096)
        client.close()


async def test_every_byte_is_late_and_many_are_no_later():
    async with echo_over_a_line() as (cable, port):
        cable.latency_s = 0.05
        client = await Client.to(port)
        began = time.monotonic()
        assert await client.echoes(bytes(1 << 20))
        assert time.monotonic() - began >= 0.1
        client.close()


async def test_a_narrow_line_takes_its_time():
    async with echo_over_a_line() as (cable, port):
        cable.bytes_per_s = 50_000
        client = await Client.to(port)
        began = time.monotonic()
        assert await client.echoes(bytes(10_000))
        # The last piece waits for nobody.
        assert time.monotonic() - began >= 0.15
        client.close()


async def test_reset_ends_what_there_is_and_takes_new_ones():
    async with echo_over_a_line() as (cable, port):
        first = await Client.to(port)
        assert await first.echoes(b"1")
        cable.reset()
        assert await first.is_over()
        second = await Client.to(port)
        assert await second.echoes(b"2")
        for each in (first, second):
            each.close()


async def test_down_it_refuses_until_it_is_mended():
    async with echo_over_a_line() as (cable, port):
        cable.down()
        refused = await Client.to(port)
        assert await refused.is_over()
        cable.mend()
        client = await Client.to(port)
        assert await client.echoes(b"1")
        for each in (refused, client):
            each.close()


async def test_stalled_nothing_passes_and_then_everything():
    async with echo_over_a_line() as (cable, port):
        client = await Client.to(port)
        assert await client.echoes(b"1")
        stalling = asyncio.create_task(cable.stall(0.2))
        await asyncio.sleep(0)
        began = time.monotonic()
        assert await client.echoes(b"waiting")
        assert time.monotonic() - began >= 0.1
        await stalling
        client.close()


async def test_half_open_nobody_is_told_that_nothing_passes():
    async with echo_over_a_line() as (cable, port):
        client = await Client.to(port)
        assert await client.echoes(b"1")
        cable.vanish()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.echoes(b"lost")
        cable.mend()
        assert await client.is_over()
        again = await Client.to(port)
        assert await again.echoes(b"2")
        for each in (client, again):
            each.close()


async def test_a_forgotten_connection_swallows_and_a_new_one_carries():
    async with echo_over_a_line() as (cable, port):
        client = await Client.to(port)
        assert await client.echoes(b"1")
        cable.forget()
        again = await Client.to(port)
        assert await again.echoes(b"2")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.echoes(b"lost")
        cable.mend()
        assert await client.is_over()
        for each in (client, again):
            each.close()


async def test_nobody_at_the_far_end_is_a_closed_connection():
    async with echo() as far:
        pass
    async with line(far) as (_, port):
        client = await Client.to(port)
        assert await client.is_over()
        client.close()


async def test_beside_it_is_told_from_another_thread():
    async with echo() as far:
        with line_beside(far) as (cable, port):
            client = await Client.to(port)
            assert await client.echoes(b"1")
            await asyncio.to_thread(cable.down)
            assert await client.is_over()
            await asyncio.to_thread(cable.mend)
            again = await Client.to(port)
            assert await again.echoes(b"2")
            for each in (client, again):
                each.close()
