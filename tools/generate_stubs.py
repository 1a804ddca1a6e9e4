"""Generate the Python and TypeScript stubs from `protos/`, or check that they are current.

    python tools/generate_stubs.py            write gen/python and gen/typescript/src
    python tools/generate_stubs.py --check    fail, and print what differs, if they are stale

Generation goes to a temporary folder first: a failed run leaves the committed stubs alone, and
a successful one replaces only the files that changed, so build tools see no needless news.
"""

import argparse
import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.node import ROOT, npm_install

GENERATED = (Path("gen/python/parley"), Path("gen/python/buf"), Path("gen/typescript/src"))
"""The folders, below the root, in which every file is generated."""

PACKAGE_DOCSTRING = '''\
"""Typed Python stubs of Parley's contract, one package a service.

    from parley.user.v1 import user_pb2, user_pb2_grpc

Everything below is generated from the `.proto` files by `make gen`; edit those instead.
"""
'''

STREAMING_RESPONSE = re.compile(
    r"-> (?P<typing>\w+)\.Union\["
    r"(?P<sync>(?P<abc>\w+)\.Iterator\[[^\[\]]+\]), "
    r"(?P<asynchronous>\w+\.AsyncIterator\[[^\[\]]+\])\]"
)

MAX_DIFF_LINES = 60
"""Enough to see what kind of change is missing; `make gen` shows the rest."""


def main() -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(description="Generate stubs from protos/.")
    parser.add_argument("--check", action="store_true", help="only compare; write nothing")
    check = parser.parse_args().check
    environment = npm_install(ROOT / "gen" / "typescript")
    with tempfile.TemporaryDirectory(prefix="parley-gen-") as folder:
        output = Path(folder)
        command = ["buf", "generate", "--output", str(output)]
        if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode != 0:
            print("buf generate failed; the stubs were left as they are", file=sys.stderr)
            return 1
        finish_python(output / "gen" / "python")
        wanted = read_tree(output)
    present = read_tree(ROOT)
    if check:
        return report(wanted, present)
    write(wanted, present)
    return 0


def finish_python(root: Path) -> None:
    """Turn the plugins' output into typed, regular packages."""
    for stub in root.rglob("*_pb2_grpc.pyi"):
        if not stub.with_suffix(".py").is_file():
            stub.unlink()  # the typing plugin writes one even where there is no service
            continue
        stub.write_text(allow_write_style(stub.read_text(encoding="utf-8")), encoding="utf-8")
    package = root / "parley"
    folders = [package, *(folder for folder in package.rglob("*") if folder.is_dir())]
    for folder in folders:
        (folder / "__init__.py").touch()
    package.joinpath("__init__.py").write_text(PACKAGE_DOCSTRING, encoding="utf-8")
    package.joinpath("py.typed").touch()
    # `buf` stays a namespace package, which other distributions may share; only ours is marked.
    validate = root / "buf" / "validate"
    validate.joinpath("__init__.py").touch()
    validate.joinpath("py.typed").touch()


def allow_write_style(stub: str) -> str:
    """Let a streaming servicer method be a coroutine that calls `context.write()`.

    `grpc.aio` accepts both that and an async generator, but the typing plugin knows only
    generators, and our servicers may not be generators: a `yield` inside a task group breaks
    cancellation (PEP 789).
    """
    return STREAMING_RESPONSE.sub(
        r"-> \g<typing>.Union[\g<sync>, \g<asynchronous>, \g<abc>.Awaitable[None]]", stub
    )


def read_tree(root: Path) -> dict[str, str]:
    """Return the text of every generated file by its path below `root`."""
    return {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for folder in GENERATED
        for path in sorted((root / folder).rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }


def report(wanted: dict[str, str], present: dict[str, str]) -> int:
    """Print how the present stubs differ from the wanted ones; return 1 if they do."""
    lines: list[str] = []
    for name in sorted(wanted.keys() | present.keys()):
        before, after = present.get(name, ""), wanted.get(name, "")
        if name not in present:
            lines.append(f"missing: {name}\n")
        elif name not in wanted:
            lines.append(f"no longer generated: {name}\n")
        elif before != after:
            lines += difflib.unified_diff(
                before.splitlines(keepends=True),
                after.splitlines(keepends=True),
                f"{name} (committed)",
                f"{name} (generated)",
                n=1,
            )
    if not lines:
        return 0
    sys.stderr.writelines(lines[:MAX_DIFF_LINES])
    if len(lines) > MAX_DIFF_LINES:
        print(f"... and {len(lines) - MAX_DIFF_LINES} more lines", file=sys.stderr)
    print("The stubs are not those of protos/. Run `make gen` and commit.", file=sys.stderr)
    return 1


def write(wanted: dict[str, str], present: dict[str, str]) -> None:
    """Make the generated folders hold exactly the wanted files."""
    changed = [name for name, text in wanted.items() if present.get(name) != text]
    for name in changed:
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[name], encoding="utf-8")
    removed = sorted(present.keys() - wanted.keys())
    for name in removed:
        (ROOT / name).unlink()
        shutil.rmtree((ROOT / name).parent / "__pycache__", ignore_errors=True)
    for folder in GENERATED:
        for name, folders, files in os.walk(ROOT / folder, topdown=False):
            if not folders and not files:
                Path(name).rmdir()
    print(f"{len(wanted)} stub files: {len(changed)} written, {len(removed)} removed")


if __name__ == "__main__":
    sys.exit(main())
