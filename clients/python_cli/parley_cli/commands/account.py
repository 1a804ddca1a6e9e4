"""`register`, `login`, `logout`, `profile`: who you are and what the tutor knows of you."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from rich.table import Table

from parley.types.v1 import learner_pb2
from parley.user.v1 import user_pb2
from parley_cli.failures import CliFailure, ExitCode
from parley_cli.state import AppState, run, state_of, stdout

_PANEL = "Your account"
LEVELS = ("A1", "A2", "B1", "B2", "C1", "C2")

Username = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="Your user name; asked for where missing.")
]
PasswordStdin = Annotated[
    bool,
    typer.Option("--password-stdin", help="Read the password from the first line of the input."),
]
Level = Annotated[
    str | None, typer.Option(metavar="A1…C2", help="Your level, from A1 (beginner) to C2.")
]
FirstLanguage = Annotated[
    str | None, typer.Option(metavar="TAG", help="Your first language, such as es or zh-CN.")
]
DisplayName = Annotated[str | None, typer.Option("--name", help="What the tutor calls you.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (register, login, logout, profile):
        app.command(rich_help_panel=_PANEL)(command)


def register(
    context: typer.Context,
    username: Username = None,
    password_stdin: PasswordStdin = False,
    name: DisplayName = None,
    level: Level = None,
    first_language: FirstLanguage = None,
) -> None:
    """Make an account and sign in.

    The password is asked for and not shown. Scripts give it on the input, or in PARLEY_PASSWORD.

    Examples:
      parley register

      parley register ana --level B1 --first-language es

      parley register ana --password-stdin < password.txt
    """
    state = state_of(context)
    username = username or typer.prompt("User name")
    password = read_password(password_stdin, confirm=True)
    first_profile = learner_pb2.LearnerProfile(
        display_name=name or "",
        first_language=first_language or "",
        level=parse_level(level) if level else learner_pb2.CEFR_LEVEL_UNSPECIFIED,
    )

    async def work() -> user_pb2.Account:
        async with state.client() as client:
            return await client.register(username, password, profile=first_profile)

    account = run(work())
    stdout().print(f"[green]✓[/] Welcome, {account.username}. You are signed in at {_at(state)}.")
    stdout().print("  Talk with `parley talk`; tell more about you with `parley profile`.")


def login(
    context: typer.Context,
    username: Username = None,
    password_stdin: PasswordStdin = False,
) -> None:
    """Sign in on this machine.

    The password is asked for and not shown. Scripts give it on the input, or in PARLEY_PASSWORD.
    What keeps you signed in is stored for your user alone; `parley doctor` tells where.

    Examples:
      parley login ana

      parley login ana --password-stdin < password.txt
    """
    state = state_of(context)
    username = username or typer.prompt("User name")
    password = read_password(password_stdin, confirm=False)

    async def work() -> user_pb2.Account:
        async with state.client() as client:
            return await client.login(username, password)

    account = run(work())
    stdout().print(f"[green]✓[/] Signed in as {account.username} at {_at(state)}.")


def logout(context: typer.Context) -> None:
    """Sign out on this machine.

    Example:  parley logout
    """
    state = state_of(context)

    async def work() -> bool:
        async with state.client() as client:
            return await client.logout()

    if run(work()):
        stdout().print(f"[green]✓[/] Signed out at {_at(state)}.")
    else:
        stdout().print(f"Nobody was signed in at {_at(state)}.")


def profile(
    context: typer.Context,
    *,
    name: DisplayName = None,
    level: Level = None,
    first_language: FirstLanguage = None,
    goal: Annotated[
        list[str] | None,
        typer.Option(help="What you want to reach; repeat for more. Replaces all; '' clears."),
    ] = None,
    interest: Annotated[
        list[str] | None,
        typer.Option(help="A topic you like; repeat for more. Replaces all; '' clears."),
    ] = None,
    patience: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="0 answers fastest, 1 gives you most time to think."),
    ] = None,
    voice: Annotated[str | None, typer.Option(help="The tutor's voice; see `parley voices`.")] = (
        None
    ),
    time_zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Such as Europe/Madrid, for your days.")
    ] = None,
) -> None:
    """Show what the tutor knows of you, or change it.

    Examples:
      parley profile

      parley profile --level B1 --first-language es --patience 0.7

      parley profile --goal "pass a job interview" --goal "speak on the phone"

      parley profile --interest football --interest cooking
    """
    state = state_of(context)
    account = user_pb2.Account()
    paths: list[str] = []

    def change(path: str) -> None:
        paths.append(path)

    if name is not None:
        account.profile.display_name = name
        change("profile.display_name")
    if level is not None:
        account.profile.level = parse_level(level)
        change("profile.level")
    if first_language is not None:
        account.profile.first_language = first_language
        change("profile.first_language")
    if goal is not None:
        account.profile.goals.extend(item for item in goal if item)
        change("profile.goals")
    if interest is not None:
        account.profile.interests.extend(item for item in interest if item)
        change("profile.interests")
    if time_zone is not None:
        account.profile.time_zone = time_zone
        change("profile.time_zone")
    if patience is not None:
        account.turn_taking.patience = patience
        change("turn_taking.patience")
    if voice is not None:
        account.voice = voice
        change("voice")

    async def work() -> user_pb2.Account:
        async with state.client() as client:
            if paths:
                request = user_pb2.UpdateProfileRequest(
                    account=account, update_mask=FieldMask(paths=paths)
                )
                changed: user_pb2.UpdateProfileResponse = await client.call(
                    client.user.UpdateProfile, request
                )
                return changed.account
            response: user_pb2.GetProfileResponse = await client.call(
                client.user.GetProfile, user_pb2.GetProfileRequest()
            )
            return response.account

    _print_account(run(work()))


def read_password(from_stdin: bool, *, confirm: bool) -> str:
    """Get the password: from the input, from PARLEY_PASSWORD, or by asking without showing it.

    Raises:
        CliFailure: there is none to be had.
    """
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise CliFailure(
                "The input holds no password.",
                advice="Put it on the first line.",
                exit_code=ExitCode.USAGE,
            )
        return password
    password = os.environ.get("PARLEY_PASSWORD", "")
    if password:
        return password
    try:
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=confirm))
    except typer.Abort as error:
        raise CliFailure(
            "No password was given.",
            advice="Use --password-stdin or PARLEY_PASSWORD where nobody can be asked.",
            exit_code=ExitCode.USAGE,
        ) from error


def parse_level(text: str) -> learner_pb2.CefrLevel.ValueType:
    """Read a level such as "b1".

    Raises:
        CliFailure: it is none.
    """
    level = text.strip().upper()
    if level not in LEVELS:
        raise CliFailure(
            f"'{text}' is not a level.",
            advice=f"The levels are {', '.join(LEVELS)}.",
            exit_code=ExitCode.USAGE,
        )
    return learner_pb2.CefrLevel.Value(f"CEFR_LEVEL_{level}")


def level_name(level: learner_pb2.CefrLevel.ValueType) -> str:
    """A level for people."""
    name = learner_pb2.CefrLevel.Name(level).removeprefix("CEFR_LEVEL_")
    return "not known yet" if name == "UNSPECIFIED" else name


def _print_account(account: user_pb2.Account) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    learner = account.profile
    patience = account.turn_taking.patience if account.turn_taking.HasField("patience") else 0.5
    rows = [
        ("user name", account.username),
        ("name", learner.display_name),
        ("level", level_name(learner.level)),
        ("first language", learner.first_language),
        ("goals", "\n".join(learner.goals)),
        ("interests", ", ".join(learner.interests)),
        ("patience", f"{patience:g}"),
        ("voice", account.voice or "the engine's own"),
        ("time zone", learner.time_zone or "UTC"),
    ]
    for label, value in rows:
        table.add_row(label, value or "[dim]not said[/]")
    stdout().print(table)


def _at(state: AppState) -> str:
    return state.endpoint().target
