"""The same port with TLS, as it must be for a browser on another machine."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import grpc
import grpc.aio
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gateway.settings import GatewaySettings
from parley.user.v1 import user_pb2, user_pb2_grpc
from tests.integration.gateway.conftest import Edge, envoy, ready
from tests.ports import free_ports
from tests.sockets import free_socket

pytestmark = pytest.mark.asyncio(loop_scope="package")


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "parley")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


async def test_with_a_certificate_the_port_speaks_tls_and_nothing_else(edge: Edge, tmp_path: Path):
    certificate, key = write_certificate(tmp_path)
    (port,) = free_ports(1)
    settings = edge.settings.model_copy(
        update={
            "port": port,
            "admin_socket": free_socket(),
            "tls_certificate": certificate,
            "tls_key": key,
            "hsts_seconds": 31_536_000,
        }
    )
    assert isinstance(settings, GatewaySettings)
    request = user_pb2.LoginRequest(username="ana", password="secret")
    trust = grpc.ssl_channel_credentials(certificate.read_bytes())
    with envoy(settings, tmp_path) as log:
        await ready(settings, log)
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", trust) as channel:
            stub = user_pb2_grpc.UserServiceStub(channel)
            async with asyncio.timeout(10):
                # Until the first health check has found the service.
                response = await stub.Login(request, wait_for_ready=True)
            assert response.account.username == "ana"
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await user_pb2_grpc.UserServiceStub(channel).Login(request, timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        context = ssl.create_default_context(cafile=str(certificate))
        async with httpx.AsyncClient(verify=context) as client:
            page = await client.get(f"https://127.0.0.1:{port}/")
        assert page.headers["strict-transport-security"] == "max-age=31536000"
        assert page.headers["content-security-policy"]
    async with httpx.AsyncClient() as client:
        assert "strict-transport-security" not in (await client.get(f"{edge.url}/")).headers
