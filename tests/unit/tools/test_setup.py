"""Set-up does no work twice, and says what is wrong in words."""

import json

import pytest


@pytest.fixture
def setup(tool, tmp_path, monkeypatch):
    module = tool("setup")
    for name in ("VENV", "PYTHON", "STAMP"):
        monkeypatch.setattr(module, name, tmp_path / getattr(module, name).relative_to(module.ROOT))
    monkeypatch.setattr(module, "ROOT", tmp_path)
    requirements = tmp_path / "requirements"
    requirements.mkdir()
    for lock in module.LOCKS["dev"]:
        requirements.joinpath(f"{lock}.txt").write_text(f"{lock}==1\n")
    for folder in module.DISTRIBUTIONS:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "pyproject.toml").write_text("")
    (tmp_path / module.LLAMA).mkdir(parents=True)
    (tmp_path / module.LLAMA / "package-lock.json").write_text("{}")
    module.PYTHON.parent.mkdir(parents=True)
    module.PYTHON.touch()
    return module


def finish(setup) -> None:
    setup.write_stamp(setup.pending(setup.LOCKS["dev"]))


def test_at_first_everything_is_pending(setup):
    assert list(setup.pending(setup.LOCKS["run"])) == [*setup.LOCKS["run"], "editable", "llama"]


def test_afterwards_nothing_is(setup):
    finish(setup)
    assert not setup.pending(setup.LOCKS["dev"])
    assert setup.main(["dev"]) == 0


def test_only_what_changed_is_installed_again(setup):
    finish(setup)
    (setup.ROOT / "requirements" / "models.txt").write_text("models==2\n")
    assert list(setup.pending(setup.LOCKS["run"])) == ["models"]
    (setup.ROOT / "models" / "pyproject.toml").write_text("[project]\n")
    assert list(setup.pending(setup.LOCKS["run"])) == ["models", "editable"]
    (setup.ROOT / setup.LLAMA / "package-lock.json").write_text('{"version": "2"}')
    assert list(setup.pending(setup.LOCKS["run"])) == ["models", "editable", "llama"]


def test_another_python_starts_anew(setup, monkeypatch):
    finish(setup)
    monkeypatch.setenv("PARLEY_PYTHON", "/opt/python/bin/python3.13")
    assert not setup.read_stamp()


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"'])
def test_a_broken_stamp_is_no_stamp(setup, content):
    setup.STAMP.write_text(content)
    assert len(setup.pending(setup.LOCKS["run"])) == len(setup.LOCKS["run"]) + 2


def test_a_python_that_went_away_is_noticed(setup):
    finish(setup)
    setup.PYTHON.unlink()
    assert not setup.read_stamp()


def test_the_stamp_is_replaced_whole(setup):
    finish(setup)
    assert set(json.loads(setup.STAMP.read_text())) >= {"server", "editable", "python"}
    assert not list(setup.VENV.glob("*.new"))


def test_a_python_that_does_not_fit_is_refused_by_name(setup, monkeypatch):
    monkeypatch.setenv("PARLEY_PYTHON", "no-such-python")
    with pytest.raises(setup.SetupError, match=r"no-such-python.*3\.11 to 3\.14"):
        setup.find_python()


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES", "Do not install it"),
        ("npm error code EINTEGRITY", "Do not install it"),
        ("npm error code ENOTFOUND", "could not be reached"),
        ("NewConnectionError\nNo matching distribution found for x", "could not be reached"),
        ("No matching distribution found for x", "no such version"),
        ("something else", "last lines"),
    ],
)
def test_pips_failures_are_explained(setup, output, advice):
    explained = setup.explain(output)
    assert output in explained
    assert advice in explained


def test_the_disk_is_asked_before_anything_is_written(setup, monkeypatch):
    monkeypatch.setattr(setup, "NEEDED_BYTES", 2**62)
    with pytest.raises(setup.SetupError, match="GB of disk"):
        setup.check_disk()
