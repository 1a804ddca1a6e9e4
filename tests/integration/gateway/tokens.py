"""Access tokens as the user service signs them."""

from __future__ import annotations

import json
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from tests.forged_tokens import Genuine, signed


class Tokens:
    """A signer and its published keys."""

    def __init__(self, kid: str = "first") -> None:
        self.kid = kid
        self._key = Ed25519PrivateKey.generate()

    def access(self, **claims: Any) -> str:
        real = self.genuine()
        return signed(real.header, real.claims | claims, real.key)

    def genuine(self) -> Genuine:
        """What a forger begins with: a token of now, and the key that signed it."""
        now = int(time.time())
        header = {"alg": "EdDSA", "typ": "at+jwt", "kid": self.kid}
        claims = {
            "iss": "parley",
            "aud": "parley",
            "sub": "018f0000-0000-7000-8000-000000000001",
            "sid": "018f0000-0000-7000-8000-000000000002",
            "iat": now,
            "exp": now + 600,
            "jti": "018f0000-0000-7000-8000-000000000003",
        }
        return Genuine(self._key, header, claims, now)

    def jwks(self) -> str:
        key: dict[str, Any] = OKPAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return json.dumps({"keys": [{**key, "kid": self.kid, "alg": "EdDSA", "use": "sig"}]})
