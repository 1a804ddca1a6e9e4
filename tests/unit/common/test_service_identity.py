"""A service's identity: proved for one callee, for a minute, by a key in a private file."""

import asyncio
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.common.clock import ManualClock
from services.common.errors import Unauthenticated
from services.common.key_files import (
    KeyFileError,
    load_or_create_private_key,
    load_public_key,
    publish_public_key,
)
from services.common.limits import DEFAULT_LIMITS
from services.common.service_identity import ServiceSigner, ServiceVerifier


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def signer(tmp_path: Path, clock: ManualClock) -> ServiceSigner:
    return ServiceSigner.open("conversation", tmp_path, clock)


@pytest.fixture
def verifier(tmp_path: Path, clock: ManualClock) -> ServiceVerifier:
    return ServiceVerifier("history", tmp_path, clock)


def test_a_service_proves_its_name(signer, verifier):
    assert verifier.verify(signer.token("history")) == "conversation"


def test_a_token_is_for_one_callee(signer, verifier):
    with pytest.raises(Unauthenticated) as caught:
        verifier.verify(signer.token("media"))
    assert caught.value.reason == "SERVICE_IDENTITY_INVALID"


async def test_a_token_lasts_a_minute_also_when_it_is_remembered(signer, verifier, clock):
    token = signer.token("history")
    verifier.verify(token)
    await clock.advance(69)
    verifier.verify(token)
    await clock.advance(2)
    with pytest.raises(Unauthenticated):
        verifier.verify(token)


async def test_a_token_handed_out_is_good_for_another_half_minute(signer, verifier, clock):
    for _ in range(10):
        token = signer.token("history")
        await clock.advance(29)
        assert verifier.verify(token) == "conversation"


def test_tokens_are_reused_so_that_both_sides_save_the_signature(signer):
    assert signer.token("history") == signer.token("history")
    assert signer.token("history") != signer.token("media")


def forged(clock: ManualClock, key: Any, **changes: Any) -> str:
    now = int(clock.now().timestamp())
    headers = {"typ": changes.pop("typ", "svc+jwt")}
    claims = {
        "iss": "parley",
        "sub": "service:conversation",
        "aud": "history",
        "iat": now,
        "exp": now + 60,
        "jti": "token-1",
    } | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm="EdDSA", headers=headers)


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": "conversation"},
        {"sub": "service:nobody"},
        {"sub": "service:../../etc/passwd"},
        {"sub": "service:"},
        {"iss": "other"},
        {"typ": "at+jwt"},
        {"exp": "soon"},
        {"iat": 0},
        {"jti": None},
        {"nbf": 4_000_000_000},
        {"nbf": "now"},
    ],
    ids=str,
)
def test_a_wrong_claim_is_refused(tmp_path, signer, verifier, clock, changes):
    key = load_or_create_private_key(tmp_path / "conversation.pem")
    with pytest.raises(Unauthenticated):
        verifier.verify(forged(clock, key, **changes))


def test_a_token_with_every_claim_of_ours_is_taken(tmp_path, signer, verifier, clock):
    key = load_or_create_private_key(tmp_path / "conversation.pem")
    now = int(clock.now().timestamp())
    assert verifier.verify(forged(clock, key, nbf=now)) == "conversation"


def test_a_token_has_so_many_characters_and_no_more(tmp_path, signer, verifier, clock):
    key = load_or_create_private_key(tmp_path / "conversation.pem")
    most = DEFAULT_LIMITS.max_service_token_characters
    # A character of a claim takes one or two of the token.
    tokens = [forged(clock, key, jti="x" * length) for length in range(most)]
    longest = max((each for each in tokens if len(each) <= most), key=len)
    longer = min((each for each in tokens if len(each) > most), key=len)
    assert len(longer) - len(longest) <= 2
    assert verifier.verify(longest) == "conversation"
    with pytest.raises(Unauthenticated, match="too long"):
        verifier.verify(longer)


def test_another_key_is_refused(signer, verifier, clock):
    with pytest.raises(Unauthenticated):
        verifier.verify(forged(clock, Ed25519PrivateKey.generate()))


async def test_a_new_key_is_known_within_a_second(tmp_path, signer, verifier, clock):
    verifier.verify(signer.token("history"))
    for suffix in ("pem", "pub"):
        (tmp_path / f"conversation.{suffix}").unlink()
    renewed = ServiceSigner.open("conversation", tmp_path, clock)
    await clock.advance(1)
    assert verifier.verify(renewed.token("history")) == "conversation"


# --- key files ----------------------------------------------------------------------------------


def test_a_private_key_is_private_and_stays(tmp_path):
    path = tmp_path / "keys" / "a.pem"
    first = load_or_create_private_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert load_or_create_private_key(path).private_bytes_raw() == first.private_bytes_raw()


async def test_processes_that_start_at_once_agree_on_one_key(tmp_path):
    path = tmp_path / "keys" / "a.pem"
    keys = await asyncio.gather(
        *(asyncio.to_thread(load_or_create_private_key, path) for _ in range(8))
    )
    assert len({key.private_bytes_raw() for key in keys}) == 1
    assert [each.name for each in path.parent.iterdir()] == ["a.pem"]


def test_the_public_half_is_published_beside_it(tmp_path):
    key = load_or_create_private_key(tmp_path / "a.pem")
    publish_public_key(tmp_path / "a.pub", key)
    assert load_public_key(tmp_path / "a.pub") == key.public_key()
    assert (tmp_path / "a.pub").stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_no_key_is_named(tmp_path):
    path = tmp_path / "a.pem"
    path.write_text("nonsense")
    for load in (load_or_create_private_key, load_public_key):
        with pytest.raises(KeyFileError, match=r"a\.pem"):
            load(path)


def test_a_key_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "a.pem"
    other = X25519PrivateKey.generate()
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(KeyFileError, match="Ed25519"):
        load_or_create_private_key(path)
