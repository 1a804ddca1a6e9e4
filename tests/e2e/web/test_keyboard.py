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

RINGS = """
window.rings = {
  // What is drawn around each place that may show the focus: a hidden radio button's label does.
  of(each) {
    const drawn = [each, each.closest("label"), each.nextElementSibling, each.parentElement];
    return drawn.map((one) => {
      if (!one) return "";
      const { outlineStyle, outlineWidth, outlineColor, boxShadow } = getComputedStyle(one);
      const outlined = outlineStyle !== "none" && outlineWidth !== "0px";
      const outline = outlined ? `${outlineStyle} ${outlineWidth} ${outlineColor}` : "";
      return `${outline} ${boxShadow === "none" ? "" : boxShadow}`.trim();
    });
  },
  // Whether one of them has a ring that it has not without the focus.
  appeared: (without, focused) => focused.some((each, i) => each !== "" && each !== without[i]),
  last: null,
  hidden: [],
  // After each step: what has the focus is remembered, and what had it before is compared.
  stepped() {
    const { last } = this;
    const now = document.activeElement;
    if (last && last.where !== now && last.where.isConnected) {
      if (!this.appeared(this.of(last.where), last.rings)) this.hidden.push(last.where.outerHTML);
    }
    this.last = now && now !== document.body ? { where: now, rings: this.of(now) } : null;
  },
};
"""
"""Runs before the page does."""


async def tab_to(page: Page, what: Locator) -> None:
    """Press the tab key until `what` has the focus; see that it shows, here and on the way."""
    await expect(what).to_be_visible()
    if await what.evaluate("(each) => each === document.activeElement"):
        # To be seen without the focus, too.
        await page.keyboard.press("Shift+Tab")
        await page.evaluate("rings.last = null")
    for _ in range(MOST_TABS):
        without = await what.evaluate("(each) => rings.of(each)")
        await page.keyboard.press("Tab")
        await page.evaluate("rings.stepped()")
        if await what.evaluate("(each) => each === document.activeElement"):
            appeared = "(each, without) => rings.appeared(without, rings.of(each))"
            assert await what.evaluate(appeared, without), f"nothing shows the focus of {what}"
            hidden = await page.evaluate("rings.hidden")
            assert not hidden, f"nothing shows the focus of {hidden}"
            return
    raise AssertionError(f"the tab key does not lead to {what}")


async def arrived(page: Page, title: str) -> None:
    """See that a screen reader says where one is: the heading has the focus, the tab its name."""
    await expect(page.get_by_role("heading", level=1)).to_be_focused()
    await expect(page).to_have_title(f"{title} · Parley")


async def test_everything_is_done_with_the_keyboard(open_page: OpenPage, web_stack: Stack) -> None:
    page = await open_page(web_stack)
    await page.add_init_script(RINGS)
    # A ring that is still growing is none yet.
    await page.emulate_media(reduced_motion="reduce")
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
