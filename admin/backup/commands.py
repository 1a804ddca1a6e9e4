"""`parley admin backup`, `verify` and `restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from admin.backup import making, restoring
from admin.backup.restoring import Wanted
from admin.errors import AdminError, ExitCode
from admin.installation import Installation
from admin.looking.finding import in_bytes
from admin.progress import showing
from admin.telling import progress_console, told, warn

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but what goes wrong.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for each in (backup, verify, restore):
        app.command()(each)


def backup(
    place: Annotated[
        Path, typer.Argument(help="A new folder; or one file, where the name ends in .tar.")
    ],
    recordings: Annotated[
        bool, typer.Option(help="With the recordings, or the databases and keys alone.")
    ] = True,
    quiet: Quiet = False,
) -> None:
    """Copy everything that Parley keeps, while it runs or not.

    The copy holds passwords' hashes, keys and speech: keep it where nobody else reads it. It comes
    to its name only when it is whole.
    """
    with told(), showing(progress_console(), quiet=quiet) as stages:
        target = place.expanduser().absolute()
        manifest = making.make(Installation.load(), target, stages, with_recordings=recordings)
    if not quiet:
        rows = {name: each.rows for name, each in manifest.services.items()}
        typer.echo(
            f"Backed up to {target}: {rows['user'].get('accounts', 0):,} accounts, "
            f"{rows['history'].get('turns', 0):,} turns, "
            + ("" if manifest.recordings else "no recordings, ")
            + f"{in_bytes(manifest.size)} in {len(manifest.files):,} files."
        )
        typer.echo(f"Fingerprint {manifest.fingerprint}")
    if manifest.missing:
        warn(
            f"The store has no files, or others, of {len(manifest.missing):,} recordings that are "
            "listed; they are not in the backup:",
            manifest.missing,
        )
        raise typer.Exit(ExitCode.INCOMPLETE)


def verify(place: Annotated[Path, typer.Argument(help="A backup.")], quiet: Quiet = False) -> None:
    """Read a whole backup and compare it with what was written; change nothing."""
    with told(), showing(progress_console(), quiet=quiet) as stages:
        manifest = restoring.check(place.expanduser().absolute(), stages)
    if not quiet:
        typer.echo(
            f"Whole: {in_bytes(manifest.size)} in {len(manifest.files):,} files, "
            f"from {manifest.begun_at}, by Parley {manifest.parley}."
        )
        typer.echo(f"Fingerprint {manifest.fingerprint}")


def restore(
    place: Annotated[Path, typer.Argument(help="A backup.")],
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="There is data already: put the backup in its place. Files are set aside; what "
            "is in PostgreSQL goes.",
        ),
    ] = False,
    sign_out: Annotated[
        bool,
        typer.Option(
            "--sign-out",
            help="End every sign-in: one that was ended since the backup is open in it.",
        ),
    ] = False,
    deletions: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="The trail of the user service (audit/user) of the Parley that was lost: accounts "
            "that it says were deleted are erased again. That of the data folder is always read.",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Put a backup where the settings say that the data is; Parley must not run.

    The backup is read and judged whole before anything is changed. It may come from another kind
    of database, or store, than it goes to.
    """
    with told():
        trails = tuple(each.expanduser().absolute() for each in deletions or ())
        for each in trails:
            if not each.is_dir():
                raise AdminError(f"There is no folder {each}.")
        installation = Installation.load()
        with showing(progress_console(), quiet=quiet) as stages:
            wanted = Wanted(replace, sign_out, trails)
            done = restoring.restore(installation, place.expanduser().absolute(), stages, wanted)
    if quiet:
        return
    typer.echo(
        f"Restored to {installation.folder.root}, as it was at {done.manifest.begun_at}. "
        "Start Parley as ever."
    )
    if done.erased:
        typer.echo(
            f"{done.erased:,} deleted accounts came back with it; they are erased when it starts."
        )
    if done.set_aside is not None:
        typer.echo(f"What was there is in {done.set_aside}; delete it when all is well.")
