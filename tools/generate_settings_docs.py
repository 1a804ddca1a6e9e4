"""Generate `docs/settings.md` from the settings classes, or check that it is current.

    python tools/generate_settings_docs.py [--check]

The classes are those that `services.common.settings`, `services.*.settings` and the modules in
`BESIDE` define. A field's description, bounds and default are all the documentation
there is: what is missing on the page is missing on the field.
"""

import argparse
import difflib
import importlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType, NoneType
from typing import Any, Literal, get_args, get_origin

import annotated_types
from platformdirs import user_data_path
from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from services.common.settings import ServiceSettings, environment_names, is_secret

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "settings.md"

DATA_FOLDER = "the user's data folder"
"""Stands for the platform's data folder, which differs from machine to machine."""

UNITS = {"ms": "ms", "seconds": "s", "minutes": "min", "days": "d", "bytes": "bytes", "hz": "Hz"}
"""The unit that a field's last word names."""

BESIDE = {
    "gateway/settings.py": "The gateway",
    "launcher/settings.py": "The launcher (`make run`)",
}
"""The settings modules that belong to no service, and their sections."""

INTRODUCTION = f"""\
# Settings

<!-- Generated from the settings classes by `make docs`; edit the fields' descriptions instead. -->

Every setting is an environment variable, read once at start. All that are wrong or misspelt are
reported together, by name. A variable of one service (`PARLEY_USER_…`) wins over the one that all
share (`PARLEY_…`). A secret may stand in a file instead: `…_FILE` names it. Lists are written as
JSON.

*{DATA_FOLDER.capitalize()}* is `~/.local/share/parley` on Linux (or below `$XDG_DATA_HOME`) and
`~/Library/Application Support/parley` on macOS.
"""

HEADER = "| variable | default | values | meaning |\n|---|---|---|---|\n"


def main() -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(description="Generate docs/settings.md.")
    parser.add_argument("--check", action="store_true", help="only compare; write nothing")
    check = parser.parse_args().check
    wanted = page()
    present = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    if wanted == present:
        return 0
    if not check:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(wanted, encoding="utf-8")
        print(f"wrote {PAGE.relative_to(ROOT)}")
        return 0
    difference = difflib.unified_diff(
        present.splitlines(), wanted.splitlines(), "committed", "generated", lineterm="", n=1
    )
    print("\n".join(difference), file=sys.stderr)
    print("docs/settings.md is not that of the code. Run `make docs` and commit.", file=sys.stderr)
    return 1


def page() -> str:
    """Return the whole page."""
    sections = [INTRODUCTION]
    services = [found for found in settings_classes("services/*/settings.py") if is_service(found)]
    common = ServiceSettings.model_fields
    shared = (name for name in common if len(environment_names("x", name, common[name])) > 1)
    sections.append(
        table(
            "Shared by all services", ServiceSettings, [(f"PARLEY_{n.upper()}", n) for n in shared]
        )
    )
    own = (name for name in common if len(environment_names("x", name, common[name])) == 1)
    sections.append(
        table(
            "Of each service", ServiceSettings, [(f"PARLEY_<SERVICE>_{n.upper()}", n) for n in own]
        )
    )
    for found in services:
        assert issubclass(found, ServiceSettings)
        fields = [name for name in found.model_fields if name in vars(found)["__annotations__"]]
        named = [
            (environment_names(found.service, n, found.model_fields[n])[-1], n) for n in fields
        ]
        sections.append(table(f"The {found.service} service", found, named))
    for path, title in BESIDE.items():
        for found in settings_classes(path):
            named = [(variable_of(found, name), name) for name in found.model_fields]
            sections.append(table(title, found, named))
    return "\n".join(section for section in sections if section)


def settings_classes(pattern: str) -> Iterator[type[BaseSettings]]:
    """Yield the settings classes defined by the modules that match, in order of their names."""
    for path in sorted(ROOT.glob(pattern)):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        module: ModuleType = importlib.import_module(name)
        for value in vars(module).values():
            if (
                isinstance(value, type)
                and issubclass(value, BaseSettings)
                and value.__module__ == name
            ):
                yield value


def variable_of(found: type[BaseSettings], name: str) -> str:
    """Return the environment variable that pydantic-settings reads a field from."""
    alias = found.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        alias = alias.choices[0]
    prefix = found.model_config.get("env_prefix", "")
    return (alias if isinstance(alias, str) else f"{prefix}{name}").upper()


def is_service(found: type[BaseSettings]) -> bool:
    """Tell whether a class holds the settings of one service."""
    return issubclass(found, ServiceSettings) and bool(found.service)


def table(title: str, found: type[BaseSettings], fields: Iterable[tuple[str, str]]) -> str:
    """Return a section: a row for each variable and its field."""
    rows = []
    for variable, name in fields:
        field = found.model_fields[name]
        file = f" or `{variable}_FILE`" if is_secret(field) else ""
        cells = [f"`{variable}`{file}", default(field), values(name, field), meaning(field)]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return f"## {title}\n\n{HEADER}{''.join(rows)}" if rows else ""


def default(field: FieldInfo) -> str:
    """Return how a field's default is written on the page."""
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "unset"
    if isinstance(value, Path):
        folder = user_data_path("parley")
        if value == folder:
            return DATA_FOLDER
        if value.is_relative_to(folder):
            return f"{DATA_FOLDER}, `{value.relative_to(folder).as_posix()}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple | list | frozenset | set):
        return ", ".join(f"`{item}`" for item in value) or "none"
    return f"`{value}`" if str(value) else "empty"


def values(name: str, field: FieldInfo) -> str:
    """Return which values a field takes: choices, bounds and unit."""
    choices = list(literals(field.annotation))
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    low = high = ""
    for rule in field.metadata:
        if isinstance(rule, annotated_types.Ge):
            low = f"{rule.ge}"
        elif isinstance(rule, annotated_types.Gt):
            low = f"more than {rule.gt}"
        elif isinstance(rule, annotated_types.Le):
            high = f"{rule.le}"
        elif isinstance(rule, annotated_types.Lt):
            high = f"less than {rule.lt}"
    bounds = {
        (True, True): f"{low} to {high}",
        (True, False): low if low.startswith("more") else f"{low} or more",
        (False, True): high if high.startswith("less") else f"{high} or less",
        (False, False): "",
    }[bool(low), bool(high)]
    unit = UNITS.get(name.rsplit("_", 1)[-1], "")
    return f"{bounds} {unit}".strip()


def literals(annotation: Any) -> Iterator[str]:
    """Yield the choices of a `Literal`, also inside an optional; of a bool, both."""
    if annotation is bool:
        yield from ("true", "false")
    elif get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    elif NoneType in get_args(annotation):
        for part in get_args(annotation):
            yield from literals(part)


def meaning(field: FieldInfo) -> str:
    """Return a field's description on one line."""
    return " ".join((field.description or "").split())


if __name__ == "__main__":
    sys.exit(main())
