"""Every way to forge a token that a reviewer tries, made from a real key and a real token.

A forgery is named after what is wrong with it. Those that are signed with the real key are of a
forger who has a genuine token of another kind, or of a bug in the signer; all others know only
what is public.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Json = dict[str, Any]


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(value: Any) -> str:
    """Return a part of a token; text is taken as it is."""
    text = value if isinstance(value, str) else json.dumps(value)
    return base64url(text.encode())


def signed(header: Any, claims: Any, key: Ed25519PrivateKey) -> str:
    message = f"{part(header)}.{part(claims)}"
    return f"{message}.{base64url(key.sign(message.encode()))}"


def with_secret(header: Any, claims: Any, secret: bytes) -> str:
    message = f"{part(header)}.{part(claims)}"
    return f"{message}.{base64url(hmac.digest(secret, message.encode(), hashlib.sha256))}"


@dataclass(frozen=True)
class Genuine:
    """A real key, and the header and claims of a real token of now. `now` is in Unix seconds."""

    key: Ed25519PrivateKey
    header: Json
    claims: Json
    now: int

    @property
    def token(self) -> str:
        return signed(self.header, self.claims, self.key)


def forgeries(real: Genuine) -> Iterator[tuple[str, str]]:
    """Yield the name of each forgery, the same in every run, and the forged token."""
    yield from _about_algorithms(real)
    yield from _about_keys(real)
    yield from _about_claims(real)
    yield from _about_form(real)


def _about_algorithms(real: Genuine) -> Iterator[tuple[str, str]]:
    unsigned = f"{part(real.header | {'alg': 'none'})}.{part(real.claims)}."
    yield "alg none", unsigned
    for spelling in ("None", "NONE", "nOnE", ""):
        header = part(real.header | {"alg": spelling})
        yield f"alg {spelling!r}", f"{header}.{part(real.claims)}."
    genuine_signature = real.token.rpartition(".")[2]
    yield "alg none with a signature", unsigned + genuine_signature
    public = real.key.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    hmac_header = real.header | {"alg": "HS256"}
    yield (
        "the public key as a secret, raw",
        with_secret(hmac_header, real.claims, public.public_bytes_raw()),
    )
    yield "the public key as a secret, PEM", with_secret(hmac_header, real.claims, pem)
    yield (
        "the public key as a secret, JWK",
        with_secret(hmac_header, real.claims, base64url(public.public_bytes_raw()).encode()),
    )
    yield "an empty secret", with_secret(hmac_header, real.claims, b"")
    algorithms: tuple[Any, ...] = ("HS256", "RS256", "ES256", "PS512", "Ed448", 1, None, ["EdDSA"])
    for algorithm in algorithms:
        labelled = real.header | {"alg": algorithm}
        yield f"alg {algorithm!r} over a real signature", signed(labelled, real.claims, real.key)
    without = {name: value for name, value in real.header.items() if name != "alg"}
    yield "no alg", signed(without, real.claims, real.key)


def _about_keys(real: Genuine) -> Iterator[tuple[str, str]]:
    own = Ed25519PrivateKey.generate()
    x = base64url(own.public_key().public_bytes_raw())
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": x, "alg": "EdDSA", "use": "sig"}
    yield "another key under the real kid", signed(real.header, real.claims, own)
    yield "an unknown kid", signed(real.header | {"kid": "unknown"}, real.claims, own)
    names: tuple[Any, ...] = ("", "../../etc/passwd", "' OR 1=1 --", "\0", "x" * 2000, 7, None, [])
    for kid in names:
        yield f"kid {str(kid)[:20]!r}", signed(real.header | {"kid": kid}, real.claims, own)
    without = {name: value for name, value in real.header.items() if name != "kid"}
    if "kid" in real.header:
        yield "no kid", signed(without, real.claims, own)
    for name, value in (
        ("jwk", jwk),
        ("jku", "https://forger.invalid/jwks.json"),
        ("x5u", "https://forger.invalid/chain.pem"),
        ("x5c", ["MIIB"]),
        ("x5t", "abc"),
        ("crit", ["exp"]),
        ("crit", []),
        ("b64", False),
        ("zip", "DEF"),
        ("enc", "A256GCM"),
    ):
        said = f"{name} {value}" if len(str(value)) < 10 else name
        for kid in (real.header.get("kid", "none"), "forged"):
            header = real.header | {"kid": kid, name: value}
            whose = "the real kid" if kid != "forged" else "another kid"
            yield f"{said} under {whose}", signed(header, real.claims, own)
        # Even our own key makes no token of ours with it.
        header = real.header | {name: value}
        yield f"{said} really signed", signed(header, real.claims, real.key)


def _about_claims(real: Genuine) -> Iterator[tuple[str, str]]:
    for typ in ("JWT", "jwt", "at+JWT ", "svc+jwt", "at+jwt", "", None, 1):
        if typ != real.header["typ"]:
            yield f"typ {typ!r}", signed(real.header | {"typ": typ}, real.claims, real.key)
    for name in ("iss", "aud", "sub", "exp", "iat", "sid", "jti"):
        if name not in real.claims:
            continue
        claims = {each: value for each, value in real.claims.items() if each != name}
        yield f"no {name}", signed(real.header, claims, real.key)
    now = real.now
    for claim, value in (
        ("aud", "another"),
        ("aud", []),
        ("aud", ["another"]),
        ("aud", 1),
        ("iss", "another"),
        ("iss", ["parley"]),
        ("iss", ""),
        ("exp", 0),
        ("exp", -1),
        ("exp", "tomorrow"),
        ("exp", None),
        ("iat", "now"),
        ("nbf", "now"),
        ("sub", ""),
        ("sub", 1),
        ("sub", None),
        ("sub", ["service:user"]),
    ):
        yield f"{claim} {value!r}", signed(real.header, real.claims | {claim: value}, real.key)
    for name, times in (
        ("expired a minute ago", {"exp": now - 60}),
        ("exp in a list", {"exp": [now + 60]}),
        ("issued in an hour", {"iat": now + 3600}),
        ("not valid for an hour", {"nbf": now + 3600}),
    ):
        yield name, signed(real.header, real.claims | times, real.key)
    for number in ("NaN", "Infinity", "1e400"):
        text = json.dumps(real.claims | {"exp": 0}).replace('"exp": 0', f'"exp": {number}')
        yield f"exp {number}", signed(real.header, text, real.key)
    header, _, signature = real.token.split(".")
    other = part(real.claims | {"sub": "018f0000-0000-7000-8000-00000000dead"})
    yield "somebody else's id under a real signature", f"{header}.{other}.{signature}"


def _about_form(real: Genuine) -> Iterator[tuple[str, str]]:
    header, claims, signature = real.token.split(".")
    flipped = "A" if signature[5] != "A" else "B"
    yield "a changed signature", f"{header}.{claims}.{signature[:5]}{flipped}{signature[6:]}"
    yield "half a signature", f"{header}.{claims}.{signature[:43]}"
    yield "no signature", f"{header}.{claims}."
    yield "two parts", f"{header}.{claims}"
    yield "four parts", f"{real.token}.{signature}"
    yield "five parts", f"{real.token}.{signature}.{signature}"
    yield "no text", "x"
    yield "dots", "..."
    yield "no base64", f"!{header}.{claims}.{signature}"
    yield "no JSON in the header", f"{part('not json')}.{claims}.{signature}"
    yield "a list as header", signed([], real.claims, real.key)
    yield "a number as header", signed("1", real.claims, real.key)
    yield "no JSON as claims", signed(real.header, "not json", real.key)
    yield "a list as claims", signed(real.header, [], real.key)
    yield "null as claims", signed(real.header, "null", real.key)
    yield "a header thousands deep", f"{part('[' * 2900)}.{claims}.{signature}"
    yield (
        "a header with one name twice",
        signed(json.dumps(real.header)[:-1] + ', "alg": "none"}', real.claims, real.key),
    )
    yield "claims thousands deep", signed(real.header, '{"a":' + "[" * 2000, real.key)
    yield "a number of thousands of digits", f"{part('1' * 2900)}.{claims}.{signature}"
    yield "5 KB", signed(real.header, real.claims | {"x": "y" * 5_000}, real.key)
    yield "a surrogate", signed(real.header, '{"sub": "\\ud800"}', real.key)
