"""How long a frame takes to Parley and back: natively, and from a browser over each transport.

All do the same: 20 ms frames of silence in real time (40 ms ones in batches), with a ping beside
every fifth; what counts is the time to its pong. Everything goes through the gateway to the
scripted engine: no model takes the machine's time.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path

from playwright.async_api import Browser

from bench.live import RATE_HZ
from parley.conversation.v1 import conversation_pb2
from parley_cli.client.endpoint import Endpoint
from parley_cli.client.parley_client import ParleyClient

_FRAME_SAMPLES = RATE_HZ // 50
_FRAMES_A_PING = 5


async def native(port: int, authority: Path, seconds: float) -> list[float]:
    """Return the round trips of the terminal client's own stream, in milliseconds."""
    trips: list[float] = []
    sent: dict[int, float] = {}
    endpoint = Endpoint("localhost", port, tls=True, ca_file=authority)
    async with ParleyClient(endpoint) as client:
        await client.register(f"bench-{secrets.token_hex(6)}", secrets.token_urlsafe(24))
        start = conversation_pb2.StartSession(engine="scripted", no_recording=True)
        async with client.converse(start) as stream:
            over = asyncio.Event()

            async def listen() -> None:
                async for response in stream:
                    kind = response.WhichOneof("message")
                    if kind == "pong":
                        trips.append((time.monotonic() - sent[response.pong.nonce]) * 1000)
                    if over.is_set() and kind == "ended":
                        return

            async with asyncio.TaskGroup() as group:
                group.create_task(listen())
                begun = time.monotonic()
                for number in range(int(seconds * 50)):
                    await asyncio.sleep(max(0.0, begun + number / 50 - time.monotonic()))
                    await stream.send_audio(bytes(2 * _FRAME_SAMPLES), number * _FRAME_SAMPLES)
                    if number % _FRAMES_A_PING == 0:
                        sent[number] = time.monotonic()
                        await stream.ping(number)
                over.set()
                await stream.finish()
    return trips


async def in_browser(browser: Browser, url: str, transport: str, seconds: float) -> list[float]:
    """Return the round trips of the page's own code over `transport`, in milliseconds."""
    context = await browser.new_context(
        base_url=url, ignore_https_errors=True, service_workers="block"
    )
    try:
        page = await context.new_page()
        await page.goto("/test/driver.html")
        await page.wait_for_function("'driver' in window")
        await page.evaluate(
            "([name, password]) => driver.signUp(name, password, name, crypto.randomUUID())",
            [f"bench-{secrets.token_hex(6)}", secrets.token_urlsafe(24)],
        )
        plan = {"transport": transport, "seconds": seconds}
        trips: list[float] = await page.evaluate("(plan) => driver.roundTrips(plan)", plan)
        return trips
    finally:
        await context.close()
