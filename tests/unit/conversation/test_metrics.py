"""What an operator sees of the sessions."""

import pytest
from prometheus_client import CollectorRegistry

from parley.types.v1 import turn_pb2
from services.conversation import events, problems
from services.conversation.metrics import ConversationMetrics
from tests.unit.conversation.driving import Drive

TEN = "one two three four five six seven eight nine ten"


class Measured(Drive):
    """A machine whose events and effects are counted as a live session's are."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = ConversationMetrics(self.registry)
        super().__init__()

    def give(self, event: events.Event) -> list[events.Effect]:
        self.metrics.happened(event)
        effects = super().give(event)
        for effect in effects:
            self.metrics.done(effect)
        return effects

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"parley_conversation_{name}", labels) or 0.0


def test_barge_ins_are_told_from_backchannels():
    drive = Measured()
    drive.commit()
    drive.speak(TEN)
    drive.advance(1.0)
    for words in ("mhm", "stop please"):
        drive.learner_begins()
        drive.words(words)
        drive.learner_stops()
        drive.advance(1.3)
    assert drive.value("barge_ins_total", meaning="backchannel") == 1
    assert drive.value("barge_ins_total", meaning="interruption") == 1
    assert drive.value("turns_total", source="speech", ended="interrupted") == 1


def test_who_stops_the_tutor_by_hand_has_interrupted_it():
    drive = Measured()
    drive.commit()
    drive.speak(TEN)
    drive.client(interrupt={})
    drive.client(interrupt={})
    assert drive.value("barge_ins_total", meaning="interruption") == 1


@pytest.mark.parametrize("how", ["typed", "replaced", "stalled"])
def test_what_else_ends_a_reply_early_is_no_interruption(how: str):
    drive = Measured()
    drive.commit()
    drive.speak(TEN)
    drive.advance(1.0)
    if how == "typed":
        drive.client(text={"text": "Stop"})
    elif how == "replaced":
        drive.commit("Something else")
    else:
        drive.client(heard={"generation": 1, "audio_ms": 500})
        drive.advance(10.0)
    assert drive.value("turns_total", source="speech", ended="interrupted") == 1
    assert drive.value("barge_ins_total", meaning="interruption") == 0


def test_the_silence_and_its_stages_are_measured_once_a_turn():
    drive = Measured()
    drive.session.note_audio(2_000, drive.now)
    drive.commit()
    drive.advance(0.3)
    stage = turn_pb2.Stage(kind=turn_pb2.STAGE_KIND_ENDPOINT, duration_ms=400)
    drive.engine(1, reply_audio={"pcm": bytes(4800), "offset_ms": 0, "stages": [stage]})
    drive.end("Hm")
    drive.advance(2.0)
    assert drive.value("silence_seconds_count", source="speech") == 1
    assert drive.value("silence_seconds_sum", source="speech") > 0.3
    assert drive.value("stage_seconds_sum", stage="endpoint") == 0.4


def test_lost_engines_and_resumed_clients_are_counted():
    drive = Measured()
    drive.lose_engine(problems.engine_unavailable())
    drive.metrics.resumed("storage")
    assert drive.value("engines_lost_total") == 1
    assert drive.value("resumed_total", where="storage") == 1
