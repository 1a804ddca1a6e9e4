"""What a page says in its console: an error, or a breach of its security policy, is a failure."""

from __future__ import annotations

import re

from playwright.async_api import BrowserContext, ConsoleMessage, Page

REPORT_BREACHES = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP: ${event.violatedDirective} blocked ${event.blockedURI || "inline"}`));
"""
"""Runs before every page. Chromium says it too, but not of what a worker or a frame was refused."""


class Console:
    """Collects what the pages of a context complain of."""

    def __init__(self) -> None:
        self._complaints: list[str] = []
        self._allowed: list[re.Pattern[str]] = []

    async def watch(self, context: BrowserContext) -> None:
        """Hear every page that the context opens from now on."""
        await context.add_init_script(REPORT_BREACHES)
        context.on("page", self._hear)

    def allow(self, pattern: str) -> None:
        """Expect complaints that match: a test that cuts the line cannot but have some."""
        self._allowed.append(re.compile(pattern))

    @property
    def complaints(self) -> list[str]:
        """Everything that nobody expected."""
        return [
            line
            for line in self._complaints
            if not any(pattern.search(line) for pattern in self._allowed)
        ]

    def _hear(self, page: Page) -> None:
        page.on("console", self._said)
        page.on("pageerror", lambda error: self._complaints.append(f"uncaught: {error}"))
        page.on("crash", lambda _: self._complaints.append("the page crashed"))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "assert"):
            at = message.location
            where = f"{at.get('url', '')}:{at.get('lineNumber', 0)}"
            self._complaints.append(f"{message.text} ({where})")
