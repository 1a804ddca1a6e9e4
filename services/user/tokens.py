"""Access tokens and refresh tokens: how they are made."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import jwt

from services.common.auth import ALGORITHM, AUDIENCE, ISSUER, TOKEN_TYPE
from services.common.clock import Clock
from services.common.ids import new_id
from services.user.key_ring import KeyRing
from services.user.keys import base64url

_REFRESH_BYTES = 32  # 256 bits: beyond guessing, so that its plain SHA-256 is safe to store


@dataclass(frozen=True, slots=True)
class Tokens:
    """What signs a learner in."""

    access_token: str = field(repr=False)
    access_expires_at: datetime
    refresh_token: str = field(repr=False)
    refresh_expires_at: datetime


class TokenIssuer:
    """Makes tokens; stores nothing."""

    def __init__(self, ring: KeyRing, clock: Clock, access_life: timedelta) -> None:
        self._ring = ring
        self._clock = clock
        self._access_life = access_life

    def access_token(self, user_id: str, session_id: str) -> tuple[str, datetime]:
        """Return a signed access token and when it expires."""
        now = self._clock.now().replace(microsecond=0)
        expires = now + self._access_life
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user_id,
            "sid": session_id,
            "iat": now,
            "exp": expires,
            "jti": new_id(),
        }
        keys = self._ring.keys
        headers = {"typ": TOKEN_TYPE, "kid": keys.current_id}
        token = jwt.encode(claims, keys.current, algorithm=ALGORITHM, headers=headers)
        return token, expires

    def first_refresh_token(self) -> str:
        """Return the refresh token that begins a session."""
        return base64url(secrets.token_bytes(_REFRESH_BYTES))

    def next_refresh_token(self, token: str) -> str:
        """Return the successor of `token`: always the same one, known to us alone.

        It is derived with a secret rather than drawn, so that a client which lost the answer and
        asks again gets the same successor, though only hashes are stored.
        """
        return base64url(hmac.digest(self._ring.keys.refresh_secret, token.encode(), "sha256"))


def refresh_digest(token: str) -> bytes:
    """Return what is stored of a refresh token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
