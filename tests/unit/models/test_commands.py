"""`parley models …` as a person or a script meets it."""

import json
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from parley_models import commands
from parley_models.commands import app
from parley_models.errors import FetchFailedError
from parley_models.fetch import Fetcher
from parley_models.manifest import Manifest
from parley_models.store import ModelStore, State
from tests.unit.models.wheels import file_entry, manifest_of, model_entry

BODY = b"the weights"


@pytest.fixture
def manifest(monkeypatch: pytest.MonkeyPatch, models_dir: Path) -> Manifest:
    one = manifest_of(
        '[presets.default]\nsummary = "s"\nmodels = { vad = "one" }',
        '[presets.rich]\nsummary = "s"\nextras = ["two"]\nmodels = { vad = "one" }',
        model_entry("one", file_entry("a", BODY, "https://hub.invalid/a")),
        model_entry("two", file_entry("b", BODY, "https://hub.invalid/b")),
    )
    monkeypatch.setattr("parley_models.store.load_manifest", lambda: one)
    monkeypatch.setenv("PARLEY_MODELS_DIR", str(models_dir))
    monkeypatch.delenv("PARLEY_PRESET", raising=False)
    return one


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def put(models_dir: Path, name: str, path: str, body: bytes = BODY) -> None:
    (models_dir / name).mkdir(parents=True, exist_ok=True)
    (models_dir / name / path).write_bytes(body)


@pytest.mark.usefixtures("manifest")
def test_list_shows_each_model_with_its_state(models_dir: Path) -> None:
    result = run("list")
    assert result.exit_code == 0
    assert "one" in result.stdout
    assert "missing" in result.stdout


@pytest.mark.usefixtures("manifest")
def test_list_is_a_document_for_scripts(models_dir: Path) -> None:
    document = json.loads(run("list", "--json").stdout)
    assert document["models_dir"] == str(models_dir)
    assert [m["state"] for m in document["models"]] == ["missing", "missing"]
    assert document["presets"][0]["roles"] == {"vad": "one"}
    assert [preset["extras"] for preset in document["presets"]] == [[], ["two"]]


@pytest.mark.usefixtures("manifest")
def test_fetch_installs_the_default_preset(models_dir: Path) -> None:
    put(models_dir, "one", "a")
    result = run("fetch")
    assert result.exit_code == 0, result.output
    assert "Installed one" in result.stdout
    assert run("fetch").stdout.startswith("Nothing to fetch: one")


@pytest.mark.usefixtures("manifest")
def test_fetch_by_name_installs_only_that(models_dir: Path) -> None:
    put(models_dir, "two", "b")
    assert run("fetch", "two", "--quiet").exit_code == 0
    assert ModelStore(models_dir).state("one") is State.MISSING


@pytest.mark.usefixtures("manifest")
def test_a_preset_brings_its_extras_and_is_whole_without_them(models_dir: Path) -> None:
    put(models_dir, "one", "a")
    put(models_dir, "two", "b")
    run("fetch", "one", "--quiet")
    assert ModelStore(models_dir).require("rich").extras == ("two",)
    assert run("verify", "--preset", "rich").exit_code == 0
    assert "Installed two" in run("fetch", "--preset", "rich").stdout
    put(models_dir, "two", "b", b"other words")
    assert run("verify", "--preset", "rich").exit_code == 1


@pytest.mark.usefixtures("manifest")
def test_quiet_is_quiet(models_dir: Path) -> None:
    put(models_dir, "one", "a")
    result = run("fetch", "--quiet")
    assert result.exit_code == 0
    assert result.output == ""


@pytest.mark.parametrize(
    "arguments",
    [("fetch", "none-such"), ("fetch", "--preset", "none-such"), ("fetch", "one", "--preset", "d")],
)
@pytest.mark.usefixtures("manifest")
def test_wrong_use_exits_with_two(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


@pytest.mark.usefixtures("manifest")
def test_a_fetch_that_fails_says_so_and_exits_with_three(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise FetchFailedError("one", "a", [("hub", "HTTP 404")])

    monkeypatch.setattr(Fetcher, "fetch", fail)
    result = run("fetch")
    assert result.exit_code == 3
    assert "hub: HTTP 404" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.usefixtures("manifest")
def test_an_interrupted_fetch_says_that_it_can_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Fetcher, "fetch", interrupt)
    result = run("fetch")
    assert result.exit_code == 130
    assert "goes on from there" in result.stderr


@pytest.mark.usefixtures("manifest")
def test_verify_finds_a_flipped_byte_and_fetch_repairs_it(models_dir: Path) -> None:
    put(models_dir, "one", "a")
    run("fetch")
    assert run("verify").exit_code == 0
    put(models_dir, "one", "a", b"The weights")
    result = run("verify")
    assert result.exit_code == 1
    assert "a is changed" in result.stderr
    assert "parley models fetch one" in result.stderr
    put(models_dir, "one", "a")  # what a fetch would bring
    assert "Installed one" in run("fetch", "one").stdout
    assert run("verify").exit_code == 0


@pytest.mark.usefixtures("manifest")
def test_verify_of_a_preset_that_is_missing_fails() -> None:
    result = run("verify", "--preset", "default")
    assert result.exit_code == 1
    assert "a is missing" in result.stderr


def test_the_parley_command_can_find_these_commands() -> None:
    (entry,) = metadata.entry_points(group="parley.commands", name="models")
    assert entry.load() is commands.app
