"""Envoy's administration: out of reach of every page, and of every other user."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import httpx
import psutil
import pytest

from gateway.administration import AdministrationError
from tests.integration.gateway.conftest import Edge, administration, envoy, ready
from tests.ports import free_ports
from tests.sockets import free_socket

pytestmark = pytest.mark.asyncio(loop_scope="package")

# What reads secrets, changes what is logged, or ends things, in ways in which a page could ask.
TRIED = (
    *(("POST", each) for each in ("/quitquitquit", "/logging?level=debug", "/drain_listeners")),
    *(("GET", each) for each in ("/config_dump", "/ready", "/stats/prometheus", "/", "/clusters")),
    *(("GET", each) for each in ("/metrics/../quitquitquit", "/metrics/x", "//metrics")),
    ("POST", "/metrics"),
)


def listened_at(socket: Path) -> list[int]:
    """Return the TCP ports of the process that listens on `socket`."""
    for process in psutil.process_iter():
        try:
            listening = {each.laddr for each in process.net_connections("unix")}
            if str(socket) in listening:
                return [
                    each.laddr.port
                    for each in process.net_connections("tcp")
                    if each.status == psutil.CONN_LISTEN
                ]
        except psutil.Error:
            continue
    raise AssertionError(f"nobody listens on {socket}")


async def test_no_port_answers_for_it_and_its_socket_is_of_its_owner_alone(edge: Edge):
    socket = edge.settings.admin_socket
    assert socket is not None
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    ports = await asyncio.to_thread(listened_at, socket)
    assert set(ports) == {edge.settings.port}
    async with httpx.AsyncClient() as client:
        for method, path in TRIED:
            answer = await client.request(method, f"{edge.url}{path}")
            # The web client's page, which stands at every path without a dot, or a refusal.
            assert answer.status_code != 200 or answer.text.startswith("<!doctype html>"), path
            assert "parley.user" not in answer.text, path
    assert b"LIVE" in await administration(edge.settings, "/ready")


async def test_of_all_of_it_a_port_gives_metrics_alone(edge: Edge, tmp_path: Path):
    port, metrics_port = free_ports(2)
    settings = edge.settings.model_copy(
        update={"port": port, "metrics_port": metrics_port, "admin_socket": free_socket()}
    )
    url = f"http://127.0.0.1:{metrics_port}"
    page = {"host": f"rebound.example:{metrics_port}", "origin": "http://rebound.example"}
    with envoy(settings, tmp_path) as log:
        await ready(settings, log)
        async with httpx.AsyncClient() as client:
            found = await client.get(f"{url}/metrics")
            assert "envoy_http_downstream_rq_total" in found.text
            named = await client.get(f"{url}/metrics", headers={"host": "localhost"})
            assert named.status_code == 200
            assert (await client.get(f"{url}/metrics", headers=page)).status_code == 404
            for method, path in TRIED:
                assert (await client.request(method, f"{url}{path}")).status_code == 404, path
        told = json.loads(await administration(settings, "/listeners?format=json"))
        assert len(told["listener_statuses"]) == 2


async def test_without_a_socket_there_is_no_administration(edge: Edge, tmp_path: Path):
    (port,) = free_ports(1)
    settings = edge.settings.model_copy(update={"port": port, "admin_socket": None})
    with envoy(settings, tmp_path):
        async with httpx.AsyncClient() as client, asyncio.timeout(20):
            while True:
                try:
                    answer = await client.get(f"http://127.0.0.1:{port}/")
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
                else:
                    break
    assert answer.status_code == 200


async def test_who_asks_one_that_is_gone_is_told(edge: Edge):
    gone = edge.settings.model_copy(update={"admin_socket": free_socket()})
    with pytest.raises(AdministrationError):
        await administration(gone, "/ready")
