"""`parley admin …`, and `python -m admin …`: what a host does, on the machine with the data.

Everything is done to the Parley that the environment describes, as `make run` reads it:
PARLEY_DATA_DIR at least, and where its databases and recordings are if that is elsewhere.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import structlog
import typer

from admin import dead_letters, keys
from admin import retention as ages
from admin.backup import commands as backup_commands
from admin.backup.sealing import make_key_file
from admin.errors import AdminError, ExitCode
from admin.installation import Installation
from admin.looking.data import data_of
from admin.looking.programs import programs
from admin.looking.surroundings import surroundings
from admin.schema import Standing, bring_forward, look
from admin.telling import AsJson, print_findings, tell_json, told, warn
from services.common.dead_letters import MOST_SHOWN
from services.user.key_rotation import KeyState

app = typer.Typer(
    name="admin",
    help="What a host does: look after Parley's data, back it up, restore it. Runs on the machine "
    "that has the data, with the environment of the running Parley.",
    epilog="Exit codes:  0 done, or all is well · 1 something is wrong · 2 wrong use or settings · "
    "3 nothing is there · 4 backed up, but some recordings were missing from the store or damaged",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
keys_app = typer.Typer(
    name="keys",
    help="The keys that sign access tokens, and one that seals backups.",
    no_args_is_help=True,
)
letters_app = typer.Typer(
    name="dead-letters", help="Events that were refused for good.", no_args_is_help=True
)
app.add_typer(keys_app)
app.add_typer(letters_app)

backup_commands.add_to(app)

# What the services would say of their work is no part of a command's output.
_LOGGED = logging.ERROR

# A timer that gives up, a terminal that is closed.
_STOPS = (signal.SIGTERM, signal.SIGHUP)

# Whatever is written belongs to its owner alone.
_PRIVATE_UMASK = 0o077


@app.callback()
def prepare() -> None:
    """Set this process up as the services are."""
    os.umask(_PRIVATE_UMASK)
    for each in _STOPS:
        # As Ctrl-C does: what is half-written is removed.
        signal.signal(each, signal.default_int_handler)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(_LOGGED),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show what runs, what waits, what is stored, and what is wrong.

    Exits with 0 where nothing is wrong, running or not, and with 1 otherwise.
    """
    with told():
        installation = Installation.load()
        found = [*programs(installation)]
        for keeper in installation.keepers:
            found += data_of(keeper)
        found += surroundings(installation)
    if as_json:
        for each in found:
            tell_json(**asdict(each))
    else:
        print_findings(found, f"Parley in {installation.folder.root}")
    if any(each.ok is False for each in found):
        raise typer.Exit(ExitCode.WRONG)


@app.command()
def migrate(
    check: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; exit with 1 where the tables are not right."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the tables of every service to this version's, one service after another.

    Services do so by themselves when they start; this is for before they do.
    """
    with told():
        wrong = False
        for keeper in Installation.load().keepers:
            before = look(keeper)
            if before.standing is Standing.AHEAD:
                raise AdminError(
                    f"The tables of {keeper.name} are a newer Parley's ({before.revision}); this "
                    f"one knows up to {before.newest}.",
                    "Run that version, or a later one.",
                )
            if not check and before.standing in (Standing.ABSENT, Standing.BEHIND):
                bring_forward(keeper)
            after = before if check else look(keeper)
            wrong |= after.standing is not Standing.CURRENT
            if as_json:
                tell_json(**{**asdict(after), "was": before.revision})
                continue
            moved = f"{before.revision or 'nothing'} → " if after != before else ""
            typer.echo(f"{keeper.name:13} {after.kind:11} {moved}{after.revision or 'no tables'}")
            if after.standing is Standing.BEHIND:
                typer.echo(f"{'':13} is behind: this version has {after.newest}")
            for line in after.drift:
                typer.echo(f"{'':13} {line}")
        if wrong:
            raise typer.Exit(ExitCode.WRONG)


@app.command()
def retention(
    days: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=ages.MOST_DAYS,
            help="As if everything were kept so many days; else as the settings.",
        ),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Delete it now.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is older than it may become; with --apply, delete it.

    A conversation goes with what is known of it and its recording, as when its learner deletes it.
    """
    with told():
        installation = Installation.load()
        for each in ages.due(installation, days):
            if as_json:
                tell_json(**asdict(each))
                continue
            kept = f"kept {each.days:,} days" if each.days else "kept for ever"
            since = f", since {each.oldest:%Y-%m-%d}" if each.oldest else ""
            typer.echo(f"{each.what:18} {kept:18} {each.count:,} older{since}")
        if not apply:
            return
        deleted = ages.apply(installation, days)
        if as_json:
            tell_json(deleted=deleted)
        else:
            typer.echo(f"{deleted:,} deleted")


@keys_app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """Show the keys that verify tokens now."""
    with told():
        found = keys.listed(Installation.load())
    if not as_json:
        _print_keys(found)
        return
    for each in found:
        tell_json(**asdict(each))


@keys_app.command("rotate")
def rotate_keys(
    compromised: Annotated[
        bool,
        typer.Option(
            "--compromised", help="Throw all keys away at once: every access token stops working."
        ),
    ] = False,
) -> None:
    """Let the next key sign, and make a new next one; no call fails."""
    with told():
        installation = Installation.load()
        keys.change(installation, compromised=compromised)
        _print_keys(keys.listed(installation))


@keys_app.command("new")
def new_key(
    file: Annotated[Path, typer.Argument(help="A file that is not there yet.")],
    name: Annotated[
        str, typer.Option(help="What it is called in the backups that it seals.")
    ] = "backups",
) -> None:
    """Make a key that seals backups.

    Keep a copy elsewhere than the backups: without it, nobody opens them again.
    """
    with told():
        make_key_file(file.expanduser(), name)
    typer.echo(f"The key {name} is in {file}. Without it nobody opens what it seals: keep a copy.")


@letters_app.command("list")
def list_letters(as_json: AsJson = False) -> None:
    """Show them with their reasons, of every service; never what they hold."""
    with told():
        found = dead_letters.listed(Installation.load())
    for each in found.shown:
        letter = each.letter
        if as_json:
            tell_json(service=each.service, **asdict(letter))
            continue
        at = letter.refused_at.isoformat(timespec="seconds") if letter.refused_at else "-"
        typer.echo(
            f"{letter.letter_id}  {each.service}  {letter.type}  of {letter.about}  "
            f"{letter.size_bytes} bytes  {at}\n    {letter.reason}"
        )
    if not as_json:
        said = "shown" if found.cut_short else "refused"
        typer.echo(f"{len(found.shown):,} {said}")
    for name in found.cut_short:
        warn(f"Of {name} there are more than {MOST_SHOWN:,}; the first are shown.", ())
    if found.unseen:
        warn("Redis does not answer: what came through it is not shown, of", found.unseen)


@app.command("replay")
@letters_app.command("replay")
def replay_letters(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that there are.")] = False,
) -> None:
    """Have dead letters sent again: when what their reasons tell of is mended."""
    if bool(ids) == every:
        raise typer.BadParameter("name those to send again, or say --all")
    with told():
        done = dead_letters.replay(Installation.load(), None if every else ids)
    typer.echo(f"{done.again} will be sent again")
    if done.unseen:
        warn("Redis does not answer: what came through it is not sent again, of", done.unseen)
    if not done.again and not every:
        raise typer.Exit(ExitCode.WRONG)


def _print_keys(found: Sequence[KeyState]) -> None:
    for each in found:
        typer.echo(f"{each.role:8} {each.key_id}  for {each.age_seconds:.0f} s")
