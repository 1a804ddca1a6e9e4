"""The receipt that is written beside a model's files once all of them are in place.

Without a receipt a model counts as absent, so a fetch that was cut leaves nothing half usable.
For a derived model the receipt is also where the hashes of what was made here are kept.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

RECEIPT_NAME = "receipt.json"
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class InstalledFile:
    """One file as it was when the model was installed."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was installed under a model's name."""

    model: str
    fingerprint: str
    """`Model.fingerprint` at the time: differs once the manifest wants something else."""
    files: Mapping[str, InstalledFile]
    """By path relative to the model's folder."""
    made_with: Mapping[str, str]
    """For a derived model, the versions of the tools that made it."""


def read_receipt(folder: Path) -> Receipt | None:
    """The receipt in `folder`, or None where there is none that can be read."""
    try:
        data = json.loads((folder / RECEIPT_NAME).read_text(encoding="utf-8"))
        if data["schema"] != _SCHEMA:
            return None
        return Receipt(
            model=data["model"],
            fingerprint=data["fingerprint"],
            files={p: InstalledFile(f["sha256"], f["bytes"]) for p, f in data["files"].items()},
            made_with=data["made_with"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Unreadable is the same as absent: the model is then checked and installed again.
        return None


def write_receipt(folder: Path, receipt: Receipt) -> None:
    """Writes it whole or not at all."""
    data = {"schema": _SCHEMA, **asdict(receipt)}
    temporary = folder / f".{RECEIPT_NAME}.{os.getpid()}"
    temporary.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(folder / RECEIPT_NAME)
