"""Plans of fake programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.settings import GatewaySettings
from launcher.folder import Folder
from launcher.leftovers import MARK
from launcher.programs import GATEWAY, Plan, Program
from launcher.settings import LauncherSettings
from tests.ports import free_ports

FAKE = Path(__file__).with_name("fake_program.py")

MakePlan = Callable[..., Plan]


@pytest.fixture
def make_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePlan:
    """Return a maker of plans: `make_plan(user="serve", ai="quit:2", ready_seconds=5)`."""

    monkeypatch.setattr("launcher.supervision._START_SECONDS", 1)

    def make(*, ready_seconds: float = 30, stop_seconds: float = 5, **modes: str) -> Plan:
        folder = Folder(tmp_path / "data")
        folder.create()
        ports = dict(zip(modes, free_ports(len(modes)), strict=True))
        programs = tuple(
            Program(
                name=name,
                command=(sys.executable, str(FAKE), str(ports[name]), mode),
                address=f"127.0.0.1:{ports[name]}",
                stop_seconds=stop_seconds,
                service=name if name != GATEWAY else "",
            )
            for name, mode in modes.items()
        )
        return Plan(
            folder=folder,
            settings=LauncherSettings(data_dir=folder.root, ready_seconds=ready_seconds),
            # Nobody listens there: stopping must not drain some other Parley on this machine.
            gateway=GatewaySettings(admin_socket=folder.gateway_socket),
            programs=programs,
            ports=(),
            environment={**os.environ, MARK: str(folder.root)},
            needs_models=False,
        )

    return make
