"""`python -m launcher [run | status | stop]`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence

from launcher.errors import LauncherError
from launcher.folder import Folder, Holder, holder_of
from launcher.settings import LauncherSettings
from launcher.supervision import State, statuses_now

# The longest drain there is by default, and the time to close things after it.
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m launcher", description="Parley, all of it.")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("run", help="start everything, and stop it on Ctrl-C (the default)")
    commands.add_parser("status", help="say what runs on the data folder")
    commands.add_parser("stop", help="stop what runs on the data folder")
    command = parser.parse_args(arguments).command or "run"
    try:
        if command == "run":
            # Loads the services' settings and gRPC, which the other commands need not wait for.
            from launcher.run import run  # noqa: PLC0415

            run()
            return 0
        folder = Folder(LauncherSettings.load().data_dir)
        holder = holder_of(folder)
        if holder is None:
            print(f"Parley does not run on {folder.root}.")
            return 3 if command == "status" else 0
        return _status(folder, holder) if command == "status" else _stop(folder, holder)
    except LauncherError as error:
        print(f"\n{error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on from here.", file=sys.stderr)
        return 130


def _status(folder: Folder, holder: Holder) -> int:
    """Print how every program is; 0 when all run, 1 otherwise, as service managers do."""
    print(f"Parley runs at {holder.address} (process {holder.pid}, data in {folder.root}).")
    statuses = statuses_now(folder)
    for status in statuses.values():
        print(f"  {status.name:<14}{status.state.lower():<10}{status.what}")
    up = (State.STARTING, State.RUNNING)
    well = statuses and all(each.state in up for each in statuses.values())
    return 0 if well else 1


def _stop(folder: Folder, holder: Holder) -> int:
    if holder.pid:
        os.kill(holder.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while holder_of(folder) is not None:
        if time.monotonic() > deadline:
            print(f"Parley (process {holder.pid}) does not stop.", file=sys.stderr)
            return 1
        time.sleep(_POLL_SECONDS)
    print("Stopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
