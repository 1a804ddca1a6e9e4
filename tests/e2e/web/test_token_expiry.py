"""An access token that really expires in the middle of a talk: nobody notices, over every way.

The page renews a token before its end. Here its clock is stopped, as that of a laptop which slept,
so that it holds on to a token which the server refuses by then.
"""

from __future__ import annotations

import asyncio
import time

import pytest
from playwright.async_api import Response, expect

from tests.e2e.web.conftest import SHORT_TOKEN_S, Talker
from tests.e2e.web.console import Console
from tests.e2e.web.learner import WebLearner
from tests.e2e.web.microphone import Microphone, tone
from tests.e2e.web.web_stack import HEARD
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.leaves_behind("a browser and a running Parley that the tests share"),
    pytest.mark.timeout(150),
]

WAYS = ("upload", "push", "websocket")

LEEWAY_S = 5
"""A token is taken for so long after its end (`clock_skew_seconds` of the gateway)."""

UNAUTHENTICATED = 16

STOP_THE_CLOCK = "() => { const now = Date.now(); Date.now = () => now; }"

REMEMBER_ALERTS = """() => {
  window.alertsSeen = [];
  new MutationObserver(() => {
    const all = document.querySelectorAll("[role=alert], .banner");
    for (const each of all) alertsSeen.push(each.innerText);
  }).observe(document, { childList: true, subtree: true });
}"""


class Refused:
    """Counts what the server refused for its token, by the learner's page."""

    def __init__(self, learner: WebLearner) -> None:
        self.paths: list[str] = []
        learner.page.on("response", self._came)

    def _came(self, response: Response) -> None:
        method = response.url.rpartition("/")[2]
        if response.status == 401 or response.headers.get("grpc-status") == str(UNAUTHENTICATED):
            self.paths.append(method)


async def test_a_token_that_expires_in_the_middle_of_a_talk_is_renewed_unnoticed_over_every_way(
    talker: Talker, frail_stack: Stack, microphone: Microphone, console: Console
) -> None:
    console.allow("status of 401")
    learners = {way: await talker(frail_stack, transport=way) for way in WAYS}
    refused = {way: Refused(learner) for way, learner in learners.items()}
    for learner in learners.values():
        await learner.page.evaluate(STOP_THE_CLOCK)
        await learner.page.evaluate(REMEMBER_ALERTS)
    # Each says one thing at once, and another when no token of these is worth anything.
    silence_s = SHORT_TOKEN_S + LEEWAY_S + 3.0
    microphone.will_say(0.5, tone(1.0), silence_s, tone(1.0))
    for learner in learners.values():
        await learner.start_talking()
    begun = time.monotonic()
    for learner in learners.values():
        await expect(learner.said).to_have_text([HEARD[0]])
    await asyncio.sleep(begun + SHORT_TOKEN_S + LEEWAY_S + 1 - time.monotonic())
    for learner in learners.values():
        await expect(learner.said).to_have_text(list(HEARD[:2]), timeout=30_000)
        await expect(learner.floor).to_have_text("Your turn", timeout=30_000)
        await learner.end_talk()
        await expect(learner.page.get_by_role("alert")).to_have_count(0)
        # And what is asked next is asked with a token that is worth something.
        await learner.go_to("History")
        await expect(learner.page.locator(".conversation-row")).to_have_count(1)
        assert await learner.page.evaluate("alertsSeen") == []
    assert "Push" in refused["push"].paths
    # What was opened with a token outlives it, so that a stream is refused nothing.
    for way in ("upload", "websocket"):
        assert refused[way].paths
        assert not {"Subscribe", "Upload", "ws"} & set(refused[way].paths)
