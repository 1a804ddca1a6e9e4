"""What the ai service can be told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from parley_models import default_models_dir
from services.ai.engine_file import LOCAL, SCRIPTED, EngineFile
from services.common.settings import ServiceSettings, shared

# The language model runs two threads on two cores (more than the cores only makes them wait), and
# a second conversation on the same two cores still answers in about twice the time.
_CORES = os.cpu_count() or 2


class AiSettings(ServiceSettings):
    """Settings of the ai service."""

    service: ClassVar[str] = "ai"

    port: int = Field(50053, ge=0, le=65535, description="Port of the gRPC server; 0: a free one.")
    preset: str = shared(
        "default", "Models that run: default, light or test (see `parley models list`)."
    )
    models_dir: Path | None = shared(None, "Folder of the models; unset: `models` in the data one.")
    engines: tuple[str, ...] = Field(
        (LOCAL, SCRIPTED),
        min_length=1,
        description='Engines on offer as a JSON list, the default first: "local", "scripted", '
        '"scripted-pipeline", and those of engines.md. What the engines file defines is on offer '
        "as well.",
    )
    engines_file: Path | None = Field(
        None,
        description="TOML file with engines and providers, see engines.md; unset: `engines.toml` "
        "in the data folder, where there is one.",
    )
    script: Path | None = Field(
        None, description="TOML file that the scripted engines follow; unset: instant answers."
    )
    max_sessions: int = Field(
        max(1, _CORES // 2) + 1,
        ge=1,
        le=64,
        description="Live conversations that the local models carry at once.",
    )
    language_model_threads: int = Field(
        max(1, min(_CORES, 4)), ge=1, le=64, description="Threads of the local language model."
    )
    llama_library: Path | None = Field(
        None,
        description="Folder of another build of llama.cpp's shared libraries, of the same release; "
        "unset: those that set-up installed.",
    )
    corrections: bool = Field(
        True,
        description="Look for mistakes in what learners say, after the turn: see engines.md. At a "
        "provider elsewhere that is one more short request for each sentence.",
    )
    hear_again: bool = Field(
        True,
        description="Hear each turn a second time once its reply is complete, where a model for it "
        "is installed: see models.md. What is stored and corrected is the second hearing.",
    )
    hear_closely: bool = Field(
        False,
        description="Hear learners' accents better already for the reply, somewhat later, by the "
        "model of the second hearing, which has to be installed: see models.md.",
    )
    daily_audio_seconds: int = Field(
        0,
        ge=0,
        description="Seconds of speech that a learner may have heard a day by engines that are not "
        "on this machine; 0: as much as they like. See engines.md.",
    )
    daily_tokens: int = Field(
        0, ge=0, description="Tokens that such engines may write for a learner a day; 0: no limit."
    )
    daily_characters: int = Field(
        0,
        ge=0,
        description="Characters that such engines may speak to a learner a day; 0: no limit.",
    )
    speech_threads: int = Field(
        max(1, _CORES), ge=1, le=64, description="Speech models that may run at the same time."
    )
    context_tokens: int = Field(
        2048, ge=1024, le=32768, description="Tokens of prompt and reply that a conversation has."
    )

    @model_validator(mode="after")
    def _engines_are_there(self) -> Self:
        self.offered(self.read_engines())
        return self

    def read_engines(self) -> EngineFile:
        """Read the engines file. Raises ``EngineFileError``."""
        path = self.engines_file
        if path is None:
            usual = self.data_dir / "engines.toml"
            path = usual if usual.is_file() else None
        return EngineFile.read(path.expanduser() if path else None)

    def offered(self, file: EngineFile) -> tuple[str, ...]:
        """Return the engines on offer, the default first. Raises ``ValueError`` for an unknown."""
        unknown = [name for name in self.engines if name not in file.names]
        if unknown:
            raise ValueError(
                f"there is no engine {unknown[0]!r}; there are: {', '.join(file.names)}"
            )
        wanted = (file.default, *self.engines, *file.own)
        return tuple(dict.fromkeys(filter(None, wanted)))

    @property
    def needs_local_models(self) -> bool:
        """Whether an engine on offer cannot do without models on this machine."""
        file = self.read_engines()
        return any(
            name == LOCAL or (part is not None and part.needs_local_models)
            for name in self.offered(file)
            for part in [file.engine(name)]
        )

    @property
    def effective_models_dir(self) -> Path:
        """The models folder with its default worked out."""
        if self.models_dir is not None:
            return self.models_dir.expanduser()
        return default_models_dir({"PARLEY_DATA_DIR": str(self.data_dir)})
