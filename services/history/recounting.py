"""Adding everything up anew, from the turns that there are.

For what an earlier version wrote beside this one, and for whoever doubts the sums.
"""

from __future__ import annotations

from services.history.ports import Store, Writing

# Read at a time. Each conversation is a unit of work of its own: others write meanwhile.
_AT_ONCE = 200


async def recount(store: Store) -> int:
    """Bring every conversation's totals, practice and place in the index up to date.

    Return how many conversations there are. It changes nothing that is right already, and may be
    done while the service runs, as often as anybody likes.

    Raises:
        Unavailable: DATABASE_UNAVAILABLE.
    """
    counted, after = 0, ""
    while True:
        async with store.reading() as view:
            found = await view.following(after, _AT_ONCE)
        for user_id, conversation_id in found:
            await _one(store, user_id, conversation_id)
            after = conversation_id
        counted += len(found)
        if len(found) < _AT_ONCE:
            return counted


async def _one(store: Store, user_id: str, conversation_id: str) -> None:
    def work(writing: Writing) -> None:
        writing.claim([conversation_id, user_id])
        owner = writing.owner(conversation_id)
        # It may have been deleted since it was read.
        if owner is not None and not owner.deleted:
            writing.place_texts(conversation_id)
            writing.summarise(conversation_id)

    await store.write(work)
