"""A session that ended, or was broken off, leaves nothing behind for Python's collector.

It looks at what is old seldom: what waits for it is memory that no talk uses.
"""

import asyncio
import gc
from collections import Counter
from collections.abc import Collection, Iterator

import pytest

from services.conversation import recorder
from tests.integration.conversation.conftest import Talk, World

FRAME = bytes(640)  # 20 ms at 16 kHz


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def left() -> Counter[str]:
    """Count what there is of the service's own objects, of those that the collector knows."""
    kinds = (type(each) for each in gc.get_objects())
    return Counter(
        f"{kind.__module__}.{kind.__name__}"
        for kind in kinds
        if str(kind.__module__).startswith("services.conversation")
    )


async def gone(before: Counter[str], but: Collection[str] = ()) -> None:
    """Wait until no more is left than there was before, but for things of these names."""
    more: list[str] = []
    try:
        async with asyncio.timeout(20):
            while more := [each for each in left() - before if each.split(".")[-1] not in but]:
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"left are {more}")


async def spoken_and_typed(world: World, talk: Talk) -> None:
    """Say something, type something, and finish."""
    started = await talk.start()
    engine = await world.ai.session()
    for index in range(20):
        await talk.send(audio={"pcm": FRAME, "first_sample": index * 320})
    await engine.speech(0, 200)
    await engine.speak(await engine.commit("I like tea", end_ms=200), "Good")
    await talk.until("turn_saved")
    await talk.send(text={"text": "Hello there"})
    await talk.until("turn_saved")
    await talk.send(finish={})
    await talk.until("ended")
    assert await talk.read() is None
    await world.history.wait_for(started.conversation_id, "ended")


async def broken_off(world: World, talk: Talk) -> None:
    """Cut the stream while the tutor speaks, and never come back."""
    await talk.start()
    engine = await world.ai.session()
    await engine.speak(await engine.commit("I like tea"), "Good", end=False)
    await talk.until("reply_audio")
    talk.call.cancel()


async def test_a_session_is_gone_with_its_end(empty_world: World) -> None:
    world = empty_world
    world.ai.answer = "Yes"
    await world.start(resume_seconds=0.1)
    before = left()
    for lived in (spoken_and_typed, broken_off):
        await lived(world, world.talk())
        await gone(before)


async def test_a_recording_that_is_encoded_late_keeps_nothing_else_of_its_session(
    empty_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take minutes, on a machine that is busy."""
    monkeypatch.setattr(recorder, "_FINISH_TIMEOUT_S", 0.1)
    world = empty_world
    await world.start()
    before = left()
    world.media.encoding.clear()
    talk = world.talk()
    started = await talk.start()
    await talk.send(finish={})
    await talk.to_end()
    await gone(before, but={"Recorder", "GrpcRecordStream", "Plan"})
    assert left()["services.conversation.recorder.Recorder"] == 1
    world.media.encoding.set()
    await world.history.wait_for(started.conversation_id, "recording")
