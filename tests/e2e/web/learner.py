"""A person in front of the page: what they do there, by the words that they see."""

from __future__ import annotations

import secrets

from playwright.async_api import Locator, Page, expect


class WebLearner:
    """Somebody with a browser of their own and a name."""

    def __init__(self, page: Page, *, of: WebLearner | None = None) -> None:
        """`of`: the same person at another browser."""
        self.page = page
        self.username: str = of.username if of else f"ana-{secrets.token_hex(4)}"
        self.password: str = of.password if of else secrets.token_urlsafe(16)

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
        await self.page.get_by_label("Name", exact=True).fill(self.username)
        await self.page.get_by_label("Password", exact=True).fill(password or self.password)
        await self.page.get_by_role("button", name=action).click()

    async def is_signed_in(self) -> None:
        """Wait until the page shows what only somebody signed in sees."""
        await expect(self.page.get_by_role("navigation", name="Pages")).to_be_visible()

    async def reload_signed_in(self) -> None:
        """Load the page anew and wait until it is there again."""
        await self.page.reload()
        await self.is_signed_in()

    async def sign_out(self) -> None:
        """Sign out here."""
        await self.page.goto("/settings/safety")
        await self.page.get_by_role("button", name="Sign out", exact=True).click()
        await expect(self.page.get_by_role("heading", name="Welcome back")).to_be_visible()

    async def sign_out_everywhere(self) -> None:
        """Sign out in every browser."""
        await self.page.goto("/settings/safety")
        await self.page.get_by_role("button", name="Sign out everywhere").click()
        await expect(self.page.get_by_role("heading", name="Welcome back")).to_be_visible()

    async def go_to(self, place: str) -> None:
        """Go to another page, as its link leads."""
        pages = self.page.get_by_role("navigation", name="Pages")
        await pages.get_by_role("link", name=place).click()

    @property
    def floor(self) -> Locator:
        """The words under the big control: whose turn it is."""
        return self.page.locator(".dock-words strong")

    @property
    def said(self) -> Locator:
        """What the learner said, a line a turn."""
        return self.page.locator(".transcript .line-learner p")

    @property
    def answers(self) -> Locator:
        """What the tutor said, a line a turn."""
        return self.page.locator(".transcript .line-tutor p")

    async def start_talking(self) -> None:
        """Press the one big button and wait until the tutor listens."""
        await self.page.get_by_role("button", name="Start talking").click()
        await expect(self.floor).to_have_text("Your turn")

    async def go_on_talking(self) -> None:
        """Go on with the talk whose page was left."""
        await self.page.get_by_role("button", name="Go on").click()
        await expect(self.page.get_by_role("button", name="End", exact=True)).to_be_visible()

    async def start_typing(self) -> None:
        """Begin a talk without a microphone."""
        await self.page.get_by_role("button", name="Type instead").first.click()
        await expect(self.floor).to_have_text("Your turn")

    async def write(self, text: str) -> None:
        """Say something by typing it."""
        await self.page.get_by_label("Write instead of speaking").fill(text)
        await self.page.get_by_role("button", name="Send").click()

    async def end_talk(self) -> None:
        """End the talk and wait for its summary."""
        await self.page.get_by_role("button", name="End", exact=True).click()
        await expect(self.page.get_by_role("button", name="Another talk")).to_be_visible()

    async def way(self) -> str:
        """Return how this talk travels, as the diagnostics panel says it."""
        await self.page.get_by_role("button", name="Diagnostics").click()
        dialog = self.page.get_by_role("dialog", name="Diagnostics")
        told = await dialog.locator("dl > div").first.locator("dd").inner_text()
        await self.page.keyboard.press("Escape")
        return told
