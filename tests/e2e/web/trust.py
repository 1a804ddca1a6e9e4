"""A home for a browser that trusts one certificate authority, as a learner's own system would.

Chromium on Linux reads whom its owner trusts from NSS's database in the home folder. NSS itself
writes it: in a process of its own, for what it loads stays.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

# From NSS's certdb.h: an authority, whose word on servers counts.
_VALID_CA = 1 << 3
_TRUSTED_CA = 1 << 4


class _Item(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int), ("data", ctypes.c_char_p), ("len", ctypes.c_uint)]


class _Trust(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint) for name in ("tls", "mail", "code")]


def home_that_trusts(authority: Path, home: Path, environment: Mapping[str, str]) -> Path:
    """Make `home` the home of somebody who trusts `authority`, a PEM file; return `home`.

    environment: what the browser needs to find its libraries; NSS is one of them.

    Raises:
        CalledProcessError: NSS is not here, or did not take it.
    """
    folder = home / ".pki" / "nssdb"
    folder.mkdir(parents=True)
    der = home / "authority.der"
    certificate = x509.load_pem_x509_certificate(authority.read_bytes())
    der.write_bytes(certificate.public_bytes(Encoding.DER))
    subprocess.run(
        [sys.executable, "-m", "tests.e2e.web.trust", str(folder), str(der)],
        env=os.environ | environment,
        check=True,
        timeout=60,
    )
    return home


def _trust(folder: Path, der: bytes) -> None:
    nss = ctypes.CDLL("libnss3.so")
    for name in ("CERT_GetDefaultCertDB", "CERT_NewTempCertificate", "PK11_GetInternalKeySlot"):
        getattr(nss, name).restype = ctypes.c_void_p
    _certain(nss.NSS_InitReadWrite(f"sql:{folder}".encode()) == 0, "opened")
    slot = ctypes.c_void_p(nss.PK11_GetInternalKeySlot())
    _certain(nss.PK11_InitPin(slot, None, b"") == 0, "begun")
    store = ctypes.c_void_p(nss.CERT_GetDefaultCertDB())
    item = ctypes.byref(_Item(0, der, len(der)))
    certificate = ctypes.c_void_p(nss.CERT_NewTempCertificate(store, item, None, 0, 1))
    _certain(certificate.value is not None, "read")
    # 0: there is no key of it here.
    put = nss.PK11_ImportCert(slot, certificate, ctypes.c_ulong(0), b"Parley", 0)
    _certain(put == 0, "stored")
    wanted = ctypes.byref(_Trust(_VALID_CA | _TRUSTED_CA, 0, 0))
    _certain(nss.CERT_ChangeCertTrust(store, certificate, wanted) == 0, "trusted")


def _certain(done: bool, what: str) -> None:
    """End the process where NSS did not do what was asked."""
    if not done:
        sys.exit(f"NSS: not {what}")


if __name__ == "__main__":
    _trust(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes())
