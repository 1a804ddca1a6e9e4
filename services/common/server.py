"""All of a service's `__main__`: settings, logs, signals, exit codes."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from typing import TypeVar

import structlog
import uvloop

from services.common.grpc_server import PortTakenError
from services.common.key_files import KeyFileError
from services.common.lifecycle import serve
from services.common.service import Bootstrap
from services.common.settings import ServiceSettings, SettingsError
from services.common.telemetry import configure_logs

EXIT_FAILED = 1
EXIT_SETTINGS = 2
EXIT_PORT = 3

# How much a service that nobody waits for yields to those that a learner listens to: where a core
# is short it gets a tenth of their share, where it is not, all that it wants.
_GIVES_WAY_NICE = 10

# Live audio makes thousands of short-lived objects a second; Python would look through the young
# ones after each 700.
_YOUNG_OBJECTS = 10_000

# A thread that stores something keeps the event loop waiting for so long at most, not for Python's
# 5 ms: with a hundred sessions that halves how late the loop is, 7 ms at the 99th percentile.
_SWITCH_INTERVAL_S = 0.001

# Whatever a service writes (tables, recordings, caches) is its owner's alone.
PRIVATE_UMASK = 0o077

_log = structlog.get_logger(__name__)

S = TypeVar("S", bound=ServiceSettings)


def run_service(
    name: str,
    settings_class: type[S],
    bootstrap: Bootstrap[S],
    *,
    gives_way: bool = False,
) -> int:
    """Run the service `name` until SIGTERM or SIGINT; return the exit code.

    The first signal drains; a second ends at once. 0: ended as asked; 1: failed, the log says
    how; 2: wrong settings; 3: a port is taken. Use it as
    `sys.exit(run_service("user", UserSettings, bootstrap))`.

    A service that `gives_way` stores or prepares what nobody waits for in a conversation: the
    machine's other work comes before its own.
    """
    os.umask(PRIVATE_UMASK)
    if gives_way:
        os.nice(_GIVES_WAY_NICE)
    try:
        settings = settings_class.load()
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - there are no settings to configure logs with
        return EXIT_SETTINGS
    configure_logs(name, settings.log_level, settings.log_format)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        # libuv's event loop: a tenth less CPU time for a live session than asyncio's own.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(name, settings, bootstrap))
    except PortTakenError as error:
        _log.error("port_taken", problem=str(error))
        return EXIT_PORT
    except (KeyFileError, OSError) as error:
        _log.error("cannot_start", problem=str(error))
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - the process ends here; the log must say why
        _log.critical("failed", exc_info=error)
        return EXIT_FAILED
    return 0


async def _run(name: str, settings: S, bootstrap: Bootstrap[S]) -> None:
    stopped_early = asyncio.Event()
    loop = asyncio.get_running_loop()
    starting = asyncio.current_task()

    def stop_before_serving() -> None:
        stopped_early.set()
        if starting is not None:
            starting.cancel()

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop_before_serving)
    try:
        async with serve(name, settings, bootstrap) as service:
            _settle_memory()
            for each in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(each, service.stop)
            await service.run_until_stopped()
    except asyncio.CancelledError:
        if not stopped_early.is_set():
            raise


def _settle_memory() -> None:
    """Take what was loaded, which stays for good, out of the garbage collector's sight.

    Looking through it (130,000 objects for code alone) stops a service for 90 ms, every so often:
    every learner on it would hear that.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
