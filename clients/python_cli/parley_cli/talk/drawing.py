"""How parts of a talk are drawn: pure functions from views to rich renderables."""

from __future__ import annotations

import io

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from parley_cli.session import Floor, SessionView, SummaryView, TurnView
from parley_cli.stages import StageView
from parley_cli.talk.events import TurnMeasured

# Each part of the silence: its letter in the bar and its colour. Letters, so that the bar reads
# without colour too.
_STAGES = {
    "endpoint": ("e", "blue"),
    "transcript": ("t", "cyan"),
    "first_token": ("l", "magenta"),
    "first_clause": ("c", "bright_magenta"),
    "first_audio": ("a", "green"),
    "sent": ("s", "bright_black"),
    "received": ("r", "bright_black"),
    "played": ("p", "yellow"),
    "unaccounted": ("?", "red"),
}
_STAGE_WORDS = {
    "endpoint": "turn end",
    "transcript": "words",
    "first_token": "thinking",
    "first_clause": "clause",
    "first_audio": "voice",
    "sent": "sending",
    "received": "network",
    "played": "playing",
    "unaccounted": "unaccounted",
}

# Parts that nobody would notice get no column of their own; the words beside the bar may name them.
_WORTH_A_COLUMN_MS = 5.0

_FLOORS = {
    Floor.CONNECTING: ("connecting …", "yellow"),
    Floor.LISTENING: ("● listening", "green"),
    Floor.LEARNER: ("● you speak", "bold green"),
    Floor.THINKING: ("… the tutor thinks", "cyan"),
    Floor.TUTOR: ("▶ the tutor speaks", "bold cyan"),
    Floor.HELD: ("‖ the tutor waits", "cyan"),
    Floor.RECONNECTING: ("connection lost, reconnecting …", "bold yellow"),
    Floor.ENDED: ("over", "dim"),
}


def floor_text(view: SessionView) -> Text:
    """Who has the floor."""
    if view.floor in (Floor.LISTENING, Floor.LEARNER):
        if view.muted:
            return Text("○ muted", style="yellow")
        if not view.microphone_open:
            return Text("○ microphone closed", style="dim")
    words, style = _FLOORS[view.floor]
    return Text(words, style=style)


def stage_bar(stages: tuple[StageView, ...], silence_ms: float | None, width: int) -> Text:
    """The silence before a reply on one line: `742 ms  eeeettllllca  e endpoint 298 …`.

    Args:
        stages: the parts.
        silence_ms: the whole; None where it is not known.
        width: columns there are.
    """
    text = Text()
    if silence_ms is not None:
        text.append(f"{silence_ms:.0f} ms", style="bold")
    # Parts may explain more than there was: that is told in the legend, and no bar can show it.
    shown = [s for s in stages if abs(s.duration_ms) >= 1.0]
    total = sum(s.duration_ms for s in shown if s.duration_ms > 0)
    if not shown or total <= 0:
        return text
    text.append("  ")
    bar = max(8, min(24, width // 5))
    for stage in shown:
        letter, style = _STAGES.get(stage.name, ("·", "white"))
        columns = max(0, round(bar * stage.duration_ms / total))
        if columns == 0 and stage.duration_ms >= _WORTH_A_COLUMN_MS:
            columns = 1
        text.append(letter * columns, style=style)
    legend = sorted(shown, key=lambda s: s.duration_ms, reverse=True)
    for stage in legend:
        letter, style = _STAGES.get(stage.name, ("·", "white"))
        words = _STAGE_WORDS.get(stage.name, stage.name)
        label = f"  {letter} {words} {stage.duration_ms:.0f}"
        if len(text) + len(label) > width:
            break
        text.append(label, style=style)
    return text


def learner_line(turn: TurnView) -> Text:
    """What the learner said: dim while it may still change."""
    text = Text("you    ", style="green")
    text.append(turn.utterance or "…", style="" if turn.utterance_final else "dim")
    return text


def tutor_line(turn: TurnView, *, whole: bool) -> Text:
    """What the tutor says: what was spoken in full, what is to come not at all, or dim."""
    text = Text("tutor  ", style="cyan")
    spoken = turn.spoken
    if turn.end:
        text.append(spoken or "…")
        if turn.end != "completed":
            text.append(f"  — {turn.end}", style="yellow")
    elif whole:
        text.append(turn.reply or "…")
    else:
        text.append(spoken or "…", style="" if spoken else "dim")
    return text


def hung(line: Text, width: int, indent: int = 7) -> Text:
    """Wrap a line so that what follows its first row stands under its text, not its label.

    Args:
        line: a label of `indent` columns and a text.
        width: columns there are.
        indent: columns of the label.
    """
    label, text = line[:indent], line[indent:]
    console = Console(width=max(20, width), file=io.StringIO())
    rows = text.wrap(console, max(10, width - indent))
    return Text("\n").join(
        [Text.assemble(label if n == 0 else " " * indent, row) for n, row in enumerate(rows)]
    )


def correction_lines(turn: TurnView) -> list[Text]:
    """The corrections of a turn, a line each."""
    lines = []
    for correction in turn.corrections:
        text = Text("       ✎ ", style="yellow")
        text.append(correction.original or "∅", style="strike dim")
        text.append(" → ")
        text.append(correction.replacement or "(leave it out)", style="bold")
        if correction.explanation:
            text.append(f"  {correction.explanation}", style="dim")
        lines.append(text)
    return lines


def level_meter(level_dbfs: float, width: int = 24) -> Text:
    """How loud the microphone is, from -60 to 0 dBFS; red where it clips."""
    filled = round(width * min(1.0, max(0.0, (level_dbfs + 60) / 60)))
    style = "red" if level_dbfs > -3 else "green"
    text = Text("mic ", style="dim")
    text.append("█" * filled, style=style)
    text.append("░" * (width - filled), style="bright_black")
    return text


def turns_table(view: SessionView, measures: dict[int, TurnMeasured]) -> Table:
    """The turns of a talk with what each took."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("turn", justify="right")
    table.add_column("you", ratio=2)
    table.add_column("tutor, as heard", ratio=3)
    table.add_column("silence", justify="right", no_wrap=True)
    table.add_column("saved", justify="center")
    for turn in view.turns_taken:
        measured = measures.get(turn.generation)
        silence_ms = measured.silence_ms if measured is not None else turn.silence_ms
        table.add_row(
            str(turn.number),
            turn.utterance,
            turn.spoken + ("" if turn.end in ("completed", "") else f" — {turn.end}"),
            "" if silence_ms is None else f"{silence_ms:.0f} ms",
            "✓" if turn.turn_id else "✗",
        )
    return table


def summary_text(summary: SummaryView) -> Text:
    """One line about the whole session."""
    text = Text(f"{summary.turns} turn{'' if summary.turns == 1 else 's'}")
    if summary.turns_saved != summary.turns:
        text.append(f", only {summary.turns_saved} saved", style="bold red")
    text.append(f" in {_duration(summary.duration_ms)}")
    text.append(f" · you spoke {_duration(summary.learner_speech_ms)}")
    text.append(f" · the tutor {_duration(summary.tutor_speech_ms)}")
    if summary.median_silence_ms:
        text.append(f" · median silence {summary.median_silence_ms} ms")
    return text


def _duration(milliseconds: int) -> str:
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
