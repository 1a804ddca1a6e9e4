"""Twenty talks in browsers over two processes, one of which is drained: nobody notices."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.e2e.web.console import Console
from tests.e2e.web.microphone import silence, tone
from tests.e2e.web.web_stack import HEARD, REPLIES, web_stack
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.leaves_behind("a browser that the tests share"),
    pytest.mark.timeout(180),
]

PAGES = 10
TALKS_A_PAGE = 2
"""Fewer than a learner may hold at once, with room for one that changes processes."""

TURNS = 3
TOLD_WITHIN_S = 60.0
"""History gives way to those who talk, and here twenty do: late is well, lost is not."""

WAYS = ("upload", "push", "websocket")
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
        "it was moved more than once": outcome["reconnections"] <= 1,
    }
    return [what for what, kept in promises.items() if not kept]


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


def gateway_calls(stack: Stack) -> list[dict[str, Any]]:
    """Return what the gateway says of calls that belong to a session that is already open."""
    calls = []
    for line in stack.log("gateway").splitlines():
        if line.startswith("{") and '"access"' in line:
            call = json.loads(line)
            if str(call["path"]).endswith(("/Push", "/Upload", "/Subscribe", "/ws")):
                calls.append(call)
    return calls


async def test_twenty_talks_survive_the_drain_of_one_of_two_processes(
    browser: Browser, console: Console, two_processes: Stack
) -> None:
    # The calls of a process that goes away end; what counts is that no talk does.
    console.allow("Failed to load resource|WebSocket connection")
    stack = two_processes
    pages = [await open_page(browser, console, stack) for _ in range(PAGES)]
    talks = [
        asyncio.create_task(talk(page, WAYS[(number * TALKS_A_PAGE + each) % len(WAYS)]))
        for number, page in enumerate(pages)
        for each in range(TALKS_A_PAGE)
    ]
    # In the middle of everybody's second turn.
    await asyncio.sleep(6.5)
    await asyncio.to_thread(stack.kill, "conversation-2", signal.SIGTERM)
    outcomes = await asyncio.gather(*talks)

    assert len(outcomes) == 20
    wrong = [f"{each['way']}: {what}: {each}" for each in outcomes for what in faults(each)]
    assert not wrong, "\n".join([*wrong, stack.log("conversation-2")[-6000:]])
    moved = sum(each["reconnections"] for each in outcomes)
    assert 0 < moved < 20, f"{moved} of 20 were moved: the drain came too late, or to all"

    # Both processes had talks. A request that reached the wrong one would have broken its talk's
    # connection, and only those that were moved came back to one.
    calls = gateway_calls(stack)
    hosts = {call["upstream_host"] for call in calls if call["path"].endswith("/Subscribe")}
    assert len(hosts - {None, "", "-"}) == 2

    # What history has is what was said, once.
    for page, pair in zip(pages, zip(*[iter(outcomes)] * TALKS_A_PAGE, strict=True), strict=True):
        for outcome in pair:
            said = [
                [each["number"], each["transcript"], each["reply"]] for each in outcome["turns"]
            ]
            known = await remembered(page, outcome["conversationId"], len(said))
            assert known == said, outbox_of(stack)
    for page in pages:
        await page.context.close()
