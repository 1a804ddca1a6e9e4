"""`engines.toml`: which providers an engine is made of, under names of the host's choosing.

    default = "claude"                      # the engine that serves where none is named

    [language_models.claude]
    adapter = "anthropic"                   # which protocol; its package: `make engines`
    api_key_file = "/run/secrets/anthropic" # or api_key_env = "NAME"

    [engines.claude]
    title = "Claude, with the ears and the voice of this machine"
    language_model = ["claude", "local"]    # the first choice first
    recognizer = "local"
    synthesizer = "local"

"local" is the preset's own model, a model's name that one of this machine, "scripted" a script
instead of one. What `presets.toml` beside the engines defines is there for every host; a file may
define it anew.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from parley_models import Role, load_manifest

LOCAL = "local"
SCRIPTED = "scripted"
SCRIPTED_PIPELINE = "scripted-pipeline"
BUILT_IN = (LOCAL, SCRIPTED, SCRIPTED_PIPELINE)
"""Engines that need no definition."""

_PARTS = (LOCAL, SCRIPTED)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_OPENAI_VOICES = tuple(
    "marin cedar alloy ash ballad coral echo fable nova onyx sage shimmer verse".split()
)
_REALTIME_VOICES = tuple("marin cedar alloy ash ballad coral echo sage shimmer verse".split())
_GEMINI_VOICES = tuple("Aoede Puck Charon Kore Fenrir Leda Orus Zephyr".split())
_CHIRP_VOICES = tuple(
    f"{language}-Chirp3-HD-{name}"
    for language in ("en-US", "en-GB")
    for name in ("Aoede", "Puck", "Kore", "Charon")
)
_RIVA_VOICES = ("English-US.Female-1", "English-US.Male-1")
_LANGUAGE = r"^[a-z]{2,3}(-[A-Z]{2})?$"
_EDGE_VOICES = (
    "en-US-EmmaMultilingualNeural",
    "en-US-AriaNeural",
    "en-US-GuyNeural",
    "en-GB-SoniaNeural",
    "en-GB-RyanNeural",
    "en-AU-NatashaNeural",
)
_PLURAL = {
    "recognizer": "recognizers",
    "language_model": "language_models",
    "synthesizer": "synthesizers",
    "speech_model": "speech_models",
}

_LOCAL_ROLES = {"recognizer": Role.RECOGNIZER, "language_model": Role.LANGUAGE_MODEL}
"""Parts for which this machine has several models. There is one that speaks."""

_WITH_ADAPTERS = ("language_models", "recognizers", "speech_models", "synthesizers")
"""Tables whose entries are told apart by their adapter."""


class EngineFileError(ValueError):
    """An engine file cannot be used; the message lists everything that is wrong in it."""


@cache
def local_models(part: str) -> tuple[str, ...]:
    """Return the models of this machine that a ``part`` of an engine may name, fetched or not."""
    role = _LOCAL_ROLES.get(part)
    models = load_manifest().models.values()
    return tuple(model.name for model in models if model.role is role)


def is_local(part: str, name: str) -> bool:
    """Whether ``name`` is a model of this machine as a ``part`` of an engine."""
    return name == LOCAL or name in local_models(part)


def _url(value: str) -> str:
    # A password in an address would be shown with it; keys have settings of their own.
    if not _URL.fullmatch(value):
        raise ValueError("must be like http://host:port/v1, without a user or a query")
    return value.rstrip("/")


def _variable(value: str) -> str:
    if value and not _VARIABLE.fullmatch(value):
        # It may be a key put here by mistake: it is not repeated.
        raise ValueError("must be the name of an environment variable")
    return value


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("a name has up to 63 of a-z, 0-9, '.', '_' and '-'")
    return value


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Url: TypeAlias = Annotated[str, AfterValidator(_url)]
Variable: TypeAlias = Annotated[str, AfterValidator(_variable)]
Name: TypeAlias = Annotated[str, AfterValidator(_name)]
Phrase: TypeAlias = Annotated[str, Field(min_length=1, max_length=100)]
VoiceName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Chain: TypeAlias = Annotated[
    tuple[Name, ...], BeforeValidator(_listed), Field(min_length=1, max_length=5)
]

Names: TypeAlias = Annotated[tuple[Name, ...], BeforeValidator(_listed), Field(max_length=5)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Elsewhere(_Part):
    """What every provider elsewhere can be told.

    ``first_timeout_s`` is how long an answer may take to begin, ``next_timeout_s`` how long it may
    stand still then. ``max_sessions`` bounds conversations at once. ``price`` is a note; those in
    US dollars are what a comparison estimates costs with.
    """

    connect_timeout_s: float = Field(3.0, gt=0, le=60)
    first_timeout_s: float = Field(8.0, gt=0, le=120)
    next_timeout_s: float = Field(5.0, gt=0, le=120)
    max_sessions: int = Field(64, ge=1, le=10_000)
    price: str = Field("", max_length=200)
    usd_per_audio_hour: float = Field(0.0, ge=0, le=10_000)
    usd_per_million_tokens: float = Field(0.0, ge=0, le=100_000)
    usd_per_million_tokens_read: float = Field(0.0, ge=0, le=100_000)
    usd_per_million_characters: float = Field(0.0, ge=0, le=100_000)


class RemotePart(Elsewhere):
    """A provider with an address and, mostly, a key."""

    base_url: Url | None = None
    api_key_env: Variable = ""
    api_key_file: Path | None = None

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.api_key_env and self.api_key_file:
            raise ValueError("api_key_env and api_key_file cannot both be set")
        return self


class OpenAiChat(RemotePart):
    """A language model behind OpenAI's chat completions.

    ``base_url`` unset is OpenAI itself. ``sampling`` false leaves temperature and top_p out, for
    models that refuse them. ``extra`` is merged into every request.
    """

    adapter: Literal["openai"]
    model: str = Field(min_length=1, max_length=200)
    sampling: bool = True
    context_tokens: int = Field(8192, ge=1024, le=1_000_000)
    extra: Mapping[str, Any] = Field(default_factory=dict)


class AnthropicMessages(RemotePart):
    """A language model behind Anthropic's messages.

    Current models refuse ``sampling`` and think unless they are told not to; a learner would wait
    for thoughts. ``thinking`` "default" leaves it to the model, for those that cannot do without.
    """

    adapter: Literal["anthropic"]
    model: str = Field("claude-haiku-5-5", min_length=1, max_length=200)
    sampling: bool = False
    thinking: Literal["off", "default"] = "off"
    context_tokens: int = Field(16_384, ge=1024, le=1_000_000)
    extra: Mapping[str, Any] = Field(default_factory=dict)


class OpenAiTranscription(RemotePart):
    """A recognizer behind OpenAI's transcriptions.

    ``word_times`` asks for them, which only Whisper and its kin have; without, they are estimated.
    ``prompt`` is text in the style that is wanted. An utterance is transcribed whole, once it has
    ended: ``first_timeout_s`` is for all of it.
    """

    adapter: Literal["openai"]
    model: str = Field("gpt-transcribe", min_length=1, max_length=200)
    language: str = Field("en", pattern=r"^[a-z]{2,3}$")
    word_times: bool = False
    prompt: str = Field("", max_length=1000)


class GooglePart(RemotePart):
    """What both of Google's speech services are told.

    Without an ``api_key`` or a ``credentials_file`` (a service account's), it is the account that
    Google's own tools use. ``base_url`` is for a server in Google's place.
    """

    credentials_file: Path | None = None


class GoogleSpeech(GooglePart):
    """A recognizer behind Google Cloud Speech, v2, streaming.

    ``project`` is who pays, ``location`` where it runs. ``vocabulary`` is heard more readily.
    """

    adapter: Literal["google"]
    project: str = Field(pattern=r"^[a-z0-9][a-z0-9.:-]{4,62}$")
    location: str = Field("global", pattern=r"^[a-z0-9-]{2,30}$")
    model: str = Field("latest_long", min_length=1, max_length=200)
    language: str = Field("en-US", pattern=_LANGUAGE)
    word_times: bool = True
    vocabulary: tuple[Phrase, ...] = Field((), max_length=200)


class GoogleTts(GooglePart):
    """A synthesizer behind Google's Text-to-Speech, streamed; its Chirp voices alone can."""

    adapter: Literal["google"]
    voices: tuple[VoiceName, ...] = Field(_CHIRP_VOICES, min_length=1, max_length=100)
    sample_rate_hz: int = Field(24_000, ge=8_000, le=48_000)


class RivaPart(RemotePart):
    """What both of Riva's services are told; ``metadata`` goes with every call."""

    base_url: Url = "http://127.0.0.1:50051"
    language: str = Field("en-US", pattern=_LANGUAGE)
    metadata: Mapping[str, str] = Field(default_factory=dict)


class RivaRecognition(RivaPart):
    """A recognizer behind NVIDIA Riva; an empty ``model`` is the server's own choice."""

    adapter: Literal["riva"]
    model: str = Field("", max_length=200)
    vocabulary: tuple[Phrase, ...] = Field((), max_length=200)


class RivaSpeech(RivaPart):
    """A synthesizer behind NVIDIA Riva. The first of ``voices`` is the default one."""

    adapter: Literal["riva"]
    voices: tuple[VoiceName, ...] = Field(_RIVA_VOICES, min_length=1, max_length=100)
    sample_rate_hz: int = Field(24_000, ge=8_000, le=48_000)


class OpenAiSpeech(RemotePart):
    """A synthesizer behind OpenAI's speech, which sends bare 16-bit PCM at ``sample_rate_hz``.

    The first of ``voices`` is the default one.
    """

    adapter: Literal["openai"]
    model: str = Field("gpt-4o-mini-tts", min_length=1, max_length=200)
    voices: tuple[VoiceName, ...] = Field(_OPENAI_VOICES, min_length=1, max_length=100)
    sample_rate_hz: int = Field(24_000, ge=8_000, le=48_000)


class EdgeSpeech(Elsewhere):
    """Edge's read-aloud voices, which need no key. The first of ``voices`` is the default one."""

    adapter: Literal["edge"]
    voices: tuple[VoiceName, ...] = Field(_EDGE_VOICES, min_length=1, max_length=100)
    proxy: Url | None = None


class OpenAiRealtime(RemotePart):
    """A speech-to-speech model behind OpenAI's Realtime.

    ``transcription_model`` writes down what the learner says. ``session_s`` is how long the server
    keeps a session. ``extra`` is merged into the session's settings.
    """

    adapter: Literal["openai"]
    model: str = Field("gpt-realtime-2.1-mini", min_length=1, max_length=200)
    transcription_model: str = Field("gpt-transcribe", min_length=1, max_length=200)
    language: str = Field("en", pattern=r"^[a-z]{2,3}$")
    voices: tuple[VoiceName, ...] = Field(_REALTIME_VOICES, min_length=1, max_length=100)
    context_tokens: int = Field(32_000, ge=1024, le=1_000_000)
    session_s: float = Field(3600, ge=60, le=86_400)
    extra: Mapping[str, Any] = Field(default_factory=dict)


class GeminiLive(RemotePart):
    """A speech-to-speech model behind Gemini Live.

    The server ends a connection after ten minutes and says so before; ``session_s`` is when a new
    one is made at the latest. ``extra`` is merged into the set-up.
    """

    adapter: Literal["gemini"]
    model: str = Field("gemini-3.8-live", min_length=1, max_length=200)
    voices: tuple[VoiceName, ...] = Field(_GEMINI_VOICES, min_length=1, max_length=100)
    language: str = Field("en", pattern=r"^[a-z]{2,3}$")
    context_tokens: int = Field(32_000, ge=1024, le=1_000_000)
    session_s: float = Field(600, ge=60, le=86_400)
    extra: Mapping[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        # Its client speaks TLS whatever the address says.
        if self.base_url and not self.base_url.startswith("https://"):
            raise ValueError("base_url must begin with https://")
        return self


SpeechModelPart: TypeAlias = Annotated[OpenAiRealtime | GeminiLive, Field(discriminator="adapter")]
LanguageModelPart: TypeAlias = Annotated[
    OpenAiChat | AnthropicMessages, Field(discriminator="adapter")
]
RecognizerPart: TypeAlias = Annotated[
    OpenAiTranscription | GoogleSpeech | RivaRecognition, Field(discriminator="adapter")
]
SynthesizerPart: TypeAlias = Annotated[
    OpenAiSpeech | EdgeSpeech | GoogleTts | RivaSpeech, Field(discriminator="adapter")
]


class EnginePart(_Part):
    """An engine: what hears, what thinks, what speaks; each a name or several, first choice first.

    Or a ``speech_model`` that does all three; its ``language_model``, where one is named, then only
    looks for mistakes. ``turn_taking`` is what hears speech and its end. ``capacity`` is how many
    conversations it carries at once; 0 is what its parts carry. ``hedge_after_ms`` is how long the
    first word may take before the next language model is asked too; 0: it must fail first.
    ``metered`` is whether learners' daily budgets pay for it; unset: where a first choice is
    elsewhere.
    """

    title: str = Field("", max_length=200)
    turn_taking: Literal["local", "scripted"] = "local"
    recognizer: Chain = (LOCAL,)
    language_model: Chain = (LOCAL,)
    synthesizer: Chain = (LOCAL,)
    speech_model: Names = ()
    hedge_after_ms: int = Field(0, ge=0, le=60_000)
    metered: bool | None = None
    capacity: int = Field(0, ge=0, le=10_000)
    price: str = Field("", max_length=200)

    @property
    def needs_local_models(self) -> bool:
        """Whether it cannot do without models on this machine."""
        if self.turn_taking == LOCAL:
            return True
        chains = {"language_model": self.corrector} if self.speech_model else self.chains
        return any(
            chain and all(is_local(part, name) for name in chain) for part, chain in chains.items()
        )

    @property
    def chains(self) -> Mapping[str, tuple[str, ...]]:
        """What hears, thinks and speaks where there is no ``speech_model``, each by its part."""
        return {
            "recognizer": self.recognizer,
            "language_model": self.language_model,
            "synthesizer": self.synthesizer,
        }

    @property
    def corrector(self) -> tuple[str, ...]:
        """The language models that look for mistakes; empty: nobody does."""
        if self.speech_model and "language_model" not in self.model_fields_set:
            return ()
        return self.language_model

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.speech_model:
            for name in ("recognizer", "synthesizer"):
                if name in self.model_fields_set:
                    raise ValueError(f"a speech_model needs no {name}")
        return self


class EngineFile(_Part):
    """A whole file. The default has what Parley ships and no engine of the host's."""

    default: str = ""
    recognizers: Mapping[Name, RecognizerPart] = Field(default_factory=dict)
    synthesizers: Mapping[Name, SynthesizerPart] = Field(default_factory=dict)
    language_models: Mapping[Name, LanguageModelPart] = Field(default_factory=dict)
    speech_models: Mapping[Name, SpeechModelPart] = Field(default_factory=dict)
    engines: Mapping[Name, EnginePart] = Field(default_factory=dict)
    own: tuple[str, ...] = Field((), exclude=True)
    """The engines that the host's file defines, in its order."""

    @classmethod
    def read(cls, path: Path | None) -> EngineFile:
        """Read a host's file over what Parley ships; None: only that.

        Raises:
            EngineFileError: it cannot be read, or is wrong; every fault is listed.
        """
        merged = _shipped()
        own: tuple[str, ...] = ()
        if path is not None:
            try:
                document = tomllib.loads(path.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
                raise EngineFileError(f"{path}: {error}") from error
            engines = document.get("engines")
            own = tuple(engines) if isinstance(engines, dict) else ()
            merged = _merged(merged, document)
        try:
            file = cls.model_validate({**merged, "own": own})
        except ValidationError as error:
            raise EngineFileError(_told(path, _faults(error))) from error
        wrong = list(file.wrong_names())
        if wrong:
            raise EngineFileError(_told(path, wrong))
        return file

    def engine(self, name: str) -> EnginePart | None:
        """Return the definition of ``name``; None for one that needs none, or that nobody has."""
        return self.engines.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Every engine that may be asked for."""
        return (*BUILT_IN, *self.engines)

    def wrong_names(self) -> Iterator[str]:
        """Yield a line for each name that is taken, unknown or named twice."""
        for name in BUILT_IN:
            if name in self.engines:
                yield f"engines.{name}: there is one of this name already"
        for part, plural in _PLURAL.items():
            for name in (*_PARTS, *local_models(part)):
                if name in getattr(self, plural):
                    yield f"{plural}.{name}: there is one of this name already"
        if self.default and self.default not in self.names:
            yield f"default: {_unknown(self.default, self.names)}"
        for engine_name, engine in self.engines.items():
            for part, plural in _PLURAL.items():
                own = getattr(self, plural)
                known = (*own, *local_models(part))
                if part != "speech_model":
                    known = (*_PARTS, *known)
                chain: tuple[str, ...] = getattr(engine, part)
                where = f"engines.{engine_name}.{part}"
                for name in chain:
                    if name not in known:
                        yield f"{where}: {_unknown(name, known)}"
                if len(set(chain)) < len(chain):
                    yield f"{where}: names one twice"


@cache
def _shipped() -> Mapping[str, Any]:
    file = resources.files(__package__) / "engines" / "presets.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return both documents; what both define by name is as in ``over``, whole."""
    merged = {**under, **over}
    for table, names in under.items():
        if isinstance(names, dict) and isinstance(over.get(table), dict):
            merged[table] = {**names, **over[table]}
    return merged


def _faults(error: ValidationError) -> Iterator[str]:
    for each in error.errors(include_url=False, include_input=False):
        text = each["msg"].removeprefix("Value error, ")
        if each["type"] == "extra_forbidden":
            text = "there is no such setting"
        yield f"{_place(each['loc'])}: {text[:1].lower()}{text[1:]}"


def _place(path: tuple[int | str, ...]) -> str:
    """Return where in the file a fault is."""
    steps = [str(step) for step in path if step != "[key]"]
    if len(steps) > 2 and steps[0] in _WITH_ADAPTERS:
        # The kind of adapter, which stands in the path as if it were a table of the file.
        del steps[2]
    return ".".join(steps) or "the file"


def _told(path: Path | None, faults: Iterator[str] | list[str]) -> str:
    return f"{path or 'presets.toml'}: " + "; ".join(faults)


def _unknown(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(known)}"
    return f"there is no {name!r}{hint}"
