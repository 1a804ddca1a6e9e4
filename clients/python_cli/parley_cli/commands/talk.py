"""`talk`: hold a conversation by microphone, from recordings, or by typing."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from parley_cli.audio.cards import Card, VirtualCard
from parley_cli.audio.devices import OUTPUT_LATENCY_MS, DeviceCard
from parley_cli.audio.files import Recording, read_recording
from parley_cli.audio.recorder import check_writable
from parley_cli.audio.speech_end import holds_speech
from parley_cli.client.parley_client import ParleyClient
from parley_cli.failures import CliFailure, ExitCode
from parley_cli.session import Floor
from parley_cli.state import run, state_of, stdout
from parley_cli.talk.conversation import Driver, Talk, TalkResult
from parley_cli.talk.drivers import RecordingsDriver, TypingDriver
from parley_cli.talk.events import Presenter
from parley_cli.talk.json_lines import JsonPresenter
from parley_cli.talk.keys import pressed_keys
from parley_cli.talk.live import LivePresenter
from parley_cli.talk.options import CAPTURE_RATE_HZ, TalkOptions
from parley_cli.talk.plain import PlainPresenter
from parley_cli.talk.script import RecordingScript

_SOUND = "Sound"
_TUTOR = "The tutor"
_SHOW = "What is shown"


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel="Practise")(talk)


def talk(
    context: typer.Context,
    more_inputs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILES]", help="Further recordings after --input."),
    ] = None,
    *,
    inputs: Annotated[
        list[Path] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="FILE",
            help="Talk from a recording instead of the microphone. Several: one utterance each.",
            rich_help_panel=_SOUND,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="WAV",
            help="Keep the tutor's voice as it was played, silences included.",
            rich_help_panel=_SOUND,
        ),
    ] = None,
    output_mix: Annotated[
        Path | None,
        typer.Option(
            metavar="WAV",
            help="Keep both sides: you left, the tutor right.",
            rich_help_panel=_SOUND,
        ),
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", "-t", help="Type instead of speaking.", rich_help_panel=_SOUND)
    ] = False,
    headphones: Annotated[
        bool,
        typer.Option(
            "--headphones",
            help="You wear headphones: leave out the echo cancellation, which nothing needs then.",
            rich_help_panel=_SOUND,
        ),
    ] = False,
    push_to_talk: Annotated[
        bool,
        typer.Option(
            "--push-to-talk",
            help="Press space to speak and again when done; silence ends nothing.",
            rich_help_panel=_SOUND,
        ),
    ] = False,
    captions_only: Annotated[
        bool,
        typer.Option(
            "--captions-only", help="Read the tutor instead of hearing it.", rich_help_panel=_SOUND
        ),
    ] = False,
    scenario: Annotated[
        str,
        typer.Option(
            "--scenario",
            "-s",
            help="What to practise; see `parley scenarios`.",
            rich_help_panel=_TUTOR,
        ),
    ] = "",
    engine: Annotated[
        str, typer.Option(help="Who answers; see `parley engines`.", rich_help_panel=_TUTOR)
    ] = "",
    voice: Annotated[
        str, typer.Option(help="With which voice; see `parley voices`.", rich_help_panel=_TUTOR)
    ] = "",
    patience: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="0 answers fastest, 1 gives you most time to think.",
            rich_help_panel=_TUTOR,
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.5, max=2.0, help="How fast the tutor speaks.", rich_help_panel=_TUTOR),
    ] = None,
    tutor_opens: Annotated[
        bool, typer.Option("--tutor-opens", help="The tutor speaks first.", rich_help_panel=_TUTOR)
    ] = False,
    no_record: Annotated[
        bool, typer.Option("--no-record", help="Keep no recording.", rich_help_panel=_TUTOR)
    ] = False,
    answer_timeout: Annotated[
        float,
        typer.Option(
            min=0.1,
            metavar="SECONDS",
            help="With --input: how long to wait for an answer.",
            rich_help_panel=_SOUND,
        ),
    ] = 30.0,
    frame_ms: Annotated[
        int,
        typer.Option(
            min=10, max=100, help="How much sound goes into one message.", rich_help_panel=_SOUND
        ),
    ] = 20,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="One JSON event a line (docs/cli.md).", rich_help_panel=_SHOW),
    ] = False,
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Lines only, nothing that moves.", rich_help_panel=_SHOW),
    ] = False,
) -> None:
    """Talk with the tutor.

    Loudspeakers do: the tutor's voice is taken out of what the microphone hears. With --headphones
    there is none to take out. Ctrl-C ends the talk in good order; a second one ends it at once.

    While you talk: space stops the tutor, m mutes you, q ends the talk. Speak whenever you like,
    also over the tutor; a "mhm" does not stop it. A connection that is lost for up to 30 s comes
    back by itself, and what you said meanwhile is heard.

    Under each of your turns stands how long you waited for the answer, and for what:
    742 ms  eeeelllcca  l thinking 310  e turn end 298  c clause 92  a voice 31

    Examples:
      parley talk

      parley talk --scenario restaurant --patience 0.8 --tutor-opens

      parley talk --input question.wav --output reply.wav

      parley talk --input first.wav second.mp3 --output-mix both.wav --json

      parley talk --text
    """
    state = state_of(context)
    files = [*(inputs or []), *(more_inputs or [])]
    _check_use(files, inputs, text=text, push_to_talk=push_to_talk, as_json=as_json)
    # Everything that can be wrong on this machine is found before the server is asked.
    recordings = [_utterance(path) for path in files]
    for path in (output, output_mix):
        if path is not None:
            check_writable(path)
    options = TalkOptions(
        scenario=scenario,
        engine=engine,
        voice=voice,
        patience=patience,
        speech_rate=rate,
        push_to_talk=push_to_talk and not files,
        tutor_opens=tutor_opens,
        # Typed talk makes no sound unless its sound is kept.
        captions_only=captions_only or (text and output is None and output_mix is None),
        no_record=no_record,
        frame_ms=frame_ms,
        answer_timeout_s=answer_timeout,
        output=output,
        output_mix=output_mix,
    )
    card, driver, latency_ms = _sound(recordings, options, text=text, headphones=headphones)
    microphone = not files and not text
    # Reading keys also keeps the terminal from echoing them (and ^C) into what is drawn.
    keys = stdout().is_terminal and not (as_json or plain or text)
    presenter = _presenter(options, as_json=as_json, text=text, live=keys, microphone=microphone)

    async def work() -> tuple[TalkResult, bool]:
        async with state.client() as client:
            return await _talk(client, options, card, driver, presenter, latency_ms, keys=keys)

    result, aborted = run(work())
    if aborted:
        raise typer.Exit(int(ExitCode.ABORTED))
    if result.unanswered:
        raise typer.Exit(int(ExitCode.UNANSWERED))


def _check_use(
    files: list[Path], inputs: list[Path] | None, *, text: bool, push_to_talk: bool, as_json: bool
) -> None:
    del as_json
    if files and not inputs:
        raise CliFailure(
            "Recordings follow --input.",
            advice=f"parley talk --input {' '.join(str(f) for f in files)}",
            exit_code=ExitCode.USAGE,
        )
    if text and (files or push_to_talk):
        other = "--input" if files else "--push-to-talk"
        raise CliFailure(
            f"--text and {other} do not go together.",
            advice="Choose one way to talk.",
            exit_code=ExitCode.USAGE,
        )


def _utterance(path: Path) -> Recording:
    """Read a recording, and refuse one that nobody could answer before it takes its time."""
    recording = read_recording(path, CAPTURE_RATE_HZ)
    if not holds_speech(recording.samples, CAPTURE_RATE_HZ):
        raise CliFailure(
            f"{path} holds no speech in its {recording.duration_ms / 1000:.1f} s.",
            advice="Check that the microphone was on, and record it again.",
            exit_code=ExitCode.USAGE,
        )
    return recording


def _sound(
    recordings: list[Recording], options: TalkOptions, *, text: bool, headphones: bool
) -> tuple[Card | None, Driver | None, int]:
    """Choose what hears and plays, and what makes the talk go on."""
    script = RecordingScript(recordings, CAPTURE_RATE_HZ)
    virtual = VirtualCard(
        script, sample_rate_hz=CAPTURE_RATE_HZ, frame_ms=options.frame_ms, now=time.monotonic
    )
    if recordings:
        return virtual, RecordingsDriver(script, recordings), 0
    if text:
        return (None if options.captions_only else virtual), TypingDriver(), 0
    card = DeviceCard(
        capture_rate_hz=CAPTURE_RATE_HZ,
        frame_ms=options.frame_ms,
        cancel_echo=not (headphones or options.captions_only),
    )
    return card, None, OUTPUT_LATENCY_MS


def _presenter(
    options: TalkOptions, *, as_json: bool, text: bool, live: bool, microphone: bool
) -> Callable[[], Presenter]:
    console = stdout()

    def make() -> Presenter:
        if as_json:
            return JsonPresenter(sys.stdout)
        if not live:
            asking = text and sys.stdin.isatty()
            return PlainPresenter(console, prompt="you    " if asking else "")
        space = "space speak/done" if options.push_to_talk else "space stop the tutor"
        names = f"{space} · m mute · q quit" if microphone else "space stop the tutor · q quit"
        return LivePresenter(console, keys=names)

    return make


async def _talk(
    client: ParleyClient,
    options: TalkOptions,
    card: Card | None,
    driver: Driver | None,
    make_presenter: Callable[[], Presenter],
    latency_ms: int,
    *,
    keys: bool,
) -> tuple[TalkResult, bool]:
    # Before anything is drawn: a sign-in that is missing or over is told without a screen.
    await client.access_token()
    presenter = make_presenter()
    conversation = Talk(
        client,
        options,
        card=card,
        driver=driver,
        presenter=presenter,
        output_latency_ms=latency_ms,
    )
    aborted = False
    try:
        with _interrupts(conversation) as interrupts, _keys(conversation, wanted=keys):
            try:
                await conversation.run()
            except asyncio.CancelledError:
                if not interrupts.aborted:
                    raise
                aborted = True
    finally:
        presenter.close(conversation.view)
    return conversation.result, aborted


class _Interrupts:
    """Counts Ctrl-C: the first finishes what has begun, the second aborts."""

    def __init__(self, conversation: Talk) -> None:
        self._conversation = conversation
        self._task = asyncio.current_task()
        self._count = 0
        self.aborted = False

    def __call__(self) -> None:
        self._count += 1
        begun = self._conversation.view.floor is not Floor.CONNECTING
        if self._count == 1 and begun:
            self._conversation.leave()
        elif self._task is not None:
            self.aborted = True
            self._task.cancel()


@contextlib.contextmanager
def _interrupts(conversation: Talk) -> Iterator[_Interrupts]:
    interrupts = _Interrupts(conversation)
    loop = asyncio.get_running_loop()
    installed = False
    # Not on Windows, nor outside the main thread: there Ctrl-C stays Python's own.
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(signal.SIGINT, interrupts)
        installed = True
    try:
        yield interrupts
    finally:
        if installed:
            loop.remove_signal_handler(signal.SIGINT)


@contextlib.contextmanager
def _keys(conversation: Talk, *, wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    pending: set[asyncio.Task[None]] = set()

    def on_key(key: str) -> None:
        if key in ("q", "Q"):
            conversation.leave()
        elif key in ("m", "M", " "):
            action = conversation.space_pressed if key == " " else conversation.toggle_mute
            task = asyncio.ensure_future(action())
            pending.add(task)
            task.add_done_callback(pending.discard)

    with pressed_keys(on_key):
        try:
            yield
        finally:
            for task in pending:
                task.cancel()
