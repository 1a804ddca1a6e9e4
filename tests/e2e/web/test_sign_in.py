"""Making an account, signing in and out, and staying signed in, as a person does it."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.e2e.web.conftest import OpenPage
from tests.e2e.web.console import Console
from tests.e2e.web.learner import WebLearner
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.leaves_behind("a browser and a running Parley that the tests share"),
]

REFUSED = r"status of 40[0-9]"
"""What Chromium itself says of a call that was refused, whoever expected it."""


async def test_a_page_that_needs_an_account_comes_back_after_the_sign_in(
    open_page: OpenPage, web_stack: Stack, learner: WebLearner
) -> None:
    other = WebLearner(await open_page(web_stack), of=learner)
    await other.page.goto("/history")
    await expect(other.page.get_by_role("heading", name="Welcome back")).to_be_visible()
    await other.enter("Sign in")
    await other.is_signed_in()
    await expect(other.page).to_have_url(f"{web_stack.url}/history")


async def test_a_wrong_password_is_told_and_the_right_one_then_works(
    open_page: OpenPage, web_stack: Stack, learner: WebLearner, console: Console
) -> None:
    console.allow(REFUSED)
    other = WebLearner(await open_page(web_stack), of=learner)
    await other.sign_in(password="not the password")
    alert = other.page.get_by_role("alert")
    await expect(alert).to_contain_text("password")
    await other.enter("Sign in")
    await other.is_signed_in()


async def test_a_name_that_is_taken_is_told(
    open_page: OpenPage, web_stack: Stack, learner: WebLearner, console: Console
) -> None:
    console.allow(REFUSED)
    other = WebLearner(await open_page(web_stack))
    other.username = learner.username
    await other.sign_up()
    await expect(other.page.get_by_role("alert")).to_contain_text("name")


async def test_a_reload_shows_no_sign_in_form_even_for_an_instant(learner: WebLearner) -> None:
    await learner.is_signed_in()
    page = learner.page
    # Runs before the page does, and remembers every form that was ever drawn.
    await page.add_init_script("""
      window.formsSeen = 0;
      new MutationObserver(() => {
        if (document.querySelector("form input[type=password]")) window.formsSeen += 1;
      }).observe(document, { childList: true, subtree: true });
    """)
    for _ in range(3):
        await page.reload()
        await learner.is_signed_in()
        assert await page.evaluate("window.formsSeen") == 0


async def test_no_script_can_read_the_refresh_token(learner: WebLearner) -> None:
    await learner.is_signed_in()
    page = learner.page
    kept = await page.evaluate(
        "JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])"
    )
    (cookie,) = [each for each in await page.context.cookies() if each["httpOnly"]]
    assert cookie["secure"]
    assert cookie["sameSite"] == "Strict"
    assert cookie["value"] not in kept


async def test_a_sign_out_ends_every_tab_and_the_cookie(learner: WebLearner) -> None:
    await learner.is_signed_in()
    other = await learner.page.context.new_page()
    await other.goto("/")
    await expect(other.get_by_role("navigation", name="Pages")).to_be_visible()
    await learner.sign_out()
    await expect(other.get_by_role("heading", name="Welcome back")).to_be_visible()
    await learner.page.reload()
    await expect(learner.page.get_by_role("heading", name="Welcome back")).to_be_visible()
    assert not [each for each in await learner.page.context.cookies() if each["httpOnly"]]


async def test_sign_out_everywhere_reaches_another_browser(
    open_page: OpenPage, web_stack: Stack, learner: WebLearner, console: Console
) -> None:
    console.allow(REFUSED)
    await learner.is_signed_in()
    other = WebLearner(await open_page(web_stack), of=learner)
    await other.sign_in()
    await other.is_signed_in()
    await learner.sign_out_everywhere()
    await other.page.reload()
    await expect(other.page.get_by_role("heading", name="Welcome back")).to_be_visible()


async def test_a_talk_says_that_it_ended_with_its_sign_in(
    open_page: OpenPage, web_stack: Stack, learner: WebLearner, console: Console
) -> None:
    console.allow(REFUSED)
    await learner.is_signed_in()
    other = WebLearner(await open_page(web_stack), of=learner)
    await other.sign_in()
    await other.is_signed_in()
    await other.start_typing()
    await other.write("I am at my sister's computer.")
    await expect(other.answers).to_have_count(1)
    await learner.sign_out_everywhere()
    alert = other.page.get_by_role("alert")
    await expect(alert).to_contain_text("You have been signed out")
    await alert.get_by_role("button", name="Sign in").click()
    await expect(other.page.get_by_role("heading", name="Welcome back")).to_be_visible()
    # Who signs in next begins with nothing of it.
    await other.enter("Sign in")
    await expect(
        other.page.get_by_role("heading", name="What shall we talk about?")
    ).to_be_visible()
