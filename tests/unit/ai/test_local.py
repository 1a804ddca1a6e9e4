"""Which local models are loaded, and what is said where one is missing. None is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from parley_models import ModelMissingError, ModelStore
from services.ai.adapters.local import LocalModels
from services.ai.adapters.registry import RECOGNIZERS, VOICE_ACTIVITY, LocalRuntime
from services.ai.compute import ComputePool

CAREFUL = "whisper-base-int8"
EAR = "moonshine-tiny-en"


@dataclass(frozen=True, slots=True)
class Made:
    """What a recognizer was made of."""

    folder: Path
    runtime: LocalRuntime


class Installed(ModelStore):
    """A store in which everything is installed, with or without the careful recognizer."""

    careful = True

    def path(self, name: str) -> Path:
        return self.folder(name) if self.careful or name != CAREFUL else super().path(name)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    monkeypatch.setitem(RECOGNIZERS, EAR, Made)
    monkeypatch.setitem(VOICE_ACTIVITY, "silero-vad", lambda *_: "the detector")
    return Installed(tmp_path)


@pytest.fixture
def runtime() -> Iterator[LocalRuntime]:
    pool = ComputePool(1, 1)
    yield LocalRuntime(pool, sessions=1, context_tokens=1024, language_model_threads=1)
    pool.close()


def test_without_its_model_hearing_closely_names_the_command_that_installs_it(
    store: Installed, runtime: LocalRuntime
):
    store.careful = False
    models = LocalModels(store, "test", runtime, hear_closely=True)
    with pytest.raises(ModelMissingError, match=f"parley models fetch {CAREFUL}"):
        models.recognizer()


def test_who_hears_closely_is_named_after_the_model_that_does(
    store: Installed, runtime: LocalRuntime
):
    models = LocalModels(store, "test", runtime, hear_closely=True)
    named = models.recognizer()
    made = named.provider
    assert named.name == CAREFUL
    assert isinstance(made, Made)
    assert made.runtime.careful == store.folder(CAREFUL)
    assert made.runtime.pauses == "the detector"
    assert models.recognizer().provider is made


def test_unless_it_is_wanted_nothing_is_heard_closely(store: Installed, runtime: LocalRuntime):
    named = LocalModels(store, "test", runtime).recognizer()
    assert named.name == EAR
    assert isinstance(named.provider, Made)
    assert named.provider.runtime == runtime
