"""Voice to voice in a browser: a recording goes into its microphone, the answer out of the page.

Both ends are tapped inside the browser, on the clock of one audio context (`tests.e2e.web.taps`).
A page is open only while it is measured: one that stands open draws, and takes time from others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping

from playwright.async_api import Browser, BrowserContext, Page, expect
from playwright.async_api import TimeoutError as NothingHeardError

from bench.speech import Utterance
from bench.web_cpu import CpuMeter, used
from bench.web_turns import ANSWERED_WITHIN_S, LEAD_IN_S, TAIL_S, Wait, wait_of
from tests.e2e.web.microphone import Microphone
from tests.e2e.web.taps import QUIET, tap, tapped

# The learner begins, as in the terminal, and nobody's disk is measured.
_WISHES = {"tutorOpens": False, "noRecording": True}

# A function: an expression would be evaluated in the page, whose policy forbids that.
_SOUNDS = f"() => testTap.loudness() > {QUIET}"
# A look at the page is work for it: seldom enough to cost nothing.
_LOOK_EVERY_MS = 100
_ENDED_WITHIN_MS = 15_000


class Learner:
    """Somebody with an account in a browser profile of their own."""

    def __init__(self, context: BrowserContext, microphone: Microphone, cpu: CpuMeter) -> None:
        self._context = context
        self._microphone = microphone
        self._cpu = cpu

    async def say(self, utterance: Utterance) -> Wait:
        """Hold a talk of one recording on a page of its own; return the learner's wait."""
        self._microphone.will_say(LEAD_IN_S, utterance.samples, tail_s=2 * ANSWERED_WITHIN_S)
        page = await self._context.new_page()
        try:
            await page.goto("/")
            return await self._talk(page, utterance)
        finally:
            await page.close()

    async def _talk(self, page: Page, utterance: Utterance) -> Wait:
        start = page.get_by_role("button", name="Start talking")
        await expect(start).to_be_visible()
        # Opening a page is work too, and no part of a talk.
        await page.wait_for_load_state("networkidle")
        before = await self._cpu.read_browser()
        began = time.monotonic()
        await start.click()
        try:
            await page.wait_for_function(
                _SOUNDS, polling=_LOOK_EVERY_MS, timeout=ANSWERED_WITHIN_S * 1000
            )
        except NothingHeardError:
            told = await page.get_by_role("alert").all_inner_texts()
            return Wait(trouble=" ".join(" ".join(told).split()))
        seconds = time.monotonic() - began
        cpu_s = used(before, await self._cpu.read_browser())
        await asyncio.sleep(TAIL_S)
        heard = (await tapped(page, "microphone"))[-1]
        played = (await tapped(page, "loudspeaker"))[-1]
        await page.get_by_role("button", name="End", exact=True).click()
        await expect(page.get_by_role("button", name="Another talk")).to_be_visible(
            timeout=_ENDED_WITHIN_MS
        )
        return wait_of(heard, played, utterance.samples, cpu_s, seconds)


@contextlib.asynccontextmanager
async def learner(
    browser: Browser, url: str, microphone: Microphone, cpu: CpuMeter, wishes: Mapping[str, object]
) -> AsyncIterator[Learner]:
    """Yield somebody who has just made an account at `url`, with these wishes about talking."""
    context = await browser.new_context(
        base_url=url, ignore_https_errors=True, service_workers="block"
    )
    try:
        kept = json.dumps(_WISHES | dict(wishes))
        await context.add_init_script(
            f"if (location.origin !== 'null') localStorage.setItem('parley.talk', '{kept}')"
        )
        await tap(context)
        page = await context.new_page()
        await page.goto("/sign-up")
        await page.get_by_label("Name").fill(f"bench-{secrets.token_hex(6)}")
        await page.get_by_label("Password").fill(secrets.token_urlsafe(16))
        await page.get_by_role("button", name="Make an account").click()
        await expect(page.get_by_role("button", name="Start talking")).to_be_visible()
        await page.close()
        yield Learner(context, microphone, cpu)
    finally:
        await context.close()
