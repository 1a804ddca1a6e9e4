"""The barriers around processes that work on strangers' bytes, each by itself and all together."""

import json
import os
import resource
import socket
import struct
import subprocess
import sys
import wave
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from services.media.adapters import kernel, sandbox, seccomp
from services.media.adapters.upload_decoder import lacking_barriers

ROOT = Path(__file__).parents[3]
NOBODY = 65_534

pytestmark = pytest.mark.skipif(not kernel.is_linux(), reason="the barriers are Linux's")

# What a decoder that was taken over would try. Each prints whether it could.
PROBE = """
import json, mmap, os, resource, socket, subprocess, sys, threading
from pathlib import Path
from services.media.adapters import landlock, sandbox, seccomp

folder, port, barrier = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if user := int(sys.argv[4]):
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
bounds = sandbox.Bounds(memory_bytes=1 << 30, cpu_seconds=20, file_bytes=1 << 20, open_files=32)
if barrier == "all":
    sandbox.alone(os.getppid())
    sandbox.enclose(bounds)
elif barrier == "folder":
    sandbox.alone(os.getppid())
    sandbox.enclose(bounds, folders=[folder], threads=True)
elif barrier == "network":
    sandbox.alone(os.getppid())
elif barrier == "files":
    landlock.restrict()
elif barrier == "calls":
    seccomp.restrict(seccomp.COMPUTING)
elif barrier == "limits":
    sandbox._limit(bounds, threads=False)

def begin_thread():
    thread = threading.Thread(target=len, args=("",))
    thread.start()
    thread.join()

def connect():
    with socket.socket() as one:
        one.connect(("127.0.0.1", port))

def write_much():
    with open(folder / "much", "wb") as file:
        file.write(bytes(2 << 20))

tries = {
    "read a file": lambda: (folder / "secret").read_bytes(),
    "read elsewhere": lambda: Path("/etc/hostname").read_bytes(),
    "make a file": lambda: (folder / "new").write_bytes(b"x"),
    "write much": write_much,
    "connect": connect,
    "begin a process": lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0),
    "run a program": lambda: subprocess.run(["/bin/true"], check=True),
    "make code": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | 4),
    "signal the parent": lambda: os.kill(os.getppid(), 0),
    "take memory": lambda: mmap.mmap(-1, 1 << 30).close(),
    "begin a thread": begin_thread,
}
could = []
for name, attempt in tries.items():
    try:
        attempt()
    except (OSError, MemoryError, RuntimeError):
        continue
    could.append(name)
os.write(1, json.dumps(could).encode())
os._exit(0)
"""


def could(tmp_path: Path, barrier: str, user: int = 0) -> set[str]:
    """Return what a process behind a barrier could do; of another user, where `user` says so."""
    (tmp_path / "secret").write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asked = (listener.getsockname()[1], barrier, user)
        done = subprocess.run(
            [sys.executable, "-Es", "-c", PROBE, tmp_path, *map(str, asked)],
            cwd=ROOT,
            env={"OPENBLAS_NUM_THREADS": "1"},
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    return set(json.loads(done.stdout))


EVERYTHING = {
    "read a file",
    "read elsewhere",
    "make a file",
    "write much",
    "connect",
    "begin a process",
    "run a program",
    "make code",
    "signal the parent",
    "take memory",
    "begin a thread",
}


def require(barrier: str) -> None:
    if barrier in lacking_barriers():
        pytest.skip(f"this system has no barrier of {barrier}")


def require_all() -> None:
    for barrier in sandbox.BARRIERS:
        require(barrier)


def test_without_barriers_all_of_it_works(tmp_path: Path) -> None:
    """Without this, not being able to would prove nothing."""
    assert could(tmp_path, "none") == EVERYTHING


@pytest.mark.parametrize(
    ("barrier", "forbids"),
    [
        ("network", {"connect"}),
        ("files", {"read a file", "read elsewhere", "make a file", "write much"}),
        ("calls", EVERYTHING - {"take memory"}),
        ("limits", {"write much", "take memory"}),
    ],
)
def test_each_barrier_holds_by_itself(tmp_path: Path, barrier: str, forbids: set[str]) -> None:
    require(barrier)
    assert not could(tmp_path, barrier) & forbids


def test_a_decoder_can_do_nothing_but_compute(tmp_path: Path) -> None:
    require_all()
    assert could(tmp_path, "all") == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's process can only root begin")
def test_the_barriers_of_an_ordinary_user_are_the_same(tmp_path: Path) -> None:
    require_all()
    tmp_path.chmod(0o777)
    for above in tmp_path.parents[:2]:
        above.chmod(0o755)
    assert could(tmp_path, "all", NOBODY) == set()


# A system that lacks something, as far as a process can tell: the calls are answered as there.
LACKING = """
import ctypes, errno, json, os, struct, sys
from pathlib import Path
from services.media.adapters import kernel, seccomp
from services.media.adapters.upload_decoder import UploadDecoder

folder, wanting = Path(sys.argv[1]), set(sys.argv[2].split())
step = seccomp._step
lacking = {"files": (444,), "calls": (seccomp._ARCHITECTURES[kernel.machine()][0],)}
lacking["network"] = ({"x86_64": 272, "aarch64": 97}[kernel.machine()],)
lacking["limits"] = ({"x86_64": 302, "aarch64": 261}[kernel.machine()],)
steps = [step(seccomp._LOAD, 0)]
for each in wanting:
    for number in lacking[each]:
        code = errno.EPERM if each in ("network", "limits") else errno.ENOSYS
        steps += [step(seccomp._IF_EQUAL, number, 0, 1), step(seccomp._RETURN, 0x50000 | code)]
steps.append(step(seccomp._RETURN, seccomp._ALLOW))
program = ctypes.create_string_buffer(b"".join(steps), 8 * len(steps))
filter_ = struct.pack("@HxxxxxxQ", len(steps), ctypes.addressof(program))
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
kernel.syscall(seccomp._ARCHITECTURES[kernel.machine()][0], 1, 0, ctypes.c_char_p(filter_))
answer = UploadDecoder(20).ask(folder / "a.wav", "wav", folder / "samples", 10.0)
print(json.dumps(answer))
"""


@pytest.mark.parametrize("wanting", ["network", "files", "calls", "limits", "network files calls"])
def test_what_a_system_lacks_is_told_and_files_are_decoded_all_the_same(
    tmp_path: Path, wanting: str
) -> None:
    """A container that forbids namespaces; a kernel without Landlock, or without seccomp."""
    require_all()
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(32_000))
    done = subprocess.run(
        [sys.executable, "-Es", "-c", LACKING, tmp_path, wanting],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    answer = json.loads(done.stdout)
    assert answer == {"rate_hz": 16_000, "samples": 16_000, "lacking": wanting.split()}


def test_where_one_limit_cannot_be_set_the_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container with less memory than the bound none of them was."""
    hard = {resource.RLIMIT_AS: 1 << 29, resource.RLIMIT_CPU: 5}
    bounds = sandbox.Bounds(memory_bytes=1 << 30, cpu_seconds=20, open_files=32)
    found: dict[int, tuple[int, int]] = {}

    def set_limit(kind: int, limits: tuple[int, int]) -> None:
        if limits[1] > hard.get(kind, limits[1]) or kind == resource.RLIMIT_NOFILE:
            raise ValueError("not allowed to raise maximum limit")
        found[kind] = limits

    def get_limit(kind: int) -> tuple[int, int]:
        return 0, hard.get(kind, resource.RLIM_INFINITY)

    monkeypatch.setattr(resource, "getrlimit", get_limit)
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    with pytest.raises(ValueError, match="not allowed"):
        sandbox._limit(bounds, threads=False)
    assert found == {
        resource.RLIMIT_AS: (1 << 29, 1 << 29),
        resource.RLIMIT_CPU: (5, 5),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_NPROC: (0, 0),
    }


def test_a_codec_process_reaches_its_folder_and_nothing_else(tmp_path: Path) -> None:
    require_all()
    assert could(tmp_path, "folder") == {"read a file", "make a file", "begin a thread"}


def test_a_process_ends_with_whoever_began_it() -> None:
    """A decoder that was left behind by a killed service would go on at its file."""
    child = (
        "import os, sys, time\n"
        "from services.media.adapters import sandbox\n"
        "sandbox.alone(os.getppid())\n"
        "print(os.getpid(), flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = (
        "import os, signal, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-Es', '-c', {child!r}],"
        " stdout=subprocess.PIPE, stdin=subprocess.PIPE)\n"
        "print(int(child.stdout.readline()), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-Es", "-c", parent],
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=60,
    )
    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(done.stdout)).wait(timeout=20)


def test_a_process_whose_beginner_is_gone_does_not_begin() -> None:
    code = "from services.media.adapters import sandbox; sandbox.alone(1_000_000); print('began')"
    done = subprocess.run(
        [sys.executable, "-Es", "-c", code], cwd=ROOT, capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_call_has_a_number_and_every_jump_stays_within(machine: str) -> None:
    calls = seccomp.COMPUTING | seccomp.THREADS | seccomp.FILES
    code = seccomp.program(calls, machine)
    steps = [struct.unpack("=HBBI", code[at : at + 8]) for at in range(0, len(code), 8)]
    assert 50 < len(steps) < 4_096
    for at, (kind, if_true, if_false, _) in enumerate(steps):
        if kind & 0x07 == 0x05:
            assert at + 1 + max(if_true, if_false) < len(steps)
    # The last thing it says is no.
    assert steps[-1][3] == 0x00050000 | 1


def test_a_processor_without_a_list_lacks_the_barrier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "machine", lambda: "riscv64")
    with pytest.raises(OSError, match="no list"):
        seccomp.restrict(seccomp.COMPUTING)
