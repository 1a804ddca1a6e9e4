"""Looking recordings up, and deleting them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from services.common.audit import AuditTrail
from services.common.errors import NotFound, ParleyError
from services.media.ports import Catalog, Deleted, Known, ObjectStore
from services.media.recordings import Recording, object_prefix

_log = structlog.get_logger(__name__)

# What a page size of 0 means; the contract says so.
_PER_PAGE = 20


class Library:
    """The recordings of all users. A user sees only their own.

    What is deleted, and who asked for another's, is noted in `audit`.
    """

    def __init__(
        self,
        catalog: Catalog,
        objects: ObjectStore,
        stop_live: Callable[[str], Awaitable[None]],
        remove_files: Callable[[str], None],
        audit: AuditTrail,
    ) -> None:
        self._catalog = catalog
        self._objects = objects
        self._stop_live = stop_live
        self._remove_files = remove_files
        self._audit = audit

    async def get(self, user_id: str, recording_id: str) -> Recording:
        """Return a recording of the user's.

        Raises:
            NotFound: RECORDING_NOT_FOUND, also for another user's and a deleted one.
        """
        found = await self._catalog.find(recording_id)
        if not isinstance(found, Recording) or found.user_id != user_id:
            raise self._not_found(user_id, found)
        return found

    async def of_conversation(self, user_id: str, conversation_id: str) -> Recording:
        """Return the recording of a conversation of the user's.

        Raises:
            NotFound: RECORDING_NOT_FOUND.
        """
        found = await self._catalog.of_conversation(conversation_id, user_id)
        if found is None:
            raise self._not_found(user_id, None)
        return found

    async def page(self, user_id: str, size: int, token: str) -> tuple[Sequence[Recording], str]:
        """Return some of a user's recordings, newest first, and the token of the next page."""
        size = size or _PER_PAGE
        found = await self._catalog.recordings_of(user_id, token, size + 1)
        return found[:size], found[size - 1].recording_id if len(found) > size else ""

    async def delete(self, user_id: str, recording_id: str) -> None:
        """Delete a recording of the user's. Idempotent.

        Raises:
            NotFound: RECORDING_NOT_FOUND, when there never was one, or it is another user's.
        """
        found = await self._catalog.find(recording_id)
        if found is None or found.user_id != user_id:
            raise self._not_found(user_id, found)
        if not isinstance(found, Deleted):
            await self._delete(recording_id)
            self._audit.note("recording_deleted", user_id=user_id, recording_id=recording_id)

    async def delete_any(self, recording_id: str) -> None:
        """Delete a recording whoever's it is; one that is not known yet can then never begin.

        It is gone for everybody when this returns. Files that cannot be removed now are removed
        by a later sweep.
        """
        await self._delete(recording_id)
        self._audit.note("recording_deleted", recording_id=recording_id)

    async def expire(self, recording_id: str) -> None:
        """Delete a recording that is older than they may become."""
        await self._delete(recording_id)
        self._audit.note("recording_expired", recording_id=recording_id)

    async def _delete(self, recording_id: str) -> None:
        await self._catalog.delete(recording_id)
        try:
            await self.purge(recording_id)
        except ParleyError as error:
            _log.warning("purge_postponed", recording_id=recording_id, reason=error.reason)

    async def erase_user(self, user_id: str) -> tuple[int, int]:
        """Delete every recording of a user.

        Returns how many were found, and of how many the files are still there.
        """
        erased = 0
        # Some at a time: a batch that was deleted is not found again.
        while found := await self._catalog.of_user(user_id):
            for recording_id in found:
                await self._delete(recording_id)
            erased += len(found)
        if erased:
            self._audit.note("user_erased", user_id=user_id, recordings=erased)
        await self._catalog.scrub()
        return erased, await self._catalog.unpurged_of_user(user_id)

    async def purge(self, recording_id: str) -> None:
        """Remove every file of a deleted recording.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE or DATABASE_UNAVAILABLE.
        """
        await self._stop_live(recording_id)
        await self._objects.delete_below(object_prefix(recording_id))
        await asyncio.to_thread(self._remove_files, recording_id)
        await self._catalog.purged(recording_id)

    def _not_found(self, user_id: str, found: Known | None) -> NotFound:
        """Return the same refusal for another's recording and for none, and note the first."""
        # One that was deleted before it began is nobody's.
        if found is not None and found.user_id not in ("", user_id):
            self._audit.note_once_a_minute(
                found.recording_id,
                "anothers_recording_refused",
                alarming=True,
                user_id=user_id,
                recording_id=found.recording_id,
            )
        return NotFound("No such recording.", reason="RECORDING_NOT_FOUND")
