"""One recording through one engine: a conversation of one turn."""

from __future__ import annotations

import time
from pathlib import Path

from parley.conversation.v1 import conversation_pb2
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
        self.heard: list[str] = []
        self.replies: list[str] = []
        self.measured: TurnMeasured | None = None
        self.failure = ""

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
            self.heard.append(response.transcript.transcript.verbatim)
        elif kind == "reply_text":
            self.replies.append(response.reply_text.text)
        elif kind == "notice":
            refusal = refusal_from_status(response.notice.status)
            self.failure = self.failure or refusal.message


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
    except CliFailure as failure:
        listener.failure = listener.failure or str(failure)
    measured = listener.measured
    if measured is None and not listener.failure:
        listener.failure = "nothing was answered"
    answered = measured is not None and not listener.failure
    return Run(
        engine=engine,
        sample=sample,
        heard=" ".join(listener.heard),
        reply="".join(listener.replies).strip(),
        silence_ms=measured.silence_ms if measured else None,
        stages=measured.stages if measured else (),
        failure=listener.failure,
        reply_path=reply_path if answered else None,
    )
