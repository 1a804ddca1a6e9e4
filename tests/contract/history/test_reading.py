"""ListConversations, GetConversation, SearchTurns, ListMistakes, ExportConversations."""

import json
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from parley.history.v1 import history_pb2 as pb
from parley.types.v1 import speech_pb2
from services.common.errors import Code
from services.common.ids import new_id
from services.common.timestamps import to_timestamp
from tests.contract.history.conftest import BEGAN, History, Tell


async def pages(history: History, method: str, request: Any, field: str) -> Any:
    """Return everything a paged method gives, and in how many pages."""
    found, count = [], 0
    while True:
        response = await history.ask(method, request)
        found += getattr(response, field)
        count += 1
        if not response.next_page_token:
            return found, count
        request.page_token = response.next_page_token


async def search(history: History, query: str, **more: Any) -> Any:
    return await history.ask("SearchTurns", pb.SearchTurnsRequest(query=query, **more))


def marked(match: pb.TurnMatch) -> Any:
    """Return a match's snippet with what matched in brackets."""
    text = match.snippet
    for span in reversed(match.spans):
        text = f"{text[: span.start]}[{text[span.start : span.end]}]{text[span.end :]}"
    return text


@pytest.mark.parametrize(
    "call",
    [
        ("ListConversations", pb.ListConversationsRequest()),
        ("GetConversation", pb.GetConversationRequest(conversation_id=new_id())),
        ("SearchTurns", pb.SearchTurnsRequest(query="x")),
        ("DeleteConversation", pb.DeleteConversationRequest(conversation_id=new_id())),
        ("GetProgress", pb.GetProgressRequest()),
        ("ListMistakes", pb.ListMistakesRequest()),
    ],
    ids=lambda call: call[0],
)
async def test_nothing_is_told_without_a_token(history: History, call: tuple[str, Any]) -> None:
    method, request = call
    error = await history.refused(getattr(history.stub, method)(request))
    assert (error.code, error.reason) == (Code.UNAUTHENTICATED, "TOKEN_MISSING")


@pytest.mark.parametrize("token", ["x", "AAAA", "W10", "WzEsMl0", "\u00e9", "=" * 8])
async def test_a_forged_page_token_is_refused(history: History, tell: Tell, token: str) -> None:
    told = tell()
    await history.ingest(told.started())
    requests = {
        "ListConversations": pb.ListConversationsRequest(page_token=token),
        "SearchTurns": pb.SearchTurnsRequest(query="a", page_token=token),
        "ListMistakes": pb.ListMistakesRequest(page_token=token),
        "GetConversation": pb.GetConversationRequest(
            conversation_id=told.conversation_id, page_token=token
        ),
    }
    for method, request in requests.items():
        error = await history.refused(history.ask(method, request))
        assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


async def test_a_page_token_of_another_question_is_refused(history: History, tell: Tell) -> None:
    for hours in range(3):
        await history.ingest(tell(began=BEGAN + timedelta(hours=hours)).started())
    first = await history.ask("ListConversations", pb.ListConversationsRequest(page_size=1))
    token = first.next_page_token
    for other in (
        pb.ListConversationsRequest(page_size=1, page_token=token, scenario_id="free-talk"),
        pb.ListConversationsRequest(page_size=1, page_token=token, to=to_timestamp(BEGAN)),
    ):
        error = await history.refused(history.ask("ListConversations", other))
        assert error.reason == "PAGE_TOKEN_INVALID"
    stolen = pb.ListConversationsRequest(page_token=token)
    error = await history.refused(history.ask("ListConversations", stolen, new_id()))
    assert error.reason == "PAGE_TOKEN_INVALID"


async def test_conversations_come_newest_first_page_by_page(history: History, tell: Tell) -> None:
    ids = []
    for hours in range(7):
        told = tell(began=BEGAN + timedelta(hours=hours // 2))  # pairs that began together
        await history.ingest(told.started())
        ids.append(told.conversation_id)
    request = pb.ListConversationsRequest(page_size=2)
    found, count = await pages(history, "ListConversations", request, "conversations")
    assert count == 4
    assert sorted(each.conversation_id for each in found) == sorted(ids)
    starts = [each.started_at.seconds for each in found]
    assert starts == sorted(starts, reverse=True)


async def test_what_is_added_between_two_pages_moves_nothing(history: History, tell: Tell) -> None:
    for hours in range(4):
        await history.ingest(tell(began=BEGAN + timedelta(hours=hours)).started())
    request = pb.ListConversationsRequest(page_size=2)
    first = await history.ask("ListConversations", request)
    await history.ingest(tell(began=BEGAN + timedelta(hours=9)).started())
    request.page_token = first.next_page_token
    second = await history.ask("ListConversations", request)
    seen = [each.conversation_id for each in (*first.conversations, *second.conversations)]
    assert len(set(seen)) == 4


async def test_conversations_are_filtered_by_scenario_and_date(
    history: History, tell: Tell
) -> None:
    day = timedelta(days=1)
    for days, scenario in enumerate(["free-talk", "cafe", "free-talk"]):
        await history.ingest(tell(began=BEGAN + days * day).started(scenario))

    async def listed(**filters: Any) -> Any:
        request = pb.ListConversationsRequest(**filters)
        return (await history.ask("ListConversations", request)).conversations

    assert len(await listed(scenario_id="free-talk")) == 2
    assert len(await listed(scenario_id="nothing")) == 0
    assert len(await listed(**{"from": to_timestamp(BEGAN + day)})) == 2
    assert len(await listed(to=to_timestamp(BEGAN + day))) == 1
    both = await listed(**{"from": to_timestamp(BEGAN), "to": to_timestamp(BEGAN + 2 * day)})
    assert [each.scenario_id for each in both] == ["cafe", "free-talk"]


async def test_a_date_outside_the_calendar_is_refused(history: History) -> None:
    request = pb.ListConversationsRequest(to=Timestamp(seconds=2**60))
    error = await history.refused(history.ask("ListConversations", request))
    assert error.code is Code.INVALID_ARGUMENT
    assert [each.field for each in error.fields] == ["to"]


async def test_another_users_conversation_is_not_found(history: History, tell: Tell) -> None:
    told = tell()
    await history.ingest(told.started(), told.turn(1, "secret plans"))
    stranger = new_id()
    request = pb.GetConversationRequest(conversation_id=told.conversation_id)
    error = await history.refused(history.ask("GetConversation", request, stranger))
    assert (error.code, error.reason) == (Code.NOT_FOUND, "CONVERSATION_NOT_FOUND")
    listed = await history.ask("ListConversations", pb.ListConversationsRequest(), stranger)
    assert not listed.conversations
    found = await history.ask("SearchTurns", pb.SearchTurnsRequest(query="secret"), stranger)
    assert not found.matches


async def test_turns_come_by_number_page_by_page(history: History, tell: Tell) -> None:
    told = tell()
    turns = [told.turn(number, f"turn {number}") for number in range(1, 8)]
    await history.ingest(*reversed(turns))
    request = pb.GetConversationRequest(conversation_id=told.conversation_id, page_size=3)
    found, count = await pages(history, "GetConversation", request, "turns")
    assert count == 3
    assert [record.turn.number for record in found] == list(range(1, 8))


async def test_a_page_of_long_turns_ends_before_it_outgrows_a_message(
    history: History, tell: Tell
) -> None:
    """Regression: 500 turns with every word's times are far more than gRPC's 4 MiB."""
    told = tell()
    words = [speech_pb2.Word(text="w" * 150, start_ms=1, end_ms=2)] * 1900
    for number in range(1, 13):
        transcript = speech_pb2.Transcript(verbatim="long", clean="long", words=words)
        await history.ingest(told.turn(number, "long", utterance=transcript))
    request = pb.GetConversationRequest(conversation_id=told.conversation_id, page_size=500)
    found, count = await pages(history, "GetConversation", request, "turns")
    assert [record.turn.number for record in found] == list(range(1, 13))
    assert count > 1


async def test_words_are_found_wherever_they_stand_and_whoever_said_them(
    history: History, tell: Tell
) -> None:
    told = tell()
    await history.ingest(
        told.turn(1, "I would like a coffee, please.", "A small coffee or a large one?"),
        told.turn(2, "A large one.", "Anything else?"),
    )
    found = (await search(history, "coffee")).matches
    assert {(match.tutor, marked(match)) for match in found} == {
        (False, "I would like a [coffee], please."),
        (True, "A small [coffee] or a large one?"),
    }
    assert {match.number for match in found} == {1}
    assert [marked(m) for m in (await search(history, "ONE large")).matches if not m.tutor] == [
        "A [large] [one]."
    ]
    assert not (await search(history, "coffee anything")).matches


async def test_a_phrase_stands_together(history: History, tell: Tell) -> None:
    told = tell()
    await history.ingest(told.turn(1, "the black cat sat"), told.turn(2, "the cat is black"))
    found = (await search(history, '"black cat"')).matches
    assert [marked(match) for match in found] == ["the [black cat] sat"]


async def test_accents_case_and_apostrophes_make_no_difference(
    history: History, tell: Tell
) -> None:
    told = tell()
    await history.ingest(told.turn(1, "I don\u2019t know the CAFÉ in Málaga"))
    for query in ("cafe", "Café", "dont", "don't", "malaga", "CAFE\u0301"):
        found = (await search(history, query)).matches
        assert len(found) == 1, query
    assert marked(found[0]) == "I don\u2019t know the [CAFÉ] in Málaga"


async def test_scripts_without_spaces_are_searched_inside(history: History, tell: Tell) -> None:
    told = tell()
    await history.ingest(
        told.turn(1, "他说你好世界", "これは日本語です"), told.turn(2, "好你", "한국어를 배워요")
    )
    cases = {"你好": "他说[你好]世界", "日本": "これは[日本]語です", "한국어": "[한국어]를 배워요"}
    for query, shown in cases.items():
        assert [marked(match) for match in (await search(history, query)).matches] == [shown]


@pytest.mark.parametrize(
    "query",
    ['a" OR owner:*', "NEAR(a b)", "a*", "-a", "words:a", '"', "a AND", "(a", "^a", "a:b", "{a b}"],
)
async def test_no_query_is_syntax(history: History, tell: Tell, query: str) -> None:
    """Whatever is typed is words; nothing reaches the index as an expression."""
    mine, other = tell(), tell(user_id=new_id())
    await history.ingest(mine.turn(1, "zebra"), other.turn(1, "a b near owner or and words"))
    if query == '"':
        assert (await history.refused(search(history, query))).reason == "QUERY_INVALID"
    else:
        assert not (await search(history, query)).matches


@pytest.mark.parametrize("query", ["?!", "   ", '""', "\u0301", "…"])
async def test_a_query_without_a_word_is_refused(history: History, query: str) -> None:
    error = await history.refused(search(history, query))
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "QUERY_INVALID")
    assert [each.field for each in error.fields] == ["query"]


async def test_matches_come_page_by_page_without_repeats(history: History, tell: Tell) -> None:
    told = tell()
    await history.ingest(*[told.turn(number, f"apple number {number}") for number in range(1, 8)])
    request = pb.SearchTurnsRequest(query="apple", page_size=3)
    found, count = await pages(history, "SearchTurns", request, "matches")
    assert count == 3
    assert sorted(match.number for match in found) == list(range(1, 8))


async def test_mistakes_are_counted_over_conversations(history: History, tell: Tell) -> None:
    first, second = tell(), tell(began=BEGAN + timedelta(days=1))
    turns = [
        first.turn(1, "he go home"),
        second.turn(1, "He go out"),
        second.turn(2, "a informations"),
    ]
    await history.ingest(*turns)
    await history.ingest(
        first.assessed(turns[0].turn.turn_id, ("he go", "he goes")),
        second.assessed(turns[1].turn.turn_id, ("He go", "he goes")),
        second.assessed(turns[2].turn.turn_id, ("a informations", "some information")),
    )
    found = (await history.ask("ListMistakes", pb.ListMistakesRequest())).mistakes
    assert [(each.count, each.correction.replacement) for each in found] == [
        (2, "he goes"),
        (1, "some information"),
    ]
    assert found[0].conversation_id == second.conversation_id  # where it came up last
    vocabulary = pb.ListMistakesRequest(kind=2)
    assert not (await history.ask("ListMistakes", vocabulary)).mistakes
    assert not (await history.ask("ListMistakes", pb.ListMistakesRequest(), new_id())).mistakes


async def exported(history: History, request: Any, user_id: str = "") -> Any:
    identity = history.callers.user(user_id or history.user_id)
    chunks = [r.chunk async for r in history.stub.ExportConversations(request, metadata=identity)]
    assert all(0 < len(chunk) <= 64 * 1024 for chunk in chunks)
    return b"".join(chunks).decode()


async def test_an_export_holds_every_conversation_and_turn(history: History, tell: Tell) -> None:
    for hours in range(23):  # more than one page of the list behind it
        told = tell(began=BEGAN + timedelta(hours=hours))
        await history.ingest(told.started(), told.turn(1, "hello " * 800, "hi"))
    lines = (await exported(history, pb.ExportConversationsRequest())).splitlines()
    found = [json.loads(line) for line in lines]
    assert len(found) == 23
    assert all(each["turns"][0]["turn"]["heard_text"] == "hi" for each in found)
    text = pb.ExportConversationsRequest(
        format=pb.EXPORT_FORMAT_TEXT, conversation_ids=[told.conversation_id]
    )
    assert "Tutor: hi" in await exported(history, text)
    assert await exported(history, pb.ExportConversationsRequest(), new_id()) == ""


async def test_a_conversation_of_many_megabytes_is_exported_whole(
    history: History, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.history.application.PAGE_BYTES", 1_000)
    told = tell()
    await history.ingest(
        told.started(), *(told.turn(number, "hello " * 50, "hi") for number in range(1, 31))
    )
    (line,) = (await exported(history, pb.ExportConversationsRequest())).splitlines()
    assert [each["turn"]["number"] for each in json.loads(line)["turns"]] == list(range(1, 31))


async def test_an_export_of_another_users_conversation_is_refused(
    history: History, tell: Tell
) -> None:
    told = tell()
    await history.ingest(told.started())
    request = pb.ExportConversationsRequest(conversation_ids=[told.conversation_id])
    error = await history.refused(exported(history, request, new_id()))
    assert (error.code, error.reason) == (Code.NOT_FOUND, "CONVERSATION_NOT_FOUND")
