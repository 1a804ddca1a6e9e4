"""What a person is told once Parley is ready, by how it was started."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from launcher.certificates import Host
from launcher.greeting import greeting
from launcher.programs import plan

HERE = Host(
    ("localhost", "desk"),
    tuple(map(ipaddress.ip_address, ("127.0.0.1", "192.168.1.5", "fd00::5"))),
)


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "here", lambda: HERE)


def told(tmp_path: Path, **settings: str) -> str:
    chosen = plan({"PARLEY_DATA_DIR": str(tmp_path), **settings})
    return greeting(chosen, 3.21, "AB:CD")


def test_on_one_machine_there_is_a_page_and_nothing_to_trust(tmp_path: Path):
    said = told(tmp_path)
    assert "Parley is ready at http://localhost:8080 after 3.2 s." in said
    assert "trust" not in said
    assert "network" not in said


def test_with_tls_the_authority_and_its_fingerprint_are_told(tmp_path: Path):
    said = told(tmp_path, PARLEY_TLS="1")
    assert "https://localhost:8080" in said
    assert str(tmp_path / "tls" / "ca.pem") in said
    assert f"parley --ca {tmp_path / 'tls' / 'ca.pem'} talk" in said
    assert "AB:CD" in said


def test_for_the_network_the_addresses_for_phones_are_told(tmp_path: Path):
    said = told(tmp_path, PARLEY_TLS="1", PARLEY_GATEWAY_HOST="0.0.0.0")
    assert "a phone fetches it at https://192.168.1.5:8080/parley-ca.crt" in said
    assert "\n    https://192.168.1.5:8080\n" in said
    assert "fd00::5" not in said, "Envoy takes no IPv6 at 0.0.0.0"
    both = told(tmp_path, PARLEY_TLS="1", PARLEY_GATEWAY_HOST="::")
    assert "https://[fd00::5]:8080" in both


def test_without_tls_the_network_is_told_what_will_not_work(tmp_path: Path):
    said = told(tmp_path, PARLEY_GATEWAY_HOST="0.0.0.0")
    assert "http://192.168.1.5:8080" in said
    assert "no microphone: start with TLS=1" in said
