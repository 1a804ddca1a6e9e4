"""The keys that sign access tokens, and how the world sees them.

Three kinds lie in `<keys>/access`: `current.pem` signs; `next.pem` will, and is published long
before, so that whoever verifies knows it by then; `retired-<kid>.pub` signed until lately, and is
published until its last token has expired. `services.user.key_rotation` moves them on.
`refresh.secret` beside them derives each refresh token from the one before.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.common.key_files import (
    load_or_create_private_key,
    load_or_create_secret,
    load_public_key,
    write_atomically,
)

CURRENT, NEXT = "current.pem", "next.pem"
REFRESH_SECRET = "refresh.secret"  # noqa: S105 - where it is kept
# The longest life of an access token that can be set, and clocks a little apart. Kept for as long
# whatever the setting says: it may have been another one when the last token was signed.
RETIRED_SECONDS = 3600 + 60


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """The key that signs, the public keys that verify, and the secret behind refresh tokens.

    public: by `kid`; the current key, the next one and those that were retired lately.
    """

    current_id: str
    current: Ed25519PrivateKey = field(repr=False)
    public: dict[str, Ed25519PublicKey]
    refresh_secret: bytes = field(repr=False)

    @classmethod
    def open(cls, keys_dir: Path) -> SigningKeys:
        """Load the keys of `<keys_dir>/access`, making them when there are none.

        Raises:
            KeyFileError, OSError: a file is wrong, or cannot be read or written.
        """
        folder = access_folder(keys_dir)
        current = load_or_create_private_key(folder / CURRENT)
        following = load_or_create_private_key(folder / NEXT)
        public = {
            key_id(each): each
            for each in (
                current.public_key(),
                following.public_key(),
                *(load_public_key(path) for path in retired_files(folder)),
            )
        }
        secret = load_or_create_secret(folder / REFRESH_SECRET)
        return cls(key_id(current.public_key()), current, public, secret)

    def jwks(self) -> str:
        """Return the JSON Web Key Set (RFC 7517) that verifies our tokens."""
        keys = [_jwk(kid, key) for kid, key in self.public.items()]
        return json.dumps({"keys": keys}, sort_keys=True)

    def publish(self, keys_dir: Path) -> None:
        """Write `<keys_dir>/jwks.json` for the gateway and the other services here.

        Raises:
            OSError: it cannot be written.
        """
        write_atomically(keys_dir / "jwks.json", self.jwks().encode())


def access_folder(keys_dir: Path) -> Path:
    """Return the folder of the keys for access tokens."""
    return keys_dir / "access"


def retired_files(folder: Path) -> Iterator[Path]:
    """Yield the public keys whose last token may still be valid, oldest name first.

    A file's time of change is when its key was retired.
    """
    for path in sorted(folder.glob("*.pub")):
        if time.time() - path.stat().st_mtime < RETIRED_SECONDS:
            yield path


def key_id(key: Ed25519PublicKey) -> str:
    """Return the key's thumbprint (RFC 7638): the same key always has the same id."""
    members = {"crv": "Ed25519", "kty": "OKP", "x": base64url(key.public_bytes_raw())}
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return base64url(hashlib.sha256(canonical.encode()).digest())


def _jwk(kid: str, key: Ed25519PublicKey) -> dict[str, str]:
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": "EdDSA",
        "use": "sig",
        "kid": kid,
        "x": base64url(key.public_bytes_raw()),
    }


def base64url(data: bytes) -> str:
    """Return `data` as JSON Web Tokens write bytes: base64url without padding (RFC 7515)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
