"""The real launcher with the real services and the real gateway."""

from __future__ import annotations

import http.client
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from uuid import uuid4

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.administration import ask
from parley.user.v1 import user_pb2, user_pb2_grpc
from tests.ports import free_ports
from tests.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # With TLS between the programs: that they work with each other without is shown wherever else
    # a stack runs.
    settings = {"PARLEY_SERVICE_TLS": "true"}
    with Stack(tmp_path_factory.mktemp("stack") / "data", settings=settings) as running:
        yield running


def register(stack: Stack) -> user_pb2.RegisterResponse:
    request = user_pb2.RegisterRequest(username=f"u{uuid4().hex[:12]}", password="a long pass word")
    with grpc.insecure_channel(stack.address) as channel:
        return user_pb2_grpc.UserServiceStub(channel).Register(request, timeout=20)


def launcher(stack: Stack, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launcher", *arguments],
        env={**stack.environment, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_says_where_it_is_and_what_to_type_next(stack: Stack):
    assert f"Parley is ready at {stack.url}" in stack.said()
    assert re.search(r"bin/parley talk", stack.said())
    assert "Ctrl-C" in stack.said()


def test_a_token_is_good_at_the_gateway_at_once(stack: Stack):
    token = register(stack).tokens.access_token
    with grpc.insecure_channel(stack.address) as channel:
        response = user_pb2_grpc.UserServiceStub(channel).GetProfile(
            user_pb2.GetProfileRequest(),
            metadata=(("authorization", f"Bearer {token}"),),
            timeout=20,
        )
    assert response.account.user_id


def test_no_service_speaks_with_who_has_no_certificate_of_this_start(stack: Stack):
    authority = stack.folder.service_tls / "authority.pem"
    for name, port in stack.service_ports.items():
        knows_them = grpc.ssl_channel_credentials(authority.read_bytes())
        for credentials in (None, knows_them):
            options = [("grpc.ssl_target_name_override", f"{name}.parley.internal")]
            address = f"127.0.0.1:{port}"
            channel = (
                grpc.secure_channel(address, credentials, options)
                if credentials
                else grpc.insecure_channel(address)
            )
            with channel, pytest.raises(grpc.RpcError) as caught:
                stub: Any = health_pb2_grpc.HealthStub(channel)
                stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises((OSError, http.client.HTTPException)):
        urlopen(f"http://127.0.0.1:{stack.websocket_port}/healthz", timeout=10)


def test_nothing_below_its_folder_can_be_read_by_others(stack: Stack):
    """Tables, logs and recordings were 0644 inside the private folder: a copy was everybody's."""
    register(stack)
    for path in ("db/user.sqlite3", "keys/jwks.json", "logs/gateway.log"):
        assert (stack.folder.root / path).exists()
    assert stack.open_to_others() == []


def test_no_page_and_no_other_user_reaches_the_gateways_administration(stack: Stack):
    """On a port of loopback any page that is open in a browser could end Parley."""
    sockets = psutil.Process(stack.pid("gateway")).net_connections("tcp")
    listened_at = {each.laddr.port for each in sockets if each.status == psutil.CONN_LISTEN}
    assert listened_at == {stack.port}
    path = stack.folder.gateway_socket
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert ask(path, "/ready") == b"LIVE\n"


def test_status_lists_what_runs(stack: Stack):
    done = launcher(stack, "status")
    assert done.returncode == 0
    for name in ("user", "conversation", "ai", "history", "media", "gateway"):
        assert re.search(rf"{name}\s+(starting|running)", done.stdout)


def test_a_second_launcher_on_its_folder_is_refused(stack: Stack):
    done = launcher(stack)
    assert done.returncode == 4
    assert stack.address in done.stderr


def test_a_taken_port_is_told_with_its_setting(stack: Stack, tmp_path: Path):
    done = launcher(stack, PARLEY_DATA_DIR=str(tmp_path / "other"))
    assert done.returncode == 3
    assert f"{stack.port} (the gateway) is in use by another Parley" in done.stderr
    assert str(stack.folder.root) in done.stderr
    assert "PARLEY_GATEWAY_PORT" in done.stderr


def test_wrong_settings_of_all_services_are_told_together(stack: Stack, tmp_path: Path):
    done = launcher(
        stack,
        PARLEY_DATA_DIR=str(tmp_path / "other"),
        PARLEY_LOG_LEVEL="loud",
        PARLEY_AI_PROT="1",
    )
    assert done.returncode == 2
    assert "PARLEY_LOG_LEVEL" in done.stderr
    assert "PARLEY_AI_PROT" in done.stderr
    assert "Traceback" not in done.stderr


restarts = pytest.mark.leaves_behind("the shared stack's program, started again")


@restarts
@pytest.mark.parametrize("name", ["history", "user", "gateway"])
def test_a_killed_program_comes_back(stack: Stack, name: str):
    killed = stack.kill(name)
    stack.wait_until_healthy(name)
    assert stack.pid(name) != killed


@restarts
def test_accounts_survive_a_killed_user_service(stack: Stack):
    token = register(stack).tokens.access_token
    stack.kill("user")
    stack.wait_until_healthy("user")
    with grpc.insecure_channel(stack.address) as channel:
        response = user_pb2_grpc.UserServiceStub(channel).GetProfile(
            user_pb2.GetProfileRequest(),
            metadata=(("authorization", f"Bearer {token}"),),
            timeout=20,
        )
    assert response.account.user_id


def test_stopping_leaves_no_process_and_no_port(tmp_path: Path):
    with Stack(tmp_path / "data") as stack:
        below = psutil.Process(stack.launcher_pid).children(recursive=True)
        assert len(below) >= 7
        assert stack.stop() == 0
        assert not [each for each in below if each.is_running()]
        assert stack.processes() == []
        for port in (stack.port, *stack.service_ports.values()):
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0
        assert stack.said().rstrip().endswith("Stopped.")


def test_stop_from_another_terminal(tmp_path: Path):
    with Stack(tmp_path / "data") as stack:
        assert launcher(stack, "stop").returncode == 0
        assert stack.processes() == []
        assert launcher(stack, "status").returncode == 3


def test_a_killed_launcher_leaves_nothing_and_the_next_starts(tmp_path: Path):
    with Stack(tmp_path / "data") as stack:
        stack.kill_launcher()
        deadline = time.monotonic() + 30
        while stack.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert stack.processes() == []
        stack.start()


@pytest.mark.models
def test_it_starts_with_real_models(tmp_path: Path):
    with Stack(tmp_path / "data", engine="local") as stack:
        assert '"event": "serving"' in stack.log("ai")


def test_ports_of_one_stack_differ_from_each_other():
    ports = free_ports(12)
    assert len(set(ports)) == 12
