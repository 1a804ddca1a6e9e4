"""Every command against a scripted server: what it prints, sends, and returns."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import pytest

from tests.unit.cli.conftest import PASSWORD, Parley, WriteWav
from tests.unit.cli.fake_parley import HEARD_UTTERANCE, OLD_IDS

COMMANDS = (
    "register login logout profile talk history show download delete progress "
    "engines voices scenarios say transcribe doctor version"
).split()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_and_asks_no_server(parley: Parley, command: str) -> None:
    outcome = parley.run(command, "--help")
    assert outcome.code == 0
    if command != "version":
        assert "parley " in outcome.out.split("Options")[0], "no example"
    assert not parley.fake.logins


def test_the_root_help_names_every_command(parley: Parley) -> None:
    out = parley.run("--help").out
    assert [command for command in COMMANDS if command not in out] == []


def test_version(parley: Parley) -> None:
    assert parley.run("version").out == "parley 0.1.0\n"


# -- account --------------------------------------------------------------------------------------


def test_registering_signs_in(parley: Parley) -> None:
    outcome = parley.run(
        "register",
        "ana",
        "--level",
        "b1",
        "--first-language",
        "es",
        "--password-stdin",
        input=PASSWORD + "\n",
    )
    assert outcome.code == 0, outcome.err
    assert parley.fake.users == {"ana": PASSWORD}
    assert parley.fake.account.profile.first_language == "es"
    assert parley.run("profile").out.count("B1") == 1


def test_the_password_is_asked_for_twice_and_not_shown(parley: Parley) -> None:
    outcome = parley.run("register", input=f"ana\n{PASSWORD}\n{PASSWORD}\n")
    assert outcome.code == 0, outcome.err
    assert PASSWORD not in outcome.out + outcome.err


def test_logging_in_with_the_password_in_the_environment(parley: Parley) -> None:
    parley.register()
    assert parley.run("logout").code == 0
    assert parley.run("profile").code == 3
    outcome = parley.run("login", "ana", env={"PARLEY_PASSWORD": PASSWORD})
    assert outcome.code == 0, outcome.err
    assert parley.run("profile").code == 0


def test_a_wrong_password_is_one_sentence_and_what_to_do(parley: Parley) -> None:
    parley.register()
    outcome = parley.run("login", "ana", env={"PARLEY_PASSWORD": "wrong"})
    assert (outcome.code, outcome.out) == (3, "")
    assert "the password is wrong" in outcome.err
    assert "parley register" in outcome.err
    assert "CREDENTIALS_INVALID" not in outcome.err


def test_verbose_adds_code_reason_and_request_id(parley: Parley) -> None:
    outcome = parley.run("login", "ana", "--verbose", env={"PARLEY_PASSWORD": "wrong"})
    assert "UNAUTHENTICATED CREDENTIALS_INVALID" in outcome.err
    assert "request_id: r-1" in outcome.err


def test_a_taken_name_and_a_short_password_are_told(parley: Parley) -> None:
    parley.register()
    taken = parley.run("register", "ana", env={"PARLEY_PASSWORD": PASSWORD})
    assert (taken.code, "is taken" in taken.err) == (1, True)
    short = parley.run("register", "bo", env={"PARLEY_PASSWORD": "short"})
    assert (short.code, "password: must have at least 8" in short.err) == (2, True)


@pytest.mark.parametrize("arguments", [["login", "ana"], ["register", "ana"]])
def test_no_password_to_be_had_is_told(parley: Parley, arguments: list[str]) -> None:
    asked = parley.run(*arguments, input="")
    assert (asked.code, "--password-stdin" in asked.err) == (2, True)
    empty = parley.run(*arguments, "--password-stdin", input="")
    assert (empty.code, "no password" in empty.err) == (2, True)


def test_logging_out_twice_is_fine(parley: Parley) -> None:
    parley.register()
    assert "Signed out" in parley.run("logout").out
    assert "Nobody was signed in" in parley.run("logout").out


def test_profile_changes_only_what_was_named(parley: Parley) -> None:
    parley.register()
    outcome = parley.run(
        "profile", "--level", "A2", "--goal", "pass an exam", "--goal", "phone", "--patience", "0.8"
    )
    assert outcome.code == 0, outcome.err
    assert parley.fake.update_masks == [["profile.level", "profile.goals", "turn_taking.patience"]]
    assert list(parley.fake.account.profile.goals) == ["pass an exam", "phone"]
    assert "0.8" in outcome.out
    cleared = parley.run("profile", "--goal", "")
    assert list(parley.fake.account.profile.goals) == []
    assert "A2" in cleared.out


def test_a_level_that_is_none_is_refused_here(parley: Parley) -> None:
    outcome = parley.run("profile", "--level", "expert")
    assert (outcome.code, "A1, A2, B1" in outcome.err) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["profile"],
        ["history"],
        ["progress"],
        ["show", "last"],
        ["engines"],
        ["voices"],
        ["scenarios"],
        ["say", "hi", "-o", "x.wav"],
        ["talk", "--text"],
    ],
)
def test_what_needs_a_sign_in_says_so(parley: Parley, arguments: list[str]) -> None:
    outcome = parley.run(*arguments, input="")
    assert outcome.code == 3
    assert "parley login" in outcome.err


# -- lists ----------------------------------------------------------------------------------------


def test_engines_tell_what_keeps_them_from_serving(parley: Parley) -> None:
    parley.register()
    out = parley.run("engines").out
    assert "local (default)" in out
    assert "No key is set." in out
    lines = parley.run("engines", "--json").out.splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["local", "cloud"]


def test_voices_and_scenarios(parley: Parley) -> None:
    parley.register()
    assert "Hibari" in parley.run("voices").out
    assert "At the restaurant" in parley.run("scenarios").out
    assert json.loads(parley.run("scenarios", "--json").out)["scenario_id"] == "restaurant"


# -- history --------------------------------------------------------------------------------------


def test_history_lists_all_pages_with_ids_that_name_one(parley: Parley) -> None:
    parley.register()
    out = parley.run("history").out
    for short in ("0197c3a2-1", "0197c3a2-2", "0196ffff"):
        assert short in out
        assert parley.run("show", short).code == 0
    assert len(parley.run("history", "--json").out.splitlines()) == 3
    assert len(parley.run("history", "--json", "--limit", "1").out.splitlines()) == 1


def test_history_finds_words(parley: Parley) -> None:
    parley.register()
    assert HEARD_UTTERANCE in parley.run("history", "--search", "market").out
    assert "Nothing found" in parley.run("history", "--search", "moon").out


def test_show_reads_a_conversation(parley: Parley) -> None:
    parley.register()
    out = parley.run("show", "last").out
    for part in (HEARD_UTTERANCE, "went", "irregular", "That sounds", "interrupted", "298 ms"):
        assert part in out
    assert json.loads(parley.run("show", "0196", "--json").out)["turns"]


def test_an_id_that_names_several_or_none_is_told(parley: Parley) -> None:
    parley.register()
    several = parley.run("show", "0197")
    assert several.code == 2
    assert "0197c3a2-1, 0197c3a2-2" in several.err
    assert "parley history" in parley.run("show", "beef").err
    assert parley.run("show", "").code == 1


def test_delete_asks_first(parley: Parley) -> None:
    parley.register()
    assert parley.run("delete", "0196", input="n\n").code != 0
    assert parley.fake.deleted == []
    assert parley.run("delete", "0196", input="y\n").code == 0
    assert parley.run("delete", "last", "--yes").code == 0
    assert parley.fake.deleted == [OLD_IDS[2], OLD_IDS[0]]


def test_download_saves_in_the_format_of_the_name(parley: Parley, tmp_path: Path) -> None:
    parley.register()
    path = tmp_path / "talk.mp3"
    outcome = parley.run("download", "last", "-o", str(path), "--track", "tutor")
    assert outcome.code == 0, outcome.err
    assert path.read_bytes() == b"RIFFdata"
    request = parley.fake.downloads[0]
    assert (request.encoding, request.track) == (5, 2)
    assert [p.name for p in tmp_path.glob("*.part")] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "aiff"], "formats are opus, wav, flac, mp3"),
        (["-o", "x.txt"], "formats are"),
        (["--track", "drums"], "tracks are mix"),
        (["-o", "/no/such/folder/x.wav"], "Cannot write"),
    ],
)
def test_download_refuses_what_it_cannot_do(
    parley: Parley, arguments: list[str], words: str
) -> None:
    parley.register()
    outcome = parley.run("download", "last", *arguments)
    assert outcome.code == 2
    assert words in outcome.err


# -- speech ---------------------------------------------------------------------------------------


def test_say_writes_a_wav(parley: Parley, tmp_path: Path) -> None:
    parley.register()
    path = tmp_path / "hi.wav"
    outcome = parley.run("say", "-", "-o", str(path), "--rate", "0.8", input="Nice to meet you.\n")
    assert outcome.code == 0, outcome.err
    with wave.open(str(path)) as said:
        assert (said.getframerate(), said.getnframes()) == (24_000, 9_600)
    assert parley.fake.synthesized[0].text == "Nice to meet you."
    assert parley.fake.synthesized[0].speech_rate == pytest.approx(0.8)


def test_saying_nothing_is_refused(parley: Parley) -> None:
    assert parley.run("say", "  ", "-o", "x.wav").code == 2


def test_transcribe_resamples_and_prints_the_words(parley: Parley, write_wav: WriteWav) -> None:
    parley.register()
    stereo = write_wav(speech_ms=900, silence_ms=100, rate=44_100, channels=2)
    outcome = parley.run("transcribe", str(stereo))
    assert (outcome.code, outcome.out) == (0, HEARD_UTTERANCE + "\n")
    assert parley.fake.transcribed_samples == pytest.approx(16_000, abs=5)
    last = parley.run("transcribe", str(stereo), "--json", "--partials").out.splitlines()[-1]
    assert json.loads(last)["final"] is True


# -- doctor ---------------------------------------------------------------------------------------


def test_doctor_finds_all_well(parley: Parley) -> None:
    parley.register()
    outcome = parley.run("doctor", "--json")
    findings = {f["what"]: f for f in map(json.loads, outcome.out.splitlines())}
    assert outcome.code == 0, outcome.out
    for service in ("user", "conversation", "ai", "history", "media"):
        assert findings[f"service {service}"]["ok"], findings
    assert findings["sign-in"]["ok"]


def test_doctor_without_a_server_says_how_to_start_it(parley: Parley) -> None:
    outcome = parley.run("doctor", "--server", "127.0.0.1:1")
    assert outcome.code == 4
    assert "make run" in outcome.out


def test_doctor_without_a_sign_in_looks_at_what_it_can(parley: Parley) -> None:
    outcome = parley.run("doctor")
    assert outcome.code == 1
    assert "parley login" in outcome.out


# -- where the server is --------------------------------------------------------------------------


def test_no_server_is_one_sentence_and_no_traceback(parley: Parley) -> None:
    parley.register()
    outcome = parley.run("--server", "127.0.0.1:1", "login", "x", env={"PARLEY_PASSWORD": "y"})
    assert outcome.code == 4
    assert "No answer from Parley at 127.0.0.1:1." in outcome.err
    assert "Traceback" not in outcome.err


def test_shared_options_work_after_the_command_too(parley: Parley) -> None:
    outcome = parley.run("profile", "--server", "nowhere:x")
    assert (outcome.code, "not a server address" in outcome.err) == (2, True)
    far = parley.run("profile", "--server=parley.example:1")
    assert (far.code, "--tls" in far.err) == (2, True)


def test_a_ca_file_that_is_missing_is_told(parley: Parley) -> None:
    outcome = parley.run("profile", "--ca", "/no/such/file")
    assert (outcome.code, "CA file" in outcome.err) == (2, True)
