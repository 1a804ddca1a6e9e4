"""A real Parley, backed up while somebody talks, lost with all that it kept, and back again.

It starts all of Parley four times, so only `make test-fault` runs it, by its name: `make test` has
the part that needs none of them, in tests/fault/test_backup.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psycopg
import pytest

from parley.user.v1 import user_pb2
from tests import s3
from tests.e2e.caller import BOUND_S
from tests.integration.admin.learner import Learner, seen, sound, speak, speak_and_end
from tests.postgres import empty_database
from tests.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

_QUICK = {
    "PARLEY_USER_BCRYPT_COST": "4",
    # What a backup cut off is completed while somebody still looks.
    "PARLEY_MEDIA_RESUME_SECONDS": "1",
    "PARLEY_MEDIA_SWEEP_SECONDS": "1",
}


@dataclass(slots=True)
class Past:
    """What a learner saw before, and must see after."""

    learner: Learner
    view: dict[str, Any]
    heard: dict[str, str]
    ended: str
    live: str


def admin(stack: Stack, *words: str | Path, expect: int = 0) -> str:
    """Run `parley admin …` for a Parley and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "admin", *map(str, words)],
        env=stack.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def elsewhere(url: str) -> Iterator[dict[str, str]]:
    """Yield the settings of an empty PostgreSQL database and an empty bucket."""
    with (
        empty_database(url) as database,
        s3.S3Server.start() as storage,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in s3.CREDENTIALS.items():
            patch.setenv(name, value)
        s3.client(storage.url).create_bucket(Bucket="parley")
        yield {
            "PARLEY_POSTGRESQL_URL": database,
            "PARLEY_MEDIA_STORE_URL": "s3://parley/kept",
            "PARLEY_MEDIA_STORE_ENDPOINT": storage.url,
        }


def lose(settings: Mapping[str, str], stack: Stack) -> None:
    """Have everything gone: folder, tables, objects."""
    shutil.rmtree(stack.folder.root)
    if "PARLEY_POSTGRESQL_URL" in settings:
        url = settings["PARLEY_POSTGRESQL_URL"].replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection:
            for name in ("user", "conversation", "history", "media"):
                connection.execute(f"DROP SCHEMA parley_{name} CASCADE")
        client = s3.client(settings["PARLEY_MEDIA_STORE_ENDPOINT"])
        for each in client.list_objects_v2(Bucket="parley")["Contents"]:
            client.delete_object(Bucket="parley", Key=each["Key"])


async def lived(stack: Stack, place: Path) -> tuple[Past, Learner]:
    """Have one learner talk, and talk on while a backup is taken; another only registers and goes.

    Returns the first one's past, and the other, whose account was deleted after the backup.
    """
    anna, ben = Learner(stack.address), Learner(stack.address)
    caller, other = await anna.register(), await ben.register()
    try:
        bens = await speak_and_end(other, ben.word)
        await seen(other, ben.word, bens)
        ended = await speak_and_end(caller, anna.word)
        talk = await speak(caller, anna.word)
        view = await seen(caller, anna.word, ended, talk.conversation_id)
        heard = await sound(caller, ended)
        await asyncio.to_thread(admin, stack, "backup", place)
        # It goes on as if nothing had happened.
        await talk.send(text={"text": "And then?"})
        await talk.until("turn_saved")
        await talk.send(finish={})
        await talk.until("ended")
        request = user_pb2.DeleteAccountRequest(password=ben.password)
        await other.user.DeleteAccount(request, metadata=other.metadata, timeout=BOUND_S)
    finally:
        await caller.channel.close()
        await other.channel.close()
    return Past(anna, view, heard, ended, talk.conversation_id), ben


async def all_is_there(stack: Stack, past: Past) -> None:
    """Sign in with the same password, and find everything as it was."""
    caller = await past.learner.sign_in(stack.address)
    try:
        assert await seen(caller, past.learner.word, past.ended, past.live) == past.view
        assert await sound(caller, past.ended) == past.heard
        # The one that was being made is there up to where the backup was taken.
        broken_off = await sound(caller, past.live)
        assert int(broken_off["ms"]) > 1000
        # A device that was signed in still is.
        request = user_pb2.RefreshRequest(refresh_token=past.learner.refresh_token)
        renewed = await caller.user.Refresh(request, timeout=BOUND_S)
        past.learner.refresh_token = renewed.tokens.refresh_token
    finally:
        await caller.channel.close()


async def is_gone(stack: Stack, learner: Learner) -> None:
    """Nobody signs in, and nothing is left in any file but bare ids."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await learner.sign_in(stack.address)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    async with asyncio.timeout(60):
        while found := [
            path.name
            for path in (stack.folder.root / "db").iterdir()
            if learner.word.encode() in path.read_bytes()
        ]:
            await asyncio.sleep(0.5)
    assert found == []


def statuses(stack: Stack) -> dict[str, dict[str, Any]]:
    lines = admin(stack, "status", "--json").splitlines()
    return {each["what"]: each for each in map(json.loads, lines)}


def test_all_is_there_again_on_the_same_and_on_other_servers(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: str
):
    """From files to files; sealed, from those to PostgreSQL and S3; and from there to there."""
    folder = tmp_path_factory.mktemp("b")
    first, second, third = folder / "monday", folder / "tuesday.tar", folder / "wednesday"
    key, trail = folder / "backup.key", folder / "trail"
    with Stack(folder / "d", settings=_QUICK) as stack:
        past, gone = asyncio.run(lived(stack, first))
        found = statuses(stack)
        assert found["programs"]["figures"]["running"] == 6
        assert found["accounts"]["figures"]["accounts"] == 1
        # What runs is neither migrated under its feet nor restored over.
        admin(stack, "migrate", "--check")
        admin(stack, "restore", "--replace", first, expect=1)
        stack.stop()
        shutil.copytree(stack.folder.root / "audit", trail)
        lose({}, stack)
        admin(stack, "restore", first, "--deletions", trail)
        assert stack.open_to_others() == []
        stack.start()
        asyncio.run(all_is_there(stack, past))
        asyncio.run(is_gone(stack, gone))
        admin(stack, "keys", "new", key)
        admin(stack, "backup", "--key-file", key, second)
    with elsewhere(postgres_url) as outside:
        stack = Stack(folder / "e", settings={**_QUICK, **outside})
        try:
            admin(stack, "restore", "--key-file", key, second)
            stack.start()
            asyncio.run(all_is_there(stack, past))
            admin(stack, "backup", third)
            stack.stop()
            lose(outside, stack)
            admin(stack, "restore", third)
            stack.start()
            asyncio.run(all_is_there(stack, past))
            assert statuses(stack)["data of history"]["figures"]["kind"] == "PostgreSQL"
        finally:
            stack.stop()
