"""A stand-in for a service: `fake_program.py PORT [MODE]`, with gRPC health.

serve: serves until SIGTERM. quit:CODE: prints a line and ends. sleep: never becomes ready.
ignore: serves, and does not end on SIGTERM.
"""

from __future__ import annotations

import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc


def main(port: str, mode: str = "serve") -> int:
    if mode.startswith("quit:"):
        print("PARLEY_AI_PRESET: no such preset", flush=True)
        return int(mode.partition(":")[2])
    ended = threading.Event()
    on_signal = (lambda *_: None) if mode == "ignore" else (lambda *_: ended.set())
    signal.signal(signal.SIGTERM, on_signal)
    print("started", flush=True)
    if mode == "sleep":
        ended.wait()
        return 0
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    statuses = health.HealthServicer()
    statuses.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(statuses, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    ended.wait()
    server.stop(0).wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
