"""What a talk is to be like."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import audio_pb2, learner_pb2
from parley_cli import __version__

# What the server's recognizers work at; anything else would be resampled there.
CAPTURE_RATE_HZ = 16_000
# What the tutor is asked to speak at; the local synthesizer's own rate.
DEFAULT_PLAYBACK_RATE_HZ = 24_000


@dataclass(frozen=True, slots=True)
class TalkOptions:
    """The choices of `parley talk`.

    Attributes:
        scenario, engine, voice: names; empty for the server's default.
        patience: 0 answers fastest, 1 waits longest; None for the profile's.
        speech_rate: 0.5 to 2; None for 1.
        push_to_talk: turns end by a key, never by silence.
        tutor_opens: the tutor speaks first.
        captions_only: no reply audio.
        no_record: neither side is recorded.
        frame_ms: length of the learner's audio frames.
        answer_timeout_s: how long a recording waits for its answer.
        output, output_mix: where the tutor's track and the mix go.
    """

    scenario: str = ""
    engine: str = ""
    voice: str = ""
    patience: float | None = None
    speech_rate: float | None = None
    push_to_talk: bool = False
    tutor_opens: bool = False
    captions_only: bool = False
    no_record: bool = False
    frame_ms: int = 20
    answer_timeout_s: float = 30.0
    output: Path | None = None
    output_mix: Path | None = None

    def start_session(self) -> conversation_pb2.StartSession:
        """The first message of the session."""
        return conversation_pb2.StartSession(
            scenario_id=self.scenario,
            engine=self.engine,
            voice=self.voice,
            input_format=audio_pb2.AudioFormat(
                encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE,
                sample_rate_hz=CAPTURE_RATE_HZ,
                channels=1,
            ),
            turn_taking=learner_pb2.TurnTakingPreferences(
                patience=self.patience, push_to_talk=self.push_to_talk
            ),
            captions_only=self.captions_only,
            no_recording=self.no_record,
            tutor_opens=self.tutor_opens,
            speech_rate=self.speech_rate,
            client=f"parley-cli/{__version__}",
        )
