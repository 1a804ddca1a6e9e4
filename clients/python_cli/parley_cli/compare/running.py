"""One recording through one engine: a conversation of one turn."""

from __future__ import annotations

import time
from pathlib import Path

from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import turn_pb2
from parley_cli.audio.cards import VirtualCard
from parley_cli.audio.files import Recording
from parley_cli.client.parley_client import ParleyClient
from parley_cli.compare.results import Run, Sample
from parley_cli.failures import CliFailure, refusal_from_status
from parley_cli.session import SessionView
from parley_cli.talk.conversation import Talk
from parley_cli.talk.drivers import RecordingsDriver
from parley_cli.talk.events import TalkEvent, TurnMeasured, Unanswered
from parley_cli.talk.options import CAPTURE_RATE_HZ, TalkOptions
from parley_cli.talk.script import RecordingScript


class _Listener:
    """Keeps what a talk was, and shows nothing."""

    def __init__(self) -> None:
        self.heard: dict[int, str] = {}
        self.stored: dict[int, str] = {}
        self.replies: list[str] = []
        self.measured: TurnMeasured | None = None
        self.failure = ""
        self.notice = ""
        self.reply_failed = False

    def on_event(self, event: TalkEvent, view: SessionView, at_ms: float) -> None:
        """Keep what is compared."""
        del view, at_ms
        if isinstance(event, TurnMeasured):
            self.measured = self.measured or event
        elif isinstance(event, Unanswered):
            self.failure = self.failure or f"no answer within {event.waited_s:.0f} s"
        elif isinstance(event, conversation_pb2.ConverseResponse):
            self._on_response(event)

    def on_level(self, level_dbfs: float) -> None:
        """Nothing."""

    def close(self, view: SessionView) -> None:
        """Nothing."""

    def _on_response(self, response: conversation_pb2.ConverseResponse) -> None:
        kind = response.WhichOneof("message")
        if kind == "transcript" and response.transcript.final:
            self._on_words(response.turn, response.transcript.transcript.verbatim)
        elif kind == "reply_text":
            self.replies.append(response.reply_text.text)
        elif kind == "reply_ended":
            self.reply_failed = response.reply_ended.reason == turn_pb2.REPLY_END_REASON_FAILED
        elif kind == "notice":
            # Where there was an answer all the same, it is no failure.
            self.notice = self.notice or refusal_from_status(response.notice.status).message

    def _on_words(self, turn: int, words: str) -> None:
        """Keep what a turn was answered to, and what it was heard as in the end."""
        if words:
            self.heard.setdefault(turn, words)
            self.stored[turn] = words
        else:
            # What was shown of it was none.
            self.heard.pop(turn, None)
            self.stored.pop(turn, None)


async def compare_one(
    client: ParleyClient,
    engine: str,
    sample: Sample,
    recording: Recording,
    reply_path: Path | None,
    answer_timeout_s: float,
) -> Run:
    """Say ``recording`` to ``engine`` and return what came of it; a failure is a result too."""
    script = RecordingScript([recording], CAPTURE_RATE_HZ)
    options = TalkOptions(
        engine=engine, no_record=True, answer_timeout_s=answer_timeout_s, output=reply_path
    )
    card = VirtualCard(
        script,
        sample_rate_hz=CAPTURE_RATE_HZ,
        frame_ms=options.frame_ms,
        now=time.monotonic,
    )
    listener = _Listener()
    talk = Talk(
        client,
        options,
        card=card,
        driver=RecordingsDriver(script, [recording]),
        presenter=listener,
    )
    try:
        await talk.run()
    except CliFailure as refused:
        listener.failure = listener.failure or str(refused)
    measured = listener.measured
    failure = listener.failure
    if not failure and (measured is None or listener.reply_failed):
        failure = listener.notice or "nothing was answered"
    return Run(
        engine=engine,
        sample=sample,
        heard=" ".join(listener.heard.values()),
        stored=" ".join(listener.stored.values()),
        reply="".join(listener.replies).strip(),
        silence_ms=measured.silence_ms if measured else None,
        stages=measured.stages if measured else (),
        failure=failure,
        reply_path=None if failure else reply_path,
    )
