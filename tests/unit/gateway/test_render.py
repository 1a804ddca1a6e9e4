"""What the rendered configuration promises, and that Envoy accepts it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.rpc.status_pb2 import Status

from gateway import binary
from gateway.binary import EnvoyMissingError, InvalidConfigurationError, envoy_path, validate
from gateway.render import LEAVING_HEADER, main, render
from gateway.replies import REPLIES
from gateway.settings import GatewaySettings
from services.common.interceptors.gate import LEAVING_KEY
from services.common.limits import DEFAULT_LIMITS
from services.common.reasons import REASONS


def configuration(**settings: Any) -> dict[str, Any]:
    rendered: dict[str, Any] = yaml.safe_load(render(GatewaySettings(**settings)))
    return rendered


def connection_manager(rendered: dict[str, Any]) -> dict[str, Any]:
    listener = rendered["static_resources"]["listeners"][0]
    manager: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return manager


def routes(rendered: dict[str, Any]) -> dict[str, Any]:
    host = connection_manager(rendered)["route_config"]["virtual_hosts"][0]
    return {
        route["match"]["path"]: route
        for route in host["routes"]
        if "headers" not in route["match"] and "path" in route["match"]
    }


def clusters(rendered: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each for each in rendered["static_resources"]["clusters"]}


SETTINGS: list[dict[str, Any]] = [
    {},
    {"reflection": True, "cors_origins": "*"},
    {"cors_origins": ""},
    {"user_addresses": "user.parley.svc:50051", "conversation_addresses": "10.0.0.1:1,10.0.0.2:1"},
    {"host": "::1", "jwks_address": "user:51051"},
    {"trusted_hops": 2, "hsts_seconds": 60},
    {"admin_socket": "/run/parley/gateway.sock"},
    {"admin_socket": '/run/parley/a b": {}.sock', "metrics_port": 9080},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_envoy_accepts_the_configuration(tmp_path: Path, settings: dict[str, Any]):
    path = tmp_path / "envoy.yaml"
    path.write_text(render(GatewaySettings(**settings)))
    validate(path)


def test_envoy_says_what_is_wrong(tmp_path: Path):
    path = tmp_path / "envoy.yaml"
    path.write_text(render(GatewaySettings()).replace("LEAST_REQUEST", "MOST_REQUEST"))
    with pytest.raises(InvalidConfigurationError, match="MOST_REQUEST"):
        validate(path)


def test_a_value_cannot_break_out_of_its_place():
    evil = 'https://a"]}\n      admin: {address: evil'
    rendered = configuration(cors_origins=(evil,))
    policy = connection_manager(rendered)["route_config"]["virtual_hosts"][0]
    cors = policy["typed_per_filter_config"]["envoy.filters.http.cors"]
    assert cors["allow_origin_string_match"] == [{"exact": evil}]
    assert "admin" not in rendered


def test_by_default_no_other_origins_page_may_call():
    policy = connection_manager(configuration())["route_config"]["virtual_hosts"][0]
    cors = policy["typed_per_filter_config"]["envoy.filters.http.cors"]
    assert cors["allow_origin_string_match"] == []


def test_the_filters_stand_in_the_order_that_works():
    names = [each["name"] for each in connection_manager(configuration())["http_filters"]]
    short = [name.removeprefix("envoy.filters.http.") for name in names]
    assert short == [
        "cors",
        "compressor.brotli",
        "compressor.gzip",
        "grpc_web",
        "grpc_stats",
        "jwt_authn",
        "header_mutation",
        "stateful_session",
        "router",
    ]


def test_the_default_listens_on_this_machine_only():
    listener = configuration()["static_resources"]["listeners"][0]
    assert listener["address"]["socket_address"]["address"] == "127.0.0.1"


def test_administration_is_a_file_of_its_owner_alone_or_not_at_all():
    """A page of any site can send to a port on loopback, and Envoy asks nobody who they are."""
    assert "admin" not in configuration()
    path = "/run/parley/gateway.sock"
    rendered = configuration(admin_socket=path)
    assert rendered["admin"]["address"] == {"pipe": {"path": path, "mode": 0o600}}
    assert "pipe" not in str(rendered["static_resources"]), "routed to by nothing"


def test_of_administration_a_port_gives_metrics_only_and_only_by_this_machines_names():
    rendered = configuration(admin_socket="/run/gateway.sock", metrics_port=9080, host="0.0.0.0")
    listener = rendered["static_resources"]["listeners"][1]
    assert listener["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 9080}
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    assert host["domains"] == ["127.0.0.1", "localhost"]
    (route,) = host["routes"]
    assert route["match"]["path"] == "/metrics"
    assert route["match"]["headers"] == [{"name": ":method", "string_match": {"exact": "GET"}}]
    assert route["route"]["prefix_rewrite"] == "/stats/prometheus"


def test_a_conversation_is_not_cut_after_fifteen_seconds():
    converse = routes(configuration())["/parley.conversation.v1.ConversationService/Converse"]
    assert converse["route"]["timeout"] == "0s"
    assert converse["route"]["max_stream_duration"]["grpc_timeout_header_max"] == "0s"
    # The conversation's own limits speak first: idle after 300 s, over after 7,200 s.
    assert float(converse["route"]["idle_timeout"].removesuffix("s")) > 300
    longest = converse["route"]["max_stream_duration"]["max_stream_duration"]
    assert float(longest.removesuffix("s")) > DEFAULT_LIMITS.max_stream_seconds > 7_200


def test_a_unary_call_is_bounded_whatever_its_client_asks_and_however_slowly():
    login = routes(configuration())["/parley.user.v1.UserService/Login"]["route"]
    assert login["timeout"] == "30.000s"
    assert login["max_stream_duration"] == {
        "max_stream_duration": "30.000s",
        "grpc_timeout_header_max": "30.000s",
    }


def test_who_needs_no_token_has_places_apart():
    rendered = configuration(max_streams=100)
    for path, route in routes(rendered).items():
        # A WebSocket is let in by the service, which has the handshake verified at once.
        if path.startswith("/parley."):
            open_to_all = route["typed_per_filter_config"]["envoy.filters.http.jwt_authn"].get(
                "disabled", False
            )
            assert route["route"]["priority"] == ("DEFAULT" if open_to_all else "HIGH")
    thresholds = clusters(rendered)["user"]["circuit_breakers"]["thresholds"]
    most = {each["priority"]: each["max_requests"] for each in thresholds}
    assert most == {"HIGH": 100, "DEFAULT": 25}


def test_browsers_are_told_to_stay_with_tls_only_where_that_is_set():
    assert "response_headers_to_add" not in connection_manager(configuration())["route_config"]
    (header,) = connection_manager(configuration(hsts_seconds=31_536_000))["route_config"][
        "response_headers_to_add"
    ]
    assert header["header"] == {"key": "strict-transport-security", "value": "max-age=31536000"}


def test_a_token_is_looked_for_in_the_header_alone():
    filters = connection_manager(configuration())["http_filters"]
    jwt = next(each for each in filters if each["name"].endswith("jwt_authn"))["typed_config"]
    provider = jwt["providers"]["parley"]
    assert provider["from_headers"] == [{"name": "authorization", "value_prefix": "Bearer "}]
    assert "from_params" not in provider


def test_every_route_says_whether_it_needs_a_token():
    host = connection_manager(configuration(reflection=True))["route_config"]["virtual_hosts"][0]
    for route in host["routes"]:
        jwt = route["typed_per_filter_config"]["envoy.filters.http.jwt_authn"]
        assert jwt.get("disabled") is True or jwt["requirement_name"] == "learner"


def test_only_a_cluster_of_several_hosts_puts_one_aside():
    rendered = clusters(configuration(ai_addresses="10.0.0.1:1,10.0.0.2:1"))
    assert "outlier_detection" in rendered["ai"]
    assert "outlier_detection" not in rendered["user"]


def test_names_are_resolved_and_addresses_are_not():
    rendered = clusters(configuration(user_addresses="user.svc:1"))
    assert rendered["user"]["type"] == "STRICT_DNS"
    assert rendered["ai"]["type"] == "STATIC"


def test_a_service_that_is_leaving_says_so_as_the_gateway_reads_it():
    assert LEAVING_HEADER == LEAVING_KEY


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: reply.reason)
def test_the_gateways_refusals_are_documented_errors(reply):
    encoded = reply.details
    status = Status.FromString(base64.b64decode(encoded + "=" * (-len(encoded) % 4)))
    assert status.code == reply.code == REASONS[reply.reason].code


class TestCommand:
    def test_a_wrong_setting_is_named(self, monkeypatch, capsys):
        monkeypatch.setenv("PARLEY_GATEWAY_PORT", "http")
        assert main([]) == 2
        assert "PARLEY_GATEWAY_PORT" in capsys.readouterr().err

    def test_it_writes_where_it_is_told(self, tmp_path: Path):
        assert main(["--output", str(tmp_path / "envoy.yaml")]) == 0
        assert (tmp_path / "envoy.yaml").read_text() == render(GatewaySettings())

    def test_it_checks_with_envoy(self, capsys):
        assert main(["--check"]) == 0
        assert "valid" in capsys.readouterr().out


class TestBinary:
    def test_a_named_envoy_that_is_none_is_refused(self):
        with pytest.raises(EnvoyMissingError, match="PARLEY_ENVOY"):
            envoy_path({"PARLEY_ENVOY": "/nowhere/envoy"})

    def test_a_named_envoy_is_taken(self, tmp_path: Path):
        named = tmp_path / "my-envoy"
        named.write_text("#!/bin/sh\n")
        named.chmod(0o755)
        assert envoy_path({"PARLEY_ENVOY": str(named)}) == named

    def test_otherwise_it_is_the_wheels(self):
        assert binary.envoy_path({}).is_file()


def test_tls_to_the_services_asks_each_for_its_own_name():
    files = {
        f"service_tls_{name}": Path(f"/{name}.pem") for name in ("certificate", "key", "authority")
    }
    found = clusters(configuration(**files))
    for name, each in found.items():
        if name == "jwks":
            # Public keys, from loopback.
            assert "transport_socket" not in each
            continue
        context = each["transport_socket"]["typed_config"]["common_tls_context"]
        (match,) = context["validation_context"]["match_typed_subject_alt_names"]
        service = name.partition("_")[0]
        assert match == {"san_type": "DNS", "matcher": {"exact": f"{service}.parley.internal"}}
    assert "transport_socket" not in clusters(configuration())["user"]


def test_only_behind_a_proxy_a_wrong_message_leaves_the_connection():
    """One of a proxy's clients could end the calls of all others; a stranger's own may end."""
    option = "stream_error_on_invalid_http_message"
    assert connection_manager(configuration(trusted_hops=1))[option] is True
    assert option not in connection_manager(configuration())


def test_the_edge_is_set_up_as_an_edge():
    """Envoy's defaults are for inside a cluster; its own list for the edge, point by point."""
    rendered = configuration(admin_socket="/run/parley/gateway.sock")
    manager = connection_manager(rendered)
    listener = rendered["static_resources"]["listeners"][0]
    overload = rendered["overload_manager"]
    monitors = {each["name"].rpartition(".")[2] for each in overload["resource_monitors"]}
    actions = {each["name"].rpartition(".")[2] for each in overload["actions"]}
    assert monitors == {"fixed_heap", "global_downstream_max_connections"}
    assert actions == {"shrink_heap", "reduce_timeouts", "stop_accepting_requests"}
    assert set(rendered["admin"]["address"]) == {"pipe"}
    assert listener["per_connection_buffer_limit_bytes"] <= 256 * 1024
    assert all(
        each["per_connection_buffer_limit_bytes"] <= 256 * 1024
        for each in clusters(rendered).values()
    )
    assert manager["use_remote_address"] is True
    (insiders,) = manager["internal_address_config"]["cidr_ranges"]
    assert insiders == {"address_prefix": "255.255.255.255", "prefix_len": 32}
    assert manager["normalize_path"] is True
    assert manager["merge_slashes"] is True
    assert manager["path_with_escaped_slashes_action"] == "REJECT_REQUEST"
    common = manager["common_http_protocol_options"]
    assert common["headers_with_underscores_action"] == "REJECT_REQUEST"
    assert common["idle_timeout"] == "300.000s"
    assert manager["request_headers_timeout"] == "10.000s"
    assert listener["listener_filters_timeout"] == "10.000s"
    assert listener["continue_on_listener_filters_timeout"] is False
    assert listener["filter_chains"][0]["transport_socket_connect_timeout"] == "10.000s"
    assert manager["stream_idle_timeout"] == "330.000s"
    assert manager["max_request_headers_kb"] == 16
    http2 = manager["http2_protocol_options"]
    assert http2["max_concurrent_streams"] == 1000
    assert http2["initial_stream_window_size"] == 65_536
    assert http2["initial_connection_window_size"] == 1_048_576
