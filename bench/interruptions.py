"""Speaking over the tutor, at random moments, with words and with "mhm".

`make bench-interruptions`; what it prints and writes is in bench/README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

from bench.interruptions_learner import MS_PER_WORD, Interruption, Learner
from bench.report import Spread, table, write
from bench.server import Server
from parley.conversation.v1 import conversation_pb2
from tests.stack import Stack

ENGINE = "scripted-pipeline"
"""The real pipeline, with its turn-taking and its captions, over instant models."""

# Two or three sentences, as a tutor's; a word every 300 ms. The recognizer shows a word more for
# every 300 ms of speech, so these take the floor with their first, second or third word.
REPLY = (
    "Well, that is a very good question about travelling by train. Let me tell you what I know"
    " about it. Most people in my country like to go by night."
)
WORDS = ("Wait, I have a question.", "I think you are wrong.", "Yes but what about buses?")
BACKCHANNELS = ("Mhm.", "Yeah.", "Uh-huh.", "Okay.", "Right.")
REPLY_MS = len(REPLY.split()) * MS_PER_WORD

BUDGET_MS = 250.0
RESUMED_SHARE = 0.9


def script() -> str:
    """Return the script of the engine, as a TOML file."""
    return "\n".join(
        [
            "[recognizer]",
            f"texts = {_toml(WORDS)}",
            f"loud_texts = {_toml(BACKCHANNELS)}",
            "[language_model]",
            f"replies = {_toml([REPLY])}",
            "[synthesizer]",
            f"ms_per_word = {MS_PER_WORD}",
        ]
    )


def settings(folder: Path) -> dict[str, str]:
    """Write the script into `folder`; return the settings of a server that follows it."""
    file = folder / "interruptions.toml"
    file.write_text(script(), "utf-8")
    return {"PARLEY_AI_SCRIPT": str(file)}


async def converse(server: Server, count: int, seed: int) -> list[Interruption]:
    """Hold one conversation with `count` interruptions, half of them with words."""
    random = Random(seed)
    kinds = [index % 2 == 0 for index in range(count)]
    random.shuffle(kinds)
    found: list[Interruption] = []
    async with server.client() as client:
        start = conversation_pb2.StartSession(engine=ENGINE, no_recording=True)
        async with client.converse(start) as stream, asyncio.TaskGroup() as group:
            learner = Learner(stream, random)
            learner.start(group)
            for words in kinds:
                # A reply that was over too early is no interruption: the next one is tried.
                while (one := await learner.interrupt(words=words, reply_ms=REPLY_MS)) is None:
                    pass
                found.append(one)
            learner.stop()
    return found


async def measure(server: Server, count: int, learners: int, seed: int) -> list[Interruption]:
    """Hold `learners` conversations at once, with `count` interruptions in all."""
    share = [count // learners + (index < count % learners) for index in range(learners)]
    async with asyncio.TaskGroup() as group:
        talks = [
            group.create_task(converse(server, each, seed + index))
            for index, each in enumerate(share)
        ]
    return [one for talk in talks for one in talk.result()]


def summarise(found: Sequence[Interruption]) -> dict[str, Any]:
    """Return the result's fields."""
    words = [one for one in found if one.words]
    backchannels = [one for one in found if not one.words]
    told = [one.told_ms for one in found if one.told_ms is not None]
    off = [one.words_off for one in words if one.ended]
    resumed = [one for one in backchannels if one.resumed_at is not None and not one.ended]
    return {
        "interruptions": len(found),
        "words": len(words),
        "backchannels": len(backchannels),
        "told_ms": Spread.of(told).fields(),
        "late_ms_of_the_longest": max(
            ((one.told_ms, one.late_ms) for one in found if one.told_ms is not None),
            default=(0.0, 0.0),
        )[1],
        "never_told": len(found) - len(told),
        "stale_messages": sum(one.stale for one in found),
        "misplaced_audio": sum(one.misplaced for one in found),
        "words_that_stopped": sum(one.ended for one in words),
        "heard_off_by_more_than_a_word": sum(words_off > 1 for words_off in off),
        "heard_off_by_a_word": sum(words_off == 1 for words_off in off),
        "backchannels_resumed": len(resumed),
        "resumed_share": len(resumed) / len(backchannels) if backchannels else 1.0,
    }


def missed_budgets(result: Mapping[str, Any]) -> list[str]:
    """Return what of the budgets was missed, in words."""
    checks = {
        f"told to stop later than {BUDGET_MS:.0f} ms at p95": result["told_ms"]["p95_ms"]
        > BUDGET_MS,
        "some were never told to stop": result["never_told"] > 0,
        "something came after the stop": result["stale_messages"] > 0,
        "audio was lost or repeated": result["misplaced_audio"] > 0,
        "words did not take the floor": result["words_that_stopped"] < result["words"],
        "the heard text is off by more than a word": result["heard_off_by_more_than_a_word"] > 0,
        f"fewer than {RESUMED_SHARE:.0%} of the backchannels resumed": result["resumed_share"]
        < RESUMED_SHARE,
    }
    return [words for words, is_missed in checks.items() if is_missed]


def _toml(texts: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{text}"' for text in texts) + "]"


def _show(result: dict[str, Any]) -> None:
    told = result["told_ms"]
    rows = [
        ("told to stop, p50", f"{told['p50_ms']:.0f} ms", ""),
        ("told to stop, p95", f"{told['p95_ms']:.0f} ms", f"at most {BUDGET_MS:.0f} ms"),
        ("told to stop, longest", f"{told['max_ms']:.0f} ms", ""),
        ("  the machine was late then by", f"{result['late_ms_of_the_longest']:.0f} ms", ""),
        ("never told", str(result["never_told"]), "0"),
        ("text and audio after it", str(result["stale_messages"]), "0"),
        ("audio lost or repeated", str(result["misplaced_audio"]), "0"),
        ("words that took the floor", f"{result['words_that_stopped']}/{result['words']}", "all"),
        ("heard text off by > 1 word", str(result["heard_off_by_more_than_a_word"]), "0"),
        (
            "backchannels resumed",
            f"{result['backchannels_resumed']}/{result['backchannels']}",
            f"at least {RESUMED_SHARE:.0%}",
        ),
    ]
    title = f"{result['interruptions']} interruptions, {result['learners']} learners at once"
    table(title, ["", "measured", "budget"], rows)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="make bench-interruptions")
    parser.add_argument("--count", type=int, default=200, help="interruptions of both kinds")
    parser.add_argument("--learners", type=int, default=4, help="conversations at once")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as name:
        folder = Path(name)
        with Stack(folder / "d", engine=ENGINE, settings=settings(folder)) as stack:
            server = Server(stack.address, "scripted")
            found = asyncio.run(
                measure(server, arguments.count, arguments.learners, arguments.seed)
            )
    result = {"seed": arguments.seed, "learners": arguments.learners, **summarise(found)}
    _show(result)
    details = [{**asdict(one), "told_ms": one.told_ms} for one in found]
    write("interruptions", {**result, "details": details})
    if missed := missed_budgets(result):
        raise SystemExit(f"bench-interruptions: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
