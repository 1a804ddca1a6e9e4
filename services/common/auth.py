"""Access tokens: who the learner is, proved by the user service's signature.

An access token is an EdDSA JWT with `typ: at+jwt`, `iss` and `aud` "parley", `sub` the user id,
`sid` the login session, `exp` ten minutes on, `jti` its own name, `kid` the key.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.common.call_context import Caller
from services.common.clock import Clock
from services.common.errors import ParleyError, Unauthenticated, Unavailable
from services.common.limits import DEFAULT_LIMITS

ISSUER = "parley"
AUDIENCE = "parley"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - the name of a kind of token, not one
ALGORITHM = "EdDSA"

# Clocks of two machines kept by NTP differ by far less.
_LEEWAY_SECONDS = 5
# An unknown kid makes us ask for the keys at most this often: forged ones cost nothing more.
_REFETCH_SECONDS = 10.0
# Keys are asked for again after this long, so that a withdrawn one stops working.
_KEYS_LIFETIME_SECONDS = 300.0
# Keys are used for this long at most while nobody can be asked for them: by then one that was
# withdrawn must have stopped working.
_KEYS_MOST_SECONDS = 3_600.0
# Verified tokens remembered: an Ed25519 check costs about what the rest of a unary call does.
_REMEMBERED = 4096
# A token larger than this is not one of ours; parsing it would be free work for the sender.
_MAX_TOKEN_CHARACTERS = DEFAULT_LIMITS.max_token_characters
_HEADER_MEMBERS = frozenset({"alg", "typ", "kid"})

_log = structlog.get_logger(__name__)


class AccessTokenVerifier(Protocol):
    """Tells who a token belongs to."""

    async def verify(self, token: str) -> Caller:
        """Return the learner that `token` proves.

        Raises:
            Unauthenticated: TOKEN_INVALID or TOKEN_EXPIRED.
            Unavailable: KEYS_UNAVAILABLE.
        """
        ...


Keys = Mapping[str, Ed25519PublicKey]
"""Public keys by `kid`."""

KeySource = Callable[[], Awaitable[Keys]]
"""Fetches the keys now; raises a `ParleyError` or OSError when it cannot."""


@dataclass(frozen=True, slots=True)
class _Remembered:
    caller: Caller
    expires: float


class TokenVerifier:
    """Verifies access tokens with keys from a source, remembering both keys and tokens."""

    def __init__(self, source: KeySource, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._keys: dict[str, Ed25519PublicKey] = {}
        # Asked for in time, and asked for because of an unknown kid: a stranger sends those, and
        # must not spend the turn of the other.
        self._renewal_asked_at = float("-inf")
        self._unknown_asked_at = float("-inf")
        self._fetched_at = float("-inf")
        self._fetching = asyncio.Lock()
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()

    async def verify(self, token: str) -> Caller:
        """Return the learner that `token` proves; see `AccessTokenVerifier`."""
        now = self._clock.now().timestamp()
        keys_are_fresh = self._clock.monotonic() - self._fetched_at < _KEYS_LIFETIME_SECONDS
        known = self._remembered.get(token)
        if known is not None and keys_are_fresh:
            if now >= known.expires:
                raise _expired()
            return known.caller
        kid = _key_id(token)
        claims = _claims(token, await self._key(kid))
        caller, expires = _caller(token, claims, now)
        self._remembered[token] = _Remembered(caller, expires)
        if len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        return caller

    async def _key(self, kid: str) -> Ed25519PublicKey:
        if self._age() >= _KEYS_LIFETIME_SECONDS:
            await self._renew()
        if kid not in self._keys and self._age() < _KEYS_LIFETIME_SECONDS:
            await self._look_for_unknown(kid)
        if self._age() >= _KEYS_MOST_SECONDS:
            raise Unavailable(
                "The keys that verify access tokens cannot be fetched now.",
                reason="KEYS_UNAVAILABLE",
                retry_after=1.0,
            )
        key = self._keys.get(kid)
        if key is None:
            raise _invalid("its key is not known")
        return key

    def _age(self) -> float:
        """Return how long ago in seconds the keys were fetched; infinite: never."""
        return self._clock.monotonic() - self._fetched_at

    async def _renew(self) -> None:
        async with self._fetching:
            now = self._clock.monotonic()
            # While there are no keys at all, every call may ask: the source is starting up.
            recent = now - self._renewal_asked_at < _REFETCH_SECONDS and bool(self._keys)
            if not recent and self._age() >= _KEYS_LIFETIME_SECONDS:
                self._renewal_asked_at = now
                await self._fetch()

    async def _look_for_unknown(self, kid: str) -> None:
        async with self._fetching:
            now = self._clock.monotonic()
            recent = min(self._age(), now - self._unknown_asked_at) < _REFETCH_SECONDS
            if not recent and kid not in self._keys:
                self._unknown_asked_at = now
                await self._fetch()

    async def _fetch(self) -> None:
        try:
            keys = await self._source()
        except (ParleyError, OSError, ValueError) as error:
            # Old keys go on working while the source is away, for an hour.
            _log.warning("keys_unavailable", error=type(error).__name__)
            return
        if dict(keys) != self._keys:
            self._remembered.clear()
        self._keys = dict(keys)
        self._fetched_at = self._clock.monotonic()


def keys_from_jwks(document: Mapping[str, Any]) -> Keys:
    """Return the Ed25519 signing keys of a JWKS document; keys of other kinds are left out.

    Raises:
        ValueError: it is not a JWKS.
    """
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise ValueError("a JWKS has a list `keys`")  # noqa: TRY004 - bad data, not a bad call
    keys: dict[str, Ed25519PublicKey] = {}
    for entry in entries:
        if entry.get("kty") != "OKP" or entry.get("crv") != "Ed25519" or not entry.get("kid"):
            continue
        try:
            key = jwt.PyJWK(entry, ALGORITHM).key
        except jwt.PyJWTError as error:
            raise ValueError(f"the key {entry['kid']!r} of the JWKS is broken") from error
        if isinstance(key, Ed25519PublicKey):
            keys[entry["kid"]] = key
    return keys


def keys_from_file(path: Path) -> KeySource:
    """Return a source that reads the JWKS file which the user service writes."""

    async def read() -> Keys:
        return keys_from_jwks(json.loads(await asyncio.to_thread(path.read_bytes)))

    return read


def first_of(*sources: KeySource) -> KeySource:
    """Return a source that asks each in turn until one answers."""

    async def ask() -> Keys:
        failures: list[Exception] = []
        for source in sources:
            try:
                return await source()
            except (ParleyError, OSError, ValueError) as error:
                failures.append(error)
        raise failures[-1]

    return ask


def bearer(value: str) -> str:
    """Return the token of an `authorization` value.

    Raises:
        Unauthenticated: TOKEN_INVALID, when it is not `Bearer <token>`.
    """
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise _invalid("the metadata is not `Bearer <token>`")
    return token


def _key_id(token: str) -> str:
    if len(token) > _MAX_TOKEN_CHARACTERS:
        raise _invalid("it is too long")
    try:
        header = jwt.get_unverified_header(token)
    # RecursionError: brackets in brackets, thousands deep.
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise _invalid("it is not a token") from error
    if header.get("alg") != ALGORITHM or header.get("typ") != TOKEN_TYPE:
        raise _invalid("it is of another kind")
    if not header.keys() <= _HEADER_MEMBERS:
        # `jwk`, `jku`, `x5u` bring a key of their own, `crit` and `b64` rules of their own.
        raise _invalid("its header has what ours have not")
    kid = header.get("kid")
    if not isinstance(kid, str):
        raise _invalid("it names no key")
    return kid


def _claims(token: str, key: Ed25519PublicKey) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            audience=AUDIENCE,
            # Times are checked against this service's clock, in `_caller`.
            options={
                "require": ["exp", "iat", "sub", "aud", "iss", "sid", "jti"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise _invalid("its signature or a claim does not hold") from error
    return claims


def _caller(token: str, claims: dict[str, Any], now: float) -> tuple[Caller, float]:
    times = (claims["exp"], claims["iat"], claims.get("nbf", 0))
    if not all(type(each) is int for each in times):
        raise _invalid("its times are not whole seconds")
    expires, issued, not_before = times
    if max(issued, not_before) > now + _LEEWAY_SECONDS:
        raise _invalid("it is not valid yet")
    if now >= expires + _LEEWAY_SECONDS:
        raise _expired()
    user_id, session_id = claims["sub"], claims["sid"]
    named = isinstance(user_id, str) and isinstance(session_id, str)
    if not named or not user_id or not session_id:
        raise _invalid("it names no user or no session")
    return Caller(user_id, session_id, token, issued), expires + _LEEWAY_SECONDS


def _invalid(why: str) -> Unauthenticated:
    return Unauthenticated(f"The access token was refused: {why}.", reason="TOKEN_INVALID")


def _expired() -> Unauthenticated:
    return Unauthenticated("The access token is past its time.", reason="TOKEN_EXPIRED")
