"""The revisions make the tables; the keys are made once, and retired ones still verify."""

import base64
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.common.key_files import publish_public_key
from services.common.migrations import migrate, schema_drift
from services.user.adapters.tables import Base
from services.user.bootstrap import MIGRATIONS
from services.user.keys import SigningKeys, key_id


async def test_the_revisions_make_exactly_the_tables(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path}/user.sqlite3"
    await migrate(url, MIGRATIONS)
    assert schema_drift(url, Base.metadata) == []


def test_keys_are_made_once_and_stay(tmp_path):
    first, second = SigningKeys.open(tmp_path), SigningKeys.open(tmp_path)
    assert first.current_id == second.current_id
    assert first.refresh_secret == second.refresh_secret
    for path in (tmp_path / "access").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_a_retired_key_still_verifies_and_does_not_sign(tmp_path):
    retired = Ed25519PrivateKey.generate()
    publish_public_key(tmp_path / "access" / "2025.pub", retired)
    keys = SigningKeys.open(tmp_path)
    assert key_id(retired.public_key()) in keys.public
    assert keys.current_id != key_id(retired.public_key())
    assert {each["kid"] for each in json.loads(keys.jwks())["keys"]} == set(keys.public)


def test_a_key_id_is_the_thumbprint_of_rfc_8037():
    """The example of RFC 8037, appendix A.3."""
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    key = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "="))
    assert key_id(key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_no_secret_is_shown(tmp_path):
    keys = SigningKeys.open(tmp_path)
    assert "Private" not in repr(keys)
    assert repr(keys.refresh_secret) not in repr(keys)
