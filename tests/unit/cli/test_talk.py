"""Talking from recordings and by typing, against the scripted server, in real time."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parley_cli.audio import devices
from parley_cli.talk import conversation
from tests.unit.cli.conftest import Outcome, Parley, WriteWav
from tests.unit.cli.fake_parley import CONVERSATION_ID, HEARD_UTTERANCE, REPLY

REPLY_MS = 1320


def events(outcome: Outcome, *names: str) -> list[dict[str, Any]]:
    """The JSON events of a talk, of some names or all."""
    found = [json.loads(line) for line in outcome.out.splitlines()]
    return [event for event in found if not names or event["event"] in names]


def read(path: Path) -> tuple[np.ndarray[Any, Any], int]:
    with wave.open(str(path)) as reader:
        data = np.frombuffer(reader.readframes(reader.getnframes()), dtype="<i2")
        return data.reshape(-1, reader.getnchannels()), reader.getframerate()


def test_a_recording_is_spoken_answered_and_measured(
    parley: Parley, write_wav: WriteWav, tmp_path: Path
) -> None:
    parley.register()
    reply, mix = tmp_path / "reply.wav", tmp_path / "mix.wav"
    question = write_wav(speech_ms=300, silence_ms=100)
    outcome = parley.run(
        "talk", "-i", str(question), "-o", str(reply), "--output-mix", str(mix), "--json"
    )
    assert outcome.code == 0, outcome.err

    (measured,) = events(outcome, "turn_measured")
    (sent,) = events(outcome, "utterance_sent")
    # 300 ms of lead-in, then 300 ms of tone: the truth to within a frame of the measure.
    assert sent["speech_end_ms"] == pytest.approx(600, abs=10)
    assert measured["speech_end_source"] == "waveform"
    # The server answers after 300 ms of silence; frames of 20 ms round up, the machine adds a bit.
    assert 290 <= measured["voice_to_voice_ms"] <= 600
    assert measured["silence_ms"] >= measured["voice_to_voice_ms"]
    stages = {stage["name"]: stage["duration_ms"] for stage in measured["stages"]}
    assert sum(stages.values()) == pytest.approx(measured["silence_ms"], abs=1)
    assert {"endpoint", "received", "played", "unaccounted"} <= set(stages)

    heard = parley.fake.heard()
    assert heard[-1] == (1, REPLY_MS)
    assert [ms for _, ms in heard] == sorted({ms for _, ms in heard})
    assert parley.fake.requests["heard"][0].heard.HasField("play_delay_ms")

    tutor, rate = read(reply)
    assert rate == 24_000
    sounding = np.flatnonzero(np.abs(tutor[:, 0]) > 400)
    assert len(tutor) / rate >= 2.0, "the session's time line, not only the reply"
    assert (sounding[-1] - sounding[0]) / rate == pytest.approx(REPLY_MS / 1000, abs=0.02)
    both, _ = read(mix)
    assert both.shape[1] == 2
    learner_starts = np.flatnonzero(np.abs(both[:, 0]) > 400)[0] / rate
    assert learner_starts == pytest.approx(0.3, abs=0.02)
    assert np.flatnonzero(np.abs(both[:, 1]) > 400)[0] / rate > 0.8


def test_recordings_take_turns_each_after_the_answer_before(
    parley: Parley, write_wav: WriteWav
) -> None:
    parley.register()
    first = write_wav("first.wav")
    second = write_wav("second.wav", rate=44_100, channels=2)
    outcome = parley.run("talk", "--input", str(first), str(second), "--json")
    assert outcome.code == 0, outcome.err
    order = [
        event["event"]
        for event in events(outcome, "utterance_began", "reply_started", "reply_ended")
    ]
    assert order == ["utterance_began", "reply_started", "reply_ended"] * 2
    ended = events(outcome, "ended")
    assert ended[0]["summary"]["turns"] == 2


def test_audio_goes_out_in_frames_of_real_time_without_gaps(
    parley: Parley, write_wav: WriteWav
) -> None:
    parley.register()
    parley.run("talk", "-i", str(write_wav()), "--frame-ms", "40", "--json")
    frames = parley.fake.requests["audio"]
    assert {len(frame.audio.pcm) for frame in frames} == {40 * 32}
    assert [f.audio.first_sample for f in frames] == [640 * i for i in range(len(frames))]
    times = [f.client_time.ToMilliseconds() for f in frames]
    assert times[-1] - times[0] == pytest.approx(40 * (len(frames) - 1), abs=60)


def test_without_json_a_pipe_gets_lines_a_table_and_the_way_back(
    parley: Parley, write_wav: WriteWav
) -> None:
    parley.register()
    outcome = parley.run("talk", "-i", str(write_wav()))
    for part in (HEARD_UTTERANCE, REPLY, "went", " ms", "1 turn", f"show {CONVERSATION_ID}"):
        assert part in outcome.out, part
    assert "\x1b" not in outcome.out


def test_an_interrupted_reply_is_cut_and_the_next_one_played(
    parley: Parley, write_wav: WriteWav, tmp_path: Path
) -> None:
    parley.register()
    reply = tmp_path / "reply.wav"
    outcome = parley.run(
        "talk", "-i", str(write_wav()), "-o", str(reply), "--engine", "interrupting", "--json"
    )
    assert outcome.code == 0, outcome.err
    ends = [(e["generation"], e["reason"]) for e in events(outcome, "reply_ended")]
    assert ends == [(1, "REPLY_END_REASON_INTERRUPTED"), (2, "REPLY_END_REASON_COMPLETED")]
    tutor, rate = read(reply)
    assert np.count_nonzero(np.abs(tutor) > 400) / rate < REPLY_MS / 1000


def test_audio_of_an_older_generation_never_sounds(
    parley: Parley, write_wav: WriteWav, tmp_path: Path
) -> None:
    parley.register()
    reply = tmp_path / "reply.wav"
    question = str(write_wav())
    outcome = parley.run(
        "talk", "-i", question, question, "-o", str(reply), "--engine", "stale", "--json"
    )
    assert outcome.code == 0, outcome.err
    tutor, _ = read(reply)
    assert np.abs(tutor.astype(int)).max() < 9000, "the stale audio is louder"


def test_a_hint_is_no_answer(parley: Parley, write_wav: WriteWav) -> None:
    """It is given because nothing was understood: the recording is still unanswered."""
    parley.register()
    question = str(write_wav())
    outcome = parley.run(
        "talk", "-i", question, "--engine", "hinting", "--answer-timeout", "0.5", "--json"
    )
    assert outcome.code == 6
    (started,) = events(outcome, "reply_started")
    assert started["kind"] == "REPLY_KIND_HINT"
    assert len(events(outcome, "unanswered")) == 1


def test_a_talk_that_ended_is_left_in_good_order(parley: Parley, write_wav: WriteWav) -> None:
    """The server logged and counted every talk that ended well as cancelled."""
    parley.register()
    assert parley.run("talk", "-i", str(write_wav()), "--json").code == 0
    assert parley.fake.partings == ["closed"]


def test_a_reply_held_back_is_silent_and_then_goes_on(
    parley: Parley, write_wav: WriteWav, tmp_path: Path
) -> None:
    parley.register()
    reply = tmp_path / "reply.wav"
    outcome = parley.run(
        "talk", "-i", str(write_wav()), "-o", str(reply), "--engine", "pausing", "--json"
    )
    assert outcome.code == 0, outcome.err
    tutor, rate = read(reply)
    assert np.count_nonzero(np.abs(tutor) > 400) * 1000 / rate == pytest.approx(REPLY_MS, rel=0.05)
    (begun,) = events(outcome, "reply_started")
    (paused,) = events(outcome, "reply_paused")
    (resumed,) = events(outcome, "reply_resumed")
    # Within two frames; a busy machine may deliver both messages late and together.
    held_ms = resumed["t_ms"] - paused["t_ms"]
    taken_ms = events(outcome, "heard")[-1]["t_ms"] - begun["t_ms"]
    assert taken_ms >= REPLY_MS + held_ms - 40
    assert parley.fake.heard()[-1] == (1, REPLY_MS)


def test_a_held_reply_is_reported_at_once_as_far_as_it_was_heard(
    parley: Parley, write_wav: WriteWav
) -> None:
    """Otherwise an interruption would be cut at the last report, up to 200 ms too early."""
    parley.register()
    outcome = parley.run("talk", "-i", str(write_wav()), "--engine", "pausing", "--json")
    order = events(outcome, "reply_paused", "heard", "reply_resumed")
    paused = next(i for i, e in enumerate(order) if e["event"] == "reply_paused")
    assert order[paused + 1]["event"] == "heard"
    assert order[paused + 1]["t_ms"] - order[paused]["t_ms"] < 100


@pytest.mark.parametrize("engine", ["flaky", "reset"])
def test_a_lost_connection_is_resumed_and_the_reply_played_to_its_end(
    parley: Parley, write_wav: WriteWav, engine: str
) -> None:
    parley.register()
    outcome = parley.run("talk", "-i", str(write_wav()), "--engine", engine, "--json")
    assert outcome.code == 0, outcome.err
    assert [e["connected"] for e in events(outcome, "connection")] == [False, True]
    assert parley.fake.heard()[-1] == (1, REPLY_MS)
    assert [e["seq"] for e in events(outcome, "reply_audio")] == sorted(
        {e["seq"] for e in events(outcome, "reply_audio")}
    )


def test_no_answer_is_told_and_the_next_recording_spoken(
    parley: Parley, write_wav: WriteWav
) -> None:
    parley.register()
    question = str(write_wav())
    outcome = parley.run(
        "talk", "-i", question, question, "--engine", "silent", "--answer-timeout", "0.5", "--json"
    )
    assert outcome.code == 6
    assert len(events(outcome, "unanswered")) == 2
    assert len(events(outcome, "ended")) == 1


def test_a_failure_in_the_middle_is_told_after_what_was_said(
    parley: Parley, write_wav: WriteWav
) -> None:
    parley.register()
    outcome = parley.run("talk", "-i", str(write_wav()), "--engine", "dying")
    assert outcome.code == 1
    assert "A bug in Parley." in outcome.err
    assert HEARD_UTTERANCE in outcome.out
    assert "Traceback" not in outcome.err


def test_a_notice_is_shown_and_the_talk_goes_on(parley: Parley, write_wav: WriteWav) -> None:
    parley.register()
    outcome = parley.run("talk", "-i", str(write_wav()), "--engine", "noticing", "--json")
    (notice,) = events(outcome, "notice")
    assert notice["reason"] == "PROVIDER_DOWN"
    assert (outcome.code, notice["fatal"]) == (0, False)


@pytest.mark.parametrize(
    ("engine", "code", "words"),
    [("full", 1, "Try again in 7 s."), ("imaginary", 2, "parley engines")],
)
def test_a_session_that_is_refused_says_what_to_do(
    parley: Parley, write_wav: WriteWav, engine: str, code: int, words: str
) -> None:
    parley.register()
    outcome = parley.run("talk", "-i", str(write_wav()), "--engine", engine)
    assert outcome.code == code
    assert words in outcome.err


def test_the_choices_reach_the_server(parley: Parley, write_wav: WriteWav) -> None:
    parley.register()
    arguments = "--scenario restaurant --voice v --patience 0.8 --rate 1.5 --no-record"
    parley.run("talk", "-i", str(write_wav()), *arguments.split(), "--tutor-opens", "--json")
    start = parley.fake.starts[0]
    assert (start.scenario_id, start.voice, start.no_recording, start.tutor_opens) == (
        "restaurant",
        "v",
        True,
        True,
    )
    assert start.turn_taking.patience == pytest.approx(0.8)
    assert start.speech_rate == pytest.approx(1.5)
    assert start.client == "parley-cli/0.1.0"


def test_typed_talk_needs_no_sound_at_all(parley: Parley) -> None:
    parley.register()
    outcome = parley.run("talk", "--text", input="Hello!\n\nGoodbye!\n")
    assert outcome.code == 0, outcome.err
    assert parley.fake.starts[0].captions_only
    assert [r.text.text for r in parley.fake.requests["text"]] == ["Hello!", "Goodbye!"]
    assert outcome.out.count(f"tutor  {REPLY}") == 2
    assert "audio" not in parley.fake.requests


def test_captions_only_needs_no_playing(parley: Parley, write_wav: WriteWav) -> None:
    parley.register()
    outcome = parley.run("talk", "-i", str(write_wav()), "--captions-only", "--json")
    assert outcome.code == 0, outcome.err
    assert events(outcome, "reply_audio") == []
    (measured,) = events(outcome, "turn_measured")
    assert measured["voice_to_voice_ms"] is not None


# -- what is wrong is told before the server is asked ----------------------------------------------


def bad_text(folder: Path) -> Path:
    path = folder / "text.wav"
    path.write_text("This is no sound. " * 50)
    return path


def bad_empty(folder: Path) -> Path:
    path = folder / "empty.wav"
    path.write_bytes(b"")
    return path


def bad_missing(folder: Path) -> Path:
    return folder / "missing.wav"


def bad_folder(folder: Path) -> Path:
    return folder


def bad_header_only(folder: Path) -> Path:
    path = folder / "header.wav"
    with wave.open(str(path), "wb") as writer:
        writer.setparams((1, 2, 16_000, 0, "NONE", ""))
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (bad_text, "not a recording that can be read"),
        (bad_empty, "is empty"),
        (bad_missing, "no such file"),
        (bad_folder, "is a directory"),
        (bad_header_only, "0 ms of sound"),
    ],
)
def test_a_bad_file_is_told_before_connecting(
    parley: Parley, tmp_path: Path, make: Any, words: str
) -> None:
    outcome = parley.run("talk", "--server", "127.0.0.1:1", "-i", str(make(tmp_path)))
    assert outcome.code == 2
    assert words in outcome.err


def test_a_recording_without_speech_is_told_before_connecting(
    parley: Parley, write_wav: WriteWav
) -> None:
    parley.register()
    path = write_wav(speech_ms=0, silence_ms=60_000)
    outcome = parley.run("talk", "-i", str(path))
    assert outcome.code == 2
    assert "holds no speech in its 60.0 s" in outcome.err
    assert parley.fake.starts == []


def test_a_recording_of_20_ms_is_told_before_connecting(
    parley: Parley, write_wav: WriteWav
) -> None:
    short = write_wav(speech_ms=20, silence_ms=0)
    outcome = parley.run("talk", "-i", str(short))
    assert outcome.code == 2
    assert "holds 20 ms of sound" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x.wav"], "Recordings follow --input"),
        (["--text", "--input", "x.wav"], "do not go together"),
        (["--text", "--push-to-talk"], "do not go together"),
        (["--text", "-o", "/no/such/folder/x.wav"], "Cannot write"),
    ],
)
def test_wrong_use_is_told(parley: Parley, arguments: list[str], words: str) -> None:
    outcome = parley.run("talk", *arguments)
    assert outcome.code == 2
    assert words in outcome.err


def test_without_an_audio_device_it_says_what_to_do(
    parley: Parley, monkeypatch: pytest.MonkeyPatch
) -> None:
    parley.register()
    nothing = devices.AudioDevices("none", (), ())
    monkeypatch.setattr(devices, "list_devices", lambda: nothing)
    outcome = parley.run("talk")
    assert outcome.code == 5
    assert "--input" in outcome.err
    assert "--text" in outcome.err
    assert parley.fake.starts == []


def test_a_server_that_never_ends_the_session_is_left(
    parley: Parley, write_wav: WriteWav, monkeypatch: pytest.MonkeyPatch
) -> None:
    parley.register()
    monkeypatch.setattr(conversation, "_FINISH_WITHIN_S", 0.1)
    parley.fake.never_ends = True
    outcome = parley.run("talk", "-i", str(write_wav()))
    assert outcome.code == 4
    assert "did not end the conversation in time" in outcome.err
