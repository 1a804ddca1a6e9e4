"""What is decided before anything is started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from launcher.errors import LauncherError, WrongSettingsError
from launcher.leftovers import MARK
from launcher.programs import plan


def test_wrong_settings_of_every_service_are_told_together(tmp_path: Path):
    environment = {
        "PARLEY_DATA_DIR": str(tmp_path),
        "PARLEY_USER_PORT": "many",
        "PARLEY_HISTORY_PROT": "1",
    }
    with pytest.raises(WrongSettingsError) as caught:
        plan(environment)
    assert "PARLEY_USER_PORT" in str(caught.value)
    assert "did you mean PARLEY_HISTORY_PORT?" in str(caught.value)


def test_a_service_needs_a_port_that_others_know():
    with pytest.raises(WrongSettingsError, match="PARLEY_AI_PORT: must name a port"):
        plan({"PARLEY_AI_PORT": "0"})


def test_a_wrong_setting_of_the_gateway_is_named():
    with pytest.raises(WrongSettingsError, match="PARLEY_GATEWAY_PORT"):
        plan({"PARLEY_GATEWAY_PORT": "http"})


@pytest.mark.parametrize(
    "environment",
    [
        {"PARLEY_GATEWAY_TLS_KEY": "key.pem"},
        # The certificate that is made here is of an authority that a browser may lose.
        {"PARLEY_TLS": "1", "PARLEY_GATEWAY_HSTS_SECONDS": "60"},
    ],
    ids=["a key alone", "bound to TLS"],
)
def test_settings_of_the_gateway_that_do_not_go_together_are_told(
    tmp_path: Path, environment: dict[str, str]
):
    """The launcher ended with a traceback: no single setting was at fault."""
    with pytest.raises(WrongSettingsError, match=r"PARLEY_GATEWAY_\*: .*(tls_key|hsts_seconds)"):
        plan({"PARLEY_DATA_DIR": str(tmp_path), **environment})


def test_a_missing_envoy_is_told():
    with pytest.raises(LauncherError, match="PARLEY_ENVOY"):
        plan({"PARLEY_ENVOY": "/nowhere/envoy"})


def test_everything_runs_with_this_python_and_is_marked_with_its_folder(tmp_path: Path):
    chosen = plan({"PARLEY_DATA_DIR": str(tmp_path)})
    assert [each.name for each in chosen.programs] == [
        "user",
        "conversation",
        "ai",
        "history",
        "media",
        "gateway",
    ]
    assert chosen.program("ai").command == (sys.executable, "-m", "services.ai")
    assert chosen.environment[MARK] == str(tmp_path)
    assert chosen.address == "127.0.0.1:8080"


def test_a_moved_port_moves_its_peers_and_the_gateway_with_it():
    chosen = plan({"PARLEY_USER_PORT": "40051", "PARLEY_USER_METRICS_PORT": "40052"})
    assert chosen.environment["PARLEY_USER_ADDRESS"] == "127.0.0.1:40051"
    assert chosen.gateway.user_addresses == ("127.0.0.1:40051",)
    assert chosen.gateway.jwks_address == "127.0.0.1:40052"
    assert {40051, 40052} <= {port.number for port in chosen.ports}


def test_what_listens_everywhere_is_reached_from_here():
    chosen = plan({"PARLEY_GATEWAY_HOST": "0.0.0.0", "PARLEY_AI_HOST": "0.0.0.0"})
    assert chosen.program("gateway").address == "127.0.0.1:8080"
    assert chosen.environment["PARLEY_AI_ADDRESS"] == "127.0.0.1:50053"


def test_each_port_names_the_setting_that_moves_it():
    ports = {port.number: port.setting for port in plan({}).ports}
    assert ports == {
        8080: "PARLEY_GATEWAY_PORT",
        50051: "PARLEY_USER_PORT",
        51051: "PARLEY_USER_METRICS_PORT",
        50052: "PARLEY_CONVERSATION_PORT",
        51052: "PARLEY_CONVERSATION_METRICS_PORT",
        52052: "PARLEY_CONVERSATION_WEBSOCKET_PORT",
        50053: "PARLEY_AI_PORT",
        51053: "PARLEY_AI_METRICS_PORT",
        50054: "PARLEY_HISTORY_PORT",
        51054: "PARLEY_HISTORY_METRICS_PORT",
        50055: "PARLEY_MEDIA_PORT",
        51055: "PARLEY_MEDIA_METRICS_PORT",
    }


def test_models_are_needed_only_where_the_local_engine_is_on_offer():
    assert plan({}).needs_models
    assert not plan({"PARLEY_AI_ENGINES": '["scripted"]'}).needs_models


def test_each_process_of_the_conversation_service_has_ports_of_its_own():
    chosen = plan({"PARLEY_SESSION_PROCESSES": "3"})
    third = chosen.program("conversation-3")
    assert third.service == "conversation"
    assert third.address == "127.0.0.1:50072"
    assert third.environment == {
        "PARLEY_CONVERSATION_PORT": "50072",
        "PARLEY_CONVERSATION_METRICS_PORT": "51072",
        "PARLEY_CONVERSATION_WEBSOCKET_PORT": "52072",
    }
    assert chosen.gateway.conversation_addresses == (
        "127.0.0.1:50052",
        "127.0.0.1:50062",
        "127.0.0.1:50072",
    )
    assert chosen.gateway.conversation_websocket_addresses[2] == "127.0.0.1:52072"
    assert {50052, 50062, 50072} <= {port.number for port in chosen.ports}


def test_tls_is_spoken_with_what_the_launcher_makes_or_with_what_it_is_given(tmp_path: Path):
    made = plan({"PARLEY_TLS": "1", "PARLEY_DATA_DIR": str(tmp_path)})
    assert made.certificates is not None
    assert made.gateway.tls_certificate == made.certificates.certificate
    assert made.page == "https://localhost:8080"
    own = {"PARLEY_GATEWAY_TLS_CERTIFICATE": "/c.pem", "PARLEY_GATEWAY_TLS_KEY": "/k.pem"}
    given = plan({"PARLEY_TLS": "1", **own})
    assert given.certificates is None
    assert given.gateway.tls_certificate == Path("/c.pem")


@pytest.mark.parametrize(
    ("host", "is_open"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("::", True)],
)
def test_only_what_listens_beyond_loopback_is_open_to_the_network(host: str, is_open: bool):
    assert plan({"PARLEY_GATEWAY_HOST": host}).open_to_network is is_open


def test_tls_between_programs_is_with_certificates_made_here_or_given(tmp_path: Path):
    made = plan({"PARLEY_SERVICE_TLS": "true", "PARLEY_DATA_DIR": str(tmp_path)})
    assert made.service_certificates is not None
    own = made.service_certificates.tls("gateway")
    assert made.service_tls == own
    files = made.service_certificates.tls("user")
    assert made.environment["PARLEY_USER_SERVICE_TLS_KEY"] == str(files.key)
    names = {name: f"/{name}.pem" for name in ("certificate", "key", "authority")}
    given = plan({f"PARLEY_SERVICE_TLS_{name.upper()}": path for name, path in names.items()})
    assert given.service_certificates is None
    assert given.gateway.service_tls_authority == Path("/authority.pem")
    assert plan({}).service_tls is None
