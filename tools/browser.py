"""Find the Chromium that the browser tests and benchmarks drive; `make` needs no root for it.

    python -m tools.browser       get it where that was not done, and print its path

`PARLEY_CHROMIUM` names one. Otherwise it is the one inside the npm package `@sparticuz/chromium`,
at the version that `tools/browser/package-lock.json` pins by hash, so that everybody's tests run in
the same browser. The package is for Linux on x86-64; elsewhere an installed Chromium or Chrome is
used. This is the only place that decides it.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tools.node import ROOT, TOOLS, NpmError, find_node, npm_install

PACKAGE = ROOT / "tools" / "browser"
"""The folder of the npm lock file."""

SYSTEM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_PATHS = (
    Path("/Applications/Chromium.app/Contents/MacOS/Chromium"),
    Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),
)

SYSTEM_FONTS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))

_UNPACK = """
const [, source, target] = process.argv;
const { createReadStream, createWriteStream } = require("node:fs");
const { createBrotliDecompress } = require("node:zlib");
const { pipeline } = require("node:stream/promises");
pipeline(createReadStream(source), createBrotliDecompress(), createWriteStream(target));
"""

_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir>{folder}/fonts</dir>
  <cachedir>{folder}/fonts-cache</cachedir>
</fontconfig>
"""


class BrowserMissingError(Exception):
    """There is no Chromium that runs here; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Browser:
    """A Chromium that was seen to run.

    environment: variables that it needs beside those of this process.
    """

    executable: Path
    version: str
    environment: dict[str, str] = field(default_factory=dict)


def find_browser() -> Browser:
    """Return the browser, getting it first where that was not done.

    Raises:
        BrowserMissingError: there is none, or it does not run.
    """
    named = os.environ.get("PARLEY_CHROMIUM")
    if named:
        path = shutil.which(named)
        if path is None:
            raise BrowserMissingError(f"PARLEY_CHROMIUM={named} is no program.")
        return _checked(Path(path), {})
    if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
        return _packaged()
    for candidate in (*map(shutil.which, SYSTEM_NAMES), *MAC_PATHS):
        if candidate and Path(candidate).is_file():
            return _checked(Path(candidate), {})
    raise BrowserMissingError(
        "The browser tests need Chromium or Chrome 120 or later; none was found. Install one, or "
        "name it: PARLEY_CHROMIUM=/path/to/chromium"
    )


def _packaged() -> Browser:
    folder = _unpacked()
    executable = folder / "chromium"
    environment = {}
    if not any(any(folder.rglob("*.[to]tf")) for folder in SYSTEM_FONTS):
        environment["FONTCONFIG_FILE"] = str(folder / "fonts.conf")
    try:
        return _checked(executable, environment)
    except BrowserMissingError:
        # A system without NSS or expat: the package brings them, for a small Linux like that.
        environment["LD_LIBRARY_PATH"] = str(folder / "lib")
        return _checked(executable, environment)


def _checked(executable: Path, environment: dict[str, str]) -> Browser:
    """Return the browser if it runs."""
    try:
        answer = subprocess.run(
            [str(executable), "--version"],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrowserMissingError(f"{executable} does not run: {error}") from error
    if answer.returncode != 0:
        raise BrowserMissingError(
            f"{executable} does not run:\n{answer.stderr.strip()}\n\nInstall what it misses, or "
            "name another browser: PARLEY_CHROMIUM=/path/to/chromium"
        )
    return Browser(executable, answer.stdout.strip(), environment)


def _unpacked() -> Path:
    """Return the folder with the package's browser, unpacked."""
    lock = json.loads((PACKAGE / "package-lock.json").read_text(encoding="utf-8"))
    pinned = lock["packages"]["node_modules/@sparticuz/chromium"]["version"]
    folder = TOOLS / f"chromium-{pinned}"
    if folder.is_dir():
        return folder
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / ".browser-lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # two `make` commands at once: one unpacks
        if not folder.is_dir():
            try:
                npm_install(PACKAGE)
                _unpack(PACKAGE / "node_modules" / "@sparticuz" / "chromium" / "bin", folder)
            except (NpmError, OSError, subprocess.CalledProcessError) as error:
                raise BrowserMissingError(
                    f"The browser's package could not be had: {error}\n\nAn installed one does as "
                    "well: PARLEY_CHROMIUM=/path/to/chromium"
                ) from error
    return folder


def _unpack(packed: Path, folder: Path) -> None:
    """Unpack the package's files into `folder`, all or nothing."""
    started = time.monotonic()
    print("==> unpacking the browser of the tests", flush=True)
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    node = str(find_node().executable)
    for name in ("chromium", "al2023.tar", "fonts.tar"):
        source, target = str(packed / f"{name}.br"), part / name
        subprocess.run([node, "-e", _UNPACK, source, str(target)], check=True)
        if name.endswith(".tar"):
            with tarfile.open(target) as archive:
                # Python knows filters from 3.11.4 on; in any case the hash vouches for it.
                if hasattr(tarfile, "data_filter"):
                    archive.extraction_filter = tarfile.data_filter
                archive.extractall(part)  # noqa: S202
            target.unlink()
    (part / "chromium").chmod(0o755)
    (part / "fonts.conf").write_text(_FONTS.format(folder=folder), encoding="utf-8")
    part.rename(folder)
    print(f"    done in {time.monotonic() - started:.1f} s", flush=True)


def main() -> int:
    """Print where the browser is; return 1 where there is none."""
    try:
        found = find_browser()
    except BrowserMissingError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    print(f"{found.executable} ({found.version})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
