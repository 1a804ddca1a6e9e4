"""The certificate of this machine, and when it is made anew."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from launcher.certificates import Certificates, Host, ensure
from launcher.errors import LauncherError

HOST = Host(
    names=("localhost", "desk", "desk.local"),
    addresses=tuple(map(ipaddress.ip_address, ("127.0.0.1", "192.168.1.5", "::1"))),
)
NOW = datetime.now(UTC)


@pytest.fixture
def kept(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "tls")


def handshake(kept: Certificates, server_name: str) -> None:
    """A whole TLS handshake in memory; raises what a client would raise."""
    client, server = ssl.create_default_context(cafile=kept.authority), None
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(kept.certificate, kept.key)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(down, up, server_hostname=server_name),
        server.wrap_bio(up, down, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue


@pytest.mark.parametrize("name", ["localhost", "desk.local", "127.0.0.1", "192.168.1.5", "::1"])
def test_who_trusts_the_authority_accepts_every_name_of_the_machine(kept: Certificates, name: str):
    ensure(kept, HOST)
    handshake(kept, name)


def test_another_name_is_refused(kept: Certificates):
    ensure(kept, HOST)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(kept, "bank.example")


def test_the_authority_may_speak_for_this_machine_alone(kept: Certificates):
    """Its key lies on a disk: stolen, it must not open other sites to whoever trusts it."""
    ensure(kept, HOST)
    authority = x509.load_pem_x509_certificate(kept.authority.read_bytes())
    bounds = authority.extensions.get_extension_for_class(x509.NameConstraints)
    permitted = [each.value for each in bounds.value.permitted_subtrees or ()]
    assert bounds.critical
    assert permitted == ["localhost", "desk", "desk.local", "local"]


def test_keys_are_their_owners_alone(kept: Certificates):
    ensure(kept, HOST)
    for key in (kept.key, kept.authority_key):
        assert key.stat().st_mode & 0o077 == 0


def test_nothing_changes_while_everything_holds(kept: Certificates):
    first = ensure(kept, HOST)
    before = kept.certificate.read_bytes()
    assert ensure(kept, HOST) == first
    assert kept.certificate.read_bytes() == before


def test_a_new_address_gets_a_new_certificate_under_the_same_authority(kept: Certificates):
    fingerprint = ensure(kept, HOST)
    moved = Host(HOST.names, (*HOST.addresses, ipaddress.ip_address("10.0.0.9")))
    assert ensure(kept, moved) == fingerprint
    handshake(kept, "10.0.0.9")


def test_a_certificate_near_its_end_is_made_anew_under_the_same_authority(kept: Certificates):
    fingerprint = ensure(kept, HOST, NOW - timedelta(days=380))
    before = kept.certificate.read_bytes()
    assert ensure(kept, HOST, NOW) == fingerprint
    assert kept.certificate.read_bytes() != before


def test_an_authority_near_its_end_or_of_another_machine_is_made_anew(kept: Certificates):
    old = ensure(kept, HOST, NOW - timedelta(days=3600))
    new = ensure(kept, HOST, NOW)
    assert new != old
    handshake(kept, "localhost")
    renamed = Host(("localhost", "lap", "lap.local"), HOST.addresses)
    assert ensure(kept, renamed, NOW) != new
    handshake(kept, "lap.local")


def test_what_cannot_be_read_is_told_with_a_way_on(kept: Certificates):
    ensure(kept, HOST)
    kept.authority.write_text("nonsense")
    with pytest.raises(LauncherError, match="Delete the folder"):
        ensure(kept, HOST)


def test_this_machine_has_names_and_addresses():
    here = Host.here()
    assert here.names[0] == "localhost"
    assert ipaddress.ip_address("127.0.0.1") in here.addresses
