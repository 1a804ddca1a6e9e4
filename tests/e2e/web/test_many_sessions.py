"""Twenty talks in browsers over two processes, one of which is drained: nobody notices."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.e2e.web.console import Console
from tests.e2e.web.microphone import silence, tone
from tests.e2e.web.routing import PUSH, SUBSCRIBE, SessionCall, astray, hand_overs, session_calls
from tests.e2e.web.web_stack import HEARD, REPLIES, web_stack
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.leaves_behind("a browser that the tests share"),
    pytest.mark.timeout(180),
]

WAYS_BY_PAGE = (*[("upload", "websocket")] * 6, *[("push",)] * 8)
"""Twenty talks. A learner has one alone that the gateway's log can take for theirs."""

TURNS = 3
TOLD_WITHIN_S = 60.0
"""History gives way to those who talk, and here twenty do: late is well, lost is not."""

LEAVING = "SERVICE_STOPPING"
"""What a process says that goes away: the talk goes on elsewhere."""

ASTRAY = ("NO_LIVE_SESSION", "SESSION_ELSEWHERE")
"""What a process says of a message for a session that another one holds.

A page takes it for the session's end, and waits five seconds for the end of its subscription, so
that what comes too late for a session that is over is not counted.
"""

BEGUN_WITHIN_S = 60.0

UTTERANCE = base64.b64encode(tone(0.8).tobytes() + silence(0.1).tobytes()).decode()


@pytest.fixture
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"PARLEY_SESSION_PROCESSES": "2", "PARLEY_DRAIN_SECONDS": "30"}
    with web_stack(tmp_path_factory.mktemp("m"), settings=settings) as stack:
        yield stack


async def open_page(browser: Browser, console: Console, stack: Stack) -> Page:
    context = await browser.new_context(base_url=stack.url, ignore_https_errors=True)
    await console.watch(context)
    page = await context.new_page()
    await page.goto("/test/driver.html")
    await page.wait_for_function("'driver' in window")
    name = f"many-{secrets.token_hex(4)}"
    await page.evaluate(
        "([name, password]) => driver.signUp(name, password, name, crypto.randomUUID())",
        [name, secrets.token_urlsafe(16)],
    )
    return page


async def talk(page: Page, way: str) -> dict[str, Any]:
    plan = {"transport": way, "speech": UTTERANCE, "turns": TURNS}
    outcome: dict[str, Any] = await page.evaluate("(plan) => driver.talk(plan)", plan)
    outcome["way"] = way
    return outcome


def holders(stack: Stack) -> dict[str, str]:
    """Return which process holds which live talk, by the processes' own claims."""
    found = {}
    for path in (stack.folder.root / "run" / "sessions").iterdir():
        # A talk that ends meanwhile takes its claim away.
        with contextlib.suppress(FileNotFoundError, ValueError):
            found[path.name] = json.loads(path.read_bytes())["affinity"]
    return found


def faults(outcome: dict[str, Any]) -> list[str]:
    """Return in which ways a talk was not what it would have been on one process."""
    turns = outcome["turns"]
    promises = {
        "it failed": outcome["failure"] == "",
        "messages of another session": outcome["misplaced"] == 0,
        "turns lost, or said twice": [each["number"] for each in turns] == [1, 2, 3],
        "a turn was cut": all(each["ended"] == "COMPLETED" for each in turns),
        "a turn was not saved": all(each["saved"] for each in turns),
        # A script begins anew in the process that a talk was moved to.
        "it heard something else": all(each["transcript"] in HEARD for each in turns),
        "it said something else": all(each["reply"] in REPLIES for each in turns),
    }
    return [what for what, kept in promises.items() if not kept]


def stayed(outcome: dict[str, Any]) -> bool:
    """Whether a talk had one connection for all of its life, which nobody refused anything."""
    return outcome["connections"] == [{"started": True, "refused": ""}]


def was_handed_over(outcome: dict[str, Any]) -> bool:
    """Whether a talk was told to move, came to the other process, and was refused nothing there.

    The process that goes away says so to whoever still asks it, which may be before the gateway
    knows.
    """
    first, *between, last = outcome["connections"]
    announced = {"started": False, "refused": LEAVING}
    return (
        outcome["reconnections"] == 1
        and first == {"started": True, "refused": LEAVING}
        and all(each == announced for each in between)
        and last == {"started": True, "refused": ""}
    )


def misrouted(outcomes: list[dict[str, Any]]) -> list[str]:
    """Return the connections of which something reached a process without their session."""
    return [
        f"{outcome['way']}: {connection}"
        for outcome in outcomes
        for connection in outcome["connections"]
        if connection["refused"] in ASTRAY
    ]


async def remembered(page: Page, conversation_id: str, turns: int) -> list[list[Any]]:
    """Return what history has of a talk, once it has so many turns: it is told a moment later."""
    found: list[list[Any]] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TOLD_WITHIN_S):
            while len(found) < turns:
                found = await page.evaluate("(id) => driver.remembered(id)", conversation_id)
                await asyncio.sleep(0.1)
    return found


def outbox_of(stack: Stack) -> str:
    """Return what both processes say of what they could not tell history."""
    lines = [*stack.log("conversation").splitlines(), *stack.log("conversation-2").splitlines()]
    return "\n".join(line for line in lines if "outbox" in line or "not_stored" in line)


async def logged_calls(stack: Stack, subscriptions: int) -> list[SessionCall]:
    """Return the calls of all sessions, once the log has so many subscriptions: it comes late."""
    async with asyncio.timeout(TOLD_WITHIN_S):
        while True:
            calls = session_calls(stack.log("gateway"))
            if sum(each.method == SUBSCRIBE for each in calls) >= subscriptions:
                return calls
            await asyncio.sleep(0.2)


async def test_twenty_talks_survive_the_drain_of_one_of_two_processes(
    browser: Browser, console: Console, two_processes: Stack
) -> None:
    # The calls of a process that goes away end; what counts is that no talk does.
    console.allow("Failed to load resource|WebSocket connection")
    stack = two_processes
    pages = [(await open_page(browser, console, stack), ways) for ways in WAYS_BY_PAGE]
    async with asyncio.TaskGroup() as group:
        talks = [group.create_task(talk(page, way)) for page, ways in pages for way in ways]
        async with asyncio.timeout(BEGUN_WITHIN_S):
            while len(before := holders(stack)) < len(talks):
                await asyncio.sleep(0.1)
        # In the middle of everybody's second turn.
        await asyncio.sleep(5.0)
        await asyncio.to_thread(stack.kill, "conversation-2", signal.SIGTERM)
    outcomes = [each.result() for each in talks]

    assert len(outcomes) == 20
    refused = misrouted(outcomes)
    assert not refused, f"{len(refused)} misrouted: {refused}"
    wrong = [f"{each['way']}: {what}: {each}" for each in outcomes for what in faults(each)]
    assert not wrong, "\n".join([*wrong, stack.log("conversation-2")[-6000:]])

    # Who stayed had one connection, and who was moved one announced hand-over: all talks of the
    # process that went away, and of the other none.
    on_process = [before[each["conversationId"]] for each in outcomes]
    print(f"\ntalks on each process: {dict(Counter(on_process))}")
    odd = [each for each in outcomes if not stayed(each) and not was_handed_over(each)]
    assert not odd, "\n".join(f"{each['way']}: {each['connections']}" for each in odd)
    left = {process for process, each in zip(on_process, outcomes, strict=True) if not stayed(each)}
    kept = {process for process, each in zip(on_process, outcomes, strict=True) if stayed(each)}
    assert len(left) == len(kept) == 1, f"moved from {left}, stayed on {kept}"
    assert left != kept
    # The same by the gateway's own account of every call.
    over_grpc_web = [each for each in outcomes if each["way"] != "websocket"]
    calls = await logged_calls(stack, sum(len(each["connections"]) for each in over_grpc_web))
    assert len({each.host for each in calls if each.method == PUSH and each.host}) == 2
    assert hand_overs(calls) == sum(not stayed(each) for each in over_grpc_web)
    assert astray(calls) == []
    print(f"calls of sessions: {len(calls)}; misrouted: 0; turns cut: 0")

    # What history has is what was said, once.
    left_to_see = iter(outcomes)
    for page, ways in pages:
        for _, outcome in zip(ways, left_to_see, strict=False):
            said = [
                [each["number"], each["transcript"], each["reply"]] for each in outcome["turns"]
            ]
            known = await remembered(page, outcome["conversationId"], len(said))
            assert known == said, outbox_of(stack)
        await page.context.close()
