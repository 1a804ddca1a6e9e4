"""What the platform adds to a turn when the models are instant: one session, nothing else.

The learner ends each turn with `end_turn`, so no wait for silence is in it: from the sending of
that message, through the gateway and every service, to the arrival of the first reply audio.
"""

from __future__ import annotations

import asyncio
import time

from bench.live import RATE_HZ
from bench.sessions_load import FRAME_S, LOUD
from parley.conversation.v1 import conversation_pb2
from parley_cli.client.converse import ConverseStream
from parley_cli.client.parley_client import ParleyClient

_FRAME_SAMPLES = RATE_HZ // 50
_SPEECH_FRAMES = 25
_TIMEOUT_S = 5.0
# The first turns open connections between the services and fill their caches.
_WARM_UP = 5


async def measure_overhead(client: ParleyClient, turns: int) -> list[float]:
    """Return the milliseconds of each of `turns` turns.

    Raises `TimeoutError` when a turn is not answered in five seconds.
    """
    start = conversation_pb2.StartSession(no_recording=True, client="bench-sessions")
    start.turn_taking.push_to_talk = True
    async with client.converse(start) as stream, asyncio.TaskGroup() as tasks:
        arrivals: asyncio.Queue[tuple[int, float]] = asyncio.Queue()
        listening = tasks.create_task(_note_replies(stream, arrivals))
        waits = [await _turn(stream, turn, arrivals) for turn in range(_WARM_UP + turns)]
        listening.cancel()
    return waits[_WARM_UP:]


async def _turn(
    stream: ConverseStream, turn: int, arrivals: asyncio.Queue[tuple[int, float]]
) -> float:
    started = time.monotonic()
    for index in range(_SPEECH_FRAMES):
        await asyncio.sleep(started + (index + 1) * FRAME_S - time.monotonic())
        first = (turn * _SPEECH_FRAMES + index) * _FRAME_SAMPLES
        await stream.send_audio(LOUD, first)
    ended = time.monotonic()
    await stream.end_turn()
    generation, arrived = await asyncio.wait_for(arrivals.get(), _TIMEOUT_S)
    await stream.interrupt(generation)
    # The next turn meets a listening session, not the end of this one.
    await asyncio.sleep(10 * FRAME_S)
    return 1000 * (arrived - ended)


async def _note_replies(stream: ConverseStream, arrivals: asyncio.Queue[tuple[int, float]]) -> None:
    generation = 0
    async for response in stream:
        if response.HasField("reply_audio") and response.generation != generation:
            generation = response.generation
            arrivals.put_nowait((generation, time.monotonic()))
