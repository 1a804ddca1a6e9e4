"""One process at a time holds a session, whatever becomes of the others."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.common.ids import new_id
from services.conversation.adapters.session_files import SessionFiles, way_to
from services.conversation.claims import HeldElsewhereError

WAY = {"affinity": "there"}

HOLDER = """
import sys, time
from pathlib import Path
from services.conversation.adapters.session_files import SessionFiles

SessionFiles(Path(sys.argv[1]), {"affinity": "there"}).take(sys.argv[2])
print("taken", flush=True)
time.sleep(60)
"""


@pytest.fixture
def files(tmp_path: Path) -> SessionFiles:
    return SessionFiles(tmp_path / "sessions", {"affinity": "here"})


@pytest.fixture
def conversation_id() -> str:
    return new_id()


@pytest.fixture
def holder(tmp_path: Path, conversation_id: str) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds the session."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "sessions"), conversation_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        yield process
        process.kill()


def test_what_another_process_holds_is_refused_with_the_way_there(
    files: SessionFiles, holder: subprocess.Popen[str], conversation_id: str
):
    with pytest.raises(HeldElsewhereError) as caught:
        files.take(conversation_id)
    assert caught.value.way == {"affinity": "there"}


def test_what_a_killed_process_held_is_free_at_once(
    files: SessionFiles, holder: subprocess.Popen[str], conversation_id: str
):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    files.take(conversation_id)
    files.give_back(conversation_id)


def test_a_claim_is_given_back_as_often_as_it_was_taken(
    tmp_path: Path, files: SessionFiles, conversation_id: str
):
    files.take(conversation_id)
    files.take(conversation_id)
    files.give_back(conversation_id)
    assert list((tmp_path / "sessions").iterdir())
    files.give_back(conversation_id)
    assert not list((tmp_path / "sessions").iterdir())


def test_what_killed_processes_left_is_swept_and_what_lives_is_not(
    tmp_path: Path, holder: subprocess.Popen[str], conversation_id: str
):
    left = tmp_path / "sessions" / new_id()
    left.write_text("{}")
    SessionFiles(tmp_path / "sessions", WAY)
    assert [each.name for each in (tmp_path / "sessions").iterdir()] == [conversation_id]


def test_an_id_cannot_lead_out_of_the_folder(files: SessionFiles):
    with pytest.raises(ValueError, match="badly formed"):
        files.take("../../etc/passwd")


def test_a_process_that_does_not_know_its_address_names_none():
    assert way_to("0.0.0.0", 50052, 52052) == {}
    assert way_to("127.0.0.1", 0, 0) == {}
    assert way_to("127.0.0.1", 50052, 52052)["affinity"] == "MTI3LjAuMC4xOjUwMDUy"
