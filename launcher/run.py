"""`python -m launcher run`: from a data folder to a running Parley, and back to nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Coroutine, Mapping
from contextlib import ExitStack, suppress
from typing import Any

from gateway import administration
from gateway.administration import AdministrationError
from gateway.binary import InvalidConfigurationError, validate
from gateway.pages import PageTooLargeError
from gateway.render import render as render_gateway
from gateway.routes import SERVICES
from launcher import certificates, display, leftovers, models, ports, service_certificates
from launcher.certificates import Host
from launcher.errors import LauncherError
from launcher.folder import locked
from launcher.greeting import greeting
from launcher.pages import keep_pages
from launcher.programs import GATEWAY, SPREAD, Plan, plan
from launcher.readiness import tail_of, wait_until_ready
from launcher.supervision import State, Status, Supervision
from services.common.key_files import KeyFileError

# How often the running programs are looked at, and how long a given-up one is left alone.
_WATCH_SECONDS = 1.0
_RETRY_SECONDS = 10.0

# For everything that this process and its programs write: tables, recordings, logs, sockets. A
# data folder may lie in one that others can enter, or be copied without its own mode.
_PRIVATE_UMASK = 0o077


def run() -> None:
    """Start Parley, keep it running, and stop it at SIGINT, SIGTERM or SIGHUP.

    Raises:
        LauncherError: it could not start or go on.
    """
    os.umask(_PRIVATE_UMASK)
    chosen = plan()
    chosen.folder.create()
    with ExitStack() as stack:
        stack.enter_context(locked(chosen.folder, chosen.address))
        _check_not_half_restored(chosen)
        _clear_leftovers(chosen)
        # Whatever happened, nothing of this run stays behind.
        stack.callback(_clear_leftovers, chosen)
        ports.check(chosen.ports)
        kept = chosen.certificates
        fingerprint = certificates.ensure(kept, Host.here()) if kept else ""
        _provide_service_tls(chosen)
        _write_gateway(chosen)
        if chosen.needs_models:
            models.ensure(chosen.settings.preset, chosen.settings.effective_models_dir)
        asyncio.run(_run(chosen, fingerprint))


def _clear_leftovers(chosen: Plan) -> None:
    found = leftovers.find(chosen.folder.root)
    if found:
        print(f"Stopping {len(found)} processes that an earlier run left behind.", flush=True)
        leftovers.end(found)


def _check_not_half_restored(chosen: Plan) -> None:
    if chosen.folder.restoring.exists():
        raise LauncherError(
            f"A backup was being restored to {chosen.folder.root}, and that did not end: some of "
            "what is there is the backup's.\nGive the same `parley admin restore` again."
        )


def _provide_service_tls(chosen: Plan) -> None:
    if chosen.service_certificates is not None:
        service_certificates.make(chosen.service_certificates, (*SERVICES, GATEWAY))
    elif chosen.service_tls is not None:
        try:
            chosen.service_tls.server_context()
        except KeyFileError as error:
            raise LauncherError(str(error)) from error


def _write_gateway(chosen: Plan) -> None:
    config = chosen.folder.envoy_config
    pages = keep_pages(chosen.gateway.effective_web_dir, chosen.folder.pages)
    gateway = chosen.gateway.model_copy(update={"web_dir": pages})
    try:
        config.write_text(render_gateway(gateway), "utf-8")
        # Half a second now, instead of a riddle in a log later.
        validate(config)
    except (InvalidConfigurationError, PageTooLargeError) as error:
        raise LauncherError(str(error)) from error


async def _run(chosen: Plan, fingerprint: str = "") -> None:
    asked_to_stop = asyncio.Event()
    impatient = asyncio.Event()

    def stop() -> None:
        if asked_to_stop.is_set():
            impatient.set()
        asked_to_stop.set()

    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(each, stop)
    with Supervision(chosen) as supervision:
        try:
            if await _unless(asked_to_stop, _start(chosen, supervision, fingerprint)):
                await _unless(asked_to_stop, _watch(chosen, supervision))
        finally:
            _say("\nStopping.")
            if not await _unless(impatient, _stop(chosen, supervision)):
                _say("Asked twice: ending everything at once.")
                leftovers.kill(leftovers.find(chosen.folder.root))
    _say("Stopped.")


def _say(text: str) -> None:
    """Print a line. Where nobody can read it, a closed terminal or a full disk, go on without."""
    with suppress(OSError):
        print(text, flush=True)


async def _unless(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Run `work` to its end unless `event` comes first; tell whether it ended by itself."""
    task = asyncio.create_task(work)
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
            return True
        return False
    finally:
        for each in (task, waiting):
            each.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)


async def _start(chosen: Plan, supervision: Supervision, fingerprint: str) -> None:
    started = time.monotonic()
    _say(f"Starting Parley (data in {chosen.folder.root}).")
    with display.starting() as show:
        await wait_until_ready(chosen, supervision, show)
    _say(greeting(chosen, time.monotonic() - started, fingerprint))


async def _watch(chosen: Plan, supervision: Supervision) -> None:
    """Tell of programs that ended; start again those that supervisord gave up. Never returns.

    Raises:
        LauncherError: supervisord itself ended.
    """
    before: Mapping[str, Status] = {}
    retry_at: dict[str, float] = {}
    while True:
        if supervision.exit_code is not None:
            tail = tail_of(chosen.folder.log("supervisord"))
            raise LauncherError(f"The supervisor ended unexpectedly:\n{tail}")
        now = await supervision.statuses()
        for name, status in now.items():
            was = before.get(name)
            if was and was.pid and status.pid != was.pid:
                log = chosen.folder.log(name)
                _say(f"{name} ended and is started again; see {log}.")
            if status.state is State.FATAL and time.monotonic() >= retry_at.get(name, 0):
                retry_at[name] = time.monotonic() + _RETRY_SECONDS
                _say(f"{name} keeps failing; tried again every {_RETRY_SECONDS:g} s.")
                await supervision.start(name)
        before = now or before
        await asyncio.sleep(_WATCH_SECONDS)


async def _stop(chosen: Plan, supervision: Supervision) -> None:
    """Stop in the order in which nothing is lost.

    The gateway takes no new connections; the conversation service ends its sessions while the
    services it saves them to still run; then the rest at once.
    """
    await asyncio.to_thread(_drain_gateway, chosen)
    first = [each.name for each in chosen.programs if each.service == SPREAD]
    await supervision.stop(*first)
    await supervision.stop(*(each.name for each in chosen.programs if each.name not in first))


def _drain_gateway(chosen: Plan) -> None:
    if chosen.gateway.admin_socket is None:
        return
    try:
        administration.ask(chosen.gateway.admin_socket, "/drain_listeners", method="POST")
    except AdministrationError:
        # The gateway is down already; there is nothing to drain.
        return
