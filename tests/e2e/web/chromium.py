"""Chromium as the tests and benchmarks start it: with a microphone of ours and no window."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from tools.browser import find_browser

LOCAL_CA = "--ignore-certificate-errors"
"""The tests make their own certificates; HTTP/2 and streamed uploads work all the same."""


def ears(microphone: Path) -> list[str]:
    """Return what gives Chromium our microphone, a WAV file (int16 mono)."""
    return [
        "--use-fake-device-for-media-stream",
        # Permission is given unasked; a test that wants it refused starts a browser that `REFUSES`.
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
        "--disable-gpu",
    ]


REFUSES = "--use-fake-ui-for-media-stream=deny"
"""A browser whose owner said no to every page that asked for the microphone."""

DEAF = ("--disable-gpu", "--use-fake-ui-for-media-stream")
"""What a browser is told that has no microphone of ours, and on a machine without one none."""

FAVOURS = (
    # Our page plays only what somebody asked for; a test has no finger for the first touch.
    "--autoplay-policy=no-user-gesture-required",
    # A page that is not in front must keep its clock: many are open at once here.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    LOCAL_CA,
)
"""What no learner's browser does, and tests with many pages need."""


@contextlib.asynccontextmanager
async def chromium(
    microphone: Path | None, *more: str, favours: bool = True, home: Path | None = None
) -> AsyncIterator[Browser]:
    """Yield a running Chromium; `home` is its owner's, where it must not be this process's.

    microphone: None for the machine's own, which a machine that runs tests has not.
    favours: False for a browser as a learner has it, apart from the microphone.

    Raises:
        BrowserMissingError: there is none; the message says what to do.
    """
    found = find_browser()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=found.executable,
            args=[
                *(DEAF if microphone is None else ears(microphone)),
                *(FAVOURS if favours else ()),
                *more,
            ],
            env=os.environ | found.environment | ({"HOME": str(home)} if home else {}),
        )
        try:
            yield browser
        finally:
            await browser.close()
