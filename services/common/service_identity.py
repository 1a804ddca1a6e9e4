"""A service's own identity: short tokens signed with its key, verified by the one it calls.

The token is an EdDSA JWT (`typ: svc+jwt`, `sub: service:<caller>`, `aud: <callee>`) in the
metadata `x-parley-service-authorization`. Keys lie in `<data>/keys/services`: `<name>.pem` is
read by its service alone, `<name>.pub` by all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.common.clock import Clock
from services.common.errors import Unauthenticated
from services.common.ids import new_id
from services.common.key_files import (
    KeyFileError,
    load_or_create_private_key,
    load_public_key,
    publish_public_key,
)
from services.common.limits import DEFAULT_LIMITS

METADATA_KEY = "x-parley-service-authorization"
_TYPE = "svc+jwt"
_ALGORITHM = "EdDSA"
_HEADER = {"alg": _ALGORITHM, "typ": _TYPE}
_SERVICE_NAME = re.compile("[a-z]{1,32}")
# Parsing a longer one would be free work for the sender.
_MAX_TOKEN_CHARACTERS = DEFAULT_LIMITS.max_service_token_characters

# Long enough for clocks a little apart, short enough that a leaked token is soon worthless.
_LIFETIME_SECONDS = 60
# A token is used for half its life: the receiver caches what it verified, so one token for many
# calls saves both sides the signature work.
_REUSE_SECONDS = 30
_LEEWAY_SECONDS = 10
# Tokens remembered as verified: a few callers, each with the current and the last token.
_REMEMBERED = 64
# How long a key file is left alone that was read: a flood of forged signatures reads no disk.
_KEY_RECHECK_SECONDS = 1.0


class ServiceSigner:
    """Signs as one service. Makes its key pair on first use."""

    def __init__(self, name: str, key: Ed25519PrivateKey, clock: Clock) -> None:
        self.name = name
        self._key = key
        self._clock = clock
        self._tokens: dict[str, tuple[float, str]] = {}

    @classmethod
    def open(cls, name: str, services_dir: Path, clock: Clock) -> ServiceSigner:
        """Load or make the key pair of service `name` in `services_dir`.

        Raises:
            KeyFileError, OSError: the files are wrong, or cannot be read or written.
        """
        key = load_or_create_private_key(services_dir / f"{name}.pem")
        publish_public_key(services_dir / f"{name}.pub", key)
        return cls(name, key, clock)

    def token(self, callee: str) -> str:
        """Return a token for calling the service `callee`, valid for at least 30 s."""
        now = self._clock.now().timestamp()
        fresh_until, token = self._tokens.get(callee, (0.0, ""))
        if now < fresh_until:
            return token
        claims = {
            "iss": "parley",
            "sub": f"service:{self.name}",
            "aud": callee,
            "iat": int(now),
            "exp": int(now) + _LIFETIME_SECONDS,
            "jti": new_id(),
        }
        token = jwt.encode(claims, self._key, algorithm=_ALGORITHM, headers={"typ": _TYPE})
        self._tokens[callee] = (now + _REUSE_SECONDS, token)
        return token

    def metadata(self, callee: str) -> tuple[str, str]:
        """Return the metadata pair that proves this service's identity to `callee`."""
        return METADATA_KEY, f"Bearer {self.token(callee)}"


@dataclass(frozen=True, slots=True)
class _Verified:
    service: str
    expires: float


class ServiceVerifier:
    """Verifies the identity of a calling service.

    A key is read when its service first calls, and again when a signature does not verify: a
    service that was given a new key is known within a second.
    """

    def __init__(self, name: str, services_dir: Path, clock: Clock) -> None:
        self._name = name
        self._dir = services_dir
        self._clock = clock
        self._keys: dict[str, tuple[float, Ed25519PublicKey]] = {}
        self._remembered: dict[str, _Verified] = {}

    def verify(self, token: str) -> str:
        """Return the name of the service that `token` proves.

        Raises:
            Unauthenticated: SERVICE_IDENTITY_INVALID.
        """
        now = self._clock.now().timestamp()
        known = self._remembered.get(token)
        if known is not None and now < known.expires:
            return known.service
        service = self._claimed(token)
        claims = self._checked(token, service)
        if abs(claims["iat"] - now) > _LIFETIME_SECONDS + _LEEWAY_SECONDS:
            raise _invalid("its time of issue is not near this machine's time")
        if claims.get("nbf", 0) > now + _LEEWAY_SECONDS:
            raise _invalid("it is not valid yet")
        expires = float(claims["exp"]) + _LEEWAY_SECONDS
        if now >= expires:
            raise _invalid("it is past its time")
        if len(self._remembered) >= _REMEMBERED:
            self._remembered.clear()
        self._remembered[token] = _Verified(service, expires)
        return service

    def _claimed(self, token: str) -> str:
        """Return the service that the token, not yet verified, says it is of."""
        if len(token) > _MAX_TOKEN_CHARACTERS:
            raise _invalid("it is too long")
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(token, options={"verify_signature": False})
        # RecursionError: brackets in brackets, thousands deep.
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise _invalid("it is not a token") from error
        if header != _HEADER:
            raise _invalid("it is of another kind")
        kind, _, service = str(claims.get("sub", "")).partition(":")
        # The name becomes a file's name: letters only, so that it cannot leave the folder.
        if kind != "service" or not _SERVICE_NAME.fullmatch(service):
            raise _invalid("it does not name a service")
        return service

    def _checked(self, token: str, service: str) -> dict[str, int]:
        for key in self._candidates(service):
            try:
                claims: dict[str, int] = jwt.decode(
                    token,
                    key,
                    algorithms=[_ALGORITHM],
                    audience=self._name,
                    issuer="parley",
                    # Times are checked against this service's clock by the caller.
                    options={
                        "require": ["exp", "iat", "sub", "aud", "jti"],
                        "verify_exp": False,
                        "verify_iat": False,
                        "verify_nbf": False,
                    },
                )
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValueError, RecursionError) as error:
                raise _invalid("its claims are wrong") from error
            if all(type(claims.get(each, 0)) is int for each in ("exp", "iat", "nbf")):
                return claims
            raise _invalid("its times are not whole seconds")
        raise _invalid("no known key of that service made its signature")

    def _candidates(self, service: str) -> list[Ed25519PublicKey]:
        """Return the key at hand, then the one in the file if that is worth reading again."""
        now = self._clock.monotonic()
        read_at, key = self._keys.get(service, (float("-inf"), None))
        keys = [] if key is None else [key]
        if now - read_at < _KEY_RECHECK_SECONDS:
            return keys
        try:
            fresh = load_public_key(self._dir / f"{service}.pub")
        except (OSError, KeyFileError):
            return keys
        self._keys[service] = (now, fresh)
        return [fresh]


def _invalid(why: str) -> Unauthenticated:
    return Unauthenticated(
        f"The calling service's token was refused: {why}.", reason="SERVICE_IDENTITY_INVALID"
    )
