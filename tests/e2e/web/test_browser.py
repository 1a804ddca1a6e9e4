"""What the browser tests stand on, without Parley: the microphone is our file, and time passes."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.async_api import Browser

from tests.e2e.web.microphone import RATE_HZ, Microphone, tone
from tests.e2e.web.taps import tap, tapped

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    # Its processes for sound and drawing begin with the first page that needs them.
    pytest.mark.leaves_behind("a running Chromium that the tests share"),
]

PAGES = Path(__file__).parents[2] / "data" / "web"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    """Serve the folder of small pages."""
    handler = functools.partial(_Quiet, directory=str(PAGES))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_the_microphone_is_the_file_from_its_start_each_time(
    browser: Browser, microphone: Microphone, address: str
) -> None:
    page = await browser.new_page()
    await page.goto(f"{address}/probe.html")
    for hz in (440, 1000):
        microphone.will_say(0.3, tone(1.0, hz=hz))
        heard = np.array(await page.evaluate("listen(1.6)"))
        loud = np.flatnonzero(np.abs(heard) > 0.05)
        begin, end = loud[0] / RATE_HZ, loud[-1] / RATE_HZ
        assert begin < 0.5
        assert end - begin == pytest.approx(1.0, abs=0.05)
        middle = heard[loud[0] + 1600 : loud[0] + 1600 + 8192]
        strongest = np.argmax(np.abs(np.fft.rfft(middle))) * RATE_HZ / 8192
        assert strongest == pytest.approx(hz, abs=4)
        # Its level is the file's: nothing on the way turns it up or down.
        assert np.abs(middle).max() == pytest.approx(0.25, abs=0.02)
    await page.close()


async def test_what_a_page_hears_and_plays_is_tapped_on_one_clock(
    browser: Browser, microphone: Microphone, address: str
) -> None:
    context = await browser.new_context()
    await tap(context)
    page = await context.new_page()
    await page.goto(f"{address}/probe.html")
    microphone.will_say(0.3, tone(1.0), 0.3, tone(0.5))
    await page.evaluate("Promise.all([listen(2.4), play(1.0)])")
    (heard,) = await tapped(page, "microphone")
    (played,) = await tapped(page, "loudspeaker")
    assert heard.sounding_s == pytest.approx(1.5, abs=0.1)
    assert played.sounding_s == pytest.approx(1.0, abs=0.3)
    # Both began when the script did.
    assert abs(heard.begin_ms - played.begin_ms) < 500
    await context.close()


async def test_a_loudspeaker_plays_in_real_time_without_a_sound_device(
    browser: Browser, address: str
) -> None:
    page = await browser.new_page()
    await page.goto(f"{address}/probe.html")
    played = await page.evaluate("play(1.0)")
    assert played["frames"] / 24_000 == pytest.approx(played["milliseconds"] / 1000, rel=0.15)
    await page.close()
