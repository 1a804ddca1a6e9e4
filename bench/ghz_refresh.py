"""Refreshes for `make bench-ghz`: ghz cannot make them, since each needs the answer of the last.

    python -m bench.ghz_refresh ADDRESS FILE SECONDS

FILE holds a list of refresh tokens. Each is changed for its successor again and again, all at once;
FILE gets the last ones. Prints `{"seconds": …, "latencies_ms": […]}`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import grpc.aio

from parley.user.v1 import user_pb2, user_pb2_grpc

# As ghz is run: so many connections, shared by the calls.
_CONNECTIONS = 4
_TIMEOUT_S = 10.0


async def refresh_all(address: str, tokens: list[str], seconds: float) -> tuple[float, list[float]]:
    """Refresh for `seconds`, replacing `tokens`; return the time taken and each call's in ms."""
    # Of its own: channels to one address share a connection otherwise.
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(_CONNECTIONS)]
    latencies: list[float] = []
    began = time.perf_counter()

    async def go_on(index: int) -> None:
        stub = user_pb2_grpc.UserServiceStub(channels[index % _CONNECTIONS])
        while (sent := time.perf_counter()) < began + seconds:
            request = user_pb2.RefreshRequest(refresh_token=tokens[index])
            answer = await stub.Refresh(request, timeout=_TIMEOUT_S)
            latencies.append((time.perf_counter() - sent) * 1000)
            tokens[index] = answer.tokens.refresh_token

    try:
        async with asyncio.TaskGroup() as group:
            for index in range(len(tokens)):
                group.create_task(go_on(index))
        return time.perf_counter() - began, latencies
    finally:
        for channel in channels:
            await channel.close()


def main(address: str, path: Path, seconds: float) -> None:
    """Run once; see the module."""
    tokens = json.loads(path.read_text("utf-8"))
    took, latencies = asyncio.run(refresh_all(address, tokens, seconds))
    path.write_text(json.dumps(tokens), "utf-8")
    print(json.dumps({"seconds": took, "latencies_ms": latencies}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
