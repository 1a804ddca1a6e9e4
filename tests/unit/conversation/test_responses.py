"""What waits for the client, and what is kept for it."""

from parley.conversation.v1 import conversation_pb2
from services.conversation import responses as module
from services.conversation.responses import Response, Responses


def audio(generation: int = 1, size: int = 100) -> Response:
    reply = conversation_pb2.ReplyAudio(pcm=bytes(size))
    return Response(turn=1, generation=generation, reply_audio=reply)


def text(generation: int = 1) -> Response:
    return Response(turn=1, generation=generation, reply_text={"text": "words"})


def pong() -> Response:
    return Response(pong={"nonce": 1})


def written(responses: Responses) -> list[Response]:
    found = []
    while (response := responses.next()) is not None:
        found.append(response)
    return found


def test_a_silenced_generation_leaves_no_gap_in_the_numbers():
    responses = Responses(max_kept=100)
    for response in (pong(), audio(1), text(1), audio(2), pong()):
        responses.put(response)
    responses.silence(1)
    found = written(responses)
    assert [each.seq for each in found] == [1, 2, 3]
    assert [each.generation for each in found] == [0, 2, 0]


def test_what_came_after_a_number_comes_again():
    responses = Responses(max_kept=100, last_seq=40)
    for _ in range(4):
        responses.put(pong())
    written(responses)
    assert [each.seq for each in responses.since(42)] == [43, 44]


def test_of_what_is_kept_audio_goes_first():
    responses = Responses(max_kept=3)
    for response in (pong(), audio(), pong(), audio(), pong()):
        responses.put(response)
    written(responses)
    kept = responses.since(0)
    assert [each.seq for each in kept] == [1, 3, 5]


def test_so_many_are_kept_and_one_more_is_the_oldest_gone():
    responses = Responses(max_kept=3)
    for number in (3, 4):
        while responses.last_seq < number:
            responses.put(pong())
            written(responses)
        assert [each.seq for each in responses.since(0)] == list(range(number - 2, number + 1))


def size_of(numbered: Response) -> int:
    numbered.seq = 1
    return numbered.ByteSize()


def test_so_many_bytes_are_kept_and_one_more_is_the_oldest_gone(monkeypatch):
    most = 2 * size_of(audio(size=400))
    for size, kept in ((400, [1, 2]), (401, [2])):
        monkeypatch.setattr(module, "MAX_KEPT_BYTES", most)
        responses = Responses(max_kept=10_000)
        for each in (400, size):
            responses.put(audio(size=each))
        written(responses)
        assert [each.seq for each in responses.since(0)] == kept


def test_so_many_bytes_may_wait_and_one_more_is_too_much(monkeypatch):
    for size, overflowing in ((400, False), (401, True)):
        monkeypatch.setattr(module, "MAX_WAITING_BYTES", 2 * audio(size=400).ByteSize())
        responses = Responses(max_kept=100)
        for each in (400, size):
            responses.put(audio(size=each))
        assert responses.overflowing is overflowing


def test_too_much_waiting_is_noticed_and_can_be_shelved(monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING", 5)
    responses = Responses(max_kept=100)
    for _ in range(5):
        responses.put(pong())
    assert not responses.overflowing
    responses.put(pong())
    assert responses.overflowing
    responses.shelve()
    assert not responses.overflowing
    assert len(responses.since(0)) == 6


def test_after_the_end_what_waits_is_still_written():
    responses = Responses(max_kept=10)
    responses.put(pong())
    responses.close()
    assert not responses.finished
    assert len(written(responses)) == 1
    assert responses.finished
