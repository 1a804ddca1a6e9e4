"""One browser and one scripted Parley for the browser tests, and pages that mind their console."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.e2e.web.chromium import chromium
from tests.e2e.web.console import Console
from tests.e2e.web.learner import WebLearner
from tests.e2e.web.looks import forget_the_last_run
from tests.e2e.web.microphone import Microphone
from tests.e2e.web.taps import tap
from tests.e2e.web.web_stack import web_stack as make_web_stack
from tests.stack import Stack

OpenPage = Callable[..., Awaitable[Page]]
"""Opens a page of a browser profile of its own, at the address of a running Parley, tapped unless
that is not `tapped`; what else it is given are wishes about talking, as the page keeps them."""

Talker = Callable[..., Awaitable[WebLearner]]
"""Makes somebody who has just made an account, with these wishes about talking."""

WISHES = {"tutorOpens": False, "rawMicrophone": True}
"""The learner begins, and nothing is done to what the microphone hears."""

SHORT_TOKEN_S = 31
"""Just above the 30 s before a token's end at which the page renews it."""

KEEP_WISHES = """
if (location.origin !== "null" && !localStorage.getItem("parley.talk"))
  localStorage.setItem("parley.talk", JSON.stringify(%s));
"""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Forget the pictures of the last run where every page's picture will be taken anew."""
    options = config.option
    part = options.keyword or options.collectonly or any("::" in each for each in config.args)
    chosen = {each.path for each in items}
    if not part and chosen >= set(Path(__file__).parent.glob("test_*.py")):
        forget_the_last_run()


@pytest.fixture(scope="session")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Microphone:
    """Return the microphone of the browser that the tests share."""
    return Microphone(tmp_path_factory.mktemp("microphone") / "said.wav")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(microphone: Microphone) -> AsyncIterator[Browser]:
    """Yield the browser that the tests share."""
    # A machine that does other things as well takes its time; nothing waits when all is well.
    expect.set_options(timeout=15_000)
    async with chromium(microphone.path) as running:
        yield running


@pytest.fixture(scope="session")
def web_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Parley over TLS with scripted models, for every test that does not break it."""
    with make_web_stack(tmp_path_factory.mktemp("w")) as stack:
        yield stack


@pytest.fixture(scope="session")
def frail_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Another, whose access tokens live for half a minute, and which a test may switch off."""
    settings = {"PARLEY_USER_ACCESS_TOKEN_SECONDS": str(SHORT_TOKEN_S)}
    with make_web_stack(tmp_path_factory.mktemp("f"), settings=settings) as stack:
        yield stack


@pytest.fixture
def console() -> Iterator[Console]:
    """Fail the test for what its pages complain of in the console."""
    one = Console()
    yield one
    assert not one.complaints, "in the console:\n" + "\n".join(one.complaints)


async def new_profile(
    browser: Browser, stack: Stack, *, base_url: str = "", **wishes: object
) -> BrowserContext:
    """Return a browser profile of its own at a running Parley, with these wishes about talking.

    base_url: where it is opened, if that is not the stack's own address.
    """
    context = await browser.new_context(
        base_url=base_url or stack.url,
        ignore_https_errors=True,
        viewport={"width": 1280, "height": 800},
        # It would answer from what it keeps, and what is asked here is what the server says.
        service_workers="block",
    )
    context.set_default_timeout(20_000)
    await context.add_init_script(KEEP_WISHES % json.dumps(WISHES | wishes))
    return context


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser, console: Console) -> AsyncIterator[OpenPage]:
    """Return what opens a page in a profile of its own; every profile is closed at the end."""
    contexts = []

    async def open_one(stack: Stack, *, tapped: bool = True, **wishes: object) -> Page:
        context = await new_profile(browser, stack, **wishes)
        contexts.append(context)
        await console.watch(context)
        if tapped:
            await tap(context)
        return await context.new_page()

    yield open_one
    for context in contexts:
        await context.close()


@pytest.fixture
def talker(open_page: OpenPage, web_stack: Stack) -> Talker:
    """Return what makes somebody with an account, on a page of their own."""

    async def make(stack: Stack | None = None, **wishes: object) -> WebLearner:
        one = WebLearner(await open_page(stack or web_stack, **wishes))
        await one.sign_up()
        await one.is_signed_in()
        return one

    return make


@pytest_asyncio.fixture(loop_scope="session")
async def learner(talker: Talker) -> WebLearner:
    """Return somebody who has just made an account in the browser."""
    return await talker()
