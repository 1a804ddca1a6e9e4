"""TLS between services: who is let in, whom a caller believes, and what wrong files say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from launcher import service_certificates
from launcher.service_certificates import ServiceCertificates
from parley.user.v1 import user_pb2 as user
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.channel import Peers
from services.common.errors import Unavailable
from services.common.key_files import KeyFileError
from services.common.lifecycle import running
from services.common.peer_tls import PeerTls
from services.common.service_identity import ServiceSigner
from services.common.settings import SettingsError
from services.common.status import rpc_errors

LOGIN = user.LoginRequest(username="ada", password="x")
PROGRAMS = ("echo", "history")


@pytest.fixture
def made(tmp_path: Path) -> ServiceCertificates:
    """Certificates of one authority."""
    certificates = ServiceCertificates(tmp_path / "tls")
    service_certificates.make(certificates, PROGRAMS)
    return certificates


@pytest.fixture
def others(tmp_path: Path) -> ServiceCertificates:
    """Certificates for the same names, of another authority."""
    certificates = ServiceCertificates(tmp_path / "others")
    service_certificates.make(certificates, PROGRAMS)
    return certificates


def fields(tls: PeerTls) -> dict[str, Path]:
    return {
        "service_tls_certificate": tls.certificate,
        "service_tls_key": tls.key,
        "service_tls_authority": tls.authority,
    }


@asynccontextmanager
async def echo_with(echo: Any, settings: Any, tls: PeerTls) -> AsyncIterator[str]:
    async def answer(request: Any, context: Any) -> Any:
        return user.LoginResponse()

    echo.handle("Login", answer)
    secured = settings.model_copy(update=fields(tls))
    async with running("echo", secured, echo.bootstrap, clock=echo.clock) as service:
        yield service.address


async def call(address: str, echo: Any, settings: Any, tls: PeerTls | None) -> None:
    """Call the echo service as the history service does.

    Raises:
        Unavailable: there was no connection.
    """
    signer = ServiceSigner.open("history", settings.keys_dir / "services", echo.clock)
    async with Peers.open({"echo": address}, signer, tls=tls) as peers:
        with rpc_errors("echo"):
            await UserServiceStub(peers.channel("echo")).Login(LOGIN, timeout=5)


async def test_without_a_certificate_nobody_is_let_in(echo, settings, made):
    async with echo_with(echo, settings, made.tls("echo")) as address:
        with pytest.raises(Unavailable):
            await call(address, echo, settings, None)
        trusting = grpc.ssl_channel_credentials(made.tls("echo").authority.read_bytes())
        options = [("grpc.ssl_target_name_override", "echo.parley.internal")]
        async with grpc.aio.secure_channel(address, trusting, options=options) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await UserServiceStub(channel).Login(LOGIN, timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_another_authority_opens_nothing(echo, settings, made, others):
    stolen_name = PeerTls(
        others.tls("history").certificate,
        others.tls("history").key,
        # It believes the service; the service does not believe it.
        made.tls("history").authority,
    )
    async with echo_with(echo, settings, made.tls("echo")) as address:
        with pytest.raises(Unavailable):
            await call(address, echo, settings, stolen_name)


async def test_a_caller_believes_no_other_authority_and_no_other_name(echo, settings, made, others):
    async with echo_with(echo, settings, others.tls("echo")) as address:
        with pytest.raises(Unavailable):
            await call(address, echo, settings, made.tls("history"))
    # A service that stands where another should: of the right authority, with its own name.
    async with echo_with(echo, settings, made.tls("history")) as address:
        with pytest.raises(Unavailable):
            await call(address, echo, settings, made.tls("history"))


async def test_two_services_of_one_authority_speak_with_each_other(echo, settings, made):
    async with echo_with(echo, settings, made.tls("echo")) as address:
        await call(address, echo, settings, made.tls("history"))


async def test_with_tls_off_a_caller_that_expects_it_sends_nothing(
    echo, settings, made, serve_echo
):
    async with serve_echo() as (service, _):
        with pytest.raises(Unavailable):
            await call(service.address, echo, settings, made.tls("history"))


def test_two_files_of_three_are_refused(settings):
    with pytest.raises(SettingsError, match="set together or not at all"):
        type(settings).load(
            {"PARLEY_SERVICE_TLS_CERTIFICATE": "/c.pem", "PARLEY_SERVICE_TLS_KEY": "/k.pem"}
        )


@pytest.mark.parametrize("wrong", ["missing", "no PEM", "another's key"])
async def test_files_that_cannot_be_used_are_told_before_a_port_is_opened(
    wrong, echo, settings, made, others
):
    tls = made.tls("echo")
    if wrong == "missing":
        tls.authority.unlink()
    elif wrong == "no PEM":
        tls.certificate.write_text("certificate")
    else:
        tls = PeerTls(tls.certificate, others.tls("echo").key, tls.authority)
    with pytest.raises(KeyFileError, match="TLS between services cannot use"):
        async with asyncio.timeout(5), echo_with(echo, settings, tls):
            pass


def test_keys_are_their_owners_alone_and_the_authoritys_is_nowhere(made):
    keys = [each for each in made.folder.iterdir() if each.name.endswith("-key.pem")]
    assert sorted(each.name for each in keys) == ["echo-key.pem", "history-key.pem"]
    assert all(each.stat().st_mode & 0o077 == 0 for each in keys)
