"""Build and check the web client, `clients/web`, with the Node that `tools.node` finds.

    python -m tools.web build            build it where its sources changed
    python -m tools.web build --or-warn  the same, but a failure is only told: `make run` goes on
    python -m tools.web dev              serve it with Vite, beside a running Parley
    python -m tools.web check            its types, linter and formatter
    python -m tools.web format           format it
    python -m tools.web size             build it, and hold its first load to the budget
    python -m tools.web test [...]       its component tests

What was built is known by a hash over everything it is built from, so a second build ends at once
and a changed file is never missed, whatever its date.
"""

from __future__ import annotations

import argparse
import fcntl
import gzip
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tools.node import ROOT, TOOLS, NpmError, find_node, npm, npm_install

CLIENT = ROOT / "clients" / "web"
DIST = CLIENT / "dist"
"""What the gateway serves."""

STUBS = ROOT / "gen" / "typescript"
STAMP = TOOLS / "web-build.sha256"

NOT_SOURCES = frozenset({"node_modules", "dist", "coverage", ".vite"})
"""Folders that hold nothing that a build reads and a person wrote."""

DRIVER_BUILD = ROOT / "tools" / "web_driver.mjs"

MANIFEST = DIST / ".vite" / "manifest.json"

FIRST_LOAD_BYTES = 200_000
"""Budget of our script on the first load, gzipped: about a second on a slow phone's network."""

TALK_PAGE = "src/talk/TalkPage.tsx"
"""What almost everybody opens first: it belongs to the first load, however it is imported."""

CHECKS = ("typecheck", "lint", "format:check")
"""The scripts of `package.json` that read the code."""


def main(arguments: list[str]) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(prog="tools.web", description="Build and check clients/web.")
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build", help="build where the sources changed")
    building.add_argument("--or-warn", action="store_true", help="only tell of a failure")
    for name in ("dev", "check", "format", "size"):
        commands.add_parser(name)
    commands.add_parser("test", add_help=False)
    chosen, rest = parser.parse_known_args(arguments)
    if rest and chosen.command not in ("dev", "test"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        match chosen.command:
            case "build":
                build()
            case "dev" | "test" | "format":
                return script(chosen.command, rest)
            case "check":
                return 1 if [each for each in CHECKS if script(each, []) != 0] else 0
            case _:
                build()
                return report_size(first_load(read_manifest()))
    except (NpmError, OSError) as error:
        if chosen.command == "build" and chosen.or_warn:
            warn(str(error))
            return 0
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def build() -> bool:
    """Build the client unless that was done from the same sources; tell whether it was needed.

    Raises:
        NpmError: a package cannot be had, or the sources do not build. What was built before is
            then left as it is, and tried again the next time.
    """
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / ".web-lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # two `make` commands at once: the second finds it done
        wanted = digest_of(sources())
        if read_stamp() == wanted and (DIST / "index.html").is_file():
            return False
        npm_install(CLIENT)
        print("==> the web page", flush=True)
        started = time.monotonic()
        STAMP.unlink(missing_ok=True)
        npm(find_node(), CLIENT, "run", "build")
        STAMP.write_text(wanted, encoding="ascii")
        print(f"    built in {time.monotonic() - started:.1f} s", flush=True)
        return True


def build_driver(target: Path) -> None:
    """Build `clients/web/tests/driver.ts`, the page's sessions without the page, into `target`.

    Raises:
        NpmError: it does not build.
    """
    environment = npm_install(CLIENT)
    command = [str(find_node().executable), str(DRIVER_BUILD), str(target)]
    done = subprocess.run(
        command, cwd=CLIENT, env=environment, check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise NpmError(f"The driver of the browser tests does not build:\n\n{done.stderr.strip()}")


def sources() -> Iterator[Path]:
    """Yield every file that the build may read, in an order that is always the same."""
    for root in (CLIENT, STUBS):
        for folder, names, files in os.walk(root):
            names[:] = sorted(set(names) - NOT_SOURCES)
            yield from (Path(folder) / name for name in sorted(files))


def digest_of(files: Iterator[Path]) -> str:
    """Return one SHA-256 over the names and contents of `files`."""
    total = hashlib.sha256()
    for path in files:
        content = hashlib.sha256(path.read_bytes()).digest()
        total.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + content)
    return total.hexdigest()


def read_stamp() -> str:
    """Return the digest of what was built last; empty where nothing was."""
    try:
        return STAMP.read_text(encoding="ascii")
    except OSError:
        return ""


def script(name: str, arguments: list[str]) -> int:
    """Run a script of `package.json` on this terminal; return its exit status."""
    environment = npm_install(CLIENT)
    command = [*find_node().npm, "run", "--silent", name]
    if arguments:
        command += ["--", *arguments]
    return subprocess.run(command, cwd=CLIENT, env=environment, check=False).returncode


def read_manifest() -> dict[str, Any]:
    """Return Vite's manifest: every chunk, its file and what it imports.

    Raises:
        NpmError: there is none, so nothing can be said about the size.
    """
    try:
        manifest: dict[str, Any] = json.loads(MANIFEST.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NpmError(f"The build wrote no manifest (build.manifest in Vite): {error}") from error
    return manifest


def first_load(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Return what a first visit loads of our script: file to its gzipped size in bytes.

    That is the entry, the page to talk on, and everything that these import statically, whoever's
    code it is; what is imported when it is needed is loaded later.
    """
    waiting = [name for name, chunk in manifest.items() if chunk.get("isEntry")]
    waiting += [name for name in (TALK_PAGE,) if name in manifest]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += manifest[name].get("imports", [])
    files = {manifest[name]["file"] for name in seen}
    scripts = sorted(name for name in files if name.endswith((".js", ".mjs")))
    return {name: len(gzip.compress((DIST / name).read_bytes(), 9)) for name in scripts}


def report_size(sizes: Mapping[str, int]) -> int:
    """Print what the first load is made of; return 1 if it is over the budget, or nothing."""
    total = sum(sizes.values())
    for name, size in sizes.items():
        print(f"    {size / 1000:7.1f} kB  {name}")
    print(f"    {total / 1000:7.1f} kB  of {FIRST_LOAD_BYTES / 1000:.0f} kB, gzipped", flush=True)
    return 0 if 0 < total <= FIRST_LOAD_BYTES else 1


def warn(message: str) -> None:
    """Say loudly that Parley starts without its page, or with an older one."""
    line = "!" * 80
    how = "with an OLDER one" if (DIST / "index.html").is_file() else "WITHOUT it"
    print(
        f"\n{line}\nThe web page could not be built; Parley starts {how}.\n\n{message}\n\n"
        f"The terminal client works. Once what is said above is mended: make web\n{line}\n",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
