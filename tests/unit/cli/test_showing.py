"""How a talk is shown: the moving lines, the bar, JSON; and how plug-ins and devices join."""

from __future__ import annotations

import io
import json
import re
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import miniaudio
import pytest
from rich.console import Console

from parley.conversation.v1 import conversation_pb2 as pb
from parley_cli import app as app_module
from parley_cli.audio import devices
from parley_cli.failures import ExitCode
from parley_cli.session import Floor, MicrophoneChanged, ReplyWords, SessionView, TurnView, reduce
from parley_cli.stages import StageView
from parley_cli.talk.drawing import level_meter, stage_bar, turns_table
from parley_cli.talk.events import (
    TalkEvent,
    TurnMeasured,
    Unanswered,
    UtteranceBegan,
    UtteranceSent,
)
from parley_cli.talk.json_lines import _NAMES, JsonPresenter, event_fields
from parley_cli.talk.live import draw
from parley_cli.talk.plain import PlainPresenter
from tests.unit.cli.conftest import Parley

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"
LONG = "I have been thinking about what you said and I am not so sure about it any more. " * 12


def rendered(view: SessionView, width: int, height: int, **options: Any) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=False)
    defaults: dict[str, Any] = {
        "level_dbfs": -20.0,
        "printed": frozenset(),
        "file": "",
        "keys": "space stop the tutor · m mute · q quit",
    }
    console.print(draw(view, width=width, height=height, **{**defaults, **options}))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


TALKING = SessionView(
    floor=Floor.TUTOR,
    scenario="Free talk",
    engine="local",
    voice="hibari",
    turns=(
        TurnView(
            1,
            utterance="I goed home",
            utterance_final=True,
            generation=1,
            words=(ReplyWords("Oh, ", 0), ReplyWords("you went home!", 400)),
            heard_ms=300,
            silence_ms=742.4,
        ),
    ),
)


def test_the_moving_lines_show_what_is_said_heard_and_waited() -> None:
    text = "\n".join(rendered(TALKING, 80, 24))
    for part in ("I goed home", "Oh,", "742 ms", "the tutor speaks", "q quit", "local"):
        assert part in text
    assert "you went home" not in text, "not spoken yet"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (40, 10), (200, 60)])
def test_the_moving_lines_fit_the_screen_whatever_is_said(width: int, height: int) -> None:
    turns = tuple(TurnView(n, utterance=LONG, generation=n) for n in range(1, 5))
    lines = rendered(SessionView(floor=Floor.THINKING, turns=turns), width, height)
    assert len(lines) <= height
    assert LONG.rsplit(maxsplit=1)[-1] in "".join(lines), "the newest words are the ones to see"
    short = tuple(TurnView(n, utterance="Hello there", generation=n) for n in range(1, 60))
    assert len(rendered(SessionView(floor=Floor.THINKING, turns=short), width, height)) <= height


def test_a_muted_microphone_shows() -> None:
    view = SessionView(floor=Floor.LISTENING, muted=True)
    assert any("muted" in line for line in rendered(view, 80, 24))


def test_a_microphone_that_waits_for_its_key_shows() -> None:
    view = reduce(SessionView(floor=Floor.LISTENING), MicrophoneChanged(False))
    assert "microphone closed" in rendered(view, 80, 24)[-2]
    assert "listening" not in rendered(view, 80, 24)[-2]
    assert "listening" in rendered(reduce(view, MicrophoneChanged(True)), 80, 24)[-2]


def test_the_bar_names_its_parts_largest_first_and_fits() -> None:
    stages = (StageView("endpoint", 298.0), StageView("first_token", 420.0), StageView("sent", 0.2))
    bar = stage_bar(stages, 718.0, 72).plain
    assert bar.startswith("718 ms")
    assert bar.index("thinking 420") < bar.index("turn end 298")
    assert "sending" not in bar
    for width in (20, 30, 40, 72):
        assert len(stage_bar(stages, 718.0, width).plain) <= max(width, 20)
    assert stage_bar((), None, 80).plain == ""


def test_what_nobody_would_notice_gets_no_column() -> None:
    stages = (StageView("endpoint", 700.0), StageView("received", 1.4), StageView("sent", 6.0))
    bar = stage_bar(stages, 707.4, 72).plain.split("  ")[1]
    assert "r" not in bar
    assert "s" in bar


@pytest.mark.parametrize("width", [30, 40, 50, 60, 80, 120])
def test_the_meter_takes_what_room_there_is(width: int) -> None:
    """On a narrow terminal its end was cut off."""
    status = rendered(TALKING, width, 24, file="[1] 000360210.wav")[-2]
    assert len(status) < width
    if "mic" in status:
        assert "…" not in status


def test_the_meter_stays_in_its_box() -> None:
    for level in (-200.0, -60.0, -30.0, 0.0, 20.0):
        assert len(level_meter(level, 20).plain) == len("mic ") + 20


def test_the_table_tells_which_turns_are_not_saved() -> None:
    console = Console(width=80, file=io.StringIO())
    console.print(turns_table(TALKING, {}))
    assert isinstance(console.file, io.StringIO)
    assert "✗" in console.file.getvalue()


def test_words_that_became_no_turn_are_not_in_the_table() -> None:
    console = Console(width=80, file=io.StringIO())
    turns = (*TALKING.turns, TurnView(2, utterance="Mhm."))
    console.print(turns_table(SessionView(turns=turns), {}))
    assert isinstance(console.file, io.StringIO)
    assert "Mhm" not in console.file.getvalue()


def test_words_that_are_taken_back_are_no_line() -> None:
    console = Console(width=80, file=io.StringIO())
    nothing = pb.ConverseResponse(turn=2, transcript=pb.TranscriptUpdate(final=True))
    PlainPresenter(console).on_event(nothing, TALKING, 0.0)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == ""


# -- JSON -----------------------------------------------------------------------------------------


def test_reply_audio_is_told_by_its_size_only() -> None:
    audio = pb.ReplyAudio(pcm=b"\1\2" * 480, offset_ms=40)
    fields = event_fields(pb.ConverseResponse(seq=3, turn=1, generation=2, reply_audio=audio))
    assert fields == {
        "event": "reply_audio",
        "seq": 3,
        "turn": 1,
        "generation": 2,
        "offset_ms": 40,
        "bytes": 960,
    }


def test_the_key_to_a_session_is_not_written_down() -> None:
    for message in (
        pb.ConverseResponse(started=pb.SessionStarted(resume_handle="secret")),
        pb.ConverseResponse(resume_handle=pb.ResumeHandle(handle="secret")),
    ):
        assert "secret" not in json.dumps(event_fields(message))


def test_numbers_are_numbers() -> None:
    out = io.StringIO()
    ended = pb.SessionEnded(summary=pb.SessionSummary(turns=2, duration_ms=2**40))
    JsonPresenter(out).on_event(pb.ConverseResponse(ended=ended), SessionView(), 12.34)
    event = json.loads(out.getvalue())
    assert (event["t_ms"], event["summary"]["duration_ms"]) == (12.3, 2**40)


@pytest.mark.parametrize(
    "event",
    [
        UtteranceBegan(0, "a.wav", 300.04),
        UtteranceSent(0, "a.wav", 900.0, None),
        Unanswered(0, "a.wav", 5.0),
        TurnMeasured(1, 1, 500.0, 520.0, 900.0, "waveform", 930.0, 3.0, (StageView("sent", 1.0),)),
    ],
)
def test_what_only_this_side_knows_is_told_too(event: TalkEvent) -> None:
    fields = event_fields(event)
    assert fields is not None
    assert json.loads(json.dumps(fields))["event"] in _NAMES.values()


def test_the_page_lists_every_event_and_every_exit_code() -> None:
    text = PAGE.read_text()
    listed = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    own = set(_NAMES.values())
    server = {field.name for field in pb.ConverseResponse.DESCRIPTOR.oneofs[0].fields}
    assert own | server <= listed, (own | server) - listed
    codes = set(re.findall(r"^\| (\d+) \|", text, re.MULTILINE))
    assert codes == {str(int(code)) for code in ExitCode}


# -- plug-ins -------------------------------------------------------------------------------------


def test_a_plug_in_joins_by_its_entry_point(
    parley: Parley, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = EntryPoint("extra", "tests.unit.cli.plugin_for_tests:app", app_module.PLUGIN_GROUP)
    monkeypatch.setattr(app_module, "_plugins", lambda: {"extra": entry})
    assert "extra" in parley.run("--help").out
    assert parley.run("extra", "greet", "--verbose").out == "hello, verbosely\n"


def test_a_broken_plug_in_breaks_nothing_but_itself(
    parley: Parley, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = EntryPoint("extra", "no_such_module:app", app_module.PLUGIN_GROUP)
    monkeypatch.setattr(app_module, "_plugins", lambda: {"extra": entry})
    assert parley.run("version").code == 0
    assert "extra" in parley.run("--help").out
    outcome = parley.run("extra")
    assert (outcome.code, "could not be loaded" in outcome.err) == (1, True)


@pytest.mark.parametrize(
    "words", [("admin",), ("admin", "backup", "x", "--quiet"), ("models", "fetch")]
)
def test_a_command_of_the_servers_says_where_it_is_to_be_had(
    parley: Parley, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(app_module, "_plugins", dict)
    outcome = parley.run(*words)
    assert (outcome.code, outcome.out) == (int(ExitCode.USAGE), "")
    assert f"`parley {words[0]}` is " in outcome.err
    assert "machine" in outcome.err


# -- devices --------------------------------------------------------------------------------------


def test_the_card_that_discards_everything_is_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """ALSA offers it where there is no sound hardware; talking into it would wait for ever."""

    class NoHardware:
        backend = "ALSA"

        def get_captures(self) -> list[dict[str, str]]:
            return [{"name": "Discard all samples (playback) or generate zero samples (capture)"}]

        get_playbacks = get_captures

    monkeypatch.setattr(miniaudio, "Devices", NoHardware)
    found = devices.list_devices()
    assert (found.microphones, found.loudspeakers) == ((), ())
