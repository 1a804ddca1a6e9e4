"""A certificate for this machine, and the authority behind it: `make run TLS=1`.

A browser lends its microphone only to pages over TLS or on localhost, so a phone on the same
network needs a certificate that it trusts. The authority is made once and kept in the data folder;
a device that trusts it trusts every certificate made later, when the machine's addresses change.

What its key can do when it is stolen is bounded by the authority itself: it may speak for this
machine's own names, for names below `local` and for bare addresses, and for no other site.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from launcher.errors import LauncherError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_AUTHORITY_DAYS: Final = 3650
# Apple's systems refuse a server's certificate of more than 398 days.
_SERVER_DAYS: Final = 397
# Made anew at a start this long before its end: a run of a month ends before it does.
_RENEW_DAYS: Final = 31
# The clock of a phone may be behind.
_EARLIER: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Host:
    """How this machine is called: DNS names, and the addresses of its interfaces.

    Without the public IPv6 ones: systems change those every day, to be hard to follow.
    """

    names: tuple[str, ...]
    addresses: tuple[Address, ...]

    @classmethod
    def here(cls) -> Host:
        """Ask the system."""
        name = socket.gethostname().partition(".")[0].lower()
        found = {
            ipaddress.ip_address(each.address.partition("%")[0])
            for interface in psutil.net_if_addrs().values()
            for each in interface
            if each.family in (socket.AF_INET, socket.AF_INET6)
        }
        lasting = {
            each
            for each in found
            if not each.is_link_local and (each.version == 4 or each.is_private)
        }
        loopback = {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")}
        ordered = sorted(lasting | loopback, key=lambda each: (each.version, int(each)))
        names = dict.fromkeys(("localhost", name, f"{name}.local"))
        return cls(tuple(each for each in names if _is_dns_name(each)), tuple(ordered))

    def reachable(self, versions: tuple[int, ...]) -> tuple[str, ...]:
        """Return the addresses at which other machines may find it, as they stand in a URL."""
        return tuple(
            f"[{each}]" if each.version == 6 else str(each)
            for each in self.addresses
            if not each.is_loopback and each.version in versions
        )


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where they are in `folder`, as PEM files."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The authority's certificate: what devices are to trust."""
        return self.folder / "ca.pem"

    @property
    def authority_key(self) -> Path:
        """The authority's key. Nobody but the launcher reads it."""
        return self.folder / "ca-key.pem"

    @property
    def certificate(self) -> Path:
        """This machine's certificate."""
        return self.folder / "server.pem"

    @property
    def key(self) -> Path:
        """The key of this machine's certificate."""
        return self.folder / "server-key.pem"


def ensure(kept: Certificates, host: Host, now: datetime | None = None) -> str:
    """Make what is missing, past its time or not for `host`.

    Returns:
        The authority's fingerprint: SHA-256 in hexadecimal, as devices show it.

    Raises:
        LauncherError: what is in the folder cannot be read, or it cannot be written.
    """
    now = now or datetime.now(UTC)
    folder = kept.folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        by, by_key = _authority(kept.authority, kept.authority_key, host, now)
        if not _serves(kept.certificate, kept.key, by, host, now):
            _issue(kept.certificate, kept.key, by, by_key, host, now)
    except (OSError, ValueError) as error:
        raise LauncherError(
            f"The certificates in {folder} cannot be used: {error}.\n"
            "Delete the folder to have new ones made; devices must trust the new authority then."
        ) from error
    return by.fingerprint(hashes.SHA256()).hex(":").upper()


def _authority(
    path: Path, key_path: Path, host: Host, now: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    if path.is_file() and key_path.is_file():
        found = x509.load_pem_x509_certificate(path.read_bytes())
        if found.not_valid_after_utc - now > timedelta(days=_SERVER_DAYS) and _may(found, host):
            return found, _private_key(key_path)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Parley on {host.names[-1]}")])
    made = (
        certificate_of(name, name, key.public_key(), now, _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.NameConstraints(
                # Addresses stay free: gRPC's TLS (BoringSSL) refuses an authority that bounds them.
                [x509.DNSName(each) for each in (*host.names, "local")],
                None,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    write_key(key_path, key)
    path.write_bytes(made.public_bytes(Encoding.PEM))
    return made, key


def _issue(
    path: Path,
    key_path: Path,
    by: x509.Certificate,
    by_key: ec.EllipticCurvePrivateKey,
    host: Host,
    now: datetime,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host.names[0])])
    names: list[x509.GeneralName] = [
        *(x509.DNSName(each) for each in host.names),
        *(x509.IPAddress(each) for each in host.addresses),
    ]
    made = (
        certificate_of(subject, by.subject, key.public_key(), now, _SERVER_DAYS)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(by_key.public_key()), critical=False
        )
        .sign(by_key, hashes.SHA256())
    )
    write_key(key_path, key)
    path.write_bytes(made.public_bytes(Encoding.PEM) + by.public_bytes(Encoding.PEM))


def certificate_of(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    days: int,
) -> x509.CertificateBuilder:
    """Return what every certificate begins with; it holds from a day before `now`."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now - _EARLIER + timedelta(days=days))
    )


def _serves(path: Path, key: Path, by: x509.Certificate, host: Host, now: datetime) -> bool:
    """Tell whether the certificate in `path` is of this authority, for all of `host`, and young."""
    if not path.is_file() or not key.is_file():
        return False
    found = x509.load_pem_x509_certificate(path.read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    covered = {
        *names.get_values_for_type(x509.DNSName),
        *names.get_values_for_type(x509.IPAddress),
    }
    return (
        found.issuer == by.subject
        and found.not_valid_after_utc - now > timedelta(days=_RENEW_DAYS)
        and covered >= {*host.names, *host.addresses}
    )


def _may(authority: x509.Certificate, host: Host) -> bool:
    """Tell whether the authority may speak for all names of `host`."""
    constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    permitted = [each.value for each in constraints.permitted_subtrees or ()]
    return all(each in permitted or each.endswith(".local") for each in host.names)


def usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Return what a key may be used for: to sign certificates, or else what TLS needs."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} is a key of another kind")  # noqa: TRY004 - bad data, not a bad call
    return key


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write `key` to `path` as PEM, for its owner's eyes alone, in the place of an older one.

    Raises:
        OSError: it cannot be written.
    """
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _is_dns_name(name: str) -> bool:
    return bool(name) and name.isascii() and all(each.isalnum() or each in "-." for each in name)
