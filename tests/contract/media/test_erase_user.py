"""A deleted account leaves no recording and no file."""

import pytest

from parley.media.v1 import media_pb2 as pb
from services.common.ids import new_id
from tests.contract.media.conftest import LEARNER, Media, started, tone


async def erase(media: Media, user_id: str, caller: str = "user") -> pb.EraseUserResponse:
    request = pb.EraseUserRequest(user_id=user_id)
    answer: pb.EraseUserResponse = await media.stub.EraseUser(
        request, metadata=media.callers.service(caller)
    )
    return answer


async def test_recordings_and_their_files_go_and_those_of_others_stay(media: Media) -> None:
    mine = await media.recorded(tone(16_000, 0.5), tone(24_000, 0.5))
    other = new_id()
    taping = await media.tape(started(other))
    await taping.audio(LEARNER, tone(16_000, 0.5))
    theirs = await taping.finish()
    answer = await erase(media, media.user_id)
    assert (answer.erased, answer.remaining) == (1, 0)
    gone = await media.refused(media.get(mine.recording_id))
    assert gone.reason == "RECORDING_NOT_FOUND"
    assert (await media.get(theirs.recording_id, other)).state == pb.RECORDING_STATE_READY
    kept = media.files("objects")
    assert kept
    assert all(theirs.recording_id in str(path) for path in kept)
    assert (await erase(media, media.user_id)).erased == 0


async def test_a_recording_in_progress_is_stopped_and_leaves_nothing(media: Media) -> None:
    taping = await media.tape()
    await taping.audio(LEARNER, tone(16_000, 0.5))
    await taping.on_disk(learner=1)
    assert (await erase(media, media.user_id)).erased == 1
    assert not [
        path for path in media.data_dir.rglob("*") if taping.start.recording_id in str(path)
    ]
    taping.call.cancel()


@pytest.mark.parametrize("caller", ["conversation", "history", "ai"])
async def test_no_other_service_may_ask_for_it(media: Media, caller: str) -> None:
    refused = await media.refused(erase(media, media.user_id, caller))
    assert refused.reason == "SERVICE_IDENTITY_REQUIRED"
