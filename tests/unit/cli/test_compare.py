"""The same recordings through several engines, side by side."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from parley.ai.v1 import ai_pb2
from parley.ai.v1.ai_pb2 import EnginePrice
from parley_cli.commands import compare as command
from parley_cli.compare import running
from parley_cli.compare.page import page
from parley_cli.compare.recordings import read_samples
from parley_cli.compare.results import Run, Sample, summary
from parley_cli.compare.words import Pair, aligned, error_count, words_of
from parley_cli.stages import StageView
from tests.unit.cli.conftest import Parley, WriteWav
from tests.unit.cli.fake_parley import HEARD_AGAIN, HEARD_UTTERANCE

SAID = "I'd like a cup of tea, please."


@pytest.fixture(autouse=True)
def engines(parley: Parley) -> None:
    """What the scripted server can do, as engines that are on offer."""
    parley.fake.engines = [
        ai_pb2.EngineInfo(name=name)
        for name in ("scripted", "full", "noticing", "careful", "dying")
    ]


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize("engines", ["", " , "])
def test_no_engine_is_a_mistake_in_the_command(parley: Parley, tmp_path: Path, engines: str):
    outcome = parley.run("compare", "--engines", engines, "--input", str(tmp_path))
    assert outcome.code == 2
    assert "No engine was named" in outcome.err


def test_a_folder_without_recordings_is_told_before_anybody_is_asked(
    parley: Parley, tmp_path: Path
):
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder, told in ((empty, "holds no recordings"), (tmp_path / "none", "is no folder")):
        outcome = parley.run("compare", "--engines", "scripted", "--input", str(folder))
        assert outcome.code == 2
        assert told in outcome.err


def test_an_engine_that_is_not_there_is_told_with_those_that_are(
    parley: Parley, write_wav: WriteWav
):
    parley.register()
    folder = write_wav().parent
    outcome = parley.run("compare", "--engines", "scripted,nosuch", "--input", str(folder))
    assert outcome.code == 2
    assert "no engine named nosuch" in outcome.err
    assert "scripted" in outcome.err


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", b"caf\xe9", "a.txt cannot be read"),
        ("transcripts.tsv", b"caf\xe9", "transcripts.tsv cannot be read"),
        ("transcripts.tsv", b"name\twords\na.wav\tHello\n", "no columns named file and transcript"),
        ("transcripts.tsv", b"", "no columns named file and transcript"),
    ],
)
def test_words_that_cannot_be_read_are_told_before_anybody_is_asked(
    parley: Parley, write_wav: WriteWav, name: str, content: bytes, told: str
):
    folder = write_wav("a.wav").parent
    (folder / name).write_bytes(content)
    outcome = parley.run("compare", "--engines", "scripted", "--input", str(folder))
    assert outcome.code == 2
    assert told in " ".join(outcome.err.split())


def test_a_page_that_cannot_be_written_is_told_before_anything_is_said(
    parley: Parley, write_wav: WriteWav, tmp_path: Path
):
    parley.register()
    folder = write_wav().parent
    taken = tmp_path / "taken"
    taken.mkdir()
    outcome = parley.run(
        "compare", "--engines", "scripted", "--input", str(folder), "--output", str(taken)
    )
    assert outcome.code != 0
    assert "taken" in outcome.err
    assert not parley.fake.sessions


# --- words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("", "", 0),
        ("Nice to meet you!", "nice to meet YOU", 0),
        ("It's well-known", "its well known", 0),
        ("Nice to meet you", "Nice meet you", 1),
        ("Nice to meet you", "Nice to to meet you", 1),
        ("Nice to meet you", "Mice to eat you", 2),
        ("Nice to meet you", "", 4),
        ("", "um", 1),
    ],
)
def test_words_wrong_left_out_and_put_in_are_counted(said: str, heard: str, errors: int):
    assert error_count(said, heard) == (errors, len(words_of(said)))


def test_words_stand_beside_those_that_they_were_taken_for():
    pairs = aligned(words_of("a cup of tea"), words_of("a cap tea please"))
    assert [pair for pair in pairs if not pair.is_right] == [
        Pair("cup", "cap"),
        Pair("of", None),
        Pair(None, "please"),
    ]


def test_what_is_said_comes_from_a_table_or_a_file_of_its_own(write_wav: WriteWav):
    folder = write_wav("a.wav").parent
    for name in ("b.wav", "c.wav"):
        write_wav(name)
    (folder / "transcripts.tsv").write_text(
        'seconds\tfile\ttranscript\n1\ta.wav\tSay "tea\n1\tb.wav\tNo\n2\tshort.wav\n'
    )
    (folder / "b.txt").write_text("Yes, please\n")
    found = [(sample.name, sample.said) for sample, _ in read_samples(folder)]
    assert found == [("a", 'Say "tea'), ("b", "Yes, please"), ("c", "")]


# --- sums and the page ------------------------------------------------------------------------


def a_run(name: str, heard: str, silence_ms: float | None, failure: str = "") -> Run:
    sample = Sample(name, Path(f"{name}.wav"), 3_600.0, SAID)
    stages = (StageView("endpoint", 200.0), StageView("first_token", silence_ms or 0.0))
    return Run("one", sample, heard, heard, "x" * 400, silence_ms, stages, failure)


def test_sums_are_over_all_words_medians_of_times_and_estimates_of_costs():
    runs = [
        a_run("a", SAID, 300.0),
        a_run("b", "I'd like tea", 500.0),
        a_run("c", SAID, 900.0),
        a_run("d", "", None, failure="no answer within 30 s"),
    ]
    made = summary(
        "one", runs, EnginePrice(audio_hour=1.0, million_tokens=10.0, million_characters=5.0)
    )
    assert (made.answered, made.runs) == (3, 4)
    assert made.word_error_rate == pytest.approx(4 / 21)
    assert made.silence_ms == 500.0
    assert made.stages_ms == {"endpoint": 200.0, "first_token": 500.0}
    assert made.cost == pytest.approx(100 * (0.001 + 0.001 + 0.002))
    assert summary("one", runs, EnginePrice()).cost is None
    read = summary("one", runs, EnginePrice(million_tokens_read=2.0), prompt_tokens=500)
    assert read.cost == pytest.approx(100 * 0.001)


def test_answers_that_another_had_a_part_in_are_counted_and_told(tmp_path: Path):
    why = "<far> failed: no key"
    stages = (StageView("transcript", 20.0), StageView("first_token", 90.0, why))
    own = replace(a_run("a", SAID, 300.0), stages=stages)
    runs = [own, a_run("b", SAID, 300.0)]
    made = summary("one", runs, EnginePrice())
    assert (made.answered, made.stood_in) == (2, 1)
    text = page([made], [own.sample], runs, tmp_path)
    assert "<th>by others<td class=n>1</tr>" in text
    assert "&lt;far&gt; failed: no key" in text


def test_the_page_marks_what_is_wrong_and_lets_nothing_of_it_be_markup(tmp_path: Path):
    sample = Sample("<a>", tmp_path / "sounds" / "a b.wav", 1000.0, "a cup of tea")
    sample.path.parent.mkdir()
    runs = [
        Run(
            "one",
            sample,
            "a cap of tea",
            "a cap of tea",
            "<b>Nice!</b>",
            300.0,
            reply_path=tmp_path / "r.wav",
        ),
        Run("two", sample, failure="<i>busy</i>"),
    ]
    text = page([summary("one", runs, EnginePrice())], [sample], runs, tmp_path)
    assert "<del>cup</del> <ins>cap</ins>" in text
    assert "&lt;b&gt;Nice!&lt;/b&gt;" in text
    assert "&lt;i&gt;busy&lt;/i&gt;" in text
    assert "src='sounds/a b.wav'" in text
    assert "src='r.wav'" in text


# --- the command ------------------------------------------------------------------------------


def test_recordings_go_through_every_engine_and_onto_the_page(
    parley: Parley, write_wav: WriteWav, tmp_path: Path
):
    parley.register()
    recording = write_wav("tea.wav")
    recording.with_suffix(".txt").write_text("Tell me about your holiday")
    output = tmp_path / "out" / "compared.html"
    output.parent.mkdir()
    command = ("compare", "--input", str(recording.parent), "--output", str(output), "--json")
    outcome = parley.run(*command, "--engines", "scripted,full")
    assert outcome.code == 0, outcome.err
    *runs, first, second = [json.loads(line) for line in outcome.out.splitlines()]
    assert [run["engine"] for run in runs] == ["scripted", "full"]
    assert {run["recording"] for run in runs} == {"tea"}
    assert runs[0]["reply"]
    assert runs[0]["silence_ms"] > 0
    assert runs[1]["failure"]
    assert first["summary"]["answered"] == 1
    assert second["summary"]["answered"] == 0
    text = output.read_text()
    assert (output.parent / "compared-audio" / "tea-scripted.wav").is_file()
    assert "compared-audio/tea-scripted.wav" in text
    # A pipe and the narrowest terminal have 80 columns, and nothing is cut off there.
    narrow = ("compare", "--input", str(recording.parent), "--engines", "scripted,full")
    plain = parley.run(*narrow, env={"COLUMNS": "80"})
    assert plain.out.splitlines()[0].split() == ["scripted", "full"]
    assert {"answered", "words wrong", "silence", "100 turns"} <= {
        line.strip().partition("   ")[0] for line in plain.out.splitlines()
    }
    assert "Tell me about your holiday" in plain.out


def test_a_notice_on_the_way_to_an_answer_is_no_failure(parley: Parley, write_wav: WriteWav):
    parley.register()
    folder = write_wav().parent
    outcome = parley.run("compare", "--engines", "noticing", "--input", str(folder), "--json")
    assert outcome.code == 0, outcome.err
    (run, total) = [json.loads(line) for line in outcome.out.splitlines()]
    assert run["reply"]
    assert not run["failure"]
    assert total["summary"]["answered"] == 1


def test_a_reply_that_breaks_in_the_middle_is_a_failure(parley: Parley, write_wav: WriteWav):
    parley.register()
    folder = write_wav().parent
    outcome = parley.run("compare", "--engines", "dying", "--input", str(folder), "--json")
    assert outcome.code == 6
    (run, total) = [json.loads(line) for line in outcome.out.splitlines()]
    assert run["failure"]
    assert total["summary"]["answered"] == 0


def test_what_was_heard_a_second_time_is_no_second_utterance(
    parley: Parley, write_wav: WriteWav, tmp_path: Path
):
    parley.register()
    recording = write_wav("market.wav")
    recording.with_suffix(".txt").write_text(HEARD_AGAIN)
    folder, output = recording.parent, tmp_path / "page.html"
    command = ("compare", "--engines", "scripted,careful", "--input", str(folder))
    outcome = parley.run(*command, "--json", "--output", str(output))
    assert outcome.code == 0, outcome.err
    scripted, careful, *sums = [json.loads(line) for line in outcome.out.splitlines()]
    assert scripted["heard"] == scripted["stored"] == careful["heard"] == HEARD_UTTERANCE
    assert careful["stored"] == HEARD_AGAIN
    first, second = [each["summary"] for each in sums]
    assert first["word_error_rate"] == second["word_error_rate"] == pytest.approx(1 / 6)
    assert (first["stored_error_rate"], second["stored_error_rate"]) == (None, 0.0)
    assert "stored:</span> i went to the market yesterday" in output.read_text()
    assert "as stored" in parley.run(*command).out


def test_what_was_found_outlives_a_comparison_that_is_broken_off(
    parley: Parley, write_wav: WriteWav, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    parley.register()
    write_wav("a.wav")
    folder = write_wav("b.wav").parent
    output = tmp_path / "out" / "compared.html"
    once = running.compare_one

    async def break_off(client: Any, engine: str, sample: Sample, *rest: Any) -> Run:
        if sample.name == "b":
            raise KeyboardInterrupt
        return await once(client, engine, sample, *rest)

    monkeypatch.setattr(command, "compare_one", break_off)
    outcome = parley.run(
        *("compare", "--engines", "scripted", "--input", str(folder)),
        *("--output", str(output), "--json"),
    )
    assert outcome.code == 130
    assert [json.loads(line)["recording"] for line in outcome.out.splitlines()] == ["a"]
    assert "compared-audio/a-scripted.wav" in output.read_text()


def test_where_nobody_answers_the_command_fails(parley: Parley, write_wav: WriteWav):
    parley.register()
    folder = write_wav().parent
    outcome = parley.run("compare", "--input", str(folder), "--engines", "full")
    assert outcome.code != 0


def test_engines_are_listed_with_the_silence_before_their_replies(parley: Parley):
    parley.register()
    engine = ai_pb2.EngineInfo(name="fast", available=True, seen_latency_ms=640)
    parley.fake.engines = [engine]
    assert "640 ms" in parley.run("engines").out
