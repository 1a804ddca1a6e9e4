"""A line that is cut without a word: a reply is not said to nobody."""

from typing import Any

import pytest

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import learner_pb2, turn_pb2
from services.conversation import events
from services.conversation.events import Effect
from services.conversation.floor import State
from services.conversation.playback import REPORT_EVERY_MS
from services.conversation.presence import LET_GO_S
from tests.unit.conversation.driving import Drive

INTERRUPTED = turn_pb2.REPLY_END_REASON_INTERRUPTED
COMPLETED = turn_pb2.REPLY_END_REASON_COMPLETED
PUSH_TO_TALK = learner_pb2.TurnTakingPreferences(push_to_talk=True)
TEN = "one two three four five six seven eight nine ten"
REPLY_MS = 3_000


class Client(Drive):
    """A machine in the middle of a reply, and a client that plays it.

    known: it has played a reply before, and reported it to its end.
    """

    def __init__(self, *, text: str = TEN, known: bool = False, **config: Any) -> None:
        super().__init__(**config)
        self.begun = self.now
        self.client(ping={"nonce": 1})
        if known:
            self.commit()
            self.speak("one two")
            self.reports(0.8)
            assert self.session.state is State.LISTENING
            self.begun = self.now
        self.commit()
        self.speak(text)

    def reports(self, seconds: float, every_s: float = 0.2) -> None:
        """Play on, and say so."""
        for _ in range(round(seconds / every_s)):
            self.advance(every_s)
            heard_ms = max(0, round((self.now - self.begun - 0.15) * 1000))
            self.client(heard={"generation": self.generation, "audio_ms": heard_ms})

    def streams(self, seconds: float) -> None:
        """Send the microphone, and report nothing."""
        for _ in range(round(seconds / 0.1)):
            self.advance(0.1)
            self.hears()

    def hears(self) -> list[Effect]:
        """One frame of the microphone's, as a live session takes it."""
        due = self.session.note_audio((self.now - self.begun) * 1000, self.now)
        return self.give(events.Tick()) if due else []


def test_a_reply_is_held_for_a_client_whose_reports_stay_away():
    drive = Client(known=True)
    drive.reports(1.0)
    drive.advance(25.0)
    assert len(drive.sent("reply_ended")) == 1
    assert drive.session.state is State.REPLYING
    assert drive.audio_ms <= 600 + 850 + 1_500 + 600 + 100


def test_nobody_is_held_for_longer_than_clients_stay_away():
    """Who stopped reporting, and nothing else, gets the turn stored; what follows is held anew."""
    drive = Client(known=True)
    drive.reports(1.0)
    drive.advance(LET_GO_S + 5.0)
    ended = drive.sent("reply_ended")[-1]
    assert (drive.session.state, ended.reason) == (State.LISTENING, INTERRUPTED)
    assert ended.heard_ms == 850
    drive.begun = drive.now
    drive.client(ping={"nonce": 2})
    drive.commit("And then?")
    drive.speak(TEN)
    drive.reports(1.0)
    drive.advance(25.0)
    assert drive.session.state is State.REPLYING


def test_who_reports_only_when_audio_comes_is_not_held():
    """Such a client has nothing more to say once all has come."""
    drive = Client(text="one")
    for number in range(3):
        if number:
            drive.begun = drive.now
            drive.commit("And then?")
            drive.speak(TEN)
        sent_ms = drive.audio_ms
        for _ in range(60):
            drive.advance(0.1)
            if drive.audio_ms > sent_ms:
                sent_ms = drive.audio_ms
                heard_ms = max(0, round((drive.now - drive.begun - 0.15) * 1000))
                drive.client(heard={"generation": drive.generation, "audio_ms": heard_ms})
        drive.advance(3.0)
        assert drive.session.state is State.LISTENING


@pytest.mark.parametrize("first", ["a report", "a ping", "audio"])
def test_it_goes_on_with_the_next_message_and_is_heard_to_its_end(first: str):
    drive = Client(known=True)
    drive.reports(1.0)
    drive.advance(12.0)
    if first == "a ping":
        drive.client(ping={"nonce": 2})
    elif first == "audio":
        drive.hears()
    for heard_ms in range(1_400, REPLY_MS + 1, 200):
        drive.client(heard={"generation": drive.generation, "audio_ms": heard_ms})
        drive.advance(0.2)
    ended = drive.sent("reply_ended")[-1]
    assert (ended.reason, ended.heard_text) == (COMPLETED, TEN)


def test_a_microphone_that_stays_open_while_the_tutor_speaks_tells_as_well():
    drive = Client()
    drive.streams(1.2)
    drive.advance(25.0)
    assert drive.sent("reply_ended") == []
    drive.hears()
    drive.streams(4.0)
    [ended] = drive.sent("reply_ended")
    assert (ended.reason, ended.heard_text) == (COMPLETED, TEN)


def test_what_was_played_meanwhile_is_what_the_client_had():
    drive = Client()
    drive.streams(1.2)
    drive.advance(25.0)
    drive.client(interrupt={})
    [ended] = drive.sent("reply_ended")
    assert ended.heard_ms == 1_200 - 150 + 600


def test_one_that_comes_back_by_itself_goes_on_as_ever():
    drive = Client(known=True, resume_s=60)
    drive.reports(1.0)
    drive.advance(10.0)
    drive.give(events.ClientGone())
    drive.advance(5.0)
    drive.give(events.ClientBack(start_seq=5))
    drive.advance(5.0)
    assert drive.session.state is State.LISTENING


@pytest.mark.parametrize("config", [{}, {"turn_taking": PUSH_TO_TALK}])
def test_who_sends_nothing_by_right_is_not_held(config: dict[str, Any]):
    """Somebody who only types, in a program that reports nothing."""
    drive = Client(**config)
    drive.advance(5.0)
    assert drive.sent("reply_ended")[0].reason == COMPLETED


@pytest.mark.parametrize("how", ["muted", "button up"])
def test_a_microphone_that_is_closed_on_purpose_is_not_missed(how: str):
    drive = Client(
        turn_taking=PUSH_TO_TALK if how == "button up" else learner_pb2.TurnTakingPreferences()
    )
    drive.streams(1.2)
    if how == "muted":
        drive.client(settings={"muted": True})
    drive.advance(5.0)
    assert drive.sent("reply_ended")[0].reason == COMPLETED


def test_a_microphone_that_closes_when_the_tutor_begins_is_not_missed():
    drive = Client()
    drive.streams(0.5)
    drive.advance(5.0)
    assert drive.sent("reply_ended")[0].reason == COMPLETED


def test_one_report_is_no_habit():
    drive = Client()
    drive.advance(0.3)
    drive.client(heard={"generation": 1, "audio_ms": 100})
    drive.advance(2.0)
    drive.client(heard={"generation": 1, "audio_ms": 2_000})
    drive.advance(10.0)
    assert drive.sent("reply_ended")[0].reason == INTERRUPTED


def test_nothing_is_missed_while_there_is_nothing_to_report():
    """The engine is slow with its second sentence: what there was has been reported."""
    drive = Client(text="one")
    drive.reports(0.4)
    drive.client(heard={"generation": 1, "audio_ms": 300})
    assert drive.session.state is State.LISTENING
    drive.begun = drive.now
    drive.commit("And then?")
    drive.speak("one two", end=False)
    drive.reports(0.8)
    drive.advance(9.0)
    assert drive.session.deadline() is not None
    drive.engine(2, reply_audio={"pcm": bytes(4_800), "offset_ms": 600})
    assert drive.audio_ms == 300 + 600 + 100
    drive.end("one two three")
    drive.client(heard={"generation": 2, "audio_ms": 700})
    assert drive.sent("reply_ended")[-1].reason == COMPLETED


def test_the_reports_of_one_reply_are_expected_in_the_next():
    drive = Client(text="one two")
    drive.reports(0.8)
    drive.advance(1.0)
    drive.commit("And then?")
    drive.speak(TEN)
    drive.advance(25.0)
    assert len(drive.sent("reply_ended")) == 1
    assert drive.session.state is State.REPLYING


@pytest.mark.parametrize("how", ["a microphone", "pings"])
def test_a_reply_that_a_client_did_not_report_was_not_heard_where_it_reported_the_one_before(
    how: str,
):
    """A phone call suspends a page's sound, and nothing else."""
    drive = Client(known=True)
    if how == "a microphone":
        drive.streams(8.0)
    else:
        drive.client(settings={"muted": True})
        for _ in range(16):
            drive.advance(0.5)
            drive.client(ping={"nonce": 2})
    ended = drive.sent("reply_ended")[-1]
    assert (ended.reason, ended.heard_ms, ended.heard_text) == (INTERRUPTED, 0, "")
    assert drive.told_engine("interrupt")[-1].heard_text == ""
    assert drive.recorded_ms <= 600 + REPORT_EVERY_MS


@pytest.mark.parametrize(
    ("heard", "reason"),
    [(None, COMPLETED), ({"generation": 1, "audio_ms": 600}, INTERRUPTED)],
)
def test_a_client_that_comes_back_may_be_another_that_reports_nothing(
    heard: dict[str, int] | None, reason: int
):
    drive = Client(known=True, resume_s=60)
    drive.give(events.ClientGone())
    report = conversation_pb2.Heard(**heard) if heard else None
    drive.give(events.ClientBack(start_seq=5, heard=report))
    drive.streams(8.0)
    assert drive.sent("reply_ended")[-1].reason == reason


def test_a_reply_held_for_a_silent_line_ends_where_it_stood_once_it_has_been_held_for_long():
    """All that this client ever sent is its microphone: nobody was there for the rest."""
    drive = Client()
    drive.streams(1.2)
    drive.advance(LET_GO_S + 1.0)
    [ended] = drive.sent("reply_ended")
    assert (ended.reason, ended.heard_ms) == (INTERRUPTED, 1_200 - 150 + 600)
    assert [turn.heard_ms for turn in drive.saved] == [ended.heard_ms]
    assert drive.told_engine("interrupt")[-1].heard_ms == ended.heard_ms
    assert drive.told_engine("floor")[-1].floor == ai_pb2.FLOOR_LEARNER
    assert drive.session.state is State.LISTENING


@pytest.mark.parametrize("played_s", [0, 1.0])
def test_pings_alone_do_not_hold_a_reply_that_is_not_reported_for_ever(played_s: float):
    """Muted, with the sound suspended, a page is there and plays nothing."""
    drive = Client(known=True)
    drive.client(settings={"muted": True})
    drive.reports(played_s)
    for _ in range(8):
        drive.advance(5.0)
        drive.client(ping={"nonce": 2})
    ended = drive.sent("reply_ended")[-1]
    heard_ms = 850 if played_s else 0
    assert (len(drive.saved), ended.reason, ended.heard_ms) == (2, INTERRUPTED, heard_ms)


def test_what_the_tutor_says_after_a_reply_was_let_go_of_is_not_said_to_nobody():
    """A hint, or the answer to what came last: each reply that nobody came back for ends there."""
    drive = Client(known=True)
    drive.reports(1.0)
    drive.advance(LET_GO_S + 1.0)
    drive.commit("And then?")
    drive.speak(TEN)
    drive.advance(5.0)
    ended = drive.sent("reply_ended")[-1]
    assert (ended.reason, ended.heard_text) == (INTERRUPTED, "")
    assert drive.session.state is State.LISTENING
