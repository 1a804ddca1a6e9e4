"""`parley admin backup`, `verify` and `restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from admin.backup import making, restoring
from admin.backup.manifest import Manifest
from admin.backup.restoring import Wanted
from admin.backup.sealing import keys_in, sealed_by
from admin.errors import AdminError, ExitCode
from admin.installation import Installation
from admin.looking.finding import in_bytes
from admin.progress import showing
from admin.telling import AsJson, progress_console, tell_json, told, warn
from services.media.adapters.sealing_keys import SealingKeys

KeyFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        envvar="PARLEY_BACKUP_KEY_FILE",
        help="The key that seals backups, as `parley admin keys new` makes it.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but what goes wrong.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for each in (backup, verify, restore):
        app.command()(each)


def backup(
    place: Annotated[
        Path,
        typer.Argument(
            help="A new folder in one that is there; or a file, where the name ends in .tar."
        ),
    ],
    recordings: Annotated[
        bool, typer.Option(help="With the recordings, or the databases and keys alone.")
    ] = True,
    key_file: KeyFile = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Copy everything that Parley keeps, while it runs or not.

    It comes to its name only when it is whole.

    With a key it is sealed, and everything is in it. Without one it is in clear and lacks Parley's
    own keys, which a restored Parley makes anew. It holds passwords' hashes and everybody's speech:
    keep it where nobody else reads it.

    Examples: `parley admin backup /backups/monday`, every night; `parley admin backup --key-file
    /etc/parley/backup.key /mnt/elsewhere/monday.tar`, to a disk that others read.
    """
    with told(), showing(progress_console(), quiet=quiet) as stages:
        target, keys = place.expanduser().absolute(), _keys(key_file)
        manifest = making.make(
            Installation.load(), target, stages, with_recordings=recordings, keys=keys
        )
    if as_json:
        tell_json(**_figures(target, manifest), missing=manifest.missing, damaged=manifest.damaged)
    elif not quiet:
        rows = {name: each.rows for name, each in manifest.services.items()}
        typer.echo(
            f"Backed up to {target}: accounts {rows['user'].get('accounts', 0):,}, "
            f"turns {rows['history'].get('turns', 0):,}, "
            + ("" if manifest.recordings else "no recordings, ")
            + f"{in_bytes(manifest.size)} in {len(manifest.files):,} files, "
            + (
                f"sealed by the key {sealed_by(manifest.seal)}."
                if manifest.seal
                else "in clear, without Parley's own keys."
            )
        )
        typer.echo(f"Fingerprint {manifest.fingerprint}")
    if manifest.missing:
        warn(
            f"The store has no files, or others, of {len(manifest.missing):,} recordings that are "
            "listed; they are not in the backup:",
            manifest.missing,
        )
    if manifest.damaged:
        warn(
            f"Of {len(manifest.damaged):,} recordings the store has files that were changed since "
            "Parley sealed them, or that lost their keys; they are not in the backup:",
            manifest.damaged,
        )
    if manifest.missing or manifest.damaged:
        raise typer.Exit(ExitCode.INCOMPLETE)


def verify(
    place: Annotated[Path, typer.Argument(help="A backup.")],
    key_file: KeyFile = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Read a whole backup and compare it with what was written; change nothing.

    A sealed one is compared without its key as well; with it, it is also known that nobody else
    made it.
    """
    with told(), showing(progress_console(), quiet=quiet) as stages:
        target = place.expanduser().absolute()
        manifest = restoring.check(target, stages, _keys(key_file))
    if as_json:
        tell_json(**_figures(target, manifest))
    elif not quiet:
        typer.echo(
            f"Whole: {in_bytes(manifest.size)} in {len(manifest.files):,} files, "
            f"from {manifest.begun_at}, by Parley {manifest.parley}"
            + (f", sealed by the key {sealed_by(manifest.seal)}." if manifest.seal else ".")
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
            help="The trails (audit) of the Parley that was lost, or of one of its services: "
            "accounts, conversations and recordings that they say were deleted are deleted again. "
            "Those of the data folder and of the backup are always read.",
        ),
    ] = None,
    key_file: KeyFile = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup where the settings say that the data is; Parley must not run.

    The backup is read and judged whole before anything is changed. It may come from another kind
    of database, or store, than it goes to: that is how a Parley moves.

    Examples: `parley admin restore /backups/monday`, into an empty place; with
    `--replace --deletions /copied/audit`, after somebody broke something.
    """
    with told():
        trails = tuple(each.expanduser().absolute() for each in deletions or ())
        for each in trails:
            if not each.is_dir():
                raise AdminError(f"There is no folder {each}.")
        installation = Installation.load()
        with showing(progress_console(), quiet=quiet) as stages:
            wanted = Wanted(replace, sign_out, trails, _keys(key_file))
            done = restoring.restore(installation, place.expanduser().absolute(), stages, wanted)
    if as_json:
        tell_json(
            **_figures(place.expanduser().absolute(), done.manifest),
            to=str(installation.folder.root),
            erased=done.erased,
            deleted=done.deleted,
            set_aside=done.set_aside,
        )
    if quiet or as_json:
        return
    typer.echo(
        f"Restored to {installation.folder.root}, as it was at {done.manifest.begun_at}. "
        "Start Parley as ever."
    )
    if done.erased:
        typer.echo(
            f"{done.erased:,} deleted accounts came back with it; they are erased when it starts."
        )
    if done.deleted:
        typer.echo(
            f"{done.deleted:,} conversations and recordings that their learners deleted since are "
            "deleted again."
        )
    if done.set_aside is not None:
        typer.echo(f"What was there is in {done.set_aside}; delete it when all is well.")


def _figures(place: Path, manifest: Manifest) -> dict[str, Any]:
    return {
        "place": str(place),
        "fingerprint": manifest.fingerprint,
        "begun_at": manifest.begun_at,
        "ended_at": manifest.ended_at,
        "parley": manifest.parley,
        "bytes": manifest.size,
        "files": len(manifest.files),
        "rows": {name: dict(each.rows) for name, each in manifest.services.items()},
        "recordings": manifest.recordings,
        "sealed_by": sealed_by(manifest.seal) if manifest.seal else None,
    }


def _keys(file: Path | None) -> SealingKeys | None:
    return None if file is None else keys_in(file.expanduser())
