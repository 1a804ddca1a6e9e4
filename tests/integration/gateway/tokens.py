"""Access tokens as the user service signs them."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm


class Tokens:
    """A signer and its published keys."""

    def __init__(self, kid: str = "first") -> None:
        self.kid = kid
        self._key = Ed25519PrivateKey.generate()

    def access(self, **claims: Any) -> str:
        now = int(time.time())
        payload = {
            "iss": "parley",
            "aud": "parley",
            "sub": "018f0000-0000-7000-8000-000000000001",
            "sid": "018f0000-0000-7000-8000-000000000002",
            "iat": now,
            "exp": now + 600,
            "jti": "018f0000-0000-7000-8000-000000000003",
            **claims,
        }
        headers = {"typ": "at+jwt", "kid": self.kid}
        return jwt.encode(payload, self._key, algorithm="EdDSA", headers=headers)

    def jwks(self) -> str:
        key: dict[str, Any] = OKPAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return json.dumps({"keys": [{**key, "kid": self.kid, "alg": "EdDSA", "use": "sig"}]})
