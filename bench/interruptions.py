"""Speaking over the tutor, at random moments, with words and with "mhm", coughs and echo.

`make bench-interruptions`; what it prints and writes is in bench/README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from bench.interruptions_learner import Interruption, Learner
from bench.interruptions_models import read_back, voices
from bench.interruptions_sounds import Sounds, Tones
from bench.report import Spread, table, write
from bench.server import Server, running_server
from bench.speech import DEFAULT_FOLDER
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
MS_PER_WORD = 300
WORDS = ("Wait, I have a question.", "I think you are wrong.", "Yes but what about buses?")
BACKCHANNELS = ("Mhm.", "Yeah.", "Uh-huh.", "Okay.", "Right.")
REPLY_MS = len(REPLY.split()) * MS_PER_WORD
# How long real replies are expected to last; one that is over sooner is no loss.
REAL_REPLY_MS = 4_500

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


@dataclass(frozen=True, slots=True)
class Talk:
    """How to talk: the engine ("" for the server's own), the sounds, how long replies last."""

    engine: str
    sounds: Sounds
    reply_ms: int


SCRIPTED = Talk(ENGINE, Tones(), REPLY_MS)


async def converse(server: Server, talk: Talk, count: int, seed: int) -> list[Interruption]:
    """Hold one conversation with `count` interruptions, half of them with words."""
    random = Random(seed)
    kinds = [index % 2 == 0 for index in range(count)]
    random.shuffle(kinds)
    found: list[Interruption] = []
    async with server.client() as client:
        start = conversation_pb2.StartSession(engine=talk.engine, no_recording=True)
        async with client.converse(start) as stream, asyncio.TaskGroup() as group:
            learner = Learner(stream, talk.sounds, random)
            learner.start(group)
            for words in kinds:
                # A reply that was over too early is no interruption: the next one is tried.
                while (one := await learner.interrupt(words, talk.reply_ms)) is None:
                    pass
                found.append(one)
            learner.stop()
    return found


async def measure(
    server: Server, talk: Talk, count: int, learners: int, seed: int
) -> list[Interruption]:
    """Hold `learners` conversations at once, with `count` interruptions in all."""
    share = [count // learners + (index < count % learners) for index in range(learners)]
    async with asyncio.TaskGroup() as group:
        talks = [
            group.create_task(converse(server, talk, each, seed + index))
            for index, each in enumerate(share)
        ]
    return [one for talk in talks for one in talk.result()]


def count_words(found: Sequence[Interruption]) -> None:
    """Say how many words `heard` is off where every word lasts as long as the script says."""
    for one in found:
        # A word counts when at least half of it was played.
        played = one.text.split()[: int(one.played_ms / MS_PER_WORD + 0.5)]
        heard = one.heard.split()
        common = min(len(played), len(heard))
        longest = max(len(played), len(heard))
        one.words_off = longest - common if played[:common] == heard[:common] else longest


def summarise(found: Sequence[Interruption]) -> dict[str, Any]:
    """Return the result's fields."""
    words = [one for one in found if one.words]
    others = [one for one in found if not one.words]
    told = [one.told_ms for one in found if one.told_ms is not None]
    off = [one.words_off for one in words if one.ended]
    went_on = [one for one in others if not one.ended]
    return {
        "interruptions": len(found),
        "words": len(words),
        "backchannels": len(others),
        "told_ms": Spread.of(told).fields(),
        "late_ms_of_the_longest": max(
            ((one.told_ms, one.late_ms) for one in found if one.told_ms is not None),
            default=(0.0, 0.0),
        )[1],
        "never_told": sum(one.told_at is None for one in words),
        "unnoticed": sum(one.told_at is None for one in others),
        "stale_messages": sum(one.stale for one in found),
        "misplaced_audio": sum(one.misplaced for one in found),
        "words_that_stopped": sum(one.ended for one in words),
        "heard_off_by_more_than_a_word": sum(words_off > 1 for words_off in off),
        "heard_off_by_a_word": sum(words_off == 1 for words_off in off),
        "backchannels_resumed": len(went_on),
        "resumed_share": len(went_on) / len(others) if others else 1.0,
        "by_kind": {
            kind: {
                "count": len(those := [one for one in others if one.kind == kind]),
                "resumed": sum(not one.ended for one in those),
            }
            for kind in sorted({one.kind for one in others})
        },
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
        ("  of them never noticed", str(result["unnoticed"]), ""),
    ]
    if len(result["by_kind"]) > 1:
        rows += [
            (f"  {kind}", f"{one['resumed']}/{one['count']}", "")
            for kind, one in result["by_kind"].items()
        ]
    title = f"{result['interruptions']} interruptions, {result['learners']} learners at once"
    table(title, ["", "measured", "budget"], rows)


def _scripted(arguments: argparse.Namespace, folder: Path) -> list[Interruption]:
    with Stack(folder / "d", engine=ENGINE, settings=settings(folder)) as stack:
        server = Server(stack.address, "scripted")
        found = asyncio.run(
            measure(server, SCRIPTED, arguments.count, arguments.learners, arguments.seed)
        )
    count_words(found)
    return found


def _real(arguments: argparse.Namespace) -> list[Interruption]:
    talk = Talk("", voices(arguments.data), REAL_REPLY_MS)
    with running_server(arguments.preset) as server:
        found = asyncio.run(
            measure(server, talk, arguments.count, arguments.learners, arguments.seed)
        )
    read_back(found, arguments.preset)
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="make bench-interruptions")
    parser.add_argument("--count", type=int, default=200, help="interruptions of both kinds")
    parser.add_argument("--learners", type=int, default=4, help="conversations at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--preset",
        default="",
        help="real models, which hear recordings, backchannels, coughs and echo (default: scripted"
        " ones); use fewer --learners, one for every two cores",
    )
    parser.add_argument(
        "--data", type=Path, default=DEFAULT_FOLDER, help="recordings to interrupt with, for those"
    )
    arguments = parser.parse_args()
    if arguments.preset:
        found = _real(arguments)
    else:
        with tempfile.TemporaryDirectory(prefix="parley-bench-") as name:
            found = _scripted(arguments, Path(name))
    result = {
        "seed": arguments.seed,
        "learners": arguments.learners,
        "models": arguments.preset or "scripted",
        **summarise(found),
    }
    _show(result)
    details = [
        {**{k: v for k, v in asdict(one).items() if k != "sound"}, "told_ms": one.told_ms}
        for one in found
    ]
    name = f"interruptions-{arguments.preset}" if arguments.preset else "interruptions"
    write(name, {**result, "details": details})
    if missed := missed_budgets(result):
        raise SystemExit(f"bench-interruptions: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
