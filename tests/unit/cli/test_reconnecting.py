"""What the learner says and does around a broken connection arrives, once and in order.

The network is in memory and the clock virtual, so half a minute without a network takes no time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import grpc.aio
import pytest

from bench.peers.virtual_time import run_virtually
from parley.conversation.v1 import conversation_pb2
from parley_cli.client import endpoint
from parley_cli.client.backlog import KEPT_ACTS, KEPT_AUDIO_S, Backlog
from parley_cli.client.converse import RECONNECT_FOR_S, ConverseStream
from parley_cli.client.endpoint import parse_endpoint
from parley_cli.client.parley_client import ParleyClient
from parley_cli.failures import CliFailure, ExitCode
from tests.fault.line import line
from tests.unit.cli.conftest import PASSWORD
from tests.unit.cli.fake_parley import FakeParley

RATE_HZ = 16_000
FRAME = RATE_HZ // 50
Request = conversation_pb2.ConverseRequest
Response = conversation_pb2.ConverseResponse


def lost(text: str = "connection reset") -> grpc.aio.AioRpcError:
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, text)


class Network:
    """Carries calls to a server that keeps what it gets; can be cut."""

    def __init__(self) -> None:
        self.received: list[Request] = []
        self.starts: list[conversation_pb2.StartSession] = []
        self.next_sample = 0
        self.gap_samples = 0
        self.whole = True
        self.swallowing = False
        self.swallows_new = False
        self.renewals = 0
        self.closed = False
        self.calls: list[Call] = []

    def call(self, metadata: Any) -> Call:
        del metadata
        self.calls.append(Call(self))
        return self.calls[-1]

    async def renew(self) -> None:
        """Begin a connection that is alive, unless new ones are swallowed too."""
        self.renewals += 1
        self.swallowing = self.swallows_new

    async def close(self) -> None:
        self.closed = True

    def take(self, call: Call, request: Request) -> None:
        if request.HasField("start"):
            self.starts.append(request.start)
            started = conversation_pb2.SessionStarted(
                resume_handle="h",
                resumed=bool(request.start.resume_handle),
                next_sample=self.next_sample,
            )
            call.responses.put_nowait(Response(started=started))
        self.received.append(request)
        if request.HasField("audio"):
            self.gap_samples += max(0, request.audio.first_sample - self.next_sample)
            end = request.audio.first_sample + len(request.audio.pcm) // 2
            self.next_sample = max(self.next_sample, end)
        if request.HasField("finish"):
            call.responses.put_nowait(Response(ended=conversation_pb2.SessionEnded()))

    def cut(self) -> None:
        """Break the connection, and let none be made."""
        self.whole = False
        self.swallowing = False
        self.calls[-1].broken.set()

    async def cut_for(self, seconds: float, *, unnoticed_s: float = 0.0) -> None:
        """Lose what is written for a while, then break, then be whole again."""
        self.swallowing = True
        await asyncio.sleep(unnoticed_s)
        self.cut()
        await asyncio.sleep(seconds - unnoticed_s)
        self.whole = True

    def kinds(self) -> list[str]:
        return [str(each.WhichOneof("message")) for each in self.received]

    def texts(self) -> list[tuple[int, str]]:
        return [(each.seq, each.text.text) for each in self.received if each.HasField("text")]


class Call:
    """One call, as grpc.aio has it: what it raises, and when."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.responses: asyncio.Queue[Response] = asyncio.Queue()
        self.broken = asyncio.Event()
        self.cancelled = False
        self.swallowed = 0
        self.closed = False
        if not network.whole:
            self.broken.set()

    async def write(self, request: Request) -> None:
        if self.cancelled:
            raise asyncio.InvalidStateError
        if self.broken.is_set():
            raise lost()
        if not self._network.swallowing:
            self._network.take(self, request)
            return
        self.swallowed += request.ByteSize()
        if self.swallowed > WINDOW:
            await self.broken.wait()
            if self.cancelled:
                raise asyncio.CancelledError
            raise lost()

    async def done_writing(self) -> None:
        self.closed = True

    async def read(self) -> Any:
        if self.closed and self.responses.empty():
            return grpc.aio.EOF
        reading = asyncio.ensure_future(self.responses.get())
        breaking = asyncio.ensure_future(self.broken.wait())
        try:
            await asyncio.wait({reading, breaking}, return_when=asyncio.FIRST_COMPLETED)
            if self.cancelled:
                raise asyncio.CancelledError
            if self.broken.is_set():
                raise lost()
            return reading.result()
        finally:
            reading.cancel()
            breaking.cancel()

    def cancel(self) -> None:
        self.cancelled = True
        self.broken.set()


# What gRPC takes to itself before a write waits for the other side.
WINDOW = 64 * 1024


async def authorize(**_: Any) -> tuple[tuple[str, str], ...]:
    return (("authorization", "Bearer x"),)


def stream_over(network: Network, told: Callable[[bool], None] | None = None) -> ConverseStream:
    start = conversation_pb2.StartSession()
    return ConverseStream(network, start, authorize=authorize, server="here", on_connection=told)


async def speak(stream: ConverseStream, seconds: float) -> None:
    """A microphone: a frame every 20 ms, whatever happens."""
    for frame in range(round(seconds * 50)):
        await asyncio.sleep(0.02)
        await stream.send_audio(b"\1\0" * FRAME, frame * FRAME)


async def listen(stream: ConverseStream) -> None:
    async for _ in stream:
        pass


def talk(network: Network, work: Callable[[ConverseStream], Coroutine[Any, Any, None]]) -> None:
    """Hold a session, finish it, and see that the call was ended in good order."""

    async def hold() -> None:
        async with stream_over(network) as stream, asyncio.TaskGroup() as group:
            listening = group.create_task(listen(stream))
            await work(stream)
            await stream.finish()
            await listening

    run_virtually(hold())


@pytest.mark.parametrize("unnoticed_s", [0.0, 3.0])
def test_nothing_that_was_said_in_half_a_minute_without_a_network_is_lost(
    unnoticed_s: float,
) -> None:
    network = Network()

    async def work(stream: ConverseStream) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(speak(stream, 60.0))
            await asyncio.sleep(5)
            await network.cut_for(30.0, unnoticed_s=unnoticed_s)

    talk(network, work)
    assert network.next_sample == 60 * RATE_HZ
    assert network.gap_samples == 0
    assert len(network.starts) == 2


def test_of_a_longer_silence_the_newest_speech_is_kept() -> None:
    backlog = Backlog(RATE_HZ)
    frames = (KEPT_AUDIO_S + 10) * 50
    for frame in range(frames):
        audio = conversation_pb2.LearnerAudio(pcm=b"\1\0" * FRAME, first_sample=frame * FRAME)
        backlog.add(Request(seq=frame + 1, audio=audio))
        if frame < 200:
            backlog.take()
    backlog.again(0)
    kept = []
    while (request := backlog.take()) is not None:
        kept.append(request.audio.first_sample)
    assert kept == [frame * FRAME for frame in range(10 * 50, frames)]


def test_what_was_done_is_never_dropped_before_it_was_written() -> None:
    backlog = Backlog(RATE_HZ)
    for seq in range(1, 3 * KEPT_ACTS):
        backlog.add(Request(seq=seq, end_turn=conversation_pb2.EndTurn()))
    taken = []
    while (request := backlog.take()) is not None:
        taken.append(request.seq)
    assert taken == list(range(1, 3 * KEPT_ACTS))
    backlog.again(0)
    again = []
    while (request := backlog.take()) is not None:
        again.append(request.seq)
    assert again == taken[-KEPT_ACTS:]


def test_a_typed_text_that_the_network_swallowed_is_sent_again_under_its_number() -> None:
    """It was written to a dead connection, and nobody ever answered it."""
    network = Network()

    async def work(stream: ConverseStream) -> None:
        await stream.send_text("before")
        network.swallowing = True
        await stream.send_text("swallowed")
        await network.cut_for(2.0)
        await asyncio.sleep(5)
        await stream.send_text("after")

    talk(network, work)
    first, again, swallowed, after = network.texts()
    assert first == again, "the server knows by its number what it had"
    assert (first[1], swallowed[1], after[1]) == ("before", "swallowed", "after")
    (_, resumed) = [each.seq for each in network.received if each.HasField("start")]
    assert first[0] < swallowed[0] < resumed < after[0]


def test_what_was_done_goes_out_after_the_speech_that_it_followed() -> None:
    network = Network()

    async def work(stream: ConverseStream) -> None:
        network.swallowing = True
        await stream.send_audio(b"\1\0" * FRAME, 0)
        await stream.end_turn()
        await stream.send_audio(b"\1\0" * FRAME, FRAME)
        await network.cut_for(2.0)
        await asyncio.sleep(5)

    talk(network, work)
    assert network.kinds() == ["start", "start", "audio", "end_turn", "audio", "finish"]


def test_a_new_connection_is_told_what_was_heard_and_how_the_session_was_changed() -> None:
    network = Network()

    async def work(stream: ConverseStream) -> None:
        await stream.send_heard(3, 100, 12.0)
        await stream.change_settings(muted=True)
        network.cut()
        await asyncio.sleep(0.1)
        await stream.send_heard(3, 700)
        network.whole = True
        await asyncio.sleep(5)

    talk(network, work)
    (_, start) = network.starts
    assert (start.heard.generation, start.heard.audio_ms) == (3, 700)
    assert start.heard.play_delay_ms == 12.0
    assert network.kinds().count("heard") == 1
    (_, again) = [each.settings for each in network.received if each.HasField("settings")]
    assert again.muted


def test_a_text_that_is_typed_without_a_connection_waits_for_one() -> None:
    network = Network()

    async def work(stream: ConverseStream) -> None:
        network.cut()
        await asyncio.sleep(0.1)
        sending = asyncio.ensure_future(stream.send_text("hello"))
        await asyncio.sleep(10)
        assert not sending.done()
        network.whole = True
        await sending

    talk(network, work)
    assert [text for _, text in network.texts()] == ["hello"]


def test_a_connection_that_has_gone_quiet_is_given_up_and_the_talk_goes_on() -> None:
    """Cancelling the call cancelled whoever was reading it: the talk ended without a word."""
    network = Network()
    told: list[bool] = []

    async def hold() -> None:
        async with stream_over(network, told.append) as stream, asyncio.TaskGroup() as group:
            listening = group.create_task(listen(stream))
            await asyncio.sleep(1)
            stream.drop_connection()
            await asyncio.sleep(5)
            await stream.finish()
            await listening

    run_virtually(hold())
    assert told == [False, True]


def test_a_dead_connection_is_left_for_a_new_one_and_nothing_is_lost() -> None:
    """The next call went out over the same dead connection, and its answer was waited for.

    Nor did anything go out any more: giving the call up had cancelled whoever was writing to it.
    """
    network = Network()
    told: list[tuple[float, bool]] = []

    async def hold() -> None:
        now = asyncio.get_running_loop().time
        async with (
            stream_over(network, lambda connected: told.append((now(), connected))) as stream,
            asyncio.TaskGroup() as group,
        ):
            listening = group.create_task(listen(stream))
            speaking = group.create_task(speak(stream, 30.0))
            await asyncio.sleep(5)
            network.swallowing = True
            await asyncio.sleep(16)
            stream.drop_connection()
            await speaking
            await stream.finish()
            await listening

    run_virtually(hold())
    assert [connected for _, connected in told] == [False, True]
    assert [at for at, _ in told] == pytest.approx([21.0, 21.0])
    assert (network.renewals, network.closed) == (1, True)
    assert network.next_sample == 30 * RATE_HZ
    assert network.gap_samples == 0


def test_half_a_minute_in_which_no_connection_carries_anything_is_survived() -> None:
    network = Network()

    async def work(stream: ConverseStream) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(speak(stream, 60.0))
            await asyncio.sleep(5)
            network.swallowing = network.swallows_new = True
            await asyncio.sleep(10)
            stream.drop_connection()
            # Whoever watches the connection may not see that it is being made again.
            stream.drop_connection()
            await asyncio.sleep(10)
            stream.drop_connection()
            await asyncio.sleep(10)
            network.swallows_new = False

    talk(network, work)
    assert network.next_sample == 60 * RATE_HZ
    assert network.gap_samples == 0


def test_a_network_that_carries_nothing_any_more_ends_the_talk_in_time() -> None:
    network = Network()

    async def hold() -> float:
        now = asyncio.get_running_loop().time
        async with stream_over(network) as stream:
            listening = asyncio.ensure_future(listen(stream))
            await asyncio.sleep(1)
            network.swallowing = network.swallows_new = True
            stream.drop_connection()
            with pytest.raises(CliFailure, match="could not be resumed") as caught:
                await listening
            assert caught.value.exit_code is ExitCode.UNREACHABLE
            assert "too long to answer" in caught.value.details
            return now() - 1

    assert run_virtually(hold()) == pytest.approx(RECONNECT_FOR_S)
    assert network.closed


def test_an_answer_that_never_comes_is_not_waited_for_at_the_start() -> None:
    network = Network()
    network.swallowing = True

    async def hold() -> float:
        with pytest.raises(CliFailure, match="took too long to answer") as caught:
            async with stream_over(network):
                pass
        assert caught.value.exit_code is ExitCode.UNREACHABLE
        return asyncio.get_running_loop().time()

    assert run_virtually(hold()) == 20.0
    assert network.closed


async def test_over_a_real_line_that_was_forgotten_the_talk_goes_on(
    fake: FakeParley, address: str
) -> None:
    """gRPC lets calls share a connection, and channels to the same place as well."""
    told: list[bool] = []
    start = conversation_pb2.StartSession(engine="silent")
    audio = b"\1\0" * 3200
    async with (
        line(int(address.rpartition(":")[2])) as (cable, port),
        ParleyClient(parse_endpoint(f"127.0.0.1:{port}")) as client,
    ):
        await client.register("ana", PASSWORD)
        async with client.converse(start, on_connection=told.append) as stream:
            responses = aiter(stream)
            await anext(responses)
            cable.forget()
            for frame in range(20):
                await stream.send_audio(audio, frame * 3200)
            await stream.send_text("Hello!")
            resuming = asyncio.ensure_future(anext(responses))
            await asyncio.sleep(0)
            stream.drop_connection()
            assert (await resuming).started.resumed
            await stream.ping(7)
            while not (await anext(responses)).HasField("pong"):
                pass
        assert told == [False, True]
        received = [each.audio.first_sample for each in fake.requests["audio"]]
        assert received == [frame * 3200 for frame in range(20)]
        assert [each.text.text for each in fake.requests["text"]] == ["Hello!"]
        cable.mend()


async def test_a_dead_connection_is_noticed_though_nobody_watches_it(
    fake: FakeParley, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "_ASK_AFTER_MS", 200)
    monkeypatch.setattr(endpoint, "_ANSWER_WITHIN_MS", 1500)
    start = conversation_pb2.StartSession(engine="silent")
    async with (
        line(int(address.rpartition(":")[2])) as (cable, port),
        ParleyClient(parse_endpoint(f"127.0.0.1:{port}")) as client,
    ):
        await client.register("ana", PASSWORD)
        async with client.converse(start) as stream, asyncio.timeout(20):
            responses = aiter(stream)
            await anext(responses)
            cable.forget()
            assert (await anext(responses)).started.resumed
        cable.mend()


def test_whoever_is_cancelled_while_reading_is_cancelled() -> None:
    network = Network()

    async def hold() -> None:
        async with stream_over(network) as stream:
            listening = asyncio.ensure_future(listen(stream))
            await asyncio.sleep(1)
            listening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await listening

    run_virtually(hold())
    assert len(network.starts) == 1


def test_a_network_that_stays_away_ends_the_talk_with_a_sentence() -> None:
    network = Network()

    async def hold() -> None:
        async with stream_over(network) as stream:
            listening = asyncio.ensure_future(listen(stream))
            await asyncio.sleep(1)
            network.cut()
            with pytest.raises(CliFailure, match="could not be resumed"):
                await listening

    run_virtually(hold())


def test_a_talk_that_ended_is_closed_and_not_cancelled() -> None:
    network = Network()

    async def work(_: ConverseStream) -> None:
        pass

    talk(network, work)
    (call,) = network.calls
    assert call.closed
    assert not call.responses.qsize()
