"""The data folder and its lock."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.errors import AlreadyRunningError, LauncherError
from launcher.folder import SOCKET_PATH_BYTES, Folder, Holder, holder_of, locked


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "data")
    made.create()
    return made


def test_a_folder_that_cannot_be_made_is_told_with_the_setting(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LauncherError, match="PARLEY_DATA_DIR"):
        Folder(tmp_path / "file" / "data").create()


def test_a_path_too_long_for_a_socket_is_told_before_anything_is_made(tmp_path: Path):
    long = Folder(tmp_path / ("x" * 120))
    with pytest.raises(LauncherError, match="too long"):
        long.create()
    assert not long.root.exists()


def test_every_socket_below_a_path_that_is_just_short_enough_can_be_made(tmp_path: Path):
    """However long the names of the sockets are: what is let through must work."""
    root = tmp_path / "x"
    while len(os.fsencode(Folder(root).socket)) < SOCKET_PATH_BYTES:
        root = root.with_name(root.name + "x")
    folder = Folder(root)
    folder.create()
    for path in (folder.socket, folder.gateway_socket):
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))


def test_only_its_owner_can_look_into_it(folder: Folder):
    assert {each.stat().st_mode & 0o777 for each in (folder.root, folder.run, folder.logs)} == {
        0o700
    }


def test_a_second_launcher_is_told_who_has_the_folder(folder: Folder):
    with (
        locked(folder, "127.0.0.1:8080"),
        pytest.raises(AlreadyRunningError) as caught,
        locked(folder, "127.0.0.1:9090"),
    ):
        pytest.fail("two launchers hold one folder")
    assert "127.0.0.1:8080" in str(caught.value)
    assert str(os.getpid()) in str(caught.value)
    assert "PARLEY_DATA_DIR" in str(caught.value)


def test_the_holder_is_known_as_long_as_it_holds(folder: Folder):
    assert holder_of(folder) is None
    with locked(folder, "127.0.0.1:8080"):
        holder = holder_of(folder)
        assert holder is not None
        assert (holder.pid, holder.address) == (os.getpid(), "127.0.0.1:8080")
    assert holder_of(folder) is None


def test_a_killed_holder_holds_nothing(folder: Folder):
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from launcher.folder import Folder, locked\n"
        "with locked(Folder(Path(sys.argv[1])), 'here:1'):\n"
        "    print('locked', flush=True)\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(folder.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert isinstance(holder_of(folder), Holder)
        process.kill()
        process.wait()
    assert holder_of(folder) is None
    with locked(folder, "127.0.0.1:8080"):
        pass
