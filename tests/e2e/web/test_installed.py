"""The page as an app of its own: it can be installed, and opens without a network."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from tests.e2e.web.console import Console
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.leaves_behind("a browser and a running Parley that the tests share"),
]


async def test_a_browser_is_told_all_that_an_installation_needs(
    browser: Browser, web_stack: Stack
) -> None:
    context = await browser.new_context(base_url=web_stack.url, ignore_https_errors=True)
    page = await context.new_page()
    await page.goto("/sign-in")
    address = await page.locator("link[rel=manifest]").get_attribute("href")
    manifest = await (await context.request.get(address or "")).json()
    assert manifest["display"] == "standalone"
    assert manifest["name"]
    assert manifest["start_url"] == "/"
    touch = await page.locator("link[rel=apple-touch-icon]").get_attribute("href")
    for source in [*(each["src"] for each in manifest["icons"]), touch]:
        icon = await context.request.get(source)
        assert icon.ok, source
        assert icon.headers["content-type"].startswith("image/"), source
    sizes = {each["sizes"] for each in manifest["icons"]}
    assert sizes >= {"192x192", "512x512"}
    await context.close()


async def test_the_page_opens_without_a_network_and_says_so(
    browser: Browser, web_stack: Stack, console: Console
) -> None:
    console.allow("Failed to load resource|ERR_")
    context = await browser.new_context(base_url=web_stack.url, ignore_https_errors=True)
    await console.watch(context)
    page = await context.new_page()
    await page.goto("/sign-in")
    await page.evaluate("navigator.serviceWorker.ready")
    # Once under the service worker, which keeps what the page loads.
    await page.reload()
    await expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()
    # A file that a tab opens is not what every page is opened with.
    await page.goto("/manifest.webmanifest")
    await context.set_offline(True)
    await page.goto("/sign-in")
    await expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()
    await page.get_by_label("Name", exact=True).fill("somebody")
    await page.get_by_label("Password", exact=True).fill("some password")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await context.close()
