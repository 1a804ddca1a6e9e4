"""A whole process: settings errors, a taken port, signals, and what it says."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

ROOT = Path(__file__).parents[3]

# The least service: the user contract, one method that hangs.
SERVICE = """
import asyncio, sys
from contextlib import asynccontextmanager
from typing import ClassVar
from parley.user.v1 import user_pb2, user_pb2_grpc
from services.common.access import PUBLIC
from services.common.server import run_service
from services.common.service import Application, GrpcService
from services.common.settings import ServiceSettings

class Settings(ServiceSettings):
    service: ClassVar[str] = "sample"

class Servicer:
    def __getattr__(self, name):
        async def hang(request, context):
            await asyncio.Event().wait()
        return hang

@asynccontextmanager
async def bootstrap(settings, runtime):
    if "--break" in sys.argv:
        raise ValueError("secret words")
    if "--slow" in sys.argv:
        print("slow", flush=True)
        await asyncio.Event().wait()
    names = [m.name for m in user_pb2.DESCRIPTOR.services_by_name["UserService"].methods]
    yield Application([GrpcService.of(
        Servicer(), user_pb2_grpc.add_UserServiceServicer_to_server,
        user_pb2.DESCRIPTOR, "UserService", {name: PUBLIC for name in names})])

sys.exit(run_service("sample", Settings, bootstrap, gives_way="--give-way" in sys.argv))
"""


@contextmanager
def process(data_dir: Path, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    environment = dict(os.environ) | {
        "PARLEY_DATA_DIR": str(data_dir),
        "PARLEY_SAMPLE_PORT": "0",
        "PARLEY_SAMPLE_METRICS_PORT": "0",
        **variables,
    }
    child = subprocess.Popen(
        [sys.executable, "-c", SERVICE, *arguments],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def serving_address(child: subprocess.Popen[str]) -> str:
    assert child.stderr is not None
    for text in child.stderr:
        if text.startswith("{") and (line := json.loads(text))["event"] == "serving":
            return str(line["address"])
    raise AssertionError("the service ended without serving")


def test_wrong_settings_are_listed_and_exit_2(data_dir):
    with process(data_dir, PARLEY_SAMPLE_PORT="x", PARLEY_LOG_LEVEL="loud") as child:
        _, said = child.communicate(timeout=30)
    assert child.returncode == 2
    assert "PARLEY_SAMPLE_PORT" in said
    assert "PARLEY_LOG_LEVEL" in said
    assert "Traceback" not in said


def test_a_taken_port_is_named_and_exits_3(data_dir):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with process(data_dir, PARLEY_SAMPLE_PORT=port) as child:
            _, said = child.communicate(timeout=30)
    assert child.returncode == 3
    assert port in said
    assert "PARLEY_SAMPLE_PORT" in said
    assert "Traceback" not in said


def test_a_failed_start_is_logged_without_its_message_and_exits_1(data_dir):
    with process(data_dir, "--break") as child:
        _, said = child.communicate(timeout=30)
    assert child.returncode == 1
    assert "ValueError" in said
    assert "secret words" not in said


def test_a_signal_before_it_serves_ends_it(data_dir):
    with process(data_dir, "--slow") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "slow\n"
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=30)
    assert child.returncode == 0


def test_what_nobody_waits_for_gives_way_to_the_rest_of_the_machine(data_dir):
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    with process(data_dir, "--give-way") as child:
        serving_address(child)
        assert os.getpriority(os.PRIO_PROCESS, child.pid) > ours
    with process(data_dir) as child:
        serving_address(child)
        assert os.getpriority(os.PRIO_PROCESS, child.pid) == ours


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_a_second_ends_at_once(data_dir, kind):
    with (
        process(data_dir) as child,
        grpc.insecure_channel(serving_address(child)) as channel,
    ):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        assert stub.Check(request).status == health_pb2.HealthCheckResponse.SERVING
        call: Any = channel.unary_unary("/parley.user.v1.UserService/GetJwks")
        hanging = call.future(b"", timeout=60)
        # Its arrival is certain once a later call on the connection was answered.
        stub.Check(request)
        child.send_signal(kind)
        assert child.stderr is not None
        draining = next(line for line in child.stderr if '"draining"' in line)
        assert json.loads(draining)["live_calls"] == 1
        child.send_signal(kind)
        child.communicate(timeout=30)
        assert hanging.exception() is not None
    assert child.returncode == 0
