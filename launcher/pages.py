"""The built web client as a start finds it, kept for as long as Parley runs.

The gateway reads the pages whenever it starts, also when it was killed and is started again. Where
somebody has built the web client anew by then, the files that its configuration names are gone, and
it would not start any more.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from launcher.errors import LauncherError


def keep_pages(built: Path, kept: Path) -> Path:
    """Copy the folder `built` to `kept`; return which of the two the gateway is to read.

    Raises:
        LauncherError: it cannot be copied, as when it is being built just now.
    """
    shutil.rmtree(kept, ignore_errors=True)
    if not built.is_dir():
        return built
    try:
        shutil.copytree(built, kept, copy_function=shutil.copyfile)
        # Like all in the data folder nobody else's to read; a copied folder has the modes of its
        # original.
        for each in (kept, *kept.rglob("*")):
            each.chmod(0o700 if each.is_dir() else 0o600)
    except OSError as error:
        raise LauncherError(
            f"The built web client in {built} cannot be copied to {kept}: {error}. "
            "If it is being built now, start again."
        ) from error
    return kept
