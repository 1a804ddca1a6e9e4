"""Talking live: the device's callbacks, the keys, and Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Any, ClassVar

import miniaudio
import numpy as np
import pytest

from parley_cli.audio.cards import OnCaptured, OnPlayed, VirtualCard
from parley_cli.audio.devices import AudioDevices, DeviceCard
from parley_cli.audio.files import Samples
from parley_cli.audio.playback import PlaybackBuffer
from parley_cli.client import converse
from parley_cli.client.endpoint import parse_endpoint
from parley_cli.client.parley_client import ParleyClient
from parley_cli.failures import CliFailure, ExitCode
from parley_cli.session import Floor, SessionView
from parley_cli.talk.conversation import Talk
from parley_cli.talk.events import TalkEvent
from parley_cli.talk.options import TalkOptions
from tests.unit.cli.conftest import PASSWORD, Parley, WriteWav
from tests.unit.cli.fake_parley import FakeParley, serve

PERIOD = 320


class FakeDevice:
    """A device of miniaudio's shape, driven by a thread as a real one is."""

    opened: ClassVar[list[FakeDevice]]

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.closed = threading.Event()
        self.thread: threading.Thread | None = None
        type(self).opened.append(self)

    def start(self, callback: Generator[Any, Any, None]) -> None:
        self.thread = threading.Thread(target=self._drive, args=(callback,))
        self.thread.start()

    def _drive(self, callback: Generator[Any, Any, None]) -> None:
        while not self.closed.wait(0.001):
            self.period(callback)

    def period(self, callback: Generator[Any, Any, None]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.closed.set()
        assert self.thread is not None
        self.thread.join()


class FakeSpeaker(FakeDevice):
    opened: ClassVar[list[FakeDevice]] = []
    played: ClassVar[list[bytes]] = []

    def period(self, callback: Generator[Any, Any, None]) -> None:
        data = callback.send(PERIOD)
        assert len(data) == PERIOD * 2
        self.played.append(data)


class FakeMicrophone(FakeDevice):
    opened: ClassVar[list[FakeDevice]] = []

    def period(self, callback: Generator[Any, Any, None]) -> None:
        # Not a whole number of frames: devices have periods of their own.
        callback.send(np.full(PERIOD - 7, 5, dtype="<i2").tobytes())


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    found = AudioDevices("fake", ("mic",), ("speaker",))
    monkeypatch.setattr("parley_cli.audio.devices.list_devices", lambda: found)
    monkeypatch.setattr(miniaudio, "PlaybackDevice", FakeSpeaker)
    monkeypatch.setattr(miniaudio, "CaptureDevice", FakeMicrophone)
    monkeypatch.setattr(FakeSpeaker, "opened", [])
    monkeypatch.setattr(FakeSpeaker, "played", [])
    monkeypatch.setattr(FakeMicrophone, "opened", [])


async def test_a_device_hears_whole_frames_and_plays_the_buffer(hardware: None) -> None:
    playback = PlaybackBuffer(24_000, prebuffer_ms=0)
    playback.push(1, 0, np.full(2000, 9, dtype=np.int16))
    frames: list[Samples] = []
    enough = asyncio.Event()

    async def captured(samples: Samples, at: float) -> None:
        assert at <= time.monotonic()
        frames.append(samples)
        if len(frames) >= 10 and playback.position().dry:
            enough.set()

    card = DeviceCard(capture_rate_hz=16_000, frame_ms=20)
    running = asyncio.create_task(card.run(playback, captured, lambda _samples, _at: None))
    async with asyncio.timeout(10):
        await enough.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert {len(frame) for frame in frames} == {320}
    sounding = np.frombuffer(b"".join(FakeSpeaker.played), dtype="<i2")
    assert np.count_nonzero(sounding == 9) == 2000
    assert all(d.closed.is_set() for d in (*FakeSpeaker.opened, *FakeMicrophone.opened))


@pytest.mark.parametrize("cancel_echo", [False, True])
async def test_headphones_leave_the_microphone_as_it_is(hardware: None, cancel_echo: bool) -> None:
    """Without them a canceller stands between, which takes a constant out as it takes an echo."""
    frames: list[Samples] = []
    enough = asyncio.Event()

    async def captured(samples: Samples, at: float) -> None:
        frames.append(samples)
        if len(frames) >= 50:
            enough.set()

    card = DeviceCard(capture_rate_hz=16_000, frame_ms=20, cancel_echo=cancel_echo)
    playback = PlaybackBuffer(24_000)
    running = asyncio.create_task(card.run(playback, captured, lambda _samples, _at: None))
    async with asyncio.timeout(10):
        await enough.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    heard = np.concatenate(frames)
    assert {len(frame) for frame in frames} == {320}
    assert bool(np.all(heard == 5)) is not cancel_echo


async def test_a_device_that_cannot_be_opened_is_told_and_the_other_closed(
    hardware: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(**_options: Any) -> None:
        raise miniaudio.MiniaudioError("failed to init device", -401)

    monkeypatch.setattr(miniaudio, "CaptureDevice", busy)
    card = DeviceCard(capture_rate_hz=16_000, frame_ms=20)

    async def captured(_samples: Samples, _at: float) -> None:
        raise AssertionError

    with pytest.raises(CliFailure, match="microphone") as caught:
        await card.run(PlaybackBuffer(24_000), captured, lambda _samples, _at: None)
    assert caught.value.exit_code is ExitCode.NO_AUDIO_DEVICE
    assert [d.closed.is_set() for d in FakeSpeaker.opened] == [True]


# -- keys -----------------------------------------------------------------------------------------


class Hum:
    """A microphone in front of somebody who hums without an end."""

    def next_frame(self, count: int) -> Samples:
        return np.full(count, 3000, dtype=np.int16)


class LevelsOnly:
    """A presenter that shows nothing and keeps the levels."""

    def __init__(self, levels: list[float]) -> None:
        self._levels = levels

    def on_event(self, event: TalkEvent, view: SessionView, at_ms: float) -> None:
        pass

    def on_level(self, level_dbfs: float) -> None:
        self._levels.append(level_dbfs)

    def close(self, view: SessionView) -> None:
        pass


async def until(condition: Callable[[], bool]) -> None:
    """Wait for the clock of the virtual card to make something true."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def live_talk(
    address: str,
    options: TalkOptions,
    script: Callable[[Talk], Awaitable[None]],
    levels: list[float] | None = None,
) -> Talk:
    """Hold a talk with a humming microphone; `script` presses the keys."""
    presenter = LevelsOnly([] if levels is None else levels)
    async with ParleyClient(parse_endpoint(address)) as client:
        await client.register("ana", PASSWORD)
        card = VirtualCard(Hum(), sample_rate_hz=16_000, frame_ms=20, now=time.monotonic)
        talk = Talk(client, options, card=card, driver=script, presenter=presenter)
        async with asyncio.timeout(20):
            await talk.run()
    return talk


async def test_push_to_talk_sends_only_between_the_presses(fake: FakeParley, address: str) -> None:
    async def press(talk: Talk) -> None:
        await until(lambda: len(levels) > 3)
        assert "audio" not in fake.requests
        assert not talk.view.microphone_open
        await talk.space_pressed()
        assert talk.view.microphone_open
        await until(lambda: len(fake.requests.get("audio", [])) > 3)
        await talk.space_pressed()
        assert await talk.wait_until(lambda: any(t.end for t in talk.view.turns), 5)

    levels: list[float] = []
    talk = await live_talk(address, TalkOptions(push_to_talk=True), press, levels)
    assert len(fake.requests["end_turn"]) == 1
    first = fake.requests["audio"][0].audio
    assert first.first_sample > 0, "what was not sent counts as time"
    assert (levels[0], max(levels) > -30) == (-100.0, True)
    assert [turn.end for turn in talk.view.turns if turn.generation] == ["completed"]


async def test_without_push_to_talk_silence_ends_turns_whatever_the_profile_says(
    fake: FakeParley, address: str
) -> None:
    """No turn of such a talk ever ended: an unset field is the profile's."""

    async def leave(_talk: Talk) -> None:
        return

    await live_talk(address, TalkOptions(), leave)
    (start,) = fake.starts
    told = start.turn_taking
    assert (told.HasField("push_to_talk"), told.push_to_talk) == (True, False)
    assert not told.HasField("patience")


async def test_pressing_to_talk_stops_a_tutor_who_speaks_before_the_first_word(
    fake: FakeParley, address: str
) -> None:
    """A word said over the reply was taken for a "mhm", and never answered."""

    async def press(talk: Talk) -> None:
        assert await talk.wait_until(lambda: any(t.heard_ms for t in talk.view.turns), 5)
        await talk.space_pressed()
        assert talk.drained
        await until(lambda: bool(fake.requests.get("audio")))
        await talk.space_pressed()
        assert await talk.wait_until(lambda: len(talk.view.turns) > 1, 5)

    options = TalkOptions(push_to_talk=True, tutor_opens=True)
    talk = await live_talk(address, options, press)
    (interrupt,) = fake.requests["interrupt"]
    assert interrupt.interrupt.generation == 1
    assert interrupt.seq < fake.requests["audio"][0].seq
    assert talk.view.turns[0].end == "interrupted"
    assert talk.view.turns[1].utterance


class HandCard:
    """A card whose frames are delivered by hand."""

    def __init__(self) -> None:
        self.deliver: OnCaptured | None = None

    async def run(
        self, playback: PlaybackBuffer, on_captured: OnCaptured, on_played: OnPlayed
    ) -> None:
        self.deliver = on_captured
        await asyncio.Event().wait()


async def test_what_was_said_before_the_closing_press_is_sent(
    fake: FakeParley, address: str
) -> None:
    """The end of the last word was still in the card when the key went down."""
    pressed_at = 100.0
    card = HandCard()
    frame = np.full(320, 3000, dtype=np.int16)

    async def press(talk: Talk) -> None:
        await until(lambda: card.deliver is not None)
        assert card.deliver is not None
        await talk.space_pressed()
        await card.deliver(frame, pressed_at - 0.035)
        releasing = asyncio.ensure_future(talk.space_pressed())
        await asyncio.sleep(0)
        await card.deliver(frame, pressed_at - 0.015)
        # A finger that trembles.
        await talk.space_pressed()
        await card.deliver(frame, pressed_at + 0.005)
        await card.deliver(frame, pressed_at + 0.025)
        await releasing
        assert await talk.wait_until(lambda: any(t.generation for t in talk.view.turns), 5)

    async with ParleyClient(parse_endpoint(address)) as client:
        await client.register("ana", PASSWORD)
        options = TalkOptions(push_to_talk=True, captions_only=True)
        talk = Talk(
            client,
            options,
            card=card,
            driver=press,
            presenter=LevelsOnly([]),
            now=lambda: pressed_at,
        )
        async with asyncio.timeout(20):
            await talk.run()
    assert [each.audio.first_sample for each in fake.requests["audio"]] == [0, 320, 640]
    (end,) = fake.requests["end_turn"]
    assert end.seq > fake.requests["audio"][-1].seq


async def test_muting_stops_the_microphone_and_tells_the_server(
    fake: FakeParley, address: str
) -> None:
    counts: list[int] = []

    async def press(talk: Talk) -> None:
        await until(lambda: bool(fake.requests.get("audio")))
        await talk.toggle_mute()
        # A frame may be on its way already.
        await asyncio.sleep(0.05)
        counts.append(len(fake.requests["audio"]))
        await asyncio.sleep(0.2)
        counts.append(len(fake.requests["audio"]))
        await talk.toggle_mute()
        await until(lambda: len(fake.requests["audio"]) > counts[1])

    await live_talk(address, TalkOptions(), press)
    assert counts[0] == counts[1]
    assert [r.settings.muted for r in fake.requests["settings"]] == [True, False]


async def test_space_stops_the_tutor_at_once(fake: FakeParley, address: str) -> None:
    async def press(talk: Talk) -> None:
        assert await talk.wait_until(lambda: any(t.heard_ms for t in talk.view.turns), 5)
        await talk.space_pressed()
        assert talk.drained
        assert await talk.wait_until(lambda: any(t.end for t in talk.view.turns), 5)

    talk = await live_talk(address, TalkOptions(tutor_opens=True), press)
    (interrupt,) = [r.interrupt for r in fake.requests["interrupt"]]
    assert interrupt.generation == 1
    assert 0 < interrupt.heard_ms < 1320
    assert talk.view.turns[0].end == "interrupted"
    last = fake.requests["heard"][-1]
    assert (last.heard.generation, last.heard.audio_ms) == (1, interrupt.heard_ms)
    assert last.seq == fake.requests["interrupt"][0].seq - 1


# -- a server that is gone ------------------------------------------------------------------------


async def talk_until_the_server_stops(
    options: TalkOptions, then: Callable[[Talk], Awaitable[None]]
) -> float:
    """Stop the server in the middle of a talk; return the seconds until the talk failed."""
    server, port = serve(FakeParley(), "127.0.0.1:0")
    stopped_at = 0.0

    async def stop(talk: Talk) -> None:
        nonlocal stopped_at
        assert await talk.wait_until(lambda: talk.view.floor is Floor.LISTENING, 5)
        await asyncio.to_thread(lambda: server.stop(grace=0).wait())
        stopped_at = time.monotonic()
        await then(talk)
        await asyncio.Event().wait()

    try:
        await live_talk(f"127.0.0.1:{port}", options, stop)
    finally:
        server.stop(grace=0).wait()
    return time.monotonic() - stopped_at


async def test_leaving_does_not_wait_for_a_lost_connection() -> None:
    async def leave(talk: Talk) -> None:
        assert await talk.wait_until(lambda: talk.view.floor is Floor.RECONNECTING, 5)
        talk.leave()

    with pytest.raises(CliFailure, match="while its connection was lost") as caught:
        async with asyncio.timeout(8):
            await talk_until_the_server_stops(TalkOptions(), leave)
    assert caught.value.exit_code is ExitCode.UNREACHABLE


async def test_a_connection_lost_while_leaving_ends_the_talk() -> None:
    async def leave(talk: Talk) -> None:
        talk.leave()

    with pytest.raises(CliFailure, match="while its connection was lost"):
        async with asyncio.timeout(8):
            await talk_until_the_server_stops(TalkOptions(), leave)


async def nothing(_talk: Talk) -> None:
    pass


async def test_a_server_that_said_goodbye_and_is_gone_has_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(converse, "STOPPED_AFTER_S", 0.3)
    with pytest.raises(CliFailure, match="was stopped, and the conversation with it") as caught:
        async with asyncio.timeout(10):
            await talk_until_the_server_stops(TalkOptions(engine="leaving"), nothing)
    assert caught.value.exit_code is ExitCode.UNREACHABLE


async def test_a_server_that_is_gone_without_a_word_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(converse, "STOPPED_AFTER_S", 0.0)
    monkeypatch.setattr(converse, "RECONNECT_FOR_S", 1.5)
    with pytest.raises(CliFailure, match="could not be resumed"):
        async with asyncio.timeout(10):
            await talk_until_the_server_stops(TalkOptions(), nothing)


# -- Ctrl-C ---------------------------------------------------------------------------------------


def start_talk(parley: Parley, config: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "parley_cli", "talk", *arguments],
        env={**os.environ, "PARLEY_SERVER": parley.address, "PARLEY_CONFIG_DIR": str(config)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_ends_in_good_order(parley: Parley, config_dir: Path, write_wav: WriteWav) -> None:
    parley.register()
    long = write_wav(speech_ms=30_000)
    with start_talk(parley, config_dir, "-i", str(long), "--json") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if '"speech_started"' in line:
                break
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=20)
    assert '"ended"' in rest
    assert (process.returncode, errors) == (0, "")
    assert len(parley.fake.requests["finish"]) == 1


def test_a_second_ctrl_c_ends_at_once(
    parley: Parley, config_dir: Path, write_wav: WriteWav
) -> None:
    parley.register()
    parley.fake.never_ends = True
    long = write_wav(speech_ms=30_000)
    with start_talk(parley, config_dir, "-i", str(long), "--json") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if '"speech_started"' in line:
                break
        process.send_signal(signal.SIGINT)
        while "finish" not in parley.fake.requests:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, "")
