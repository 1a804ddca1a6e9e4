"""Access tokens: every way one can be wrong, and how keys come and go."""

import base64
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.common.auth import (
    TokenVerifier,
    bearer,
    first_of,
    keys_from_file,
    keys_from_jwks,
)
from services.common.clock import ManualClock
from services.common.errors import Unauthenticated, Unavailable
from services.common.limits import DEFAULT_LIMITS


class Keys:
    """A source whose keys the test changes, and which counts how often it is asked."""

    def __init__(self, **keys: Ed25519PrivateKey) -> None:
        self.keys = keys
        self.asked = 0
        self.error: Exception | None = None

    async def __call__(self) -> Any:
        self.asked += 1
        if self.error:
            raise self.error
        return {kid: key.public_key() for kid, key in self.keys.items()}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def source() -> Keys:
    return Keys(one=Ed25519PrivateKey.generate())


@pytest.fixture
def verifier(source: Keys, clock: ManualClock) -> TokenVerifier:
    return TokenVerifier(source, clock)


def sign(clock: ManualClock, key: Any, *, kid: Any = "one", **changes: Any) -> str:
    now = clock.now()
    headers = {"typ": "at+jwt", "kid": kid} | changes.pop("headers", {})
    algorithm = changes.pop("algorithm", "EdDSA")
    claims = {
        "iss": "parley",
        "aud": "parley",
        "sub": "user-1",
        "sid": "session-1",
        "iat": now,
        "exp": now + timedelta(minutes=10),
        "jti": "token-1",
    } | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


async def test_a_good_token_names_its_learner(verifier, source, clock):
    token = sign(clock, source.keys["one"])
    caller = await verifier.verify(token)
    assert (caller.user_id, caller.session_id, caller.token) == ("user-1", "session-1", token)
    assert token not in repr(caller)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "other"},
        {"aud": "other"},
        {"sub": None},
        {"sid": None},
        {"sid": 7},
        {"sub": ""},
        {"exp": None},
        {"iat": None},
        {"jti": None},
        {"headers": {"typ": "JWT"}},
        {"headers": {"typ": "svc+jwt"}},
        {"headers": {"kid": "unknown"}},
        {"headers": {"kid": 5}},
    ],
    ids=str,
)
async def test_a_token_with_a_wrong_claim_is_refused(verifier, source, clock, changes):
    if changes.get("headers", {}).get("kid") == 5:
        head = {"typ": "at+jwt", "alg": "EdDSA", "kid": 5}
        body = sign(clock, source.keys["one"]).split(".", 1)[1]
        coded = base64.urlsafe_b64encode(json.dumps(head).encode()).rstrip(b"=").decode()
        token = f"{coded}.{body}"
    else:
        token = sign(clock, source.keys["one"], **changes)
    with pytest.raises(Unauthenticated) as caught:
        await verifier.verify(token)
    assert caught.value.reason == "TOKEN_INVALID"


async def test_the_public_key_is_no_shared_secret(verifier, source, clock):
    """A token signed with HMAC over the published key must not pass as ours."""
    public = source.keys["one"].public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    token = sign(clock, public, algorithm="HS256")
    with pytest.raises(Unauthenticated):
        await verifier.verify(token)


async def test_an_unsigned_token_is_refused(verifier, clock):
    with pytest.raises(Unauthenticated):
        await verifier.verify(sign(clock, None, algorithm="none"))


async def test_another_key_under_our_kid_is_refused(verifier, clock):
    with pytest.raises(Unauthenticated):
        await verifier.verify(sign(clock, Ed25519PrivateKey.generate()))


async def test_a_token_has_so_many_characters_and_no_more(verifier, source, clock):
    most = DEFAULT_LIMITS.max_token_characters
    tokens = {
        len(token): token
        for fill in range(most // 2, most)
        if (token := sign(clock, source.keys["one"], x="a" * fill))
    }
    # Six bits a character: not every length can be had.
    at_most = max(each for each in tokens if each <= most)
    beyond = min(each for each in tokens if each > most)
    assert beyond - at_most <= 2
    assert (await verifier.verify(tokens[at_most])).user_id == "user-1"
    with pytest.raises(Unauthenticated, match="too long"):
        await verifier.verify(tokens[beyond])


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "ä.ö.ü", "." * 9, "x" * 100_000])
async def test_nonsense_is_refused(verifier, text):
    with pytest.raises(Unauthenticated):
        await verifier.verify(text)


async def test_a_token_expires_with_a_little_leeway_also_when_it_is_remembered(
    verifier, source, clock
):
    token = sign(clock, source.keys["one"])
    await verifier.verify(token)
    await clock.advance(604)
    await verifier.verify(token)
    await clock.advance(2)
    for _ in range(2):
        with pytest.raises(Unauthenticated) as caught:
            await verifier.verify(token)
        assert caught.value.reason == "TOKEN_EXPIRED"


async def test_a_token_of_the_future_is_refused_beyond_the_leeway(verifier, source, clock):
    key = source.keys["one"]
    await verifier.verify(sign(clock, key, nbf=clock.now() + timedelta(seconds=4)))
    with pytest.raises(Unauthenticated):
        await verifier.verify(sign(clock, key, nbf=clock.now() + timedelta(seconds=60)))


async def test_keys_are_fetched_once_for_many_tokens(verifier, source, clock):
    for number in range(20):
        await verifier.verify(sign(clock, source.keys["one"], jti=str(number)))
    assert source.asked == 1


async def test_a_new_key_is_found_when_its_first_token_comes(verifier, source, clock):
    await verifier.verify(sign(clock, source.keys["one"]))
    source.keys["two"] = Ed25519PrivateKey.generate()
    await clock.advance(11)
    await verifier.verify(sign(clock, source.keys["two"], kid="two"))


async def test_forged_kids_do_not_make_us_ask_more_than_once_in_ten_seconds(
    verifier, source, clock
):
    await verifier.verify(sign(clock, source.keys["one"]))
    await clock.advance(11)
    for number in range(50):
        with pytest.raises(Unauthenticated):
            await verifier.verify(sign(clock, source.keys["one"], kid=f"forged-{number}"))
    assert source.asked == 2


async def test_a_withdrawn_key_stops_working_even_for_remembered_tokens(verifier, source, clock):
    token = sign(clock, source.keys["one"])
    await verifier.verify(token)
    source.keys = {"two": Ed25519PrivateKey.generate()}
    await clock.advance(301)
    with pytest.raises(Unauthenticated) as caught:
        await verifier.verify(token)
    assert caught.value.reason == "TOKEN_INVALID"


async def test_a_withdrawn_key_stops_working_as_soon_as_that_is_known(verifier, source, clock):
    token = sign(clock, source.keys["one"])
    await verifier.verify(token)
    source.keys = {"two": Ed25519PrivateKey.generate()}
    await clock.advance(11)
    await verifier.verify(sign(clock, source.keys["two"], kid="two"))
    with pytest.raises(Unauthenticated):
        await verifier.verify(token)


async def test_while_the_source_is_away_known_keys_go_on_working(verifier, source, clock):
    await verifier.verify(sign(clock, source.keys["one"]))
    source.error = Unavailable("away", reason="PEER_UNAVAILABLE")
    await clock.advance(301)
    await verifier.verify(sign(clock, source.keys["one"]))


async def test_keys_that_could_not_be_renewed_for_an_hour_are_not_believed_any_more(
    verifier, source, clock
):
    await verifier.verify(sign(clock, source.keys["one"]))
    source.error = Unavailable("away", reason="PEER_UNAVAILABLE")
    await clock.advance(3_599)
    token = sign(clock, source.keys["one"])
    await verifier.verify(token)
    await clock.advance(1)
    with pytest.raises(Unavailable) as caught:
        await verifier.verify(token)
    assert (caught.value.reason, caught.value.retry_after) == ("KEYS_UNAVAILABLE", 1.0)
    source.error = None
    await clock.advance(10)
    await verifier.verify(token)


async def test_forged_kids_do_not_put_the_renewal_off(verifier, source, clock):
    token = sign(clock, source.keys["one"])
    await verifier.verify(token)
    await clock.advance(299)
    source.error = OSError("for a moment")
    with pytest.raises(Unauthenticated):
        await verifier.verify(sign(clock, source.keys["one"], kid="forged"))
    source.error = None
    source.keys = {"two": Ed25519PrivateKey.generate()}
    await clock.advance(1)
    with pytest.raises(Unauthenticated):
        await verifier.verify(token)


async def test_without_any_keys_the_answer_is_unavailable_not_unauthenticated(
    verifier, source, clock
):
    source.error = OSError("no file")
    with pytest.raises(Unavailable) as caught:
        await verifier.verify(sign(clock, source.keys["one"]))
    assert caught.value.reason == "KEYS_UNAVAILABLE"
    source.error = None
    await verifier.verify(sign(clock, source.keys["one"]))


async def test_keys_are_read_from_the_first_source_that_has_them(tmp_path, source):
    missing = keys_from_file(tmp_path / "jwks.json")
    assert set(await first_of(missing, source)()) == {"one"}
    with pytest.raises(OSError, match=r"jwks\.json"):
        await first_of(missing, missing)()


def test_keys_of_other_kinds_in_a_jwks_are_left_out():
    raw = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    ours = {"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": base64.urlsafe_b64encode(raw).decode()}
    keys = keys_from_jwks({"keys": [ours, {"kty": "RSA", "kid": "b", "n": "x", "e": "y"}]})
    assert set(keys) == {"a"}


@pytest.mark.parametrize(
    "document",
    [{}, {"keys": 3}, {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "!"}]}],
)
def test_a_broken_jwks_is_said_to_be_one(document):
    with pytest.raises(ValueError, match="JWKS"):
        keys_from_jwks(document)


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic abc", "abc"])
def test_only_bearer_metadata_is_a_token(value):
    with pytest.raises(Unauthenticated):
        bearer(value)
