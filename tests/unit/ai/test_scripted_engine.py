"""The scripted engine hears the same in long messages as in short ones."""

import asyncio

import numpy as np
import pytest

from services.ai.audio import samples_of_ms
from services.ai.engine import Audio, SessionConfig, TurnCommitted
from services.ai.engines.scripted import ScriptedEngine
from services.ai.script import Script


@pytest.mark.parametrize("message_ms", [20, 120, 200])
async def test_an_utterance_begins_and_ends_where_it_does_whatever_a_message_holds(
    message_ms: int,
):
    audio = np.zeros(samples_of_ms(3_000), np.int16)
    audio[samples_of_ms(360) : samples_of_ms(1_060)] = 12_000
    session = ScriptedEngine("scripted", Script()).open(SessionConfig())
    try:
        for start in range(0, len(audio), samples_of_ms(message_ms)):
            session.handle(Audio(audio[start : start + samples_of_ms(message_ms)].tobytes()))
        async with asyncio.timeout(5):
            while not isinstance(output := await session.output(), TurnCommitted):
                pass
    finally:
        session.close()
    assert (output.start_ms, output.end_ms) == (360, 1_060)
