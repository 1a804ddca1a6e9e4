"""How a page looks: pictures in both themes and both widths, and what axe finds wrong with it.

The pictures are the tests' output, in `test-output/web` (git ignores it): look at them. They show
pages from top to foot. A run of some of the tests makes its own anew and leaves the others.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import FloatRect, Locator, Page

ROOT = Path(__file__).parents[3]
PICTURES = ROOT / "test-output" / "web"
AXE = ROOT / "clients" / "web" / "node_modules" / "axe-core" / "axe.min.js"

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, Theme] = ("light", "dark")

WIDTHS = {"wide": (1280, 800), "narrow": (360, 740)}
"""A laptop's window, and the narrowest phone that the page must fit."""

SIDEWAYS = {"sideways": (740, 360)}
"""The same phone, held sideways."""

BETWEEN = (480, 640, 768, 1024, 1920)
"""Widths at which a page is laid out as well, to see that nothing is wider than its window."""

SERIOUS = ("serious", "critical")

_THEMED = "(theme) => document.documentElement.dataset.theme === theme"

_DRAWN = """async () => {
  for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
  const all = document.getAnimations();
  const ending = all.filter(
    (each) => each.playState === "running" && each.effect.getTiming().iterations === 1,
  );
  await Promise.allSettled(ending.map((each) => each.finished));
}"""


_BEYOND = """() => {
  const beyond = document.documentElement.scrollWidth - innerWidth;
  if (beyond <= 0) return "";
  const parts = [...document.querySelectorAll("body *")]
    .filter((each) => each.getBoundingClientRect().right > innerWidth + 0.5)
    .map((each) => `${each.tagName.toLowerCase()}.${each.className}`);
  return `${beyond} px wider than the window: ${parts.slice(0, 6).join(", ")}`;
}"""


async def look_at(
    page: Page, name: str, windows: Mapping[str, tuple[int, int]] = WIDTHS
) -> list[str]:
    """Take `name`'s pictures in every theme and window; return what is wrong with any of them.

    The page is left wide and light.
    """
    wrong: list[str] = []
    for width, (wide, high) in windows.items():
        await page.set_viewport_size({"width": wide, "height": high})
        # As high as the page, so that what is fixed to the window's foot is at the page's.
        whole = await page.evaluate("document.documentElement.scrollHeight")
        await page.set_viewport_size({"width": wide, "height": max(high, whole)})
        for theme in THEMES:
            await page.emulate_media(color_scheme=theme, reduced_motion="reduce")
            # The page follows the system's theme by script; then it is laid out and drawn anew.
            await page.wait_for_function(_THEMED, arg=theme)
            await page.evaluate(_DRAWN)
            where = f"{name}, {theme}, {width}"
            path = PICTURES / f"{name}-{width}-{theme}.png"
            await page.screenshot(path=path, animations="disabled")
            # What the second theme changes are its colours.
            rules = None if theme == "light" else ["color-contrast"]
            wrong += [f"{where}: {each}" for each in await _findings(page, rules)]
            wrong += await _cut_off(page, where)
    for each in BETWEEN:
        await page.set_viewport_size({"width": each, "height": 800})
        # What depends on the width is decided with the next frame.
        await page.evaluate(_DRAWN)
        wrong += await _cut_off(page, f"{name}, {each} px")
    await page.set_viewport_size({"width": 1280, "height": 800})
    await page.emulate_media(color_scheme="light", reduced_motion="no-preference")
    return wrong


async def _cut_off(page: Page, where: str) -> list[str]:
    beyond = await page.evaluate(_BEYOND)
    return [f"{where}: {beyond}"] if beyond else []


async def _findings(page: Page, rules: list[str] | None) -> list[str]:
    """Return what axe finds that would keep somebody out; `rules` are those asked, None all."""
    # Evaluated, not added as a script: the page's own policy would rightly refuse that.
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(_axe())
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules is not None:
        options["runOnly"] = rules
    result: dict[str, Any] = await page.evaluate("(how) => axe.run(document, how)", options)
    return [
        f"{each['impact']}: {each['id']}: {each['help']}: "
        + "; ".join(f"{node['target'][0]} ({node['html'][:120]})" for node in each["nodes"][:3])
        for each in result["violations"]
        if each["impact"] in SERIOUS
    ]


def forget_the_last_run() -> None:
    """Empty the folder: a picture of what is gone would look like one of today."""
    for picture in PICTURES.glob("*.png"):
        picture.unlink(missing_ok=True)


async def box_of(what: Locator) -> FloatRect:
    """Return where it lies in the window."""
    box = await what.bounding_box()
    assert box is not None, f"{what} is not in sight"
    return box


def overlap(one: FloatRect, other: FloatRect) -> bool:
    """Tell whether one lies over the other."""
    across = one["x"] < other["x"] + other["width"] and other["x"] < one["x"] + one["width"]
    down = one["y"] < other["y"] + other["height"] and other["y"] < one["y"] + one["height"]
    return across and down


@functools.cache
def _axe() -> str:
    return AXE.read_text("utf-8")
