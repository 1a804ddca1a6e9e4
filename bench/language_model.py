"""`make bench-language-model`: how fast the language model reads and writes, alone on the machine.

What a learner waits for is the first token after the last words: all before them was read while
they were spoken. So the table counts the words that came after what was read ahead.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer

from bench.report import Spread, table, write
from parley_models import ModelsError, ModelStore, Role, default_models_dir
from services.ai.adapters.llama import LlamaLanguageModel, LlamaSession, LlamaSettings
from services.ai.capabilities import GenerationOptions, Message, ProviderError
from services.ai.capabilities import Role as Speaker

_TUTOR = Message(
    Speaker.SYSTEM,
    "You are a friendly English tutor. Answer in one or two short sentences, and ask one question. "
    * 10,  # as long as Parley's own prompt, within a tenth
)
_WORDS = (
    "yesterday I went to the market with my mother and we bought some apples and then we came "
    "home because it was raining very hard and the bus was late again so we walked all the way"
).split()
_NEW_WORDS = (1, 4, 8, 16, 32)
_REPLY_TOKENS = 40


def main(
    preset: Annotated[str, typer.Option(help="Whose language model to measure.")] = os.environ.get(
        "PRESET", "default"
    ),
    threads: Annotated[int, typer.Option(help="Threads to compute with.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Times each is measured.")] = 5,
) -> None:
    """Print and write the times to the first token and between tokens."""
    store = ModelStore(default_models_dir())
    try:
        name = store.require(preset).roles[Role.LANGUAGE_MODEL]
        weights = next(store.path(name).glob("*.gguf"))
        with tempfile.TemporaryDirectory() as folder:
            settings = LlamaSettings(weights, Path(folder), sessions=3, threads=threads)
            result = asyncio.run(measure(settings, rounds))
    except (ModelsError, ProviderError) as error:
        raise SystemExit(f"bench-language-model: {error}") from error
    firsts = result["first_token"]
    table(
        f"{name}, {threads} threads: {result['token']['p50_ms']:.1f} ms a token, loaded in "
        f"{result['load_ms'] / 1000:.1f} s, {result['memory_mib']} MiB",
        ("words after what was read ahead", *firsts),
        [("ms to the first token, p50", *(f"{each['p50_ms']:.0f}" for each in firsts.values()))],
    )
    write("language_model", {"preset": preset, "model": name, "threads": threads, **result})


async def measure(settings: LlamaSettings, rounds: int) -> dict[str, Any]:
    """Load the model, measure it, and return the fields of the result."""
    begin = time.monotonic()
    model = LlamaLanguageModel(settings)
    try:
        load_ms = round(1000 * (time.monotonic() - begin))
        await model.warm([_TUTOR])
        session = model.open()
        firsts = {
            str(words): Spread.of([await first_token(session, words, i) for i in range(rounds)])
            for words in _NEW_WORDS
        }
        gaps = [gap for index in range(rounds) for gap in await gaps_of_reply(session, index)]
        session.close()
        return {
            "load_ms": load_ms,
            "memory_mib": psutil.Process().memory_info().rss >> 20,
            "first_token": {words: spread.fields() for words, spread in firsts.items()},
            "token": Spread.of(gaps).fields(),
        }
    finally:
        model.close()


async def first_token(session: LlamaSession, words: int, number: int) -> float:
    """Return the milliseconds to the first token when `words` follow what was read ahead."""
    begun = f"This is number {number} of {words}."
    await session.prime(_asked(begun))
    whole = _asked(" ".join([begun, *_WORDS[:words]]))
    begin = time.perf_counter()
    async for _ in session.stream(whole, GenerationOptions(temperature=0.0, max_tokens=1)):
        pass
    return 1000 * (time.perf_counter() - begin)


async def gaps_of_reply(session: LlamaSession, number: int) -> list[float]:
    """Return the milliseconds between the tokens of a reply."""
    options = GenerationOptions(max_tokens=_REPLY_TOKENS, seed=number)
    pieces = session.stream(_asked(f"Tell me a story about {_WORDS[number]}."), options)
    times = [1000 * time.perf_counter() async for _ in pieces]
    return [later - earlier for earlier, later in pairwise(times)]


def _asked(text: str) -> list[Message]:
    return [_TUTOR, Message(Speaker.USER, text)]


if __name__ == "__main__":
    typer.run(main)
