"""Ed25519 keys in files, made once, never seen half-written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

_SECRET_BYTES = 32


class KeyFileError(Exception):
    """A key file holds something else than an Ed25519 key in PEM."""


def load_or_create_private_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key in `path`, making it (mode 0600) when there is none.

    Processes that start at once agree on one key: the first file linked into place wins.

    Raises:
        KeyFileError: the file is not such a key.
        OSError: it cannot be read or made.
    """
    if not path.exists():
        _private_folder(path.parent)
        pem = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        write_atomically(path, pem, replace=False)
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise KeyFileError(f"{path} is not a private key in PEM: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} is not an Ed25519 key")
    return key


def publish_public_key(path: Path, key: Ed25519PrivateKey) -> None:
    """Write the public half of `key` to `path`, unless it is there already.

    Raises:
        OSError: it cannot be written.
    """
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if not path.exists() or path.read_bytes() != pem:
        _private_folder(path.parent)
        write_atomically(path, pem)


def load_public_key(path: Path) -> Ed25519PublicKey:
    """Return the public key in `path`.

    Raises:
        KeyFileError: the file is not such a key.
        OSError: it cannot be read.
    """
    try:
        key = load_pem_public_key(path.read_bytes())
    except ValueError as error:
        raise KeyFileError(f"{path} is not a public key in PEM: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(f"{path} is not an Ed25519 key")
    return key


def load_or_create_secret(path: Path) -> bytes:
    """Return the 32 random bytes in `path`, making them (mode 0600) when there are none.

    Raises:
        KeyFileError: the file has another length.
        OSError: it cannot be read or made.
    """
    if not path.exists():
        _private_folder(path.parent)
        write_atomically(path, os.urandom(_SECRET_BYTES), replace=False)
    secret = path.read_bytes()
    if len(secret) != _SECRET_BYTES:
        raise KeyFileError(f"{path} does not hold {_SECRET_BYTES} bytes")
    return secret


def write_atomically(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Put `data` at `path` so that a reader sees all of it or the file as it was before.

    The file is its owner's alone (mode 0600): whoever shares the folder has the same owner.
    With `replace=False` a file that is there already stays, and nothing is raised.
    """
    # Made with mode 0600, whatever the process's umask.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            Path(name).replace(path)
            return
        try:
            os.link(name, path)
        except FileExistsError:
            return
    finally:
        Path(name).unlink(missing_ok=True)


def _private_folder(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
