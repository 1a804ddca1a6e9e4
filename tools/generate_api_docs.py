"""Generate `docs/api/` from the protos, or check that it is current.

    python -m tools.generate_api_docs [--check]

One page a package: its services, messages and enums with their comments, which are all the
documentation there is, and the rules that every request is held against.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from buf.validate import validate_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from google.protobuf.message import Message

from gateway.routes import INTERNAL, METHODS
from tools.pages import ROOT, settle

FOLDER = ROOT / "docs" / "api"

# Numbers of fields in descriptor.proto, which make up the paths of comments.
_MESSAGES, _ENUMS, _SERVICES, _FIELDS, _NESTED, _INNER_ENUMS = 4, 5, 6, 2, 3, 4
_VALUES = _METHODS = 2

_GENERATED = "<!-- Generated from the protos by `make docs`; edit their comments instead. -->"
_SCALARS = {
    value: name.removeprefix("TYPE_").lower() for name, value in FieldDescriptorProto.Type.items()
}

Comments = Mapping[tuple[int, ...], str]


def main() -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(description="Generate docs/api/.")
    parser.add_argument("--check", action="store_true", help="only compare; write nothing")
    check = parser.parse_args().check
    wanted = pages(described())
    status = settle(wanted, check=check)
    for left in set(FOLDER.glob("*.md")) - set(wanted):
        print(f"{left.relative_to(ROOT)} is of a package that is gone", file=sys.stderr)
        if check:
            status = 1
        else:
            left.unlink()
    return status


def described() -> FileDescriptorSet:
    """Return the descriptors of every proto, with comments."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "protos.binpb"
        command = ["buf", "build", "--as-file-descriptor-set", "-o", str(path)]
        subprocess.run(command, cwd=ROOT, check=True)
        return FileDescriptorSet.FromString(path.read_bytes())


def pages(files: FileDescriptorSet) -> dict[Path, str]:
    """Return every page by its path."""
    packages: dict[str, list[FileDescriptorProto]] = {}
    for file in files.file:
        if file.package.startswith("parley."):
            packages.setdefault(file.package, []).append(file)
    found = {
        FOLDER / f"{package.split('.')[1]}.md": page(package, of)
        for package, of in sorted(packages.items())
    }
    listed = "".join(f"- [{package}]({package.split('.')[1]}.md)\n" for package in sorted(packages))
    found[FOLDER / "README.md"] = (
        f"# The contract\n\n{_GENERATED}\n\n{listed}\n"
        "How a client uses it: [calling-parley.md](../calling-parley.md). What a failure means:\n"
        "[errors.md](../errors.md).\n"
    )
    return found


def page(package: str, files: Sequence[FileDescriptorProto]) -> str:
    """Return the page of one package: services first, then messages and enums by their names."""
    services: list[str] = []
    types: list[tuple[str, str]] = []
    for file in files:
        comments = comments_of(file)
        for number, service in enumerate(file.service):
            services += service_section(package, service, comments, (_SERVICES, number))
        for number, message in enumerate(file.message_type):
            types += message_sections(message, comments, (_MESSAGES, number), "")
        for number, enum in enumerate(file.enum_type):
            types.append(enum_section(enum, comments, (_ENUMS, number), ""))
    sections = [f"# {package}\n\n{_GENERATED}\n", *services]
    sections += [text for _, text in sorted(types)]
    return "\n".join(sections)


def comments_of(file: FileDescriptorProto) -> Comments:
    """Return the comment of each element by its path."""
    return {
        tuple(place.path): "\n".join(
            line.removeprefix(" ") for line in place.leading_comments.rstrip().splitlines()
        )
        for place in file.source_code_info.location
        if place.leading_comments
    }


def service_section(
    package: str, service: ServiceDescriptorProto, comments: Comments, path: tuple[int, ...]
) -> Iterator[str]:
    """Yield the parts of a service's section."""
    yield f"## {service.name}\n\n{comments.get(path, '')}\n"
    for number, method in enumerate(service.method):
        name = f"{package}.{service.name}/{method.name}"
        about = comments.get((*path, _METHODS, number), "")
        yield f"### {method.name}\n\n{signature(method)}\n\n{about}\n\n{who(name)}\n"


def signature(method: MethodDescriptorProto) -> str:
    """Return what a method takes and gives."""
    taken = ("stream of " if method.client_streaming else "") + reference(method.input_type)
    given = ("stream of " if method.server_streaming else "") + reference(method.output_type)
    return f"{taken} → {given}"


def who(name: str) -> str:
    """Return who may call a method, as far as the gateway knows."""
    if name in INTERNAL:
        return "*Between Parley's services only.*"
    public = any(route.path == f"/{name}" and route.public for route in METHODS)
    return "*Needs no access token.*" if public else "*Needs an access token.*"


def message_sections(
    message: DescriptorProto, comments: Comments, path: tuple[int, ...], outer: str
) -> Iterator[tuple[str, str]]:
    """Yield the name and the section of a message and of those within it."""
    if message.options.map_entry:
        return
    name = outer + message.name
    text = f"## {name}\n\n{comments.get(path, '')}\n"
    if message.field:
        text += "\n| field | type | meaning |\n|---|---|---|\n"
    for number, field in enumerate(message.field):
        about = " ".join(comments.get((*path, _FIELDS, number), "").split())
        ruled = rules(field)
        if ruled:
            about += f" *{ruled}*"
        cells = [f"`{field.name}` = {field.number}", kind(field, message), about.strip()]
        text += "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
    yield name, text
    for number, inner in enumerate(message.nested_type):
        yield from message_sections(inner, comments, (*path, _NESTED, number), f"{name}.")
    for number, enum in enumerate(message.enum_type):
        yield enum_section(enum, comments, (*path, _INNER_ENUMS, number), f"{name}.")


def enum_section(
    enum: EnumDescriptorProto, comments: Comments, path: tuple[int, ...], outer: str
) -> tuple[str, str]:
    """Return the name and the section of an enum."""
    name = outer + enum.name
    text = f"## {name}\n\n{comments.get(path, '')}\n\n| value | meaning |\n|---|---|\n"
    for number, value in enumerate(enum.value):
        about = " ".join(comments.get((*path, _VALUES, number), "").split())
        text += f"| `{value.name}` = {value.number} | {about} |\n"
    return name, text


def kind(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    """Return a field's type as a reader says it."""
    for inner in message.nested_type:
        if inner.options.map_entry and field.type_name.endswith(f".{inner.name}"):
            return f"map of {kind(inner.field[0], inner)} to {kind(inner.field[1], inner)}"
    name = reference(field.type_name) if field.type_name else _SCALARS[field.type]
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    if field.proto3_optional:
        return f"optional {name}"
    if field.HasField("oneof_index"):
        return f"{name}, one of `{message.oneof_decl[field.oneof_index].name}`"
    return name


def reference(type_name: str) -> str:
    """Return a link to a type of Parley's, or another type's name."""
    name = type_name.removeprefix(".")
    if not name.startswith("parley."):
        return name
    _, package, _, *inner = name.split(".")
    anchor = "".join(inner).lower()
    return f"[{'.'.join(inner)}]({package}.md#{anchor})"


def rules(field: FieldDescriptorProto) -> str:
    """Return what is asked of a field: the rules' own words."""
    if not field.options.HasExtension(validate_pb2.field):
        return ""
    return "; ".join(words(field.options.Extensions[validate_pb2.field]))


def words(asked: Message) -> Iterator[str]:
    """Yield each rule of a set of rules."""
    for each, value in asked.ListFields():
        name = each.name.replace("_", " ")
        if each.name == "ignore":
            continue  # says when the others hold not: for empty ones, which mean "left out"
        if each.name == "cel":
            yield from (rule.message or rule.id for rule in value)
        elif isinstance(value, bool):
            yield name if value else f"not {name}"
        elif each.message_type is not None and not each.is_repeated:
            inner = list(words(value))
            prefix = f"{name}: " if each.name in ("items", "keys", "values") else ""
            yield from (f"{prefix}{rule}" for rule in inner)
        elif each.is_repeated:
            yield f"{name} {', '.join(map(str, value))}"
        else:
            yield f"{name} {value}"


if __name__ == "__main__":
    sys.exit(main())
