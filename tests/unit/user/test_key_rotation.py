"""Rotation: the next key signs, the last one verifies, and nobody meets a key they do not know."""

import json
import os
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from services.common.audit import AuditTrail
from services.common.clock import ManualClock
from services.common.key_files import publish_public_key
from services.user import key_rotation as module
from services.user.key_ring import KeyRing
from services.user.key_rotation import TooEarlyError, list_keys, main, replace_all, rotate
from services.user.keys import RETIRED_SECONDS, SigningKeys


def make_older(path: Path, seconds: float) -> None:
    at = time.time() - seconds
    os.utime(path, (at, at))


def test_a_second_rotation_waits_until_the_new_next_key_is_known(tmp_path):
    SigningKeys.open(tmp_path)
    rotate(tmp_path, 60)
    before = SigningKeys.open(tmp_path)
    with pytest.raises(TooEarlyError) as caught:
        rotate(tmp_path, 60)
    assert 0 < caught.value.seconds <= 60
    assert SigningKeys.open(tmp_path).current_id == before.current_id
    make_older(tmp_path / "access" / "next.pem", 61)
    rotate(tmp_path, 60)


def test_the_key_that_signs_was_published_before_and_the_last_one_still_is(tmp_path):
    first = SigningKeys.open(tmp_path)
    for _ in range(3):
        rotate(tmp_path, 0)
        second = SigningKeys.open(tmp_path)
        assert second.current_id != first.current_id
        assert second.current_id in first.public
        assert set(first.public) <= set(second.public)
        first = second
    for path in (tmp_path / "access").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_a_retired_key_goes_when_its_last_token_has_expired(tmp_path):
    retired = SigningKeys.open(tmp_path).current_id
    rotate(tmp_path, 0)
    path = tmp_path / "access" / f"retired-{retired}.pub"
    make_older(path, RETIRED_SECONDS - 5)
    assert retired in SigningKeys.open(tmp_path).public
    make_older(path, RETIRED_SECONDS)
    assert retired not in SigningKeys.open(tmp_path).public
    rotate(tmp_path, 0)
    assert not path.exists()


@pytest.mark.parametrize("steps", [1, 2])
def test_a_rotation_that_stopped_half_way_left_a_working_set(tmp_path, steps, monkeypatch):
    before = SigningKeys.open(tmp_path)
    done = 0

    def step(real: Any) -> Any:
        def run(*arguments: Any) -> Any:
            nonlocal done
            if done == steps:
                raise KeyboardInterrupt
            done += 1
            return real(*arguments)

        return run

    with monkeypatch.context() as patch:
        patch.setattr(module, "publish_public_key", step(publish_public_key))
        patch.setattr(Path, "replace", step(Path.replace))
        patch.setattr(module, "_forget_expired", step(module._forget_expired))
        with pytest.raises(KeyboardInterrupt):
            rotate(tmp_path, 0)
    after = SigningKeys.open(tmp_path)
    assert after.current_id in before.public
    assert before.current_id in after.public


def test_replacing_all_leaves_nothing_of_the_old_keys(tmp_path):
    SigningKeys.open(tmp_path)
    rotate(tmp_path, 0)
    before = SigningKeys.open(tmp_path)
    replace_all(tmp_path)
    after = SigningKeys.open(tmp_path)
    assert not set(before.public) & set(after.public)
    assert before.refresh_secret != after.refresh_secret
    assert [each.role for each in list_keys(tmp_path)] == ["current", "next"]


async def test_a_running_service_signs_with_the_new_key_and_publishes_it(tmp_path):
    clock = ManualClock()
    ring = await KeyRing.open(tmp_path, clock, AuditTrail(tmp_path / "audit", clock, 0))
    before = ring.keys
    rotate(tmp_path, 0)
    await ring.look()
    assert ring.keys.current_id != before.current_id
    document = jwt.PyJWKSet.from_json((tmp_path / "jwks.json").read_text("utf-8"))
    assert {key.key_id for key in document.keys} == set(ring.keys.public)
    (trail,) = (tmp_path / "audit").iterdir()
    noted = json.loads(trail.read_text("utf-8"))
    assert (noted["event"], noted["current"]) == ("keys_changed", ring.keys.current_id)


async def test_a_running_service_notices_a_new_secret_though_no_key_has_changed(tmp_path):
    ring = await KeyRing.open(tmp_path, ManualClock())
    before = ring.keys
    (tmp_path / "access" / "refresh.secret").unlink()
    await ring.look()
    assert ring.keys.refresh_secret != before.refresh_secret
    assert ring.keys.current_id == before.current_id


async def test_a_running_service_survives_a_broken_key_file(tmp_path):
    ring = await KeyRing.open(tmp_path, ManualClock())
    before = ring.keys
    (tmp_path / "access" / "next.pem").write_text("not a key")
    with pytest.raises(Exception, match="not a private key"):
        await ring.look()
    assert ring.keys is before


def test_the_command_says_what_is_there_and_when_it_is_too_early(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PARLEY_DATA_DIR", str(tmp_path))
    for action in ("list", "rotate"):
        assert main([action]) == 2
        assert "is PARLEY_DATA_DIR the running Parley's?" in capsys.readouterr().err
    assert not (tmp_path / "keys").exists()
    SigningKeys.open(tmp_path / "keys")
    assert main(["rotate"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()] == ["current", "next", "retired"]
    assert main(["rotate"]) == 1
    assert "Try again in" in capsys.readouterr().err
    assert main(["rotate", "--compromised"]) == 0
    assert main(["list"]) == 0
    monkeypatch.setenv("PARLEY_USER_PORT", "no port")
    assert main(["list"]) == 2
