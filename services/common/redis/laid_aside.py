"""What came through Redis and was nobody's event: looked at, and sent again.

Such an entry has no sender that keeps it, as the events of Parley's services have. It is here only:
about a thousand, the newest, and none of them after Redis was emptied.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from services.common.dead_letters import MOST_SHOWN, DeadLetter
from services.common.redis.connection import answered, connected
from services.common.redis.streams import PAYLOAD, WHY, dead_letters_of, stream_of


async def laid_aside(url: str, service: str) -> list[DeadLetter]:
    """Return the entries to `service` that were laid aside, oldest first.

    `MOST_SHOWN` of them, and one more where there are more.

    Raises:
        Unavailable: PEER_UNAVAILABLE, Redis does not answer.
    """
    async with connected(url) as redis:
        found = await answered(redis.xrange(dead_letters_of(service), count=MOST_SHOWN + 1))
    return [
        DeadLetter(
            letter_id=place.decode(),
            about="a stream",
            type="entry",
            size_bytes=len(fields.get(PAYLOAD, b"")),
            refused_at=datetime.fromtimestamp(int(place.split(b"-")[0]) / 1000, UTC),
            reason=fields.get(WHY, b"").decode(errors="replace"),
        )
        for place, fields in found
    ]


async def replay(url: str, service: str, places: Sequence[str] | None) -> int:
    """Put the named entries back into the stream, all where None; return how many those were.

    Raises:
        Unavailable: PEER_UNAVAILABLE, Redis does not answer.
    """
    dead = dead_letters_of(service)
    async with connected(url) as redis:
        found = await answered(redis.xrange(dead))
        again = [each for each in found if places is None or each[0].decode() in places]
        async with redis.pipeline(transaction=True) as pipe:
            for place, fields in again:
                fields.pop(WHY, None)
                # An entry has a field, whatever it is.
                pipe.xadd(stream_of(service), fields or {PAYLOAD: b""})
                pipe.xdel(dead, place)
            await answered(pipe.execute())
    return len(again)
