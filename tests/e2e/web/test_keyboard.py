"""From an account to a deletion that is undone, without a mouse: what has the focus shows it."""

from __future__ import annotations

import secrets

import pytest
from playwright.async_api import Locator, Page, expect

from tests.e2e.web.conftest import OpenPage
from tests.e2e.web.web_stack import REPLIES
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.leaves_behind("a browser and a running Parley that the tests share"),
]

MOST_TABS = 40
"""More than any page has places to stop at."""

HAS_FOCUS = "(each) => each === document.activeElement"

SHOWS_IT = """(each) => {
  // A hidden radio button's label draws its ring.
  const drawn = [each, each.closest("label"), each.nextElementSibling, each.parentElement];
  return drawn.some((one) => {
    if (!one) return false;
    const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(one);
    return (outlineStyle !== "none" && outlineWidth !== "0px") || boxShadow !== "none";
  });
}"""


async def tab_to(page: Page, what: Locator) -> None:
    """Press the tab key until `what` has the focus, and see that it shows."""
    await expect(what).to_be_visible()
    for _ in range(MOST_TABS):
        if await what.evaluate(HAS_FOCUS):
            assert await what.evaluate(SHOWS_IT), f"nothing shows the focus of {what}"
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"the tab key does not lead to {what}")


async def arrived(page: Page, title: str) -> None:
    """See that a screen reader says where one is: the heading has the focus, the tab its name."""
    await expect(page.get_by_role("heading", level=1)).to_be_focused()
    await expect(page).to_have_title(f"{title} · Parley")


async def test_everything_is_done_with_the_keyboard(open_page: OpenPage, web_stack: Stack) -> None:
    page = await open_page(web_stack)
    keys = page.keyboard
    await page.goto("/sign-up")
    await tab_to(page, page.get_by_label("Name", exact=True))
    await keys.type(f"keys-{secrets.token_hex(4)}")
    await tab_to(page, page.get_by_label("Password", exact=True))
    await keys.type(secrets.token_urlsafe(16))
    await keys.press("Enter")

    # The scenarios are one stop, and the arrows choose among them.
    chosen = page.get_by_role("radio", name="Free talk")
    await expect(chosen).to_be_checked()
    await tab_to(page, chosen)
    await keys.press("ArrowDown")
    await expect(chosen).not_to_be_checked()
    await tab_to(page, page.get_by_role("button", name="Type instead"))
    await keys.press("Enter")

    await arrived(page, "Small talk at a party")
    await tab_to(page, page.get_by_label("Write instead of speaking"))
    await keys.type("I have no mouse.")
    await keys.press("Enter")
    await expect(page.locator(".transcript .line-tutor p")).to_have_text([REPLIES[0]])
    # A dialog keeps the focus to itself, and gives it back.
    opener = page.get_by_role("button", name="Tutor, voice and how you talk")
    await tab_to(page, opener)
    await keys.press("Enter")
    dialog = page.get_by_role("dialog")
    await tab_to(page, dialog.get_by_role("switch", name="Captions only"))
    await keys.press("Escape")
    await expect(dialog).to_be_hidden()
    await expect(opener).to_be_focused()
    await tab_to(page, page.get_by_role("button", name="End", exact=True))
    await keys.press("Enter")

    await arrived(page, "How it went")
    await tab_to(page, page.get_by_role("link", name="Read and listen again"))
    await keys.press("Enter")
    said = page.get_by_role("list", name="What was said")
    await expect(said).to_contain_text("I have no mouse.")
    await tab_to(page, page.get_by_role("button", name="Delete", exact=True))
    await keys.press("Enter")
    await tab_to(page, page.get_by_role("button", name="Undo").first)
    await keys.press("Enter")
    await expect(page.get_by_text("I have no mouse.").first).to_be_visible()
