"""A manifest says what was written, and nothing that leads out of a backup."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from admin.backup import manifest as module
from admin.backup.manifest import FORMAT, Entry, Manifest, Tables, read
from admin.errors import DamagedBackupError, UnfitBackupError

WHOLE = Manifest(
    parley="1.2",
    begun_at="2026-01-01T00:00:00+00:00",
    ended_at="2026-01-01T00:00:09+00:00",
    services={"user": Tables("0002", "SQLite", indexed=True, rows={"accounts": 3})},
    files=[Entry("db/user.sqlite3", 5, "a" * 64, 1.5), Entry("keys/access/x.pem", 0, "b" * 64)],
    missing=["one"],
    deleted_since=["two"],
)


def signed(content: dict[str, Any]) -> bytes:
    """Return a manifest whose own digest is right, whatever it says."""
    content.pop("sha256", None)
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    content["sha256"] = hashlib.sha256(canonical.encode()).hexdigest()
    return json.dumps(content).encode()


def changed(**values: Any) -> bytes:
    return signed({**json.loads(WHOLE.write()), **values})


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"7", b"{}", b'{"kind": "other"}', WHOLE.write()[:-40], b"\xff\xfe"],
)
def test_what_is_no_manifest_is_refused(data: bytes):
    with pytest.raises(DamagedBackupError):
        read(data)


def test_a_changed_word_is_noticed():
    data = WHOLE.write()
    assert b'"size": 5' in data
    with pytest.raises(DamagedBackupError, match="changed since"):
        read(data.replace(b'"size": 5', b'"size": 6'))


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../db/user.sqlite3",
        "db/../../x",
        "db/./x",
        "db//x",
        "db",
        "elsewhere/x",
        "keys/\0",
        "",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(name: str):
    entry = {"name": name, "size": 1, "sha256": "a" * 64, "changed_at": 0}
    with pytest.raises(DamagedBackupError):
        read(changed(files=[entry]))


@pytest.mark.parametrize(
    "files",
    [
        [{"name": "db/x", "size": -1, "sha256": "a" * 64}],
        [{"name": "db/x", "size": 1, "sha256": "short"}],
        [{"name": "db/x", "size": 1}],
        [{"name": "db/x", "size": 1, "sha256": "a" * 64}] * 2,
        "none",
    ],
)
def test_files_that_cannot_be_are_refused(files: Any):
    with pytest.raises(DamagedBackupError):
        read(changed(files=files))


def test_a_newer_form_is_refused_as_such():
    with pytest.raises(UnfitBackupError, match="newer Parley"):
        read(changed(format=FORMAT + 1))


def test_what_a_later_version_adds_does_no_harm():
    assert read(changed(weather="fine")) == read(WHOLE.write())


def test_it_reads_as_it_was_written():
    found = read(WHOLE.write())
    assert found == WHOLE
    assert found.fingerprint == WHOLE.fingerprint
    assert [each.name for each in found.below(module.KEYS)] == ["keys/access/x.pem"]
    assert found.size == 5
