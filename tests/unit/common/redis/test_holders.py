"""One process holds a session, wherever it is; the claims of the dead lapse."""

from __future__ import annotations

from services.common.clock import SystemClock
from services.common.ids import new_id
from services.common.redis.connection import Redis
from services.common.redis.holders import Holders
from tests.redis import empty

HERE, THERE = new_id(), new_id()


class Process:
    def __init__(self, redis: Redis, place: str, way: str) -> None:
        self.lost: list[str] = []
        self.holders = Holders(
            redis, "session", place, {"affinity": way}, self.lost.append, SystemClock()
        )


async def test_who_comes_elsewhere_is_told_the_way(redis):
    here, there = Process(redis, HERE, "here"), Process(redis, THERE, "there")
    assert await here.holders.take("s") is None
    assert await there.holders.take("s") == {"affinity": "here"}
    assert await there.holders.take("t") is None


async def test_given_back_it_is_free_and_only_its_holder_can_give_it_back(redis):
    here, there = Process(redis, HERE, "here"), Process(redis, THERE, "there")
    await here.holders.take("s")
    await there.holders.give_back("s")
    assert await there.holders.take("s") is not None
    await here.holders.give_back("s")
    assert await there.holders.take("s") is None


async def test_in_one_place_a_lock_has_decided_before(redis):
    """Whoever comes has the file's lock: the one who is written down is dead."""
    dead, born = Process(redis, HERE, "dead"), Process(redis, HERE, "born")
    await dead.holders.take("s")
    assert await born.holders.take("s") is None
    assert await Process(redis, THERE, "there").holders.take("s") == {"affinity": "born"}


async def test_a_claim_lapses_unless_it_is_renewed(redis):
    here = Process(redis, HERE, "here")
    await here.holders.take("s")
    (key,) = await redis.keys("*")
    assert 0 < await redis.pttl(key) <= 10_000
    await redis.pexpire(key, 1_000)
    await here.holders.renew()
    assert await redis.pttl(key) > 1_000


async def test_emptied_a_claim_is_told_again(redis, redis_url):
    here, there = Process(redis, HERE, "here"), Process(redis, THERE, "there")
    await here.holders.take("s")
    empty(redis_url)
    await here.holders.renew()
    assert await there.holders.take("s") == {"affinity": "here"}
    assert here.lost == []


async def test_emptied_and_taken_elsewhere_meanwhile_the_older_one_lets_go(redis, redis_url):
    here, there = Process(redis, HERE, "here"), Process(redis, THERE, "there")
    await here.holders.take("s")
    empty(redis_url)
    assert await there.holders.take("s") is None
    await here.holders.renew()
    await there.holders.renew()
    assert (here.lost, there.lost) == (["s"], [])


async def test_where_there_is_none_nobody_is_known_to_hold_anything(absent):
    here = Process(absent, HERE, "here")
    assert await here.holders.take("s") is None
    await here.holders.renew()
    await here.holders.give_back("s")
    assert here.lost == []


async def test_what_no_process_of_ours_wrote_stands_in_the_way_without_a_way(redis):
    await redis.set("parley:session:s", b"?")
    assert await Process(redis, HERE, "here").holders.take("s") == {}
