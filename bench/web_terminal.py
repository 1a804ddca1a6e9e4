"""Voice to voice in the terminal client: the client itself, with a sound card that is a clock.

It draws what it draws on a terminal, buffers what it plays as it does before a loudspeaker, and is
tapped at both ends of its card.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import secrets
import time
from collections.abc import AsyncIterator

import numpy as np
from rich.console import Console

from bench.live import RATE_HZ
from bench.speech import Utterance
from bench.web_cpu import CpuMeter, used
from bench.web_turns import ANSWERED_WITHIN_S, LEAD_IN_S, TAIL_S, Wait, wait_of
from parley_cli.audio.cards import OnCaptured, OnPlayed, VirtualCard
from parley_cli.audio.files import Samples
from parley_cli.audio.playback import PlaybackBuffer
from parley_cli.audio.speech_end import first_sounding_sample
from parley_cli.client.endpoint import Endpoint
from parley_cli.client.parley_client import ParleyClient
from parley_cli.failures import CliFailure
from parley_cli.talk.conversation import Talk
from parley_cli.talk.live import LivePresenter
from parley_cli.talk.options import TalkOptions
from tests.e2e.web.microphone import silence
from tests.e2e.web.taps import Stretch
from tests.stack import Stack

_COLUMNS, _LINES = 100, 30


class Terminal:
    """Somebody with an account, who talks in the terminal."""

    def __init__(self, client: ParleyClient, cpu: CpuMeter) -> None:
        self._client = client
        self._cpu = cpu

    async def say(self, utterance: Utterance) -> Wait:
        """Hold a talk of one recording; return the learner's wait."""
        card = TappedCard(np.concatenate([silence(LEAD_IN_S), utterance.samples]))
        before = await self._cpu.read_terminal()
        began = time.monotonic()
        cpu_s: dict[str, float] = {}
        seconds = 0.0

        async def until_answered(_: Talk) -> None:
            nonlocal cpu_s, seconds
            async with asyncio.timeout(ANSWERED_WITHIN_S):
                await card.sounded.wait()
            seconds = time.monotonic() - began
            cpu_s = used(before, await self._cpu.read_terminal())
            await asyncio.sleep(TAIL_S)

        # It is drawn as on a terminal, which is work that a learner's machine has too.
        console = Console(file=io.StringIO(), force_terminal=True, width=_COLUMNS, height=_LINES)
        presenter = LivePresenter(console, keys="space stop the tutor · m mute · q quit")
        talk = Talk(
            self._client,
            TalkOptions(no_record=True),
            card=card,
            driver=until_answered,
            presenter=presenter,
        )
        try:
            await talk.run()
        except CliFailure as failure:
            return Wait(trouble=str(failure))
        except TimeoutError:
            return Wait()
        finally:
            presenter.close(talk.view)
        return wait_of(card.heard, card.played, utterance.samples, cpu_s, seconds)


@contextlib.asynccontextmanager
async def terminal(stack: Stack, cpu: CpuMeter) -> AsyncIterator[Terminal]:
    """Yield somebody who has just made an account; `stack` speaks TLS."""
    endpoint = Endpoint("localhost", stack.port, tls=True, ca_file=stack.authority)
    async with ParleyClient(endpoint) as client:
        await client.register(f"bench-{secrets.token_hex(6)}", secrets.token_urlsafe(24))
        yield Terminal(client, cpu)


class _Said:
    """What is said once, and silence after it."""

    def __init__(self, samples: Samples) -> None:
        self._left = samples

    def next_frame(self, count: int) -> Samples:
        part, self._left = self._left[:count], self._left[count:]
        return np.pad(part, (0, count - len(part)))


class TappedCard:
    """The terminal client's own virtual card, copied at both ends.

    Args:
        said: int16 at `RATE_HZ`; silence follows.
        frame_ms: length of a frame.
    """

    def __init__(self, said: Samples, frame_ms: int = 20) -> None:
        self._card = VirtualCard(
            _Said(said), sample_rate_hz=RATE_HZ, frame_ms=frame_ms, now=time.monotonic
        )
        self._heard: list[Samples] = []
        self._played: list[Samples] = []
        self._heard_from_s = self._played_from_s = 0.0
        self._played_hz = RATE_HZ
        self.sounded = asyncio.Event()
        """Set with the first sample that can be heard of what is played."""

    async def run(
        self, playback: PlaybackBuffer, on_captured: OnCaptured, on_played: OnPlayed
    ) -> None:
        """Hear and play until cancelled."""
        self._played_hz = playback.sample_rate_hz

        async def captured(samples: Samples, at: float) -> None:
            if not self._heard:
                # Handed on when its last sample was heard.
                self._heard_from_s = at - len(samples) / RATE_HZ
            self._heard.append(samples)
            await on_captured(samples, at)

        def played(samples: Samples, at: float) -> None:
            if not self._played:
                self._played_from_s = at
            self._played.append(samples)
            if first_sounding_sample(samples) is not None:
                self.sounded.set()
            on_played(samples, at)

        await self._card.run(playback, captured, played)

    @property
    def heard(self) -> Stretch:
        """What the microphone gave."""
        return Stretch(np.concatenate(self._heard), RATE_HZ, self._heard_from_s * 1000)

    @property
    def played(self) -> Stretch:
        """What left the player, silence included."""
        return Stretch(np.concatenate(self._played), self._played_hz, self._played_from_s * 1000)
