"""`engines`, `voices`, `scenarios`: what there is to choose from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from google.protobuf.message import Message
from rich import box
from rich.table import Table

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley_cli.client.parley_client import ParleyClient
from parley_cli.commands.account import level_name
from parley_cli.commands.printing import print_json_lines
from parley_cli.state import run, state_of, stdout

_PANEL = "What there is"

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (scenarios, engines, voices):
        app.command(rich_help_panel=_PANEL)(command)


def scenarios(context: typer.Context, as_json: Json = False) -> None:
    """List the situations to practise.

    Example:  parley scenarios  and then  parley talk --scenario restaurant
    """
    found: conversation_pb2.ListScenariosResponse = _ask(
        context,
        lambda client: client.conversation.ListScenarios,
        conversation_pb2.ListScenariosRequest(),
    )
    if as_json:
        print_json_lines(found.scenarios)
        return
    table = _table("name", "situation", "level")
    for scenario in found.scenarios:
        table.add_row(
            scenario.scenario_id,
            f"[bold]{scenario.title}[/]\n{scenario.description}",
            "any" if not scenario.level else level_name(scenario.level),
        )
    stdout().print(table)


def engines(context: typer.Context, as_json: Json = False) -> None:
    """List what can listen and answer, and what keeps an engine from serving.

    The silence is the median before the replies of each engine's last 50 turns.

    Example:  parley engines  and then  parley talk --engine NAME
    """
    found: ai_pb2.ListEnginesResponse = _ask(
        context, lambda client: client.ai.ListEngines, ai_pb2.ListEnginesRequest()
    )
    if as_json:
        print_json_lines(found.engines)
        return
    table = _table("", "name", "what it is", "hears, thinks, speaks with", "silence", "sessions")
    for engine in found.engines:
        parts = [engine.recognizer, engine.language_model, engine.synthesizer]
        about = engine.description
        if not engine.available:
            about += f"\n[yellow]{engine.unavailable_reason or 'not available'}[/]"
        capacity = str(engine.capacity) if engine.capacity else "∞"
        table.add_row(
            "[green]✓[/]" if engine.available else "[red]✗[/]",
            engine.name + (" [dim](default)[/]" if engine.default else ""),
            about,
            "\n".join(part for part in parts if part),
            f"{engine.seen_latency_ms} ms" if engine.seen_latency_ms else "",
            f"{engine.sessions}/{capacity}",
        )
    stdout().print(table)


def voices(
    context: typer.Context,
    engine: Annotated[str, typer.Option(help="Only those of this engine.")] = "",
    as_json: Json = False,
) -> None:
    """List the tutor's voices.

    Examples:
      parley voices

      parley talk --voice NAME

      parley say "Nice to meet you." --voice NAME
    """
    found: ai_pb2.ListVoicesResponse = _ask(
        context, lambda client: client.ai.ListVoices, ai_pb2.ListVoicesRequest(engine=engine)
    )
    if as_json:
        print_json_lines(found.voices)
        return
    table = _table("name", "voice", "language", "engines")
    for voice in found.voices:
        who = " ".join(part for part in (voice.display_name, voice.gender) if part)
        table.add_row(voice.name, who, voice.language, ", ".join(voice.engines))
    stdout().print(table)


def _ask(context: typer.Context, method: Callable[[ParleyClient], Any], request: Message) -> Any:
    state = state_of(context)

    async def work() -> Any:
        async with state.client() as client:
            return await client.call(method(client), request)

    return run(work())


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=index == 0)
    return table
