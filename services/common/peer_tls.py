"""TLS between services, where it is configured: each side shows a certificate of one authority.

A certificate of the service `user` bears the DNS name `user.parley.internal`. Callers look for that
name, wherever the service is reached: it says who answers, which an address does not. A service
asks every caller for a certificate of the same authority; who the caller is, is told by its signed
identity (`service_identity.py`), which every call carries as well.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from services.common.key_files import KeyFileError


def peer_name(service: str) -> str:
    """Return the DNS name that a certificate of `service` bears; `.internal` is nobody's site."""
    return f"{service}.parley.internal"


@dataclass(frozen=True, slots=True)
class PeerTls:
    """PEM files of one process.

    certificate: its chain, the process's own first; for serving and for calling.
    key: the key of the first.
    authority: certificates of whoever may have signed a peer's; no other is trusted.
    """

    certificate: Path
    key: Path
    authority: Path

    def server_context(self) -> ssl.SSLContext:
        """Return the terms of a port that does not speak gRPC.

        Raises:
            KeyFileError: a file is missing, is no PEM, or the key is another certificate's.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            # A key with a pass phrase fails here; OpenSSL would ask on a terminal.
            context.load_cert_chain(self.certificate, self.key, password="")
            context.load_verify_locations(self.authority)
        except (OSError, ValueError) as error:
            files = f"{self.certificate}, {self.key} and {self.authority}"
            raise KeyFileError(f"TLS between services cannot use {files}: {error}") from error
        return context

    def server_credentials(self) -> grpc.ServerCredentials:
        """Return what a gRPC port shows, and that it asks every caller for a certificate.

        Raises:
            KeyFileError: as `server_context`.
        """
        authority, key, certificate = self._contents()
        return grpc.ssl_server_credentials(
            [(key, certificate)], root_certificates=authority, require_client_auth=True
        )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Return what a caller shows, and whom it believes.

        Raises:
            KeyFileError: as `server_context`.
        """
        return grpc.ssl_channel_credentials(*self._contents())

    def _contents(self) -> tuple[bytes, bytes, bytes]:
        # gRPC would tell of a wrong file in lines of its own, with every connection.
        self.server_context()
        return self.authority.read_bytes(), self.key.read_bytes(), self.certificate.read_bytes()


def target_options(service: str) -> list[tuple[str, str]]:
    """Return the options of a channel that make it look for the name of `service`."""
    return [("grpc.ssl_target_name_override", peer_name(service))]
