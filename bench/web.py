"""`make bench-web`: what a browser adds to a talk, over each transport, beside the terminal client.

Two measures of one Parley in one run, everything in turns whose order moves on each time, so that
whatever else the machine does meets all alike: the learner's wait for an answer, voice to voice,
and the round trip of a frame, on this machine and with a network's delay put between.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

import typer
from playwright.async_api import Browser

from bench.delayed_line import delayed_line
from bench.report import RESULTS, Spread, table, write
from bench.speech import DEFAULT_FOLDER, Utterance, read_utterances
from bench.web_cpu import CpuMeter
from bench.web_door import DoorError, plain_door
from bench.web_page import learner
from bench.web_plot import plot
from bench.web_terminal import terminal
from bench.web_trips import in_browser, native
from bench.web_turns import Wait, answered, cpu_a_second, paired
from tests.e2e.web.chromium import chromium
from tests.e2e.web.microphone import Microphone
from tests.e2e.web.web_stack import web_stack
from tests.stack import Stack
from tools.browser import BrowserMissingError
from tools.node import NpmError

TERMINAL = "terminal"

PLAIN = "make run"
"""The page as `make run` gives it to who chooses nothing: plain HTTP, batches, echo cancelled."""

TRANSPORTS = ("upload", "push", "websocket")
"""The ways over TLS, as `make run TLS=1` opens them."""

WAYS = (TERMINAL, *TRANSPORTS, PLAIN)

_TURNS = 10
_TRIP_ROUNDS = 3
_TRIP_SECONDS = 5.0
_DELAY_MS = 80.0
# The machine comes to rest after a talk: what is stored of it takes a moment.
_REST_S = 1.0

BUDGET_MS = 30.0
"""How far the streamed upload may be behind the terminal client at p50."""

Say = Callable[[Utterance], Awaitable[Wait]]


@dataclass(slots=True)
class Measured:
    """What one run measured, by client: the waits, and the round trips in milliseconds."""

    waits: dict[str, list[Wait]] = field(default_factory=dict)
    near: dict[str, list[float]] = field(default_factory=dict)
    far: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Doors:
    """The Parley that is measured, and the port of its door without TLS."""

    stack: Stack
    plain_port: int


async def measure(
    doors: Doors,
    utterances: Sequence[Utterance],
    ways: Sequence[str],
    *,
    delay_ms: float,
    trip_seconds: float,
) -> Measured:
    """Measure everything, one talk at a time."""
    measured = Measured(waits={name: [] for name in ways})
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
        microphone = Microphone(Path(folder) / "said.wav")
        async with chromium(microphone.path) as browser:
            await _say_all(doors, browser, microphone, utterances, measured.waits)
            if trip_seconds > 0:
                for kept, delay in ((measured.near, 0.0), (measured.far, delay_ms)):
                    await _round_trips(doors, browser, ways, kept, delay, trip_seconds)
    return measured


async def _say_all(
    doors: Doors,
    browser: Browser,
    microphone: Microphone,
    utterances: Sequence[Utterance],
    waits: dict[str, list[Wait]],
) -> None:
    """Say every recording in every way, each way with an account of its own."""
    cpu = await CpuMeter.of(doors.stack, browser)
    async with AsyncExitStack() as opened:
        talkers: dict[str, Say] = {}
        for name in waits:
            if name == TERMINAL:
                one = await opened.enter_async_context(terminal(doors.stack, cpu))
                talkers[name] = one.say
                continue
            # A learner who chooses nothing has the echo taken out, too.
            wishes = {} if name == PLAIN else {"transport": name, "rawMicrophone": True}
            url = f"http://localhost:{doors.plain_port}" if name == PLAIN else doors.stack.url
            page = await opened.enter_async_context(learner(browser, url, microphone, cpu, wishes))
            talkers[name] = page.say
        # The first talk of each finds nothing ready, and is not counted.
        for name, say in talkers.items():
            first = await say(utterances[0])
            print(f"to warm up, {name}: {first}", flush=True)
            if first.trouble:
                raise ValueError(f"nobody can talk: {first.trouble}")
        began = time.monotonic()
        for number, utterance in enumerate(utterances):
            for name in in_turn(tuple(talkers), number):
                waits[name].append(await talkers[name](utterance))
                await asyncio.sleep(_REST_S)
            _tell(number + 1, len(utterances), waits, time.monotonic() - began)


def in_turn(names: Sequence[str], number: int) -> Iterator[str]:
    """Return all of them, another one first each time, so that nobody always follows the same."""
    first = number % len(names)
    order = [*names[first:], *names[:first]]
    return iter(order if number // len(names) % 2 == 0 else reversed(order))


def _tell(done: int, all_of_them: int, waits: Mapping[str, Sequence[Wait]], seconds: float) -> None:
    """Say what became of a recording: a run takes minutes, and may be worth breaking off."""
    told = ", ".join(f"{name} {each[-1]}" for name, each in waits.items())
    left = seconds / done * (all_of_them - done)
    print(f"recording {done} of {all_of_them} ({left:.0f} s left): {told}", flush=True)


async def _round_trips(
    doors: Doors,
    browser: Browser,
    ways: Sequence[str],
    kept: dict[str, list[float]],
    delay_ms: float,
    seconds: float,
) -> None:
    """Measure round trips in every way, in rounds, through a line that is so much longer."""
    kept.update({name: [] for name in ways})
    assert doors.stack.authority is not None
    with ExitStack() as lines:
        line = lines.enter_context(delayed_line(doors.stack.port, delay_ms))
        plain = lines.enter_context(delayed_line(doors.plain_port, delay_ms))
        for number in range(_TRIP_ROUNDS):
            for name in in_turn(ways, number):
                if name == TERMINAL:
                    kept[name] += await native(line, doors.stack.authority, seconds)
                elif name == PLAIN:
                    url = f"http://localhost:{plain}"
                    kept[name] += await in_browser(browser, url, "push", seconds)
                else:
                    url = f"https://localhost:{line}"
                    kept[name] += await in_browser(browser, url, name, seconds)
            print(
                f"round trips, {delay_ms:g} ms farther: {number + 1} of {_TRIP_ROUNDS}", flush=True
            )


def report(preset: str, delay_ms: float, measured: Measured) -> int:
    """Print the tables, write the result and the plot; return 1 where a promise is not kept."""
    waits = {name: answered(each) for name, each in measured.waits.items()}
    _show(f"Voice to voice, preset {preset}", waits)
    # An answer takes as long as the models take, which is not twice the same: so recording by
    # recording, and with the spread that says what the median is worth.
    beside = {
        name: paired(measured.waits[TERMINAL], each)
        for name, each in measured.waits.items()
        if name != TERMINAL and TERMINAL in measured.waits
    }
    _show("Voice to voice, beyond the terminal client's, by recording", beside)
    cpu = {name: cpu_a_second(each) for name, each in measured.waits.items()}
    _show_cpu(cpu)
    trips = {"round_trip": measured.near, "round_trip_delayed": measured.far}
    _show("Round trip of a frame on this machine", measured.near)
    _show(f"Round trip of a frame, {delay_ms:g} ms farther each way", measured.far)
    differences = {
        what: round(Spread.of(each["upload"]).p50 - Spread.of(each[TERMINAL]).p50, 1)
        for what, each in trips.items()
        if each.get("upload") and each.get(TERMINAL)
    }
    for what, difference in differences.items():
        verdict = "kept" if difference <= BUDGET_MS else "MISSED"
        print(
            f"{what.replace('_', ' ')}: streamed upload {difference:+.1f} ms at p50;"
            f" the budget of {BUDGET_MS:+.0f} ms is {verdict}"
        )
    early = {name: sum(one.early for one in each) for name, each in measured.waits.items()}
    unanswered = {
        name: len(each) - len(waits[name]) - early[name] for name, each in measured.waits.items()
    }
    for what, counted in (("answered too early", early), ("not answered", unanswered)):
        if any(counted.values()):
            print(f"{what}: {counted}")
    write(
        "web",
        {
            "preset": preset,
            "delay_ms_each_way": delay_ms,
            "voice_to_voice": {
                name: {**_fields(each), "early": early[name], "unanswered": unanswered[name]}
                for name, each in waits.items()
            },
            "voice_to_voice_beyond_terminal": {k: _fields(each) for k, each in beside.items()},
            "cpu_s_a_second": {
                name: {what: round(each, 3) for what, each in of.items()}
                for name, of in cpu.items()
            },
            **{what: {k: _fields(v) for k, v in each.items()} for what, each in trips.items()},
            "upload_less_terminal_p50_ms": differences,
            "budget_ms": BUDGET_MS,
            "waits_ms": {name: [one.ms for one in each] for name, each in measured.waits.items()},
        },
    )
    plot(waits, beside, {"near": measured.near, "far": measured.far}, RESULTS / "web.png")
    missed = any(difference > BUDGET_MS for difference in differences.values())
    return int(missed or any(unanswered.values()))


def _fields(values: Sequence[float]) -> dict[str, Any]:
    return Spread.of(values).fields() if values else {"count": 0}


def _show(title: str, of: Mapping[str, Sequence[float]]) -> None:
    rows = []
    for name, values in of.items():
        if values:
            spread = Spread.of(values)
            numbers = (spread.p50, spread.p90, spread.p99, spread.smallest, spread.largest)
            rows.append((name, *(f"{each:.1f}" for each in numbers), str(spread.count)))
    if rows:
        table(title, ("milliseconds", "p50", "p90", "p99", "min", "max", "n"), rows)


def _show_cpu(cpu: Mapping[str, Mapping[str, float]]) -> None:
    names = list(dict.fromkeys(name for each in cpu.values() for name in each))
    rows = [
        (way, *(f"{each[name]:.2f}" if name in each else "" for name in names))
        for way, each in cpu.items()
    ]
    table("CPU seconds a second, from the click to the answer", ("", *names), rows)


def _chosen(ways: Sequence[str]) -> tuple[str, ...]:
    unknown = sorted(set(ways) - set(WAYS))
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of: {', '.join(WAYS)}")
    return tuple(name for name in WAYS if not ways or name in ways)


def main(
    data: Annotated[Path, typer.Option(help="Folder with transcripts.tsv.")] = DEFAULT_FOLDER,
    preset: Annotated[str, typer.Option(help="Models to start with.")] = os.environ.get(
        "PRESET", "default"
    ),
    turns: Annotated[int, typer.Option(help="Recordings said; they repeat as needed.")] = _TURNS,
    way: Annotated[
        list[str] | None, typer.Option(help=f"Measure these alone, of: {', '.join(WAYS)}.")
    ] = None,
    delay_ms: Annotated[float, typer.Option(help="Added distance, each way.")] = _DELAY_MS,
    trip_seconds: Annotated[
        float,
        typer.Option(help=f"Length of each of {_TRIP_ROUNDS} measures of round trips; 0: none."),
    ] = _TRIP_SECONDS,
) -> None:
    """Print and write how long answers and frames take in a browser and in the terminal."""
    ways = _chosen(way or ())
    try:
        utterances = list(islice(cycle(read_utterances(data)), turns))
        with ExitStack() as running:
            folder = Path(
                running.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-"))
            )
            settings = {"PARLEY_PRESET": preset, "PARLEY_AI_ENGINES": '["local", "scripted"]'}
            print(f"Parley starts with the models of {preset!r}", flush=True)
            stack = running.enter_context(web_stack(folder, engine="local", settings=settings))
            doors = Doors(stack, running.enter_context(plain_door(stack, folder)))
            measured = asyncio.run(
                measure(doors, utterances, ways, delay_ms=delay_ms, trip_seconds=trip_seconds)
            )
    except (OSError, ValueError, BrowserMissingError, DoorError, NpmError) as error:
        raise SystemExit(f"bench-web: {error}") from error
    raise SystemExit(report(preset, delay_ms, measured))


if __name__ == "__main__":
    typer.run(main)
