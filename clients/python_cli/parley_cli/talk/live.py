"""A talk on a terminal: what is final scrolls away above, what moves stays below.

Finished turns are printed for good, so the whole talk can be scrolled back to. Below them a few
lines are redrawn ten times a second: the turn under way, the silence before its answer, the level
meter, who has the floor, and the keys.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from parley.conversation.v1 import conversation_pb2
from parley_cli.session import Remarked, SessionView, TurnView
from parley_cli.talk.drawing import (
    correction_lines,
    floor_text,
    hung,
    learner_line,
    level_meter,
    stage_bar,
    tutor_line,
)
from parley_cli.talk.events import TalkEvent, TurnMeasured, Unanswered, UtteranceBegan
from parley_cli.talk.plain import notice_text, print_ending

# Fast enough for words to appear with the voice; a terminal over ssh still keeps up.
_REDRAWS_PER_S = 10
# The meter falls this much a redraw: it jumps up and sinks slowly, as meters do.
_METER_FALL_DB = 4.0
_SHORTEST_METER = 6


class LivePresenter:
    """Draws a talk while it happens.

    Args:
        console: a terminal.
        keys: one line that names the keys.
    """

    def __init__(self, console: Console, *, keys: str) -> None:
        self._console = console
        self._keys = keys
        self._view = SessionView()
        self._level = -100.0
        self._printed: set[int] = set()
        self._corrected: set[int] = set()
        self._measures: dict[int, TurnMeasured] = {}
        self._file = ""
        self._live = Live(
            console=console,
            get_renderable=self._draw,
            refresh_per_second=_REDRAWS_PER_S,
            transient=True,
            # The terminal's own lines are printed above the moving ones.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def on_event(self, event: TalkEvent, view: SessionView, at_ms: float) -> None:
        """Take an event; lines that are final are printed at once."""
        del at_ms
        self._view = view
        match event:
            case TurnMeasured():
                self._measures[event.generation] = event
                self._print_ended()
            case UtteranceBegan(index=index, file=file):
                self._file = f"[{index + 1}] {Path(file).name}"
                self._print_ended()
            case Unanswered(file=file, waited_s=waited_s):
                self._print(
                    Text(f"no answer to {Path(file).name} within {waited_s:g} s", style="bold red")
                )
            case Remarked(text=text):
                self._print(Text(text, style="yellow"))
            case conversation_pb2.ConverseResponse():
                kind = event.WhichOneof("message")
                if kind == "notice":
                    self._print(notice_text(view.notices[-1]))
                elif kind in ("reply_started", "ended"):
                    self._print_ended()
                elif kind == "feedback":
                    self._print_corrections()
            case _:
                pass

    def on_level(self, level_dbfs: float) -> None:
        """Move the meter."""
        self._level = max(level_dbfs, self._level - _METER_FALL_DB)

    def close(self, view: SessionView) -> None:
        """Take the moving lines away and print the table of turns."""
        self._view = view
        self._live.stop()
        print_ending(self._console, view, self._measures)

    def _draw(self) -> RenderableType:
        return draw(
            self._view,
            level_dbfs=self._level,
            printed=frozenset(self._printed),
            file=self._file,
            keys=self._keys,
            width=self._console.width,
            height=self._console.height,
        )

    def _print_ended(self) -> None:
        for turn in self._view.turns:
            if turn.end and turn.number not in self._printed:
                self._printed.add(turn.number)
                self._print_turn(turn)

    def _print_turn(self, turn: TurnView) -> None:
        if turn.utterance:
            self._print(hung(learner_line(turn), self._console.width - 1))
        measured = self._measures.get(turn.generation)
        silence_ms = measured.silence_ms if measured is not None else turn.silence_ms
        stages = measured.stages if measured is not None else turn.stages
        bar = stage_bar(stages, silence_ms, self._console.width - 8)
        if bar.plain:
            self._print(Text("       ").append_text(bar))
        self._print(hung(tutor_line(turn, whole=True), self._console.width - 1))
        self._print_corrections()

    def _print_corrections(self) -> None:
        for turn in self._view.turns:
            if turn.corrections and turn.number in self._printed - self._corrected:
                self._corrected.add(turn.number)
                if turn is not self._view.current:
                    self._print(Text(f"       about turn {turn.number}:", style="dim"))
                for line in correction_lines(turn):
                    self._print(line)

    def _print(self, text: Text) -> None:
        self._console.print(text, highlight=False)


def draw(
    view: SessionView,
    *,
    level_dbfs: float,
    printed: frozenset[int],
    file: str,
    keys: str,
    width: int,
    height: int,
) -> RenderableType:
    """The moving lines.

    Args:
        view: the session.
        level_dbfs: of the microphone.
        printed: turns that stand above already.
        file: the recording being spoken; empty for a microphone.
        keys: one line that names the keys.
        width: of the terminal, in columns.
        height: of the terminal, in rows.
    """
    lines: list[Text] = []
    for turn in view.turns:
        if turn.number in printed:
            continue
        if turn.utterance or not turn.generation:
            lines.append(hung(learner_line(turn), width - 1))
        if turn.generation:
            bar = stage_bar(turn.stages, turn.silence_ms, width - 8)
            if bar.plain:
                lines.append(Text("       ").append_text(bar))
            lines.append(hung(tutor_line(turn, whole=view.captions_only), width - 1))
    body = _fit(lines, width, max(3, height - 5))
    status = floor_text(view)
    if file:
        status.append(f"   {file}", style="dim")
    if view.time_left_ms is not None:
        status.append(f"   the server closes in {view.time_left_ms / 1000:.0f} s", style="yellow")
    # What is left of the line; a meter of a few columns tells nothing.
    room = width - 1 - len(status) - len("   mic ")
    if room >= _SHORTEST_METER:
        status.append("   ").append_text(level_meter(level_dbfs, width=min(24, room)))
    about = " · ".join(part for part in (view.scenario, view.engine, view.voice) if part)
    footer = Text(keys, style="dim")
    if about and len(keys) + len(about) + 3 <= width:
        footer.append(" " * (width - len(keys) - len(about) - 1)).append(about)
    rule = Text("─" * (width - 1), style="bright_black")
    for text in (status, footer, rule):
        text.truncate(width - 1, overflow="ellipsis")
    return Group(*body, rule, status, footer)


def _fit(lines: list[Text], width: int, rows: int) -> list[Text]:
    """Keep the newest rows that fit: a moving part taller than the screen smears."""
    newest: list[Text] = []
    for line in lines:
        newest.extend(row for part in line.split("\n") for row in _cut(part, width - 1))
    return newest[-rows:]


def _cut(line: Text, width: int) -> list[Text]:
    return [line[begin : begin + width] for begin in range(0, max(1, len(line)), width)]
