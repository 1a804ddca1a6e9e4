"""A person in front of the page: what they do there, by the words that they see."""

from __future__ import annotations

import secrets

from playwright.async_api import Page, expect


class WebLearner:
    """Somebody with a browser of their own and a name."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.username = f"ana-{secrets.token_hex(4)}"
        self.password = secrets.token_urlsafe(16)

    async def sign_up(self) -> None:
        """Make an account; afterwards the page to talk on is open."""
        await self.page.goto("/sign-up")
        await self.enter("Make an account")

    async def sign_in(self, password: str = "") -> None:
        """Sign in with the right password or another."""
        await self.page.goto("/sign-in")
        await self.enter("Sign in", password)

    async def enter(self, action: str, password: str = "") -> None:
        """Fill in the form that is open."""
        await self.page.get_by_label("Name").fill(self.username)
        await self.page.get_by_label("Password").fill(password or self.password)
        await self.page.get_by_role("button", name=action).click()

    async def is_signed_in(self) -> None:
        """Wait until the page shows what only somebody signed in sees."""
        await expect(self.page.get_by_role("navigation", name="Pages")).to_be_visible()
