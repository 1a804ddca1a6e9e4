"""The parts of the silence add up to it."""

from parley.types.v1 import turn_pb2
from services.conversation.stages import join_stages, silence_of, with_playing


def engine(*durations: float) -> list[turn_pb2.Stage]:
    return [
        turn_pb2.Stage(kind=kind, duration_ms=duration)
        for kind, duration in enumerate(durations, start=1)
    ]


def test_what_is_not_explained_is_unaccounted():
    stages = join_stages(engine(300, 150, 200, 50, 40), sent_ms=2, silence_ms=760)
    assert silence_of(stages) == 760
    assert (stages[-1].kind, stages[-1].duration_ms) == (turn_pb2.STAGE_KIND_UNACCOUNTED, 18)


def test_parts_that_explain_too_much_are_told():
    stages = join_stages(engine(300), sent_ms=2, silence_ms=290)
    assert stages[-1].duration_ms == 0
    assert stages[-1].note == "the parts exceed the silence by 12.0 ms"


def test_the_clients_own_part_comes_last_and_counts():
    stages = with_playing(join_stages(engine(300), sent_ms=0, silence_ms=300), 45)
    assert stages[-1].kind == turn_pb2.STAGE_KIND_PLAYED
    assert silence_of(stages) == 345
    assert with_playing([], 45) == []
