"""What the ai service asks of the models folder."""

from importlib import metadata
from pathlib import Path

import pytest

from parley_models import ModelMissingError, ModelsError, ModelStore, Role, default_models_dir
from parley_models.errors import LibraryMissingError, UnknownNameError
from parley_models.manifest import Manifest
from parley_models.receipts import InstalledFile, Receipt, read_receipt, write_receipt
from parley_models.store import Fault, State
from tests.unit.models.wheels import file_entry, manifest_of, model_entry, sha

BODY = b"the weights"


def manifest(body: bytes = BODY) -> Manifest:
    hub = "https://example.org/a"
    return manifest_of(
        '[presets.p]\nsummary = "s"\nmodels = { vad = "one", recognizer = "two" }',
        model_entry("one", file_entry("a", body, hub)),
        model_entry("two", file_entry("b", b"two", hub)),
    )


def install(store: ModelStore, name: str, path: str, body: bytes) -> None:
    folder = store.folder(name)
    folder.mkdir(parents=True)
    (folder / path).write_bytes(body)
    fingerprint = store.manifest.model(name).fingerprint
    files = {path: InstalledFile(sha(body), len(body))}
    write_receipt(folder, Receipt(name, fingerprint, files, {}))


@pytest.fixture
def store(models_dir: Path) -> ModelStore:
    return ModelStore(models_dir, manifest())


def test_an_installed_model_has_a_folder(store: ModelStore) -> None:
    install(store, "one", "a", BODY)
    assert (store.path("one") / "a").read_bytes() == BODY


def test_a_missing_model_is_answered_with_the_command(store: ModelStore) -> None:
    with pytest.raises(ModelMissingError, match="parley models fetch one"):
        store.path("one")


def test_a_preset_names_all_that_is_missing_and_one_command(store: ModelStore) -> None:
    with pytest.raises(ModelMissingError) as caught:
        store.require("p")
    assert caught.value.missing == ("one", "two")
    assert caught.value.command == "parley models fetch --preset p"
    assert "parley models fetch --preset p" in str(caught.value)


def test_a_complete_preset_says_which_model_plays_which_role(store: ModelStore) -> None:
    install(store, "one", "a", BODY)
    install(store, "two", "b", b"two")
    assert store.require("p").roles == {Role.VAD: "one", Role.RECOGNIZER: "two"}


def test_unknown_names_are_refused(store: ModelStore) -> None:
    with pytest.raises(UnknownNameError):
        store.path("../one")
    with pytest.raises(UnknownNameError):
        store.require("q")


def test_files_without_a_receipt_are_no_model(store: ModelStore) -> None:
    """A fetch that was cut leaves files; they must not be loaded."""
    store.folder("one").mkdir(parents=True)
    (store.folder("one") / "a").write_bytes(BODY)
    assert store.state("one") is State.MISSING


def test_a_model_of_another_manifest_is_outdated(store: ModelStore) -> None:
    install(store, "one", "a", BODY)
    newer = ModelStore(store.models_dir, manifest(b"new weights"))
    assert newer.state("one") is State.OUTDATED


@pytest.mark.parametrize("damage", [BODY[:-1], None])
def test_a_file_cut_or_gone_is_noticed_without_reading(
    store: ModelStore, damage: bytes | None
) -> None:
    install(store, "one", "a", BODY)
    file = store.folder("one") / "a"
    file.unlink() if damage is None else file.write_bytes(damage)
    assert store.state("one") is State.OUTDATED


def test_verify_finds_a_flipped_byte(store: ModelStore) -> None:
    install(store, "one", "a", BODY)
    assert [c.fault for c in store.verify("one")] == [None]
    (store.folder("one") / "a").write_bytes(b"T" + BODY[1:])
    assert store.state("one") is State.INSTALLED  # the size is right: only reading shows it
    assert [c.fault for c in store.verify("one")] == [Fault.CHANGED]


def test_verify_does_not_believe_a_receipt_that_was_changed_with_its_file(
    store: ModelStore,
) -> None:
    install(store, "one", "a", b"The weights")
    assert [c.fault for c in store.verify("one")] == [Fault.CHANGED]


def test_verify_tells_a_file_that_is_gone(store: ModelStore) -> None:
    assert [c.fault for c in store.verify("one")] == [Fault.MISSING]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 99}', '{"schema": 1}'])
def test_an_unreadable_receipt_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "receipt.json").write_text(text)
    assert read_receipt(tmp_path) is None


def library_store(models_dir: Path, distribution: str, version: str) -> ModelStore:
    library = f'library = {{ distribution = "{distribution}", version = "{version}" }}'
    return ModelStore(
        models_dir,
        manifest_of(
            '[presets.p]\nsummary = "s"\nmodels = { vad = "m" }',
            model_entry("m", extra=f'kind = "library"\n{library}'),
        ),
    )


def test_a_library_of_the_right_version_is_installed(models_dir: Path) -> None:
    store = library_store(models_dir, "pytest", metadata.version("pytest"))
    assert store.require("p").model_names == ("m",)
    assert list(store.verify("m")) == []


def test_a_library_of_another_version_is_told(models_dir: Path) -> None:
    store = library_store(models_dir, "pytest", "0.1")
    with pytest.raises(LibraryMissingError, match=r"pytest 0\.1, but version"):
        store.require("p")


def test_a_library_has_no_folder(models_dir: Path) -> None:
    store = library_store(models_dir, "pytest", metadata.version("pytest"))
    with pytest.raises(ModelsError, match="import it"):
        store.path("m")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"PARLEY_MODELS_DIR": "/m", "PARLEY_DATA_DIR": "/d"}, Path("/m")),
        ({"PARLEY_DATA_DIR": "/d"}, Path("/d/models")),
        ({"PARLEY_MODELS_DIR": "~/m"}, Path.home() / "m"),
    ],
)
def test_settings_move_the_folder(environ: dict[str, str], expected: Path) -> None:
    assert default_models_dir(environ) == expected


def test_without_settings_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_models_dir({}).parts[-2:] == ("parley", "models")
