"""A talk as lines of text: for pipes, for typed talk, for screens that cannot move a cursor."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from parley.conversation.v1 import conversation_pb2
from parley_cli.session import (
    ConnectionChanged,
    NoticeView,
    Remarked,
    SessionView,
    TurnView,
    Typed,
    says_nothing,
)
from parley_cli.talk.drawing import (
    correction_lines,
    learner_line,
    stage_bar,
    summary_text,
    turns_table,
    tutor_line,
)
from parley_cli.talk.events import TalkEvent, TurnMeasured, Unanswered, UtteranceBegan


class PlainPresenter:
    """Prints a line when something is final.

    Args:
        console: where to.
        prompt: shown when a typed line is awaited; empty where nobody types.
    """

    def __init__(self, console: Console, *, prompt: str = "") -> None:
        self._console = console
        self._prompt = prompt
        self._measures: dict[int, TurnMeasured] = {}
        self._asking = False
        self._finals: set[int] = set()
        self._notices: tuple[NoticeView, ...] = ()

    def on_event(self, event: TalkEvent, view: SessionView, at_ms: float) -> None:
        """Print what has become final."""
        del at_ms
        match event:
            case conversation_pb2.ConverseResponse():
                self._response(event, view)
            case TurnMeasured():
                self._measures[event.generation] = event
                bar = stage_bar(event.stages, event.silence_ms, self._console.width - 10)
                if bar.plain:
                    self._print(Text("       ").append_text(bar))
                ended = view.turn_of(event.generation)
                if ended is not None:
                    self._print(tutor_line(ended, whole=True))
                self._ask()
            case UtteranceBegan(index=index, file=file):
                self._print(Text(f"[{index + 1}] {Path(file).name}", style="dim"))
            case Unanswered(waited_s=waited_s):
                self._print(Text(f"no answer within {waited_s:g} s", style="bold red"))
                self._ask()
            case ConnectionChanged(connected=connected):
                words = "connected again" if connected else "connection lost, reconnecting …"
                self._print(Text(words, style="yellow"))
            case Remarked(text=text):
                self._print(Text(text, style="yellow"))
            case Typed() if view.current is not None:
                # The server says it back as a transcript; and who typed at a prompt sees it.
                self._finals.add(view.current.number)
                self._asking = False
                if not self._prompt:
                    self._print(learner_line(view.current))
            case _:
                pass

    def on_level(self, level_dbfs: float) -> None:
        """Nothing."""

    def close(self, view: SessionView) -> None:
        """Print the table of turns and the summary."""
        if self._asking:
            self._console.print()
        print_ending(self._console, view, self._measures)

    def _response(self, response: conversation_pb2.ConverseResponse, view: SessionView) -> None:
        match response.WhichOneof("message"):
            case "started":
                words = f"{view.scenario} · engine {view.engine} · voice {view.voice}"
                self._print(Text(words, style="dim"))
                self._ask()
            case "transcript" if response.transcript.final and not says_nothing(
                response.transcript
            ):
                turn = _turn(view, response.turn)
                if turn is not None and turn.number not in self._finals:
                    self._finals.add(turn.number)
                    self._print(learner_line(turn))
            case "feedback":
                for turn in view.turns:
                    if turn.turn_id == response.feedback.turn_id:
                        for line in correction_lines(turn):
                            self._print(line)
            case "notice":
                self._print(notice_text(view.notices[-1]))
            case _:
                pass

    def _ask(self) -> None:
        if self._prompt:
            self._asking = True
            self._console.print(self._prompt, end="", style="green", highlight=False)

    def _print(self, text: Text) -> None:
        asked, self._asking = self._asking, False
        if asked:
            # What comes late must not stand on the line where somebody types.
            self._console.print()
        self._console.print(text, highlight=False, soft_wrap=not self._console.is_terminal)
        if asked:
            self._ask()


def notice_text(notice: NoticeView) -> Text:
    """A notice as a line."""
    return Text("! " + notice.text, style="bold red" if notice.fatal else "yellow")


def print_ending(console: Console, view: SessionView, measures: dict[int, TurnMeasured]) -> None:
    """Print the table of turns and the summary, where there are any."""
    if view.turns_taken:
        console.print()
        console.print(turns_table(view, measures), highlight=False)
    if view.summary is not None:
        console.print(summary_text(view.summary), highlight=False)
    if view.conversation_id and view.turns_taken:
        hint = f"Read it again: parley show {view.conversation_id}"
        console.print(hint, style="dim", highlight=False, soft_wrap=True)


def _turn(view: SessionView, number: int) -> TurnView | None:
    for turn in view.turns:
        if turn.number == number:
            return turn
    return view.current
