"""`parley models list | fetch | verify`, and `python -m parley_models`.

Exit status: 0 done, 1 a model is missing or damaged, 2 wrong use, 3 no source delivered, 4 the
disk is too small, 130 interrupted.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from parley_models.display import format_bytes, format_rate
from parley_models.errors import ModelsError
from parley_models.fetch import ALL_SOURCES, Fetcher, FetchSummary
from parley_models.manifest import Kind
from parley_models.progress import reporter_for
from parley_models.sources import SourceKind
from parley_models.store import FileCheck, ModelStore, State, default_models_dir

EXIT_DAMAGED = 1
_PIPE_COLUMNS = 160
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="models",
    help="The models Parley runs on: list, fetch, verify.",
    no_args_is_help=True,
)

_ModelsDir = Annotated[
    Path | None,
    typer.Option(
        "--models-dir",
        help="Folder of the models. Default: PARLEY_MODELS_DIR, else `models` in Parley's data.",
    ),
]
_Names = Annotated[list[str] | None, typer.Argument(help="Models by name.", show_default=False)]
_Preset = Annotated[
    str | None,
    typer.Option("--preset", help="All models of a preset: default, light or test."),
]


@app.command("list")
def list_models(
    models_dir: _ModelsDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Shows every model: its role, size, licence, presets, and whether it is installed."""
    with _told_errors():
        store = _store(models_dir)
        if as_json:
            print(json.dumps(_as_document(store), indent=2))
        else:
            _print_tables(store)


@app.command()
def fetch(
    names: _Names = None,
    preset: _Preset = None,
    source: Annotated[
        SourceKind | None,
        typer.Option(
            "--source", help="Use only this kind of source; otherwise hub, then registry."
        ),
    ] = None,
    models_dir: _ModelsDir = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show errors only.")] = False,
) -> None:
    """Installs models. Without names: those of the preset (PARLEY_PRESET, else `default`)."""
    with _told_errors():
        store = _store(models_dir)
        wanted = _wanted(store, names, preset)
        with reporter_for(quiet) as reporter:
            order = (source,) if source else ALL_SOURCES
            summary = Fetcher(store, reporter, order=order).fetch(wanted)
        if not quiet:
            _print_summary(store, summary)


@app.command()
def verify(
    names: _Names = None,
    preset: _Preset = None,
    models_dir: _ModelsDir = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show faults only.")] = False,
) -> None:
    """Reads the installed models and compares hashes. Without names: all that are installed."""
    with _told_errors():
        store = _store(models_dir)
        if names or preset:
            extras = store.manifest.preset(preset).extras if preset else ()
            # What a preset can do without is no fault where it is not.
            absent = {name for name in extras if store.state(name) is State.MISSING}
            chosen = [name for name in _wanted(store, names, preset) if name not in absent]
        else:
            chosen = [n for n in store.manifest.models if store.folder(n).is_dir()]
        faulty: list[str] = []
        for name in chosen:
            checks = list(store.verify(name))
            faults = [c for c in checks if c.fault]
            if faults or store.state(name) is not State.INSTALLED:
                faulty.append(name)
                # A file changed without changing its size still counts as installed: say it is not.
                store.forget(name)
                _print_faults(name, faults, store.state(name))
            elif not quiet:
                print(f"{name}: ok ({len(checks)} files)" if checks else f"{name}: ok (library)")
        if faulty:
            typer.echo(f"Repair with:  parley models fetch {' '.join(faulty)}", err=True)
            raise typer.Exit(EXIT_DAMAGED)


def _store(models_dir: Path | None) -> ModelStore:
    return ModelStore(models_dir.expanduser() if models_dir else default_models_dir())


def _wanted(store: ModelStore, names: Sequence[str] | None, preset: str | None) -> Sequence[str]:
    if names and preset:
        raise typer.BadParameter("give names or --preset, not both")
    if names:
        return [store.manifest.model(n).name for n in names]
    return store.manifest.preset(preset or os.environ.get("PARLEY_PRESET") or "default").all_names


@contextmanager
def _told_errors() -> Iterator[None]:
    """Prints an expected error as it is and exits with its status."""
    try:
        yield
    except ModelsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as stop:
        typer.echo("Stopped. What arrived is kept; the same command goes on from there.", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from stop


def _print_tables(store: ModelStore) -> None:
    # A pipe has no width; cutting names there would make the list useless to other tools.
    console = Console() if Console().is_terminal else Console(width=_PIPE_COLUMNS)
    models = Table(title=f"Models in {store.models_dir}", title_justify="left")
    for column in ("name", "role", "size", "licence", "presets", "state"):
        models.add_column(
            column, justify="right" if column == "size" else "left", no_wrap=column != "presets"
        )
    for model in store.manifest.models.values():
        presets = [p.name for p in store.manifest.presets.values() if model.name in p.all_names]
        models.add_row(
            model.name,
            model.role,
            "library" if model.kind is Kind.LIBRARY else format_bytes(model.installed_bytes),
            model.licence,
            ", ".join(presets) or "none",
            store.state(model.name),
        )
    console.print(models)
    for preset in store.manifest.presets.values():
        chosen = [store.manifest.model(n) for n in preset.all_names]
        console.print(
            f"[bold]{preset.name}[/bold]: {preset.summary}. To fetch: "
            f"{format_bytes(sum(m.fetched_bytes for m in chosen))} from hubs, "
            f"{format_bytes(sum(m.package_bytes for m in chosen))} from the package registry.",
            highlight=False,
            soft_wrap=True,
        )


def _as_document(store: ModelStore) -> dict[str, object]:
    return {
        "models_dir": str(store.models_dir),
        "models": [
            {
                "name": m.name,
                "role": m.role,
                "kind": m.kind,
                "title": m.title,
                "licence": m.licence,
                "upstream": m.upstream,
                "notes": m.notes,
                "fetched_bytes": m.fetched_bytes,
                "package_bytes": m.package_bytes,
                "installed_bytes": m.installed_bytes,
                "state": store.state(m.name),
            }
            for m in store.manifest.models.values()
        ],
        "presets": [
            {
                "name": p.name,
                "summary": p.summary,
                "roles": {r.value: m for r, m in p.roles.items()},
                "extras": list(p.extras),
            }
            for p in store.manifest.presets.values()
        ],
    }


def _print_summary(store: ModelStore, summary: FetchSummary) -> None:
    if not summary.installed:
        print(f"Nothing to fetch: {', '.join(summary.already_there)} in {store.models_dir}")
        return
    print(
        f"Installed {', '.join(summary.installed)} in {store.models_dir}: "
        f"{format_bytes(summary.fetched_bytes)} in {summary.seconds:.0f} s "
        f"({format_rate(summary.fetched_bytes, summary.seconds)})"
    )


def _print_faults(name: str, faults: Sequence[FileCheck], state: State) -> None:
    if not faults:
        typer.echo(f"{name}: {state}", err=True)
    for check in faults:
        typer.echo(f"{name}: {check.path} is {check.fault}", err=True)
