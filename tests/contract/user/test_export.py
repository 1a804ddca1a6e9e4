"""The archive of everything that is kept about a learner."""

import asyncio
import contextlib
import io
import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from structlog.testing import capture_logs

from parley.user.v1 import user_pb2 as pb
from services.common.ids import new_id
from services.common.status import from_rpc_error
from services.user.settings import UserSettings
from tests.contract.user.conftest import PASSWORD, Users, bearer
from tests.contract.user.peers import FakePeers, serve


@pytest.fixture
async def peers() -> FakePeers:
    return FakePeers(recordings=[new_id(), new_id()])


@pytest.fixture
async def settings(tmp_path: Path, peers: FakePeers) -> AsyncIterator[UserSettings]:
    async with serve(peers) as address:
        yield UserSettings(
            data_dir=tmp_path,
            port=0,
            metrics_port=0,
            bcrypt_cost=4,
            history_address=address,
            media_address=address,
        )


async def export(
    users: Users, tokens: pb.TokenPair, *, include_audio: bool
) -> tuple[list[pb.ExportDataResponse], zipfile.ZipFile]:
    call = users.stub.ExportData(
        pb.ExportDataRequest(include_audio=include_audio), metadata=bearer(tokens)
    )
    answers = [each async for each in call]
    archive = zipfile.ZipFile(io.BytesIO(b"".join(each.chunk for each in answers)))
    assert archive.testzip() is None
    return answers, archive


async def test_it_holds_the_account_and_what_was_said(users: Users):
    registered = await users.register("Ada", profile={"display_name": "Ada L", "goals": ["talk"]})
    with capture_logs() as lines:
        _, archive = await export(users, registered.tokens, include_audio=False)
    (line,) = [each for each in lines if each["event"] == "data_exported"]
    assert line["user_id"] == registered.account.user_id
    account = json.loads(archive.read("account.json"))
    assert account["username"] == "Ada"
    assert account["profile"]["display_name"] == "Ada L"
    assert [each["current"] for each in account["sessions"]] == [True]
    assert archive.read("conversations.txt") == b"You:   I goed home.\n"
    assert json.loads(archive.read("conversations.jsonl")) == {"turns": []}
    assert "Ada" in archive.read("README.txt").decode()
    assert not [name for name in archive.namelist() if name.startswith("recordings")]


async def test_it_holds_both_voices_of_every_recording_where_that_is_asked_for(
    users: Users, peers: FakePeers
):
    tokens = (await users.register()).tokens
    answers, archive = await export(users, tokens, include_audio=True)
    flac = [name for name in archive.namelist() if name.endswith(".flac")]
    assert len(flac) == 4
    for recording_id in peers.recordings:
        voices = {name.rsplit("-", 1)[1] for name in flac if recording_id in name}
        assert voices == {"learner.flac", "tutor.flac"}
    assert all(archive.read(name) == peers.sound for name in flac)
    assert max(len(each.chunk) for each in answers) <= 64 * 1024
    told = [each.progress for each in answers]
    assert told == sorted(told)
    assert told[-1] == 1.0


async def test_it_holds_the_files_that_were_sent_in_under_names_that_cannot_lead_elsewhere(
    users: Users, peers: FakePeers
):
    named, unnamed = new_id(), new_id()
    peers.recordings.clear()
    peers.uploads = {named: "../../etc/passwd", unnamed: ""}
    tokens = (await users.register()).tokens
    answers, archive = await export(users, tokens, include_audio=True)
    members = [name for name in archive.namelist() if name.endswith(".flac")]
    assert [name.startswith("uploads/") and ".." not in name for name in members] == [True, True]
    assert all(archive.read(name) == peers.sound for name in members)
    lines = archive.read("uploads.txt").decode().splitlines()
    assert lines == [f"{named} ../../etc/passwd", f"{unnamed} (unnamed)"]
    assert answers[-1].progress == 1.0
    _, archive = await export(users, tokens, include_audio=False)
    assert not [name for name in archive.namelist() if "upload" in name]


async def test_a_recording_that_is_lost_is_named_and_the_others_still_come(
    users: Users, peers: FakePeers
):
    peers.lost = {peers.recordings[0]}
    tokens = (await users.register()).tokens
    _, archive = await export(users, tokens, include_audio=True)
    assert len([name for name in archive.namelist() if name.endswith(".flac")]) == 2
    assert f"{peers.recordings[0]} learner: RECORDING_NOT_FOUND" in (
        archive.read("recordings.txt").decode()
    )


async def test_a_service_that_is_away_breaks_the_archive_off_with_a_reason(
    users: Users, peers: FakePeers
):
    peers.away = {"media"}
    tokens = (await users.register()).tokens
    call = users.stub.ExportData(pb.ExportDataRequest(include_audio=True), metadata=bearer(tokens))
    with capture_logs() as lines, pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call:
            pass
    assert from_rpc_error(caught.value).reason == "PEER_UNAVAILABLE"
    assert "data_exported" not in {each["event"] for each in lines}, "nobody got a copy"


async def test_who_breaks_off_before_the_end_is_noted_as_well(users: Users, peers: FakePeers):
    """All but the last piece of a copy is nearly a copy, and left no trace."""
    registered = await users.register()
    request = pb.ExportDataRequest(include_audio=True)
    with capture_logs() as lines:
        call = users.stub.ExportData(request, metadata=bearer(registered.tokens))
        await call.read()
        call.cancel()
        async with asyncio.timeout(20):
            while not (told := [each for each in lines if each["event"] == "data_export_begun"]):
                await asyncio.sleep(0.01)
    assert [each["user_id"] for each in told] == [registered.account.user_id]


@pytest.mark.parametrize("how", ["logout", "revocation", "deletion"])
async def test_a_sign_in_that_ends_ends_its_copy_at_the_next_file(
    users: Users, peers: FakePeers, how: str
):
    peers.sounds.clear()
    tokens = (await users.register()).tokens
    call = users.stub.ExportData(pb.ExportDataRequest(include_audio=True), metadata=bearer(tokens))
    reading = asyncio.create_task(_read_all(call))
    async with asyncio.timeout(20):
        await peers.asked.acquire()
    if how == "logout":
        await users.stub.Logout(pb.LogoutRequest(refresh_token=tokens.refresh_token))
    elif how == "revocation":
        await users.stub.RevokeSession(pb.RevokeSessionRequest(all=True), metadata=bearer(tokens))
    else:
        request = pb.DeleteAccountRequest(password=PASSWORD)
        await users.stub.DeleteAccount(request, metadata=bearer(tokens))
    peers.sounds.set()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await reading
    assert from_rpc_error(caught.value).reason == "SESSION_ENDED"
    assert peers.asked.locked(), "no second file was asked for"


async def _read_all(call: Any) -> None:
    async for _ in call:
        pass


async def test_the_other_services_are_asked_as_the_learner_and_as_nobody_else(
    users: Users, peers: FakePeers
):
    tokens = (await users.register()).tokens
    await export(users, tokens, include_audio=True)
    assert peers.tokens
    assert all(each.startswith("Bearer ") for each in peers.tokens)


async def test_one_more_than_are_made_at_once_is_refused_and_made_later(
    users: Users, peers: FakePeers
):
    """The recordings of four stand still; the fifth is told when to come again."""
    some = [(await users.register(f"ada-{number}")).tokens for number in range(5)]
    tokens = some[-1]
    peers.sounds.clear()
    request = pb.ExportDataRequest(include_audio=True)
    held = []
    # One of the first again, and when there are four, anybody.
    for number, refused in ((0, 0), (1, 1), (2, 0), (3, 4)):
        held.append(users.stub.ExportData(request, metadata=bearer(some[number])))
        await peers.asked.acquire()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await users.stub.ExportData(request, metadata=bearer(some[refused])).read()
        error = from_rpc_error(caught.value)
        assert (error.reason, error.retry_after) == ("TOO_MANY_CALLS", 10.0)
    held.pop(0).cancel()
    # Whoever goes away leaves the place as soon as that is known.
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await export(users, some[0], include_audio=False)
                break
            await asyncio.sleep(0.01)
    peers.sounds.set()
    for each in held:
        while await each.read() is not grpc.aio.EOF:
            pass
    _, archive = await export(users, tokens, include_audio=False)
    assert "account.json" in archive.namelist()


async def test_who_reads_slowly_keeps_no_place_from_others(users: Users, peers: FakePeers):
    """Four who stood still after the first piece kept everybody from a copy."""
    peers.sound = b"fLaC" * 500_000
    some = [(await users.register(f"ada-{number}")).tokens for number in range(5)]
    request = pb.ExportDataRequest(include_audio=True)
    unread = [users.stub.ExportData(request, metadata=bearer(tokens)) for tokens in some[:4]]
    for call in unread:
        await call.read()
    async with asyncio.timeout(20):
        while True:
            # As long as theirs are made, and not only kept from being sent.
            with contextlib.suppress(grpc.aio.AioRpcError):
                _, archive = await export(users, some[4], include_audio=True)
                break
            await asyncio.sleep(0.01)
    assert "account.json" in archive.namelist()
    # Who began first is not forgotten meanwhile.
    for call in unread:
        while (piece := await call.read()) is not grpc.aio.EOF:
            progress = piece.progress
        assert progress == 1.0
