"""Malformed and mutated messages, over the wire: no service breaks, and no neighbour notices.

`FUZZ_MESSAGES=10000` sends so many to each service, in its own process (`make fuzz`), and good ones
besides; without, a few hundred go to services inside this process. What a failure names, such as
`user.Login#1.17`, is the seed of the bytes that it shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.message import DecodeError

from parley.conversation.v1 import conversation_pb2
from parley.history.v1 import history_pb2
from parley.history.v1.history_pb2_grpc import HistoryServiceStub
from tests.e2e.caller import RawTalk
from tests.fuzz.calling import BETWEEN_SERVICES, SERVICES, fuzz
from tests.fuzz.mutation import Mutator
from tests.fuzz.target import Target, in_process, in_processes

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(1200),
    pytest.mark.leaves_behind("what the services of all these tests keep: sessions, pools"),
]

MESSAGES = int(os.environ.get("FUZZ_MESSAGES", "0"))
SHORT = 300
PAUSE_S = 0.05
SEED = os.environ.get("FUZZ_SEED", "1")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    start = in_processes if MESSAGES else in_process
    async with start(tmp_path_factory.mktemp("fuzz")) as found:
        yield found


def process_ids(target: Target) -> dict[str, int]:
    if target.stack is None:
        return {"here": os.getpid()}
    return {name: target.stack.pid(name) for name in (*SERVICES, "gateway")}


async def turns_until(done: asyncio.Event, talk: RawTalk) -> list[str]:
    """Have one turn after another; return what was said."""
    said: list[str] = []
    while not done.is_set() or not said:
        text = f"Neighbour's sentence number {len(said) + 1}."
        await talk.send(text={"text": text})
        saved = await talk.until("turn_saved")
        said.append(text)
        assert saved.turn_saved.number == len(said)
        # With models that answer at once it would send more messages a second than anybody may.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAUSE_S):
                await done.wait()
    return said


@pytest.mark.parametrize("service", SERVICES)
async def test_messages_of_any_bytes_break_nothing_and_no_neighbour(target: Target, service: str):
    before = process_ids(target)
    neighbour = await target.talker()
    talk = RawTalk(neighbour)
    await talk.start()
    done = asyncio.Event()
    talking = asyncio.create_task(turns_until(done, talk))
    try:
        outcome = await fuzz(target, service, MESSAGES or SHORT, SEED)
    finally:
        done.set()
    said = await talking
    await talk.send(finish={})
    await talk.until("ended")
    print(f"{service}: {outcome}; the neighbour had {len(said)} turns")
    assert outcome.wrong == []
    assert outcome.sent >= (MESSAGES or SHORT)
    assert process_ids(target) == before
    assert talk.notices == []
    assert await kept(target, neighbour.metadata, talk.conversation_id, len(said)) == said
    await neighbour.channel.close()
    if target.stack is not None:
        for name in SERVICES:
            log = target.stack.log(name)
            assert "call_crashed" not in log
            assert "Traceback" not in log


async def kept(target: Target, metadata: Any, conversation_id: str, count: int) -> list[str]:
    """Return what history has of the learner's side, once it has as much as was said."""
    stub: Any = HistoryServiceStub(target.channels["history"])
    request = history_pb2.GetConversationRequest(conversation_id=conversation_id, page_size=500)
    found: list[str] = []
    async with asyncio.timeout(60):
        while len(found) < count:
            # Told of the talk a moment after it ended.
            with contextlib.suppress(grpc.aio.AioRpcError):
                found = await pages(stub, request, metadata)
            await asyncio.sleep(0.05)
    return found


async def pages(stub: Any, request: Any, metadata: Any) -> list[str]:
    found: list[str] = []
    page = await stub.GetConversation(request, metadata=metadata)
    while True:
        found += [each.turn.utterance.verbatim for each in page.turns]
        if not page.next_page_token:
            return found
        following = history_pb2.GetConversationRequest(
            conversation_id=request.conversation_id,
            page_size=500,
            page_token=page.next_page_token,
        )
        page = await stub.GetConversation(following, metadata=metadata)


async def test_every_method_between_services_is_known_here():
    """One that is missing would be refused at the door, and nothing behind it be tried."""
    from tests.contract.access.test_who_may_call import RULES

    assert set(BETWEEN_SERVICES) == {
        name for name, rule in RULES.items() if not rule.learner and not rule.anybody
    }


async def test_a_seed_makes_the_same_messages_always_and_most_of_them_are_read():
    request = conversation_pb2.ConverseRequest
    made = [Mutator(f"seed {number}", {}).message(request.DESCRIPTOR) for number in range(300)]
    again = [Mutator(f"seed {number}", {}).message(request.DESCRIPTOR) for number in range(300)]
    assert made == again
    read = 0
    for each, _ in made:
        try:
            request.FromString(each)
        except DecodeError:
            continue
        read += 1
    # Those that cannot be read are refused at once; those that can go on into the service.
    assert 100 < read < 290


@pytest.mark.parametrize("service", SERVICES)
async def test_a_good_message_left_as_it_was_counts_for_none(service: str):
    """An empty request has nothing to drop, double or move: of these a third are sent unchanged."""
    counted = []
    for method in SERVICES[service].methods:
        for number in range(40):
            name = f"{method.name}#{number}"
            data, changed = Mutator(name, {}).message(method.input_type)
            assert changed == (data != Mutator(name, {}).valid(method.input_type))
            counted.append(changed)
    assert 0 < sum(counted) < len(counted)
