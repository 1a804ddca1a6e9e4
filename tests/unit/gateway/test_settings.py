"""Settings of the gateway: bad input first."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.settings import GatewaySettings, split_address


@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:0", "host:65536", "host:x"])
def test_what_is_no_address_is_refused(address: str):
    with pytest.raises(ValueError, match="is not host:port"):
        split_address(address)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("10.0.0.1:1", ("10.0.0.1", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("user:50051", ("user", 50051)),
    ],
)
def test_an_address_is_split(address: str, parts: tuple[str, int]):
    assert split_address(address) == parts


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PARLEY_GATEWAY_PORT", "0"),
        ("PARLEY_GATEWAY_PORT", "http"),
        ("PARLEY_GATEWAY_USER_ADDRESSES", ""),
        ("PARLEY_GATEWAY_USER_ADDRESSES", "here:1,there"),
        ("PARLEY_GATEWAY_TLS_KEY", "key.pem"),
        ("PARLEY_GATEWAY_TRUSTED_HOPS", "-1"),
        ("PARLEY_GATEWAY_HSTS_SECONDS", "-1"),
        # Nothing would answer there.
        ("PARLEY_GATEWAY_METRICS_PORT", "9080"),
    ],
)
def test_a_wrong_setting_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, value: str):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError):
        GatewaySettings()


def test_no_browser_is_held_to_tls_by_a_certificate_that_it_may_lose_its_trust_in(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("PARLEY_GATEWAY_HSTS_SECONDS", "60")
    assert GatewaySettings().hsts_seconds == 60
    monkeypatch.setenv("PARLEY_GATEWAY_TLS_AUTHORITY", "ca.pem")
    with pytest.raises(ValidationError, match="tls_authority"):
        GatewaySettings()


def test_pages_of_no_other_origin_may_call_unless_one_is_named():
    assert GatewaySettings().cors_origins == ()


def test_lists_may_be_json_as_everywhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARLEY_GATEWAY_CORS_ORIGINS", '["https://a.example"]')
    assert GatewaySettings().cors_origins == ("https://a.example",)


@pytest.mark.parametrize("value", ["[", '[1, {"a": 2}]'])
def test_a_broken_list_is_refused(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("PARLEY_GATEWAY_CORS_ORIGINS", value)
    with pytest.raises(ValidationError):
        GatewaySettings()


def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARLEY_GATEWAY_CORS_ORIGINS", "https://a.example, https://b.example")
    monkeypatch.setenv("PARLEY_GATEWAY_AI_ADDRESSES", "10.0.0.1:1,10.0.0.2:2")
    settings = GatewaySettings()
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.addresses_of("ai") == (("10.0.0.1", 1), ("10.0.0.2", 2))
