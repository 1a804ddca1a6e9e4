"""A word said once, an account deleted: the word and the voice are nowhere any more.

Nowhere is every file of the data folder, and with PostgreSQL, S3 and Redis every row, every object
and every key too.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import numpy as np
import psycopg
import pytest
import redis
from psycopg import sql
from sqlalchemy.engine import make_url

from parley.ai.v1 import ai_pb2
from parley.ai.v1.ai_pb2_grpc import AiServiceStub
from parley.conversation.v1 import conversation_pb2
from parley.media.v1 import media_pb2
from parley.media.v1.media_pb2_grpc import MediaServiceStub
from parley.user.v1 import user_pb2
from tests import s3
from tests.e2e.caller import BOUND_S, Caller, RawTalk
from tests.e2e.conftest import SPEECH
from tests.postgres import PostgresServer
from tests.redis import RedisServer
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.leaves_behind("a running Parley that the tests share"),
]

PASSWORD = f"pass word {secrets.token_hex(8)}"
ERASED_WITHIN_S = 60.0
AUDIO_BYTES = 640
# Of a stored file, from its middle on: what no other file has. Silence is stored as little else
# than zeros, which are everywhere.
WINDOW_BYTES = 24
DISTINCT_BYTES = 14
PROBE = "a-stream-of-the-test"


@dataclass(frozen=True, slots=True)
class Outside:
    """What a Parley keeps outside its data folder."""

    postgres: PostgresServer
    database_url: str
    storage: s3.S3Server
    redis_url: str

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Yield every row of every table, every object with its name, and every key."""
        with psycopg.connect(self.database_url) as connection:
            tables = connection.execute(
                "SELECT schemaname, tablename FROM pg_tables WHERE schemaname LIKE 'parley%'"
            ).fetchall()
            for schema, table in tables:
                each = sql.Identifier(schema, table)
                rows = sql.SQL("SELECT row_to_json(t)::text FROM {} t").format(each)
                for (row,) in connection.execute(rows):
                    # Bytes stand there in hex.
                    hidden = re.findall(r'"\\\\x((?:[0-9a-f]{2})*)"', row)
                    text = row.encode() + b"".join(map(bytes.fromhex, hidden))
                    yield f"{schema}/{table}", text
        # As it lies on the server's disk: also what no call of the store's tells of.
        for path in self.storage.folder.rglob("*"):
            # One may be deleted just now.
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                key = path.relative_to(self.storage.folder)
                yield f"s3/{key}", bytes(key) + path.read_bytes()

        yield from self.in_redis()

    def in_redis(self) -> Iterator[tuple[str, bytes]]:
        """Yield every key and what is kept there, whatever kind of thing it is."""
        with redis.Redis.from_url(self.redis_url) as client:
            for key in client.scan_iter():
                # Not the commands for each kind: a kind that is new would be left out. Long texts
                # are packed in some of them, unless the server was told to leave them.
                kept = client.dump(key)
                # One may lapse just now.
                if kept is not None:
                    yield f"redis/{key.decode()}", key + kept

    def put_into_redis(self, word: str) -> None:
        """Put an entry with `word` into a stream of the test's own."""
        with redis.Redis.from_url(self.redis_url) as client:
            client.xadd(PROBE, {"payload": f"the {word} in the middle"})

    def take_out_of_redis(self) -> None:
        """Take out what `put_into_redis` put there, as whoever stored it does."""
        with redis.Redis.from_url(self.redis_url) as client:
            for place, _ in client.xrange(PROBE):
                client.xdel(PROBE, place)

    def in_files(self, word: bytes) -> bool:
        """Tell whether the server's files of tables hold `word`, also where no query finds it."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        base = self.postgres.folder / "data" / "base"
        return any(word in each.read_bytes() for each in base.rglob("*") if each.is_file())


@dataclass(frozen=True, slots=True)
class Kept:
    """A running Parley, and where it keeps what it is told."""

    stack: Stack
    outside: Outside | None = None


@pytest.fixture(scope="session")
def kept_in_files(scripted_stack: Stack) -> Kept:
    return Kept(scripted_stack)


@pytest.fixture(scope="session")
def kept_outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with (
        PostgresServer.start() as server,
        server.database() as url,
        s3.S3Server.start() as storage,
        RedisServer.start() as shared,
    ):
        with redis.Redis.from_url(shared.url) as client:
            # Dumps are packed otherwise, and a word in them could be in two pieces.
            client.config_set("rdbcompression", "no")
        with pytest.MonkeyPatch.context() as patch:
            for name, value in s3.CREDENTIALS.items():
                patch.setenv(name, value)
            s3.client(storage.url).create_bucket(Bucket="parley")
            plain = make_url(url).set(drivername="postgresql")
            database_url = plain.render_as_string(hide_password=False)
            settings = {
                "PARLEY_USER_BCRYPT_COST": "4",
                "PARLEY_POSTGRESQL_URL": database_url,
                "PARLEY_MEDIA_STORE_URL": "s3://parley/kept",
                "PARLEY_MEDIA_STORE_ENDPOINT": storage.url,
                "PARLEY_REDIS_URL": shared.url,
            }
            with Stack(tmp_path_factory.mktemp("o") / "d", settings=settings) as stack:
                outside = Outside(server, database_url, storage, shared.url)
                yield Kept(stack, outside)


@pytest.fixture(params=["files", "postgresql, s3 and redis"])
def kept(request: pytest.FixtureRequest) -> Kept:
    name = "kept_in_files" if request.param == "files" else "kept_outside"
    found: Kept = request.getfixturevalue(name)
    return found


def found(kept: Kept, wanted: dict[str, bytes], *, logs: bool = True) -> list[str]:
    """Return which of `wanted` is where: in a file, write-ahead logs and all, or outside."""
    stack = kept.stack
    root = stack.folder.root
    hits = []
    for path in sorted(root.rglob("*")):
        if path.is_file() and (logs or stack.folder.logs not in path.parents):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            hits += [
                f"{name} in {path.relative_to(root)}"
                for name, each in wanted.items()
                if each in content or each.decode("latin-1") in str(path)
            ]
    for place, content in kept.outside.contents() if kept.outside else ():
        hits += [f"{name} in {place}" for name, each in wanted.items() if each in content]
    return hits


def audio_of(kept: Kept, recording_id: str) -> Iterator[tuple[str, bytes]]:
    """Yield a window of everything that holds the recording's sound."""
    files = sorted((kept.stack.folder.root / "media").rglob("*"))
    contents = [(str(path), path.read_bytes()) for path in files if path.is_file()]
    contents += kept.outside.contents() if kept.outside else ()
    for place, content in contents:
        if recording_id in place and len(content) > 1_000:
            for at in range(len(content) // 2, len(content) - WINDOW_BYTES):
                window = content[at : at + WINDOW_BYTES]
                if len(set(window)) >= DISTINCT_BYTES:
                    yield f"sound {place}", window
                    break


async def registered(stack: Stack, name: str, word: str) -> Caller:
    caller = Caller(stack.address)
    request = user_pb2.RegisterRequest(username=name, password=PASSWORD, device_name=f"{word}'s")
    request.profile.display_name = f"{word} herself"
    request.profile.interests.append(f"the {word}")
    answer = await caller.user.Register(request, timeout=BOUND_S)
    caller.token = answer.tokens.access_token
    return caller


async def upload(caller: Caller, file: Path) -> str:
    stub = MediaServiceStub(caller.channel)
    content = file.read_bytes()
    call = stub.UploadAudio(metadata=caller.metadata)
    about = media_pb2.UploadMetadata(file_name="mine.wav", size_bytes=len(content))
    await call.write(media_pb2.UploadAudioRequest(metadata=about))
    for at in range(0, len(content), 65_536):
        await call.write(media_pb2.UploadAudioRequest(chunk=content[at : at + 65_536]))
    await call.done_writing()
    return str((await call).recording.recording_id)


async def speak_and_type(caller: Caller, word: str) -> str:
    """Say a recording aloud, type the word, and end; return the recording's id."""
    talk = RawTalk(caller)
    await talk.start(input_format={"encoding": 1, "sample_rate_hz": 16_000, "channels": 1})
    with wave.open(str(SPEECH / "000360210.wav")) as speech:
        assert speech.getframerate() == 16_000
        samples = np.frombuffer(speech.readframes(speech.getnframes()), np.int16)
    # Others say the same recording: with a whisper of noise it is this voice's alone.
    noise = np.random.default_rng().integers(-200, 200, len(samples))
    pcm = np.clip(samples + noise, -32_768, 32_767).astype("<i2").tobytes()
    for at in range(0, min(len(pcm), 200 * AUDIO_BYTES), AUDIO_BYTES):
        await talk.send(audio={"pcm": pcm[at : at + AUDIO_BYTES]})
    await talk.send(text={"text": f"The {word} stood behind the harbour."})
    saved = await talk.until("turn_saved")
    while word not in str(saved) and len(talk.saved) < 1:
        saved = await talk.until("turn_saved")
    await talk.send(finish={})
    await talk.until("ended")
    stub = MediaServiceStub(caller.channel)
    request = media_pb2.GetRecordingRequest(conversation_id=talk.conversation_id)
    answer = await stub.GetRecording(request, metadata=caller.metadata, timeout=BOUND_S)
    return str(answer.recording.recording_id)


def places(hits: list[str]) -> set[str]:
    """Return the folders, schemas and stores of what was found."""
    return {each.split(" in ")[1].split("/")[0] for each in hits}


async def until(kept: Kept, wanted: dict[str, bytes], *there: str) -> list[str]:
    """Wait until all of `wanted` is somewhere, and something of it in each place of `there`.

    Where no place is named: until none of it is anywhere. Return what is where in the end.
    """
    deadline = time.monotonic() + ERASED_WITHIN_S
    while True:
        hits = await asyncio.to_thread(found, kept, wanted)
        everything = {each.split(" in ")[0] for each in hits} == set(wanted)
        done = everything and places(hits) >= set(there) if there else not hits
        if done or time.monotonic() > deadline:
            return hits
        await asyncio.sleep(0.5)


async def delete(caller: Caller) -> None:
    request = user_pb2.DeleteAccountRequest(password=PASSWORD)
    await caller.user.DeleteAccount(request, metadata=caller.metadata, timeout=BOUND_S)


async def test_no_password_and_no_token_is_in_any_file_and_no_speech_in_a_log(
    scripted_stack: Stack,
):
    """While the account is there: only hashes are kept, and logs tell of ids."""
    word = f"zz{secrets.token_hex(6)}"
    caller = Caller(scripted_stack.address)
    name = f"canary-{secrets.token_hex(6)}"
    try:
        made = await caller.user.Register(
            user_pb2.RegisterRequest(username=name, password=PASSWORD), timeout=BOUND_S
        )
        caller.token = made.tokens.access_token
        # People type their passwords where the name goes, and others guess.
        for wrong in (
            user_pb2.LoginRequest(username=PASSWORD, password=PASSWORD),
            user_pb2.LoginRequest(username=name, password=f"{PASSWORD}!"),
        ):
            with pytest.raises(grpc.aio.AioRpcError):
                await caller.user.Login(wrong, timeout=BOUND_S)
        renewed = await caller.user.Refresh(
            user_pb2.RefreshRequest(refresh_token=made.tokens.refresh_token), timeout=BOUND_S
        )
        forged = ("authorization", f"Bearer {made.tokens.access_token}x")
        with pytest.raises(grpc.aio.AioRpcError):
            await caller.user.GetProfile(
                user_pb2.GetProfileRequest(), metadata=(forged,), timeout=BOUND_S
            )
        await speak_and_type(caller, word)
        kept = Kept(scripted_stack)
        await until(kept, {"word": word.encode()}, "db")
        secret = {
            "password": PASSWORD,
            "access token": made.tokens.access_token,
            "refresh token": made.tokens.refresh_token,
            "new access token": renewed.tokens.access_token,
            "new refresh token": renewed.tokens.refresh_token,
        }
        encoded = {each: value.encode() for each, value in secret.items()}
        assert await asyncio.to_thread(found, kept, encoded) == []
        said = {"word": word.encode(), "name": name.encode()}
        told = await asyncio.to_thread(found, kept, said)
        assert told
        assert not places(told) & {"logs", "audit", "run"}
        await delete(caller)
    finally:
        await caller.channel.close()


async def test_neither_a_word_nor_a_voice_is_anywhere_after_the_account(kept: Kept, tmp_path: Path):
    word = f"zz{secrets.token_hex(6)}"
    name = f"canary-{secrets.token_hex(6)}"
    caller = await registered(kept.stack, name, word)
    try:
        spoken = await speak_and_type(caller, word)
        noise = np.random.default_rng().integers(-9_000, 9_000, 32_000, dtype=np.int16)
        with wave.open(str(tmp_path / "mine.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(noise.tobytes())
        sent = await upload(caller, tmp_path / "mine.wav")
        said = {"word": word.encode(), "name": name.encode()}
        ids = {"spoken": spoken.encode(), "sent": sent.encode()}
        # First that they can be found at all: a search that sees nothing proves nothing.
        expected: tuple[str, ...] = ("db", "media")
        if kept.outside:
            expected = ("parley_user", "parley_history", "s3", "redis")
            # An event is there for a moment only, too short to be found by.
            kept.outside.put_into_redis(word)
        before = await until(kept, said | ids, *expected)
        assert {each.split(" in ")[0] for each in before} == {*said, *ids}, before
        assert places(before) >= set(expected)
        sound = dict([*audio_of(kept, spoken), *audio_of(kept, sent)])
        # The tutor tells others the same, whose recordings stay.
        held = await asyncio.to_thread(found, kept, sound)
        theirs = [each for each in held if spoken not in each.split(" in ")[1]]
        theirs = [each for each in theirs if sent not in each.split(" in ")[1]]
        others = {each.split(" in ")[0] for each in theirs}
        sound = {name: window for name, window in sound.items() if name not in others}
        assert len(sound) >= 2
        if kept.outside:
            assert kept.outside.in_files(name.encode())
            kept.outside.take_out_of_redis()
        await delete(caller)
    finally:
        await caller.channel.close()
    assert await until(kept, said | sound) == []
    # The ids, which name nobody now, stand in logs, in the trail of what was done, and in the marks
    # that keep what comes late from being written; no file is called after them or holds them.
    marks = await asyncio.to_thread(found, kept, ids, logs=False)
    assert places(marks) <= {"audit", "db", "parley_history", "parley_media"}
    if kept.outside:
        # PostgreSQL keeps the dead rows until they are vacuumed, as SECURITY.md says.
        with psycopg.connect(kept.outside.database_url, autocommit=True) as connection:
            connection.execute("VACUUM (FULL)")
        assert not kept.outside.in_files(name.encode())
        assert not kept.outside.in_files(word.encode())


SENTENCE = "My grandmother painted seven yellow elephants on the kitchen window."


async def pronounced(caller: Caller, text: str) -> tuple[int, bytes]:
    """Return `text` as the tutor's voice says it: its rate and its samples."""
    call = AiServiceStub(caller.channel).Synthesize(
        ai_pb2.SynthesizeRequest(text=text), metadata=caller.metadata, timeout=BOUND_S
    )
    rate_hz, pcm = 0, b""
    async for each in call:
        rate_hz = each.format.sample_rate_hz or rate_hz
        pcm += each.pcm
    return rate_hz, pcm


@pytest.mark.models
async def test_what_a_recognizer_understood_is_in_no_file_after_the_account(local_stack: Stack):
    """The words reach the tables from a voice, through real models, and no other way."""
    caller = await registered(local_stack, f"canary-{secrets.token_hex(6)}", "somebody")
    kept = Kept(local_stack)
    try:
        rate_hz, pcm = await pronounced(caller, SENTENCE)
        talk = RawTalk(caller)
        form = {"encoding": 1, "sample_rate_hz": rate_hz, "channels": 1}
        first = await talk.open(
            start=conversation_pb2.StartSession(engine="local", input_format=form)
        )
        if not first.HasField("started"):
            await talk.until("started")
        # At twice the pace of speech, and then silence until it is taken for the end.
        frame = rate_hz // 50 * 2
        samples = pcm + bytes(3 * rate_hz * 2)
        for at in range(0, len(samples), frame):
            await talk.send(audio={"pcm": samples[at : at + frame]})
            await asyncio.sleep(0.01)
        await talk.until("turn_saved")
        await talk.send(finish={})
        await talk.until("ended")
        # Recordings and transcripts are told of a moment later.
        async with asyncio.timeout(ERASED_WITHIN_S):
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    if turns := await caller.turns(talk.conversation_id):
                        break
                await asyncio.sleep(0.2)
        heard = turns[0].turn.utterance.verbatim
        assert len(set(heard.lower().split()) & set(SENTENCE.lower().split())) >= 4, heard
        words = {"heard": heard.encode()}
        before = await until(kept, words, "db")
        assert any("db/history" in each for each in before), before
        await delete(caller)
    finally:
        await caller.channel.close()
    assert await until(kept, words) == []
