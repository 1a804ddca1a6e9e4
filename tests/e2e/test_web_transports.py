"""The ways of a browser into a session, through the real gateway: streams, batches, WebSocket."""

from __future__ import annotations

import asyncio
import json
import signal
import wave
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import turn_pb2
from services.common.codes import Code
from services.common.errors import ParleyError
from services.common.ids import new_id
from tests.e2e.caller import BOUND_S, Caller, caller
from tests.e2e.conftest import SPEECH
from tests.e2e.web_talk import WAYS, PushTalk, UploadTalk, WebSocketTalk, WebTalk
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(120),
    pytest.mark.leaves_behind("a running Parley that the tests share"),
]

Request = conversation_pb2.ConverseRequest

SILENCE = bytes(2 * 16_000)
"""One second."""

REPLY = "Of course I can tell you about that, and a good deal more, if you would like to hear it."

SCRIPT = f"""
[language_model]
replies = ["{REPLY}"]
[synthesizer]
ms_per_word = 250
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Parley whose tutor takes its time to say things."""
    folder = tmp_path_factory.mktemp("t")
    script = folder / "script.toml"
    script.write_text(SCRIPT)
    with Stack(folder / "d", settings={"PARLEY_AI_SCRIPT": str(script)}) as running:
        yield running


@pytest.fixture
async def one(stack: Stack) -> AsyncIterator[Caller]:
    async with caller(stack.address) as caller_:
        yield caller_


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> type[WebTalk]:
    return WAYS[request.param]


def recording(name: str) -> bytes:
    """Return a recording as int16 mono PCM at 16 kHz."""
    with wave.open(str(SPEECH / name)) as file:
        assert file.getframerate() == 16_000
        return file.readframes(file.getnframes())


async def a_turn(talk: WebTalk) -> None:
    await talk.send(text={"text": "Hello"})
    await talk.until("turn_saved")


async def finish(talk: WebTalk) -> conversation_pb2.SessionSummary:
    await talk.send(finish={})
    summary = (await talk.until("ended")).ended.summary
    with pytest.raises(EOFError):
        await talk.read()
    return summary


async def refused(talk: WebTalk, **start: Any) -> tuple[Code, str]:
    with pytest.raises(ParleyError) as caught:
        await talk.start(**start)
    return caught.value.code, caught.value.reason


class TestEachWay:
    async def test_speech_is_answered_aloud_and_the_end_is_a_good_one(
        self, one: Caller, way: type[WebTalk]
    ):
        async with way(one) as talk:
            started = await talk.start()
            assert started.input_format.sample_rate_hz == 16_000
            await talk.speak(recording("022820134.wav") + SILENCE)
            await talk.until("turn_saved")
            assert talk.transcript
            assert len(b"".join(talk.spoken)) > 24_000
            summary = await finish(talk)
            assert summary.turns == summary.turns_saved >= 1
            assert not talk.notices
            records = await _turns(one, talk, summary.turns)
            assert [each.turn.number for each in records] == list(range(1, summary.turns + 1))

    async def test_speaking_over_the_tutor_stops_it(self, one: Caller, way: type[WebTalk]):
        async with way(one) as talk:
            talk.listens = False
            await talk.start()
            loud = asyncio.Event()
            microphone = asyncio.create_task(talk.microphone(loud))
            await talk.send(text={"text": "Hello"})
            await talk.until("reply_audio")
            loud.set()
            ended = (await talk.until("reply_ended")).reply_ended
            microphone.cancel()
            await asyncio.gather(microphone, return_exceptions=True)
            assert ended.reason == turn_pb2.REPLY_END_REASON_INTERRUPTED
            assert len(ended.heard_text) < len(REPLY)

    async def test_a_mistake_is_put_right_beside_the_talk_and_in_the_history(
        self, one: Caller, way: type[WebTalk]
    ):
        async with way(one) as talk:
            await talk.start(captions_only=True)
            await talk.send(text={"text": "Yesterday I go to work"})
            told = (await talk.until("feedback")).feedback
            assert [told.turn_id] == [turn_id for _, turn_id in talk.saved]
            (correction,) = told.feedback.corrections
            assert correction.original == "Yesterday I go"
            assert correction.replacement == "Yesterday I went"
            await a_turn(talk)
            await finish(talk)
            first, second = await _turns(one, talk, 2, corrected=1)
            assert first.feedback == told.feedback
            assert not second.HasField("feedback")

    async def test_who_was_cut_off_goes_on_where_it_was(self, one: Caller, way: type[WebTalk]):
        async with way(one) as first:
            await first.start()
            await a_turn(first)
        async with way(one) as second:
            second.affinity, second.seq = first.affinity, first.seq
            started = await second.start(resume_handle=first.handle, last_seq=first.last_seq)
            assert started.resumed
            assert started.conversation_id == first.conversation_id
            await a_turn(second)
            assert [number for number, _ in (*first.saved, *second.saved)] == [1, 2]
            assert (await finish(second)).turns == 2

    @pytest.mark.parametrize(
        ("start", "code", "reason"),
        [
            ({"engine": "no-such"}, Code.INVALID_ARGUMENT, "UNKNOWN_ENGINE"),
            ({"scenario_id": "no-such"}, Code.INVALID_ARGUMENT, "UNKNOWN_SCENARIO"),
            ({"speech_rate": 9.0}, Code.INVALID_ARGUMENT, "INVALID_REQUEST"),
            ({"resume_handle": "nonsense"}, Code.INVALID_ARGUMENT, "RESUME_HANDLE_INVALID"),
        ],
    )
    async def test_a_wrong_start_is_refused_with_its_reason(
        self, one: Caller, way: type[WebTalk], start: dict[str, Any], code: Code, reason: str
    ):
        async with way(one) as talk:
            assert await refused(talk, **start) == (code, reason)

    @pytest.mark.parametrize(
        ("token", "reason"), [("", "TOKEN_MISSING"), ("no.such.token", "TOKEN_INVALID")]
    )
    async def test_nobody_comes_in_without_a_token(
        self, one: Caller, way: type[WebTalk], token: str, reason: str
    ):
        async with way(one, token=token) as talk:
            assert await refused(talk) == (Code.UNAUTHENTICATED, reason)

    async def test_one_more_than_a_learner_may_have_is_refused(
        self, one: Caller, way: type[WebTalk]
    ):
        async with way(one) as first, way(one) as second, way(one) as third, way(one) as fourth:
            for talk in (first, second, third):
                await talk.start()
            assert await refused(fourth) == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_CONVERSATIONS")
            for talk in (first, second, third):
                await finish(talk)


async def _turns(one: Caller, talk: WebTalk, count: int, *, corrected: int = 0) -> list[Any]:
    """Return what history has, once it has this much."""
    async with asyncio.timeout(BOUND_S):
        while True:
            try:
                records = list(await one.turns(talk.conversation_id))
            except Exception:  # noqa: BLE001 - the conversation may not have arrived
                records = []
            known = sum(each.HasField("feedback") for each in records)
            if len(records) >= count and known >= corrected:
                return records
            await asyncio.sleep(0.1)


class TestPush:
    async def test_batches_may_overtake_each_other_and_come_twice(self, one: Caller):
        async with PushTalk(one) as talk:
            await talk.start()
            pings = [Request(seq=seq, ping={"nonce": seq}) for seq in range(2, 42)]
            batches = [pings[at : at + 8] for at in range(0, 40, 8)]
            await asyncio.gather(*(talk.push(*batch) for batch in reversed(batches)))
            assert await talk.push(*batches[0]) == 41
            talk.seq = 41
            nonces = [(await talk.until("pong")).pong.nonce for _ in pings]
            assert nonces == list(range(2, 42))

    async def test_a_gap_is_acknowledged_up_to_it_and_too_wide_a_one_refused(self, one: Caller):
        async with PushTalk(one) as talk:
            await talk.start()
            assert await talk.push(Request(seq=3, ping={"nonce": 3})) == 1
            with pytest.raises(ParleyError) as caught:
                await talk.push(Request(seq=400, ping={"nonce": 4}))
            assert caught.value.reason == "SEQUENCE_GAP"
            assert caught.value.metadata["last_seq"] == "1"
            assert await talk.push(Request(seq=2, ping={"nonce": 2})) == 3
            talk.seq = 3
            await a_turn(talk)

    async def test_fifty_messages_fit_and_one_more_does_not(self, one: Caller):
        async with PushTalk(one) as talk:
            await talk.start()
            many = [Request(seq=seq, ping={"nonce": seq}) for seq in range(2, 53)]
            with pytest.raises(ParleyError) as caught:
                await talk.push(*many)
            assert caught.value.reason == "INVALID_REQUEST"
            assert await talk.push(*many[:50]) == 51

    @pytest.mark.parametrize("whose", ["nobody's", "another's", "no id at all"])
    async def test_only_a_live_session_of_ones_own_can_be_pushed_to(
        self, stack: Stack, one: Caller, whose: str
    ):
        async with PushTalk(one) as talk, caller(stack.address) as other, PushTalk(other) as theirs:
            await talk.start()
            await theirs.start()
            talk.conversation_id = {
                "nobody's": new_id(),
                "another's": theirs.conversation_id,
                "no id at all": "not-an-id",
            }[whose]
            with pytest.raises(ParleyError) as caught:
                await talk.push(Request(seq=2, ping={"nonce": 1}))
            expected = "INVALID_REQUEST" if whose == "no id at all" else "NO_LIVE_SESSION"
            assert caught.value.reason == expected


class TestUpload:
    async def test_a_stream_that_was_closed_can_be_followed_by_another(self, one: Caller):
        async with UploadTalk(one) as talk:
            await talk.start()
            await a_turn(talk)
            assert await talk.half_close() == talk.seq
            await talk.begin_upload()
            await a_turn(talk)
            summary = await finish(talk)
            assert summary.turns == 2
            assert talk.upload is not None
            assert await talk.answer(talk.upload) == talk.seq, "it ends with its session"

    async def test_another_stream_ends_the_first_and_may_send_again(self, one: Caller):
        async with UploadTalk(one) as talk:
            await talk.start()
            await a_turn(talk)
            first = talk.upload
            assert first is not None
            again = talk.seq
            await talk.begin_upload()
            await talk.write(Request(seq=again, text={"text": "Hello"}))
            with pytest.raises(ParleyError) as caught:
                await talk.answer(first)
            assert caught.value.reason == "TAKEN_OVER"
            await a_turn(talk)
            assert (await finish(talk)).turns == 2

    async def test_a_start_inside_of_it_is_told_and_the_session_goes_on(self, one: Caller):
        async with UploadTalk(one) as talk:
            await talk.start()
            await talk.send(start={})
            await talk.until("notice")
            assert [each.reason for each in talk.notices] == ["ALREADY_STARTED"]
            await a_turn(talk)

    async def test_a_session_of_somebody_else_is_not_found(self, stack: Stack, one: Caller):
        async with caller(stack.address) as other, UploadTalk(other) as theirs:
            await theirs.start()
            async with UploadTalk(one) as talk:
                talk.conversation_id = theirs.conversation_id
                await talk.send(ping={"nonce": 1})
                assert talk.upload is not None
                with pytest.raises(ParleyError) as caught:
                    await talk.answer(talk.upload)
                assert caught.value.reason == "NO_LIVE_SESSION"


class TestWebSocket:
    async def test_the_token_may_come_in_the_header_of_programs_that_are_no_browsers(
        self, one: Caller
    ):
        async with WebSocketTalk(one, token="") as talk:
            await talk.handshake(additional_headers={"authorization": f"Bearer {one.token}"})
            await talk.start()
            await a_turn(talk)

    async def test_a_token_in_the_address_is_not_taken(self, stack: Stack, one: Caller):
        async with WebSocketTalk(one, token="") as talk:
            talk.affinity = f"&access_token={one.token}"
            talk.address = stack.address
            with pytest.raises((ParleyError, InvalidStatus)):
                await talk.start()

    @pytest.mark.parametrize("wrong", [b"\xff\xff nonsense", "text", bytes(1_100_000)])
    async def test_a_frame_that_is_no_message_is_told_and_the_session_goes_on(
        self, one: Caller, wrong: str | bytes
    ):
        async with WebSocketTalk(one) as talk:
            await talk.start()
            assert talk.socket is not None
            await talk.socket.send(wrong)
            await talk.until("notice")
            expected = "MESSAGE_TOO_LARGE" if len(wrong) > 1_000_000 else "MALFORMED_MESSAGE"
            assert [each.reason for each in talk.notices] == [expected]
            await a_turn(talk)

    async def test_a_frame_of_twice_the_limit_closes_the_connection(self, one: Caller):
        async with WebSocketTalk(one) as talk:
            await talk.start()
            assert talk.socket is not None
            with pytest.raises(ConnectionClosed) as caught:
                await talk.socket.send(bytes(2_200_000))
                async with asyncio.timeout(BOUND_S):
                    while True:
                        await talk.socket.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1009

    @pytest.mark.parametrize("first", [Request(seq=1, text={"text": "Hello"}), Request(), "text"])
    async def test_the_first_frame_is_a_start(self, one: Caller, first: Request | str):
        async with WebSocketTalk(one) as talk:
            await talk.handshake()
            assert talk.socket is not None
            await talk.socket.send(first if isinstance(first, str) else first.SerializeToString())
            with pytest.raises(ParleyError) as caught:
                await talk.until("started")
            assert caught.value.reason in (
                "START_REQUIRED",
                "INVALID_REQUEST",
                "MALFORMED_MESSAGE",
            )

    @pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:5173"])
    async def test_a_page_of_another_origin_may_neither_connect_nor_ask(
        self, stack: Stack, one: Caller, origin: str
    ):
        async with WebSocketTalk(one) as talk:
            with pytest.raises(InvalidStatus) as caught:
                await talk.handshake(origin=origin)
            assert caught.value.response.status_code == 403
        async with httpx.AsyncClient() as client:
            preflight = await client.options(
                f"http://{stack.address}/parley.user.v1.UserService/Refresh",
                headers={
                    "origin": origin,
                    "access-control-request-method": "POST",
                    "access-control-request-headers": "content-type, x-parley-client",
                },
            )
        assert [name for name in preflight.headers if name.startswith("access-control")] == []

    async def test_a_page_of_the_gateway_itself_may_connect(self, stack: Stack, one: Caller):
        async with WebSocketTalk(one) as talk:
            await talk.handshake(origin=f"http://{stack.address}")

    async def test_more_messages_than_anybody_needs_end_the_session(self, one: Caller):
        async with WebSocketTalk(one) as talk:
            await talk.start()
            for _ in range(3_000):
                await talk.send(heard={"generation": 1, "audio_ms": 1})
            with pytest.raises(ParleyError) as caught:
                await talk.until("its close")
            assert caught.value.reason == "MESSAGES_TOO_FAST"
            assert talk.closed == (4008, "MESSAGES_TOO_FAST")

    async def test_closing_with_1000_is_a_finish_and_any_other_way_is_not(self, one: Caller):
        async with WebSocketTalk(one) as talk:
            await talk.start()
            assert talk.socket is not None
            await talk.socket.close(1000)
        async with WebSocketTalk(one) as again:
            assert await refused(again, resume_handle=talk.handle) == (
                Code.INVALID_ARGUMENT,
                "RESUME_HANDLE_INVALID",
            )
        async with WebSocketTalk(one) as left:
            await left.start()
            assert left.socket is not None
            await left.socket.close(1001)
        async with WebSocketTalk(one) as back:
            assert (await back.start(resume_handle=left.handle)).resumed


class TestPages:
    async def test_the_gateway_serves_the_page_and_plain_http_is_no_websocket(self, stack: Stack):
        async with httpx.AsyncClient(base_url=f"http://{stack.address}") as client:
            page = await client.get("/history/anything")
            assert page.status_code == 200
            assert page.headers["content-type"].startswith("text/html")
            assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
            assert "grpc-status" not in page.headers
            assert (await client.get("/ws")).status_code == 426
            assert (await client.get("/no-such.js")).status_code == 404


WAY_OF = tuple(WAYS.values())
LEARNERS = 12
TURNS = 8


class Wanderer:
    """A learner who takes turns, and resumes elsewhere when told to go away."""

    def __init__(self, one: Caller, way: type[WebTalk]) -> None:
        self.one, self.way = one, way
        self.moved = 0
        self.hosts: list[str] = []
        self.saved: dict[int, str] = {}
        self.refusals: list[str] = []
        self.ended: list[int] = []

    async def talk(self, halfway: asyncio.Barrier) -> None:
        talk = self.way(self.one)
        await talk.start()
        self.hosts.append(talk.affinity)
        while len(self.saved) < TURNS:
            try:
                await self._turn(talk)
            except (ParleyError, EOFError) as error:
                self.refusals.append(getattr(error, "reason", "EOF"))
                await talk.close()
                talk = await self._resume(talk)
            if len(self.saved) == TURNS // 2 and not self.moved:
                await halfway.wait()
        await talk.send(finish={})
        await talk.until("ended")
        await talk.close()

    async def _turn(self, talk: WebTalk) -> None:
        await talk.send(text={"text": "Hello"})
        async with asyncio.timeout(BOUND_S):
            while True:
                response = await talk.read()
                kind = response.WhichOneof("message")
                if kind == "reply_ended":
                    self.ended.append(response.reply_ended.reason)
                if kind == "turn_saved":
                    saved = response.turn_saved
                    assert saved.number not in self.saved
                    self.saved[saved.number] = saved.turn_id
                    return

    async def _resume(self, before: WebTalk) -> WebTalk:
        async with asyncio.timeout(BOUND_S):
            while True:
                talk = self.way(self.one)
                talk.seq = before.seq
                try:
                    started = await talk.start(
                        resume_handle=before.handle, last_seq=before.last_seq
                    )
                except (ParleyError, InvalidStatus) as error:
                    wait = _try_again_after(error)
                    if wait is None:
                        raise
                    await talk.close()
                    await asyncio.sleep(wait)
                    continue
                assert started.resumed
                assert started.next_turn == len(self.saved) + 1
                self.moved += 1
                self.hosts.append(talk.affinity)
                return talk


def _try_again_after(error: ParleyError | InvalidStatus) -> float | None:
    """Return how long to wait before coming again; None where that does not help."""
    if isinstance(error, InvalidStatus):
        return 0.5 if error.response.status_code in (502, 503) else None
    return (error.retry_after or 0.1) if error.retryable else None


async def test_of_two_processes_one_may_go_and_no_turn_is_cut(tmp_path: Path):
    settings = {"PARLEY_SESSION_PROCESSES": "2", "PARLEY_DRAIN_SECONDS": "20"}
    with Stack(tmp_path / "d", settings=settings) as stack:
        wanderers: list[Wanderer] = []
        halfway = asyncio.Barrier(LEARNERS + 1)
        async with asyncio.TaskGroup() as group:
            for number in range(LEARNERS):
                one = Caller(stack.address)
                await one.register()
                wanderers.append(Wanderer(one, WAY_OF[number % len(WAY_OF)]))
                group.create_task(wanderers[-1].talk(halfway))
            await halfway.wait()
            # Everybody is in the middle of a turn, or about to begin one.
            await asyncio.to_thread(stack.kill, "conversation-2", signal.SIGTERM)
        for wanderer in wanderers:
            await wanderer.one.channel.close()
        calls = [
            json.loads(line)
            for line in stack.log("gateway").splitlines()
            if line.startswith("{") and '"event":"access"' in line
        ]

    assert all(list(each.saved) == list(range(1, TURNS + 1)) for each in wanderers)
    complete = turn_pb2.REPLY_END_REASON_COMPLETED
    assert all(reason == complete for each in wanderers for reason in each.ended), "a turn was cut"
    reasons = Counter(reason for each in wanderers for reason in each.refusals)
    # The last: what was sent to a process that had gone meanwhile.
    assert set(reasons) <= {"SERVICE_STOPPING", "PEER_UNAVAILABLE"}, f"misrouted or cut: {reasons}"
    moved = sum(each.moved for each in wanderers)
    assert 0 < moved < LEARNERS, "both processes had sessions, and one of them kept its own"
    assert len({each.hosts[0] for each in wanderers}) >= 2
    subscribed = {
        call["upstream_host"] for call in calls if call["path"].endswith(("/Subscribe", "/ws"))
    }
    assert len(subscribed - {"-", None}) == 4, "two processes, two ports each"
