"""The same recordings through several engines, side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parley.ai.v1 import ai_pb2
from parley_cli.compare.page import page
from parley_cli.compare.results import Prices, Run, Sample, summary
from parley_cli.compare.words import Pair, aligned, error_count, words_of
from parley_cli.stages import StageView
from tests.unit.cli.conftest import Parley, WriteWav

SAID = "I'd like a cup of tea, please."


@pytest.fixture(autouse=True)
def engines(parley: Parley) -> None:
    """What the scripted server can do, as engines that are on offer."""
    parley.fake.engines = [ai_pb2.EngineInfo(name=name) for name in ("scripted", "full")]


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


# --- sums and the page ------------------------------------------------------------------------


def a_run(name: str, heard: str, silence_ms: float | None, failure: str = "") -> Run:
    sample = Sample(name, Path(f"{name}.wav"), 3_600.0, SAID)
    stages = (StageView("endpoint", 200.0), StageView("first_token", silence_ms or 0.0))
    return Run("one", sample, heard, "x" * 400, silence_ms, stages, failure)


def test_sums_are_over_all_words_medians_of_times_and_estimates_of_costs():
    runs = [
        a_run("a", SAID, 300.0),
        a_run("b", "I'd like tea", 500.0),
        a_run("c", SAID, 900.0),
        a_run("d", "", None, failure="no answer within 30 s"),
    ]
    made = summary("one", runs, Prices(audio_hour=1.0, million_tokens=10.0, million_characters=5.0))
    assert (made.answered, made.runs) == (3, 4)
    assert made.word_error_rate == pytest.approx(4 / 21)
    assert made.silence_ms == 500.0
    assert made.stages_ms == {"endpoint": 200.0, "first_token": 500.0}
    assert made.cost == pytest.approx(100 * (0.001 + 0.001 + 0.002))
    assert summary("one", runs, Prices()).cost is None


def test_the_page_marks_what_is_wrong_and_lets_nothing_of_it_be_markup(tmp_path: Path):
    sample = Sample("<a>", tmp_path / "sounds" / "a b.wav", 1000.0, "a cup of tea")
    sample.path.parent.mkdir()
    runs = [
        Run("one", sample, "a cap of tea", "<b>Nice!</b>", 300.0, reply_path=tmp_path / "r.wav"),
        Run("two", sample, failure="<i>busy</i>"),
    ]
    text = page([summary("one", runs, Prices())], [sample], runs, tmp_path)
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
    plain = parley.run("compare", "--input", str(recording.parent), "--engines", "scripted")
    assert "words wrong" in plain.out
    assert "Tell me about your holiday" in plain.out


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
