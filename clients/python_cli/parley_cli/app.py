"""The `parley` command: global options, the commands, plug-ins, and how failures are told."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from parley_cli import __version__
from parley_cli.client.endpoint import DEFAULT_SERVER
from parley_cli.commands import account, catalog, compare, doctor, history, progress, speech, talk
from parley_cli.failures import CliFailure, ExitCode
from parley_cli.state import AppState, print_failure, stderr, stdout

PLUGIN_GROUP = "parley.commands"

# Commands that other distributions bring, and where those are.
_ELSEWHERE = {
    "admin": "the server's own: type it on the machine that keeps its data, in the environment "
    "that `make run` made (.venv/bin/parley admin there)",
    "models": "for the machine that Parley runs on, where its models are kept",
}

_EPILOG = (
    "First steps:  parley register  ·  parley talk  ·  parley history\n\n"
    "Exit codes:  0 done · 1 refused · 2 wrong use · 3 not signed in · 4 server not reached · "
    "5 no audio device · 6 something stayed unanswered"
)


class ParleyGroup(typer.core.TyperGroup):
    """The root command. Plug-ins join by entry point and are imported only when they are used."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Name our own commands in their order, then the plug-ins'."""
        own = super().list_commands(ctx)
        return [*own, *sorted(name for name in _plugins() if name not in own)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command of ours, or of a plug-in."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            return command
        plugin = _plugins().get(cmd_name)
        if plugin is None and cmd_name in _ELSEWHERE:
            return _elsewhere(cmd_name)
        return None if plugin is None else _load(plugin)

    def invoke(self, ctx: Any) -> Any:
        """Run a command and tell an expected failure in one sentence."""
        try:
            return super().invoke(ctx)
        except CliFailure as failure:
            state = ctx.obj if isinstance(ctx.obj, AppState) else None
            print_failure(failure, verbose=state is not None and state.verbose)
            raise typer.Exit(int(failure.exit_code)) from failure
        except KeyboardInterrupt as error:
            stderr().print("Stopped.")
            raise typer.Exit(int(ExitCode.ABORTED)) from error
        except BrokenPipeError as error:
            # The reader of our output has gone; there is nobody left to tell.
            sys.stderr.close()
            raise typer.Exit(int(ExitCode.OK)) from error


app = typer.Typer(
    cls=ParleyGroup,
    name="parley",
    help="Practise spoken English with a tutor that listens and answers.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    context: typer.Context,
    server: Annotated[
        str,
        typer.Option(envvar="PARLEY_SERVER", metavar="HOST:PORT", help="Where Parley is."),
    ] = DEFAULT_SERVER,
    tls: Annotated[
        bool, typer.Option("--tls", help="Encrypt the way there. Implied by https:// and --ca.")
    ] = False,
    ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Trust these certificates instead of the system's."),
    ] = None,
    plaintext: Annotated[
        bool,
        typer.Option("--plaintext", help="Allow another machine without encryption."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show codes and reasons of failures.")
    ] = False,
) -> None:
    """Remember the options that every command shares."""
    context.obj = AppState(server, tls, ca, plaintext, verbose)


talk.add_to(app)
account.add_to(app)
history.add_to(app)
progress.add_to(app)
catalog.add_to(app)
compare.add_to(app)
speech.add_to(app)
doctor.add_to(app)


@app.command(rich_help_panel="This machine")
def version() -> None:
    """Print the version of this client."""
    stdout().print(f"parley {__version__}")


# Options of the root that people also write after the command's name.
_GLOBAL_FLAGS = frozenset({"--tls", "--plaintext", "--verbose", "-v"})
_GLOBAL_VALUES = frozenset({"--server", "--ca"})


def hoist_globals(arguments: Sequence[str]) -> list[str]:
    """Move the shared options in front, so that `parley talk --server X` works too.

    Nothing after `--` is touched, nor after a plug-in's name: its options are its own.
    """
    front: list[str] = []
    rest: list[str] = []
    queue = list(arguments)
    while queue:
        argument = queue.pop(0)
        if argument == "--" or (argument in _plugins() and not rest):
            rest += [argument, *queue]
            break
        name, equals, _ = argument.partition("=")
        if argument in _GLOBAL_FLAGS or (equals and name in _GLOBAL_VALUES):
            front.append(argument)
        elif argument in _GLOBAL_VALUES and queue:
            front += [argument, queue.pop(0)]
        else:
            rest.append(argument)
    return front + rest


def main() -> None:
    """Run the command line."""
    app(args=hoist_globals(sys.argv[1:]), prog_name="parley")


def _plugins() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=PLUGIN_GROUP)}


def _load(plugin: EntryPoint) -> Any:
    """Import a plug-in's Typer application; a broken one becomes a command that says so."""
    try:
        loaded = plugin.load()
    except Exception as error:  # noqa: BLE001  a plug-in may fail in any way; ours must not
        loaded = _broken(plugin, error)
    command = typer.main.get_command(loaded)
    command.name = plugin.name
    return command


def _elsewhere(name: str) -> Any:
    """Return a command that says where the one of this name can be had."""
    message = f"`parley {name}` is {_ELSEWHERE[name]}."
    stand_in = typer.Typer(help=message)

    @stand_in.command(
        name, context_settings={"ignore_unknown_options": True, "allow_extra_args": True}
    )
    def say() -> None:
        raise CliFailure(message, exit_code=ExitCode.USAGE)

    return typer.main.get_command(stand_in)


def _broken(plugin: EntryPoint, error: Exception) -> typer.Typer:
    message = f"The plug-in '{plugin.name}' could not be loaded: {type(error).__name__}: {error}"
    broken = typer.Typer(help=message)

    @broken.callback(invoke_without_command=True)
    def fail() -> None:
        raise CliFailure(message, advice=f"Reinstall {plugin.value.partition('.')[0]}.")

    return broken
