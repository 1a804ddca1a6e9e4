"""Whether the ports are free, and who has those that are not."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from launcher.errors import PortsTakenError
from launcher.leftovers import MARK


@dataclass(frozen=True, slots=True)
class Port:
    """A port that Parley needs. `setting` is the environment variable that moves it."""

    purpose: str
    host: str
    number: int
    setting: str


def check(ports: Iterable[Port]) -> None:
    """Make sure that every port can be had.

    Raises:
        PortsTakenError: naming every one that cannot.
    """
    problems: list[str] = []
    seen: dict[int, Port] = {}
    for port in ports:
        if port.number in seen:
            other = seen[port.number]
            problems.append(
                f"  - {port.number}: {other.setting} and {port.setting} are the same port"
            )
        else:
            problems += _problem(port)
        seen[port.number] = port
    if problems:
        raise PortsTakenError(
            "Parley needs these ports and cannot have them:\n"
            + "\n".join(problems)
            + "\nStop what uses them, or set the variable to another port and start again."
        )


def _problem(port: Port) -> list[str]:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            port.host, port.number, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As servers do: a port whose last owner has just gone is free. A port that somebody
            # listens on is not, whatever options he chose.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        why = {
            errno.EADDRINUSE: f"is in use{_by_whom(port.number)}",
            errno.EACCES: "is not allowed to this user",
            errno.EADDRNOTAVAIL: f"cannot be opened: {port.host} is no address of this machine",
        }.get(error.errno or 0, f"cannot be opened: {error.strerror}")
        return [f"  - {port.number} ({port.purpose}) {why}; move it with {port.setting}"]
    return []


def _by_whom(number: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr:
                continue
            if connection.laddr.port == number:
                if connection.pid is None:
                    return " by another user's program"
                process = psutil.Process(connection.pid)
                other = process.environ().get(MARK)
                if other:
                    return f" by another Parley, whose data is in {other}"
                return f" by {process.name()} (process {process.pid})"
    except psutil.Error:
        # Some systems tell nobody but root.
        return ""
    return ""
