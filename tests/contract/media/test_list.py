"""ListRecordings: a learner's own, newest first, in pages."""

from __future__ import annotations

from parley.media.v1 import media_pb2 as pb
from services.common.errors import Code
from services.common.ids import new_id
from tests.contract.media.conftest import LEARNER, TUTOR, Media, tone
from tests.contract.media.test_upload import encoded, upload


async def listed(media: Media, size: int = 0, user_id: str = "") -> list[list[pb.Recording]]:
    """Return the pages, each at most `size` long."""
    pages: list[list[pb.Recording]] = []
    token = ""
    while True:
        request = pb.ListRecordingsRequest(page_size=size, page_token=token)
        page = await media.ask("ListRecordings", request, user_id)
        pages.append(list(page.recordings))
        token = page.next_page_token
        if not token:
            return pages


async def test_recordings_and_files_come_newest_first_each_once(media: Media) -> None:
    spoken = await media.recorded(tone(16_000, 0.3), tone(24_000, 0.3))
    data = encoded(tone(16_000, 0.3), "wav", "pcm_s16le", 16_000)
    # With a request id the recording's own says nothing of its time.
    named = [{}, {"request_id": new_id()}, {"request_id": new_id()}, {}]
    files = [await upload(media, data, file_name="a.wav", **each) for each in named]
    expected = [each.recording_id for each in (*reversed(files), spoken)]
    for size, lengths in ((0, [5]), (4, [4, 1]), (2, [2, 2, 1]), (1, [1] * 5)):
        pages = await listed(media, size)
        assert [len(page) for page in pages] == lengths
        assert [each.recording_id for page in pages for each in page] == expected
    (*_, oldest) = pages[-1]
    assert (oldest.conversation_id, list(oldest.tracks)) == (
        spoken.conversation_id,
        [LEARNER, TUTOR],
    )
    # Those of hours would make a page larger than a message may be.
    assert not any(each.waveform for page in pages for each in page)


async def test_another_users_and_deleted_ones_are_not_there(media: Media) -> None:
    data = encoded(tone(16_000, 0.3), "wav", "pcm_s16le", 16_000)
    mine = await upload(media, data)
    await upload(media, data, user_id=new_id())
    assert [each.recording_id for each in (await listed(media))[0]] == [mine.recording_id]
    await media.ask("DeleteRecording", pb.DeleteRecordingRequest(recording_id=mine.recording_id))
    assert await listed(media) == [[]]


async def test_a_page_of_more_than_a_hundred_or_from_nowhere_is_refused(media: Media) -> None:
    for request in (
        pb.ListRecordingsRequest(page_size=101),
        pb.ListRecordingsRequest(page_token="' OR 1=1"),
    ):
        error = await media.refused(media.ask("ListRecordings", request))
        assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "INVALID_REQUEST")
