"""The keys beside the metrics, for the gateway."""

import asyncio
from pathlib import Path

from prometheus_client import CollectorRegistry

from services.common.metrics import metrics_endpoint


async def get(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: parley\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_keys_not_yet_written_are_not_found(tmp_path: Path):
    async with metrics_endpoint(CollectorRegistry(), 0, tmp_path / "jwks.json") as port:
        assert (await get(port, "/jwks.json")).startswith(b"HTTP/1.1 404")


async def test_the_keys_are_read_at_each_request_so_that_a_rotation_shows(tmp_path: Path):
    jwks = tmp_path / "jwks.json"
    async with metrics_endpoint(CollectorRegistry(), 0, jwks) as port:
        for document in ('{"keys": []}', '{"keys": [1]}'):
            jwks.write_text(document)
            assert (await get(port, "/jwks.json")).endswith(f"\r\n\r\n{document}".encode())


async def test_no_other_file_is_served(tmp_path: Path):
    (tmp_path / "secret.pem").write_text("secret")
    async with metrics_endpoint(CollectorRegistry(), 0, tmp_path / "jwks.json") as port:
        for path in ("/secret.pem", "/../secret.pem", "/jwks.json/../secret.pem"):
            assert b"secret" not in await get(port, path)
