"""What a page hears and what it plays, tapped inside the browser, with the page's own clock.

The worklet that copies the sound comes from the page's own server, at `/test/tap-worklet.js`: its
security policy allows no other, and it is to hold in the tests too.
"""

from __future__ import annotations

import base64
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from playwright.async_api import BrowserContext, Page

PAGES = Path(__file__).parents[2] / "data" / "web"

Kind = Literal["microphone", "loudspeaker"]

QUIET = 0.01
"""-40 dBFS: nobody hears what is below it beside a voice."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of sound: int16 mono at `rate_hz`, from `begin_ms` on by the page's clock."""

    samples: np.ndarray
    rate_hz: int
    begin_ms: float

    def loud_at(self) -> np.ndarray:
        """Return the instants, in page milliseconds, of the samples that can be heard."""
        loud = np.flatnonzero(np.abs(self.samples.astype(np.int32)) > QUIET * 32768)
        return self.begin_ms + loud * 1000 / self.rate_hz

    @property
    def sounding_s(self) -> float:
        """For how many seconds there was sound, judged in pieces of 20 ms."""
        frame = self.rate_hz // 50
        whole = self.samples[: len(self.samples) // frame * frame].reshape(-1, frame)
        return float((np.abs(whole.astype(np.int32)).max(axis=1) > QUIET * 32768).sum()) / 50

    def pitch_hz(self) -> float:
        """Return the strongest frequency of its first second that can be heard."""
        loud = np.flatnonzero(np.abs(self.samples.astype(np.int32)) > QUIET * 32768)
        piece = self.samples[loud[0] : loud[0] + self.rate_hz].astype(np.float64)
        strongest = np.argmax(np.abs(np.fft.rfft(piece * np.hanning(len(piece)))))
        return float(strongest) * self.rate_hz / len(piece)

    def after(self, earlier: Stretch) -> Stretch:
        """Return what came after `earlier`, which was tapped of the same sound."""
        known = len(earlier.samples)
        begin_ms = self.begin_ms + known * 1000 / self.rate_hz
        return Stretch(self.samples[known:], self.rate_hz, begin_ms)

    def write(self, path: Path) -> Path:
        """Write it as a WAV file; return `path`."""
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(self.rate_hz)
            file.writeframes(self.samples.tobytes())
        return path


async def tap(context: BrowserContext) -> None:
    """Tap every page that the context opens from now on."""
    await context.add_init_script(path=PAGES / "tap.js")


async def tapped(page: Page, kind: Kind) -> list[Stretch]:
    """Return what was tapped so far, a stretch for each audio context that there was."""
    return [
        Stretch(
            np.frombuffer(base64.b64decode(each["pcm"]), np.int16), each["rate"], each["beginMs"]
        )
        for each in await page.evaluate(f"testTap.read({kind!r})")
    ]


async def is_silent(page: Page) -> bool:
    """Tell whether the loudspeaker has nothing to say at this moment."""
    return float(await page.evaluate("testTap.loudness()")) < QUIET
