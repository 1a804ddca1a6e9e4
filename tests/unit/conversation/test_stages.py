"""The parts of the silence add up to it."""

from parley.types.v1 import turn_pb2
from services.conversation.stages import join_stages, silence_of, with_playing, without_playing
from tests.unit.conversation.driving import Drive


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


def test_the_network_comes_between_sending_and_playing():
    sent = join_stages(engine(300), sent_ms=0, silence_ms=300)
    stages = with_playing(sent, 45, 80)
    assert [each.kind for each in stages[-2:]] == [
        turn_pb2.STAGE_KIND_RECEIVED,
        turn_pb2.STAGE_KIND_PLAYED,
    ]
    assert [each.at_ms for each in stages[-2:]] == [380, 425]
    assert without_playing(stages) == sent


def answered() -> Drive:
    drive = Drive()
    drive.session.note_audio(2_000, drive.now)
    drive.commit()
    drive.speak("one two three")
    return drive


def received(drive: Drive) -> list[float]:
    drive.client(interrupt={})
    return [
        round(each.duration_ms, 3)
        for each in drive.saved[0].stages
        if each.kind == turn_pb2.STAGE_KIND_RECEIVED
    ]


def test_what_the_first_report_does_not_explain_was_spent_on_the_way():
    """80 ms to the client and back, 50 ms until it sounded, and 40 ms of it were played."""
    drive = answered()
    drive.advance(0.17)
    drive.client(heard={"generation": 1, "audio_ms": 40, "play_delay_ms": 50})
    drive.advance(0.2)
    drive.client(heard={"generation": 1, "audio_ms": 100, "play_delay_ms": 50})
    assert received(drive) == [80]


def test_a_client_that_explains_more_than_there_was_was_near():
    drive = answered()
    drive.advance(0.1)
    drive.client(heard={"generation": 1, "audio_ms": 90, "play_delay_ms": 50})
    assert received(drive) == [0]


def test_nothing_is_known_of_the_way_without_the_clients_delay_or_where_it_was_held():
    drive = answered()
    drive.advance(0.1)
    drive.client(heard={"generation": 1, "audio_ms": 40})
    assert received(drive) == []
    held = answered()
    held.learner_begins(1_000)
    held.client(heard={"generation": 1, "audio_ms": 40, "play_delay_ms": 50})
    assert received(held) == []
