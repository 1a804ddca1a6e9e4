"""Fetching one file over HTTP from a server on this machine."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parley_models import hub as hub_module
from parley_models.errors import DiskSpaceError, SourceError
from parley_models.hub import ATTEMPTS, download, through_mirror
from tests.unit.models.hub_server import HubServer
from tests.unit.models.wheels import NOISE

PATH = "/org/model/resolve/abc/weights.bin"


class Totals(list[int]):
    """Every total that was reported."""

    def __call__(self, have: int) -> None:
        self.append(have)


def fetch(
    hub: HubServer, part: Path, size: int, sleep: Callable[[float], None] = lambda _: None
) -> Totals:
    totals = Totals()
    download(hub.url(PATH), part, size, totals, sleep=sleep)
    return totals


def test_brings_the_bytes_and_counts_them(hub: HubServer, tmp_path: Path) -> None:
    hub.offer(PATH, NOISE)
    totals = fetch(hub, tmp_path / "part", len(NOISE))
    assert (tmp_path / "part").read_bytes() == NOISE
    assert totals[0] == 0
    assert totals[-1] == len(NOISE)


def test_goes_on_where_a_cut_connection_stopped(hub: HubServer, tmp_path: Path) -> None:
    hub.offer(PATH, NOISE).cut_after = [1000, 500]
    fetch(hub, tmp_path / "part", len(NOISE))
    assert (tmp_path / "part").read_bytes() == NOISE
    assert hub.ranges[PATH] == [None, "bytes=1000-", "bytes=1500-"]


def test_goes_on_in_a_later_run(hub: HubServer, tmp_path: Path) -> None:
    hub.offer(PATH, NOISE)
    (tmp_path / "part").write_bytes(NOISE[:4000])
    fetch(hub, tmp_path / "part", len(NOISE))
    assert (tmp_path / "part").read_bytes() == NOISE
    assert hub.ranges[PATH] == ["bytes=4000-"]


def test_asks_nothing_when_all_is_there(hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(NOISE)
    assert fetch(hub, tmp_path / "part", len(NOISE)) == [len(NOISE)]
    assert not hub.ranges


def test_starts_again_with_a_server_that_ignores_ranges(hub: HubServer, tmp_path: Path) -> None:
    hub.offer(PATH, NOISE).honours_range = False
    (tmp_path / "part").write_bytes(NOISE[:4000])
    fetch(hub, tmp_path / "part", len(NOISE))
    assert (tmp_path / "part").read_bytes() == NOISE


def test_refuses_a_range_that_was_not_asked_for(hub: HubServer, tmp_path: Path) -> None:
    hub.offer(PATH, NOISE).wrong_range = True
    (tmp_path / "part").write_bytes(NOISE[:4000])
    with pytest.raises(SourceError, match="another range"):
        fetch(hub, tmp_path / "part", len(NOISE))


def test_a_missing_file_is_told_at_once(hub: HubServer, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="HTTP 404"):
        fetch(hub, tmp_path / "part", len(NOISE))
    assert len(hub.ranges[PATH]) == 1


def test_waits_longer_between_tries_of_a_busy_server(hub: HubServer, tmp_path: Path) -> None:
    hub.offer(PATH, NOISE).statuses = [503, 429, 500]
    waits: list[float] = []
    fetch(hub, tmp_path / "part", len(NOISE), sleep=waits.append)
    assert (tmp_path / "part").read_bytes() == NOISE
    assert waits == [1, 2, 4]


def test_gives_up_on_a_server_that_stays_broken(hub: HubServer, tmp_path: Path) -> None:
    hub.offer(PATH, NOISE).statuses = [503] * (ATTEMPTS + 1)
    with pytest.raises(SourceError, match=f"503.*{ATTEMPTS} times"):
        fetch(hub, tmp_path / "part", len(NOISE))
    assert len(hub.ranges[PATH]) == ATTEMPTS


def test_refuses_a_file_of_another_size_before_fetching_it(hub: HubServer, tmp_path: Path) -> None:
    hub.offer(PATH, NOISE + b"more")
    with pytest.raises(SourceError, match="size"):
        fetch(hub, tmp_path / "part", len(NOISE))
    assert not (tmp_path / "part").exists()


def test_an_endless_file_ends_at_the_size_it_should_have(hub: HubServer, tmp_path: Path) -> None:
    hub.offer(PATH, NOISE + b"more").announces_length = False
    with pytest.raises(SourceError, match="longer"):
        fetch(hub, tmp_path / "part", len(NOISE))
    assert not (tmp_path / "part").exists()


def test_a_file_that_is_too_short_is_not_asked_for_for_ever(hub: HubServer, tmp_path: Path) -> None:
    hub.offer(PATH, NOISE[:100]).announces_length = False
    with pytest.raises(SourceError, match="416"):
        fetch(hub, tmp_path / "part", len(NOISE))
    assert not (tmp_path / "part").exists()


def test_a_part_longer_than_the_file_is_thrown_away(hub: HubServer, tmp_path: Path) -> None:
    hub.offer(PATH, NOISE)
    (tmp_path / "part").write_bytes(NOISE + b"old")
    fetch(hub, tmp_path / "part", len(NOISE))
    assert (tmp_path / "part").read_bytes() == NOISE


def test_an_unreachable_host_is_named(tmp_path: Path) -> None:
    with HubServer() as gone:
        url = gone.url(PATH)
    with pytest.raises(SourceError) as caught:
        download(url, tmp_path / "part", 10, Totals(), sleep=lambda _: None)
    assert caught.value.unreachable_host == "127.0.0.1"


def test_a_full_disk_is_told_as_such_and_keeps_what_arrived(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.offer(PATH, NOISE)
    (tmp_path / "part").write_bytes(NOISE[:300])

    class FullDisk:
        def write(self, data: memoryview) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    real = hub_module._write
    monkeypatch.setattr(
        hub_module,
        "_write",
        lambda _file, *rest: real(FullDisk(), *rest),
    )
    with pytest.raises(DiskSpaceError, match="PARLEY_MODELS_DIR"):
        fetch(hub, tmp_path / "part", len(NOISE))
    assert (tmp_path / "part").read_bytes() == NOISE[:300]


def test_a_slow_disk_that_takes_less_than_offered_gets_the_rest(tmp_path: Path) -> None:
    taken = bytearray()

    class ShortWrites:
        def write(self, data: memoryview) -> int:
            taken.extend(data[:3])
            return min(3, len(data))

    short: Any = ShortWrites()
    hub_module._write(short, b"0123456789", tmp_path / "part", 10)
    assert bytes(taken) == b"0123456789"


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        (None, "https://huggingface.co/a/b"),
        ("https://mirror.example", "https://mirror.example/a/b"),
        ("https://mirror.example:8443/hf/", "https://mirror.example:8443/hf/a/b"),
    ],
)
def test_a_mirror_replaces_the_hub(endpoint: str | None, expected: str) -> None:
    environ = {"HF_ENDPOINT": endpoint} if endpoint else {}
    assert through_mirror("https://huggingface.co/a/b", environ) == expected


def test_a_mirror_does_not_replace_other_hosts() -> None:
    url = "https://elsewhere.example/a"
    assert through_mirror(url, {"HF_ENDPOINT": "https://mirror.example"}) == url
