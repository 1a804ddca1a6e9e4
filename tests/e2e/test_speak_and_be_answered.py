"""A learner speaks, is answered aloud by real models, and finds it all again afterwards."""

from __future__ import annotations

import time
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soxr

from tests.e2e.conftest import SPEECH, Learner
from tests.e2e.listening import word_error_rate, write_down
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.models,
    pytest.mark.timeout(300),
    # The services of a stack that several tests share outlive each of them.
    pytest.mark.leaves_behind("a running Parley that the tests share"),
]

TOLD_WITHIN_S = 20.0

SignUp = Callable[[Stack], Learner]


def test_a_talk_from_recordings_is_answered_aloud_and_kept(
    local_stack: Stack, sign_up: SignUp, tmp_path: Path
) -> None:
    learner = sign_up(local_stack)
    recordings = [SPEECH / "022820134.wav", SPEECH / "014070080.wav"]
    answers = tmp_path / "reply.wav"
    events = learner.events("talk", "--input", *recordings, "--output", answers)

    ended = [event for event in events if event["event"] == "reply_ended"]
    saved = [event for event in events if event["event"] == "turn_saved"]
    assert len(ended) >= len(recordings)
    assert [event["number"] for event in saved] == list(range(1, len(saved) + 1))
    assert events[-1]["event"] == "ended"

    # The answers are speech: a recognizer that this Parley does not run reads them back.
    said = " ".join(event["heard_text"] for event in ended)
    assert word_error_rate(said, write_down(answers)) <= 0.2

    # They are in history, word for word, and the recording has both voices.
    conversation_id = next(e["conversation_id"] for e in events if e["event"] == "started")
    (listed,) = learner.events("history")
    assert listed["conversation_id"] == conversation_id
    assert listed["turns"] == len(saved)
    (shown,) = learner.events("show", conversation_id[:8])
    assert [each["turn"]["heard_text"] for each in shown["turns"]] == [
        event["heard_text"] for event in ended
    ]
    for track in ("learner", "tutor", "mix"):
        file = tmp_path / f"{track}.wav"
        learner.parley("download", "last", "--format", "wav", "--track", track, "-o", file)
        assert loudness(file) > 100, f"the {track}'s track is silent"
    opus = tmp_path / "talk.ogg"
    learner.parley("download", "last", "-o", opus)
    assert opus.read_bytes()[:4] == b"OggS"
    # Whatever was written for this, recordings and transcodes too, is the owner's alone.
    assert any((local_stack.folder.root / "media").rglob("*.flac"))
    assert local_stack.open_to_others() == []


def test_every_recording_is_answered_in_a_conversation_of_its_own(
    local_stack: Stack, sign_up: SignUp
) -> None:
    learner = sign_up(local_stack)
    recordings = sorted(SPEECH.glob("*.wav"))
    for recording in recordings:
        events = learner.events("talk", "--input", recording)
        assert any(event["event"] == "reply_sounded" for event in events), recording.name
    # History is told in a moment.
    deadline = time.monotonic() + TOLD_WITHIN_S
    listed = learner.events("history")
    while not all(each["turns"] for each in listed):
        assert time.monotonic() < deadline, listed
        listed = learner.events("history")
    assert len(listed) == len(recordings) == 6


def test_any_rate_and_channel_count_is_understood(
    local_stack: Stack, sign_up: SignUp, tmp_path: Path
) -> None:
    learner = sign_up(local_stack)
    stereo = tmp_path / "stereo.wav"
    write_stereo_44100(SPEECH / "014070080.wav", stereo)
    events = learner.events("talk", "--input", stereo)
    finals = [e for e in events if e["event"] == "transcript" and e.get("final")]
    assert "people" in finals[-1]["transcript"]["verbatim"].lower()
    assert any(event["event"] == "turn_saved" for event in events)


def test_the_tutor_speaks_a_text_that_can_be_read_back(
    local_stack: Stack, sign_up: SignUp, tmp_path: Path
) -> None:
    learner = sign_up(local_stack)
    text = "I would like a table for two people, please. What do you have today?"
    file = tmp_path / "said.wav"
    learner.parley("say", text, "-o", file)
    assert word_error_rate(text, write_down(file)) <= 0.2
    assert word_error_rate(text, learner.parley("transcribe", file)) <= 0.2


def loudness(file: Path) -> float:
    with wave.open(str(file)) as audio:
        samples = np.frombuffer(audio.readframes(audio.getnframes()), np.int16)
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


def write_stereo_44100(source: Path, target: Path) -> None:
    """Write a recording as a camera or a phone would have made it."""
    with wave.open(str(source)) as audio:
        samples = np.frombuffer(audio.readframes(audio.getnframes()), np.int16)
    one = soxr.resample(samples, 16_000, 44_100)
    both = np.stack([one, one // 2], axis=1).astype(np.int16)
    with wave.open(str(target), "wb") as audio:
        audio.setnchannels(2)
        audio.setsampwidth(2)
        audio.setframerate(44_100)
        audio.writeframes(both.tobytes())
