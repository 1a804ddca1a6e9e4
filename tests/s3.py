"""Servers that speak S3 over HTTP, for the tests; `PARLEY_TEST_S3` names a running one instead.

`S3Server` is rclone's, from a wheel: it keeps buckets as folders and objects as files, which are
there again after it was killed, and it checks every signature, those of links too. What it has no
part of, encryption by the server, is tried on `MotoServer`, which keeps everything in memory and
takes any credentials.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import boto3
import httpx

from tests.ports import free_ports
from tests.s3_front import front

VARIABLE = "PARLEY_TEST_S3"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "parley",
    "AWS_SECRET_ACCESS_KEY": "parleys-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
}
"""What the servers that the tests start are opened with."""

_START_SECONDS = 60.0


class S3Error(Exception):
    """The server did not start; the message holds what it said."""


@dataclass(slots=True)
class _Server:
    """A server on a port of its own, which can be stopped and started again."""

    port: int
    folder: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @classmethod
    @contextmanager
    def start(cls, **more: Any) -> Iterator[Self]:
        """Run one for the block."""
        with TemporaryDirectory(prefix="parley-s3-") as folder:
            server = cls(free_ports(1)[0], Path(folder), **more)
            with server.reached():
                try:
                    server.up()
                    yield server
                finally:
                    server.down()

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """Whether it was started, and not ended since."""
        return self._process is not None

    @property
    def listens_at(self) -> int:
        """The port that the program itself has."""
        return self.port

    def command(self) -> Sequence[str]:
        """Return what is run."""
        raise NotImplementedError

    def reached(self) -> AbstractContextManager[None]:
        """Have what comes to `port` get to it, for the block."""
        return nullcontext()

    def up(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{self.listens_at}", timeout=5)
            except httpx.TransportError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    _, said = self._process.communicate()
                    raise S3Error(said.decode(errors="replace")) from error
                time.sleep(0.05)
            else:
                return

    def down(self) -> None:
        """Kill it (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@dataclass(slots=True)
class S3Server(_Server):
    """What was stored is there again when it is started again; uploads in parts are not.

    in_host: whether it takes a bucket in front of its host's name, and not in the path.
    """

    in_host: bool = False
    _behind: int = field(default_factory=lambda: free_ports(1)[0], repr=False)

    @property
    def listens_at(self) -> int:
        """The port that the program itself has."""
        return self._behind

    def reached(self) -> AbstractContextManager[None]:
        """Have what comes to `port` get to it, for the block."""
        return front(self.port, self.listens_at)

    def command(self) -> Sequence[str]:
        """Return what is run."""
        rclone = shutil.which("rclone", path=str(Path(sys.executable).parent)) or "rclone"
        keys = f"{CREDENTIALS['AWS_ACCESS_KEY_ID']},{CREDENTIALS['AWS_SECRET_ACCESS_KEY']}"
        return [
            rclone,
            "serve",
            "s3",
            str(self.folder),
            f"--addr=127.0.0.1:{self.listens_at}",
            f"--auth-key={keys}",
            f"--force-path-style={'false' if self.in_host else 'true'}",
            # No configuration of whoever runs the tests.
            f"--config={self.folder.with_suffix('.none')}",
            "--log-level=ERROR",
        ]


class MotoServer(_Server):
    """What was stored is gone with it."""

    def command(self) -> Sequence[str]:
        """Return what is run."""
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.listens_at)]


def client(endpoint: str) -> Any:
    """Return Amazon's own client of it, by the credentials of the environment."""
    return boto3.client("s3", endpoint_url=endpoint)


def lists_by_prefix(endpoint: str, bucket: str) -> bool:
    """Whether a server tells which uploads there are below a folder: MinIO does of an object."""
    s3 = client(endpoint)
    where = {"Bucket": bucket, "Key": "of-a-folder/key"}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    found = s3.list_multipart_uploads(Bucket=bucket, Prefix="of-a-folder/")
    s3.abort_multipart_upload(**where, UploadId=upload)
    return bool(found.get("Uploads"))
