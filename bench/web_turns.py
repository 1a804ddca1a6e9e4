"""Voice to voice in a browser: a recording goes into its microphone, the answer out of the page.

Both ends are tapped inside the browser, on the clock of one audio context (`tests.e2e.web.taps`).
The end of speech is that of the recording, found by energy alone (`parley_cli.audio.speech_end`),
at the place where the recording lies in what the microphone gave; the begin of the answer is the
first sample beyond -40 dBFS that leaves for the loudspeaker.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence

import numpy as np
import soxr
from playwright.async_api import Browser, Page, expect

from bench.live import RATE_HZ
from bench.speech import Utterance
from parley_cli.audio.files import Samples
from parley_cli.audio.speech_end import speech_end_sample
from tests.e2e.web.microphone import Microphone
from tests.e2e.web.taps import Stretch, tap, tapped

_WISHES = {"tutorOpens": False, "rawMicrophone": True, "noRecording": True}
# What a microphone hears before anybody talks; the first blocks of a tap are missing.
_LEAD_IN_S = 1.0
_ANSWERED_WITHIN_MS = 60_000


async def open_page(browser: Browser, url: str, transport: str) -> Page:
    """Return a page where somebody has just made an account, to talk over `transport`."""
    context = await browser.new_context(
        base_url=url, ignore_https_errors=True, service_workers="block"
    )
    wishes = json.dumps(_WISHES | {"transport": transport})
    await context.add_init_script(
        f"if (location.origin !== 'null') localStorage.setItem('parley.talk', '{wishes}')"
    )
    await tap(context)
    page = await context.new_page()
    await page.goto("/sign-up")
    await page.get_by_label("Name").fill(f"bench-{secrets.token_hex(6)}")
    await page.get_by_label("Password").fill(secrets.token_urlsafe(16))
    await page.get_by_role("button", name="Make an account").click()
    await expect(page.get_by_role("button", name="Start talking")).to_be_visible()
    return page


async def say(page: Page, microphone: Microphone, utterance: Utterance) -> float | None:
    """Hold a talk of one recording; return the learner's wait in milliseconds.

    None where there was no answer in time, or it came before the recording's end.
    """
    microphone.will_say(_LEAD_IN_S, utterance.samples)
    await page.get_by_role("button", name="Start talking").click()
    floor = page.locator(".dock-words strong")
    try:
        await expect(page.locator(".transcript .line-tutor .line-silence").first).to_be_visible(
            timeout=_ANSWERED_WITHIN_MS
        )
        await expect(floor).to_have_text("Your turn", timeout=_ANSWERED_WITHIN_MS)
        heard = (await tapped(page, "microphone"))[-1]
        played = (await tapped(page, "loudspeaker"))[-1]
        return wait_ms(heard, played, utterance.samples)
    except AssertionError:
        return None
    finally:
        await page.get_by_role("button", name="End", exact=True).click()
        await page.get_by_role("button", name="Another talk").click()


def wait_ms(heard: Stretch, played: Stretch, recording: Samples) -> float | None:
    """Return the time from the end of `recording` in `heard` to the first sound of `played`.

    None where nothing sounded after it.

    Raises:
        ValueError: the recording holds no speech.
    """
    end = speech_end_sample(recording, RATE_HZ)
    if end is None:
        raise ValueError("the recording holds no speech")
    ended_ms = heard.begin_ms + (place_of(recording, heard) + end) * 1000 / RATE_HZ
    sounds = played.loud_at()
    after = sounds[sounds > ended_ms]
    return float(after[0] - ended_ms) if len(after) else None


def place_of(recording: Samples, heard: Stretch) -> int:
    """Return where `recording` begins in `heard`, in samples at `RATE_HZ`, by correlation."""
    whole = heard.samples.astype(np.float32)
    if heard.rate_hz != RATE_HZ:
        whole = soxr.resample(whole, heard.rate_hz, RATE_HZ)
    length = len(whole) + len(recording)
    spectrum = np.fft.rfft(whole, length) * np.conj(np.fft.rfft(recording, length))
    return int(np.argmax(np.fft.irfft(spectrum, length)[: len(whole)]))


def answered(waits: Sequence[float | None]) -> list[float]:
    """Return the waits of what was answered."""
    return [each for each in waits if each is not None]


def paired(before: Sequence[float | None], after: Sequence[float | None]) -> list[float]:
    """Return by how much each of `after` is longer than its `before`, where both were answered."""
    return [
        then - first
        for first, then in zip(before, after, strict=True)
        if first is not None and then is not None
    ]
