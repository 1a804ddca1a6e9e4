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


def arguments(microphone: Path) -> list[str]:
    """Return Chromium's arguments; `microphone` is a WAV file, int16 mono."""
    return [
        "--use-fake-device-for-media-stream",
        # Permission is given unasked; a test that wants it refused says so to its own page.
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
        # Our page plays only what somebody asked for; a test has no finger for the first touch.
        "--autoplay-policy=no-user-gesture-required",
        # A page that is not in front must keep its clock: many are open at once here.
        "--disable-background-timer-throttling",
        "--disable-backgrounding-occluded-windows",
        "--disable-renderer-backgrounding",
        "--disable-gpu",
        LOCAL_CA,
    ]


@contextlib.asynccontextmanager
async def chromium(microphone: Path, *more: str) -> AsyncIterator[Browser]:
    """Yield a running Chromium.

    Raises:
        BrowserMissingError: there is none; the message says what to do.
    """
    found = find_browser()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=found.executable,
            args=[*arguments(microphone), *more],
            env={**os.environ, **found.environment},
        )
        try:
            yield browser
        finally:
            await browser.close()
