"""`make bench-web`: what a browser adds to a talk, over each transport, beside the terminal client.

Two measures of one Parley over TLS in one run, everything in turns, so that whatever else the
machine does meets all alike: the learner's wait for an answer, voice to voice, and the round trip
of a frame, on this machine and with a network's delay put between.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

import typer
from playwright.async_api import Page

from bench.delayed_line import delayed_line
from bench.live import ConversationFailedError, converse
from bench.report import Spread, table, write
from bench.speech import DEFAULT_FOLDER, Utterance, read_utterances
from bench.web_trips import in_browser, native
from bench.web_turns import answered, open_page, paired, say
from parley.conversation.v1 import conversation_pb2
from parley_cli.client.endpoint import Endpoint
from parley_cli.client.parley_client import ParleyClient
from tests.e2e.web.chromium import chromium
from tests.e2e.web.microphone import Microphone
from tests.e2e.web.web_stack import web_stack
from tests.stack import Stack
from tools.browser import BrowserMissingError
from tools.node import NpmError

TRANSPORTS = ("upload", "push", "websocket")
TERMINAL = "terminal"

_TURNS = 10
_TRIP_SECONDS = 10.0
_DELAY_MS = 80.0

BUDGET_MS = 30.0
"""How far the streamed upload may be behind the terminal client at p50."""


@dataclass(slots=True)
class Measured:
    """What one run measured, in milliseconds, by client; a wait is None where there was none."""

    waits: dict[str, list[float | None]] = field(
        default_factory=lambda: {name: [] for name in (TERMINAL, *TRANSPORTS)}
    )
    near: dict[str, list[float]] = field(default_factory=dict)
    far: dict[str, list[float]] = field(default_factory=dict)


async def measure(
    stack: Stack, utterances: Sequence[Utterance], *, delay_ms: float, trip_seconds: float
) -> Measured:
    """Measure everything, one talk at a time."""
    measured = Measured()
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
        microphone = Microphone(Path(folder) / "said.wav")
        async with chromium(microphone.path) as browser:
            pages = {name: await open_page(browser, stack.url, name) for name in TRANSPORTS}
            for number, utterance in enumerate(utterances, 1):
                measured.waits[TERMINAL].append(await _in_terminal(stack, utterance))
                for name, page in pages.items():
                    measured.waits[name].append(await say(page, microphone, utterance))
                _tell_waits(number, measured.waits)
            await _close(pages.values())
            assert stack.authority is not None
            for kept, delay in ((measured.near, 0.0), (measured.far, delay_ms)):
                with delayed_line("127.0.0.1", stack.port, delay) as port:
                    kept[TERMINAL] = await native(port, stack.authority, trip_seconds)
                    for name in TRANSPORTS:
                        kept[name] = await in_browser(browser, port, name, trip_seconds)
                    print(f"round trips {delay:g} ms farther: done", flush=True)
    return measured


def _tell_waits(number: int, waits: Mapping[str, Sequence[float | None]]) -> None:
    """Say what became of a recording: a run takes minutes, and may be worth breaking off."""
    told = (f"{name} {_ms(each[-1])}" for name, each in waits.items())
    print(f"recording {number}: {', '.join(told)}", flush=True)


def _ms(wait: float | None) -> str:
    return "no answer" if wait is None else f"{wait:.0f} ms"


async def _in_terminal(stack: Stack, utterance: Utterance) -> float | None:
    """Hold a talk of one recording as the terminal client does; return the wait."""
    endpoint = Endpoint("localhost", stack.port, tls=True, ca_file=stack.authority)
    async with ParleyClient(endpoint) as client:
        await client.register(f"bench-{os.urandom(6).hex()}", os.urandom(24).hex())
        start = conversation_pb2.StartSession(no_recording=True)
        try:
            _, (answer,) = await converse(client, [utterance.samples], start)
        except ConversationFailedError:
            return None
        return answer.silence_ms


async def _close(pages: Iterable[Page]) -> None:
    for page in pages:
        await page.context.close()


def report(preset: str, delay_ms: float, measured: Measured) -> int:
    """Print the tables and write the result; return 1 where the budget is missed or an answer."""
    waits = {name: answered(each) for name, each in measured.waits.items()}
    _show(f"Voice to voice, preset {preset}", waits)
    _show("Round trip of a frame on this machine", measured.near)
    _show(f"Round trip of a frame, {delay_ms:g} ms farther each way", measured.far)
    trips = {"round_trip": measured.near, "round_trip_delayed": measured.far}
    differences = {
        what: round(Spread.of(each["upload"]).p50 - Spread.of(each[TERMINAL]).p50, 1)
        for what, each in trips.items()
    }
    for what, difference in differences.items():
        verdict = "kept" if difference <= BUDGET_MS else "MISSED"
        print(
            f"{what.replace('_', ' ')}: streamed upload {difference:+.1f} ms at p50;"
            f" the budget of {BUDGET_MS:+.0f} ms is {verdict}"
        )
    # An answer takes as long as the models take, which is not twice the same: so recording by
    # recording, and with the spread that says what the median is worth.
    beside = {name: paired(measured.waits[TERMINAL], measured.waits[name]) for name in TRANSPORTS}
    _show("Voice to voice, beyond the terminal client's, by recording", beside)
    unanswered = {name: each.count(None) for name, each in measured.waits.items()}
    if any(unanswered.values()):
        print(f"not every recording was answered: {unanswered}")
    write(
        "web",
        {
            "preset": preset,
            "delay_ms_each_way": delay_ms,
            "voice_to_voice": {
                name: {**Spread.of(each).fields(), "unanswered": unanswered[name]}
                for name, each in waits.items()
            },
            "voice_to_voice_beyond_terminal": _fields(beside),
            "round_trip": _fields(measured.near),
            "round_trip_delayed": _fields(measured.far),
            "upload_less_terminal_p50_ms": differences,
            "budget_ms": BUDGET_MS,
        },
    )
    return int(max(differences.values()) > BUDGET_MS or any(unanswered.values()))


def _fields(of: dict[str, list[float]]) -> dict[str, Any]:
    return {name: Spread.of(each).fields() for name, each in of.items()}


def _show(title: str, of: dict[str, list[float]]) -> None:
    rows = []
    for name, values in of.items():
        spread = Spread.of(values)
        numbers = (spread.p50, spread.p90, spread.p99, spread.smallest, spread.largest)
        rows.append((name, *(f"{each:.1f}" for each in numbers), str(spread.count)))
    table(title, ("milliseconds", "p50", "p90", "p99", "min", "max", "n"), rows)


def main(
    data: Annotated[Path, typer.Option(help="Folder with transcripts.tsv.")] = DEFAULT_FOLDER,
    preset: Annotated[str, typer.Option(help="Models to start with.")] = os.environ.get(
        "PRESET", "default"
    ),
    turns: Annotated[int, typer.Option(help="Recordings said; they repeat as needed.")] = _TURNS,
    delay_ms: Annotated[float, typer.Option(help="Added distance, each way.")] = _DELAY_MS,
    trip_seconds: Annotated[float, typer.Option(help="Length of a measure of round trips.")] = (
        _TRIP_SECONDS
    ),
) -> None:
    """Print and write how long answers and frames take in a browser and in the terminal."""
    try:
        utterances = list(islice(cycle(read_utterances(data)), turns))
        with tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
            settings = {
                "PARLEY_PRESET": preset,
                "PARLEY_AI_ENGINES": '["local", "scripted"]',
            }
            with web_stack(Path(folder), engine="local", settings=settings) as stack:
                measured = asyncio.run(
                    measure(stack, utterances, delay_ms=delay_ms, trip_seconds=trip_seconds)
                )
    except (OSError, ValueError, BrowserMissingError, NpmError) as error:
        raise SystemExit(f"bench-web: {error}") from error
    raise SystemExit(report(preset, delay_ms, measured))


if __name__ == "__main__":
    typer.run(main)
