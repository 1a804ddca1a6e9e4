"""Certificates for the processes of one start: `PARLEY_SERVICE_TLS=true`.

Every start makes an authority, has it sign one certificate a program, and forgets its key: nobody
can make another that these programs would take, and nothing has to be renewed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from launcher.certificates import certificate_of, usage, write_key
from launcher.errors import LauncherError
from services.common.peer_tls import PeerTls, peer_name

# Longer than any run: the next start makes new ones.
_DAYS: Final = 3650


@dataclass(frozen=True, slots=True)
class ServiceCertificates:
    """Where they are in `folder`, as PEM files."""

    folder: Path

    def tls(self, program: str) -> PeerTls:
        """Return the files of `program`: a service's name, or `gateway`."""
        return PeerTls(
            self.folder / f"{program}.pem",
            self.folder / f"{program}-key.pem",
            self.folder / "authority.pem",
        )


def make(kept: ServiceCertificates, programs: Iterable[str], now: datetime | None = None) -> None:
    """Make an authority and a certificate for each of `programs`, in the place of earlier ones.

    Raises:
        LauncherError: the folder cannot be written.
    """
    now = now or datetime.now(UTC)
    by_key = ec.generate_private_key(ec.SECP256R1())
    by = _authority(by_key, now)
    try:
        kept.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in programs:
            files = kept.tls(each)
            key = ec.generate_private_key(ec.SECP256R1())
            signed = _issued(peer_name(each), key.public_key(), by, by_key, now)
            write_key(files.key, key)
            files.certificate.write_bytes(signed.public_bytes(Encoding.PEM))
            files.authority.write_bytes(by.public_bytes(Encoding.PEM))
    except OSError as error:
        raise LauncherError(f"Certificates cannot be made in {kept.folder}: {error}.") from error


def _authority(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Parley's services")])
    return (
        certificate_of(name, name, key.public_key(), now, _DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _issued(
    name: str,
    key: ec.EllipticCurvePublicKey,
    by: x509.Certificate,
    by_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    both_sides = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        certificate_of(subject, by.subject, key, now, _DAYS)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both_sides), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(by_key.public_key()), critical=False
        )
        .sign(by_key, hashes.SHA256())
    )
