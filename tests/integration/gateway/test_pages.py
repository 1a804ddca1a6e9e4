"""The web client's pages as a real Envoy answers them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.integration.gateway.conftest import Edge

pytestmark = pytest.mark.asyncio(loop_scope="package")

SCRIPT = "/assets/app-1a2b3c.js"


@pytest_asyncio.fixture(loop_scope="package")
async def browser(edge: Edge) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=edge.url) as client:
        yield client


def on_disk(edge: Edge, path: str) -> bytes:
    assert edge.settings.web_dir is not None
    return Path(f"{edge.settings.web_dir}{path}").read_bytes()


@pytest.mark.parametrize(
    "path", ["/", "/index.html", "/talk", "/history/018f-x_y~z", "/assets/", "/../etc/passwd"]
)
async def test_the_apps_own_paths_get_its_entry_page(
    edge: Edge, browser: httpx.AsyncClient, path: str
):
    response = await browser.get(path)
    assert response.status_code == 200
    assert response.content == on_disk(edge, "/index.html")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_a_large_script_arrives_whole_and_is_kept(
    edge: Edge, browser: httpx.AsyncClient, encoding: str
):
    response = await browser.get(SCRIPT, headers={"accept-encoding": encoding})
    assert response.content == on_disk(edge, SCRIPT)
    assert response.headers.get("content-encoding", "identity") == encoding
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert response.headers["vary"] == "Accept-Encoding"


async def test_browsers_get_the_better_compression(browser: httpx.AsyncClient):
    async with browser.stream(
        "GET", SCRIPT, headers={"accept-encoding": "gzip, deflate, br, zstd"}
    ) as response:
        assert response.headers["content-encoding"] == "br"


async def test_what_is_compressed_already_is_left_alone(browser: httpx.AsyncClient):
    response = await browser.get("/assets/tutor-4d5e6f.png", headers={"accept-encoding": "br"})
    assert "content-encoding" not in response.headers
    assert response.headers["content-type"] == "image/png"


@pytest.mark.parametrize("path", ["/", SCRIPT, "/sw.js"])
async def test_every_page_is_bound_to_its_own_origin(browser: httpx.AsyncClient, path: str):
    headers = (await browser.get(path)).headers
    policy = headers["content-security-policy"].split("; ")
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not any(word in headers["content-security-policy"] for word in ("unsafe", "*", "http"))
    assert headers["permissions-policy"].startswith("microphone=(self)")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "grpc-status" not in headers


async def test_a_page_may_be_asked_about_without_its_body(browser: httpx.AsyncClient):
    response = await browser.head("/")
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize("path", ["/missing.js", "/assets/%2e%2e/x.html", "/.env", "/assets/.map"])
async def test_what_is_not_there_is_not_found(browser: httpx.AsyncClient, path: str):
    assert (await browser.get(path)).status_code == 404


async def test_a_page_cannot_be_posted_to(browser: httpx.AsyncClient):
    assert (await browser.post("/", content=b"x")).status_code == 404
