"""`parley compare`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from parley.ai.v1 import ai_pb2
from parley_cli.audio.files import Recording
from parley_cli.audio.recorder import cannot_write
from parley_cli.client.parley_client import ParleyClient
from parley_cli.compare.page import page
from parley_cli.compare.recordings import read_samples
from parley_cli.compare.results import Run, Sample, Summary, summary
from parley_cli.compare.running import compare_one
from parley_cli.failures import CliFailure, ExitCode
from parley_cli.state import run, state_of, stderr, stdout


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Look around")(compare)


def compare(
    context: typer.Context,
    engines: Annotated[
        str, typer.Option(metavar="A,B", help="Engines by their names in `parley engines`.")
    ],
    inputs: Annotated[
        Path, typer.Option("--input", metavar="FOLDER", help="Recordings, one utterance each.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="A page with everything, which plays both sides."),
    ] = None,
    answer_timeout: Annotated[
        float, typer.Option(min=1, max=600, help="Seconds to wait for an answer.")
    ] = 30.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a run, then one an engine.")
    ] = False,
) -> None:
    """Say the same recordings to several engines, and compare what they heard and how fast.

    Every recording is a conversation of one turn with each engine, in real time and one after
    another: ten recordings of five seconds take about two minutes an engine.

    Where NAME.txt lies beside NAME.wav, with what is said in it, or the folder has a
    transcripts.tsv (columns file and transcript), the words are compared too: the rate of those
    wrong, left out or put in, in what was answered, and in what is stored where a second hearing
    changed it. Silence is what a learner hears before the answer, and its parts add
    up to it (medians). "By others" is how many answers another than the engine's first choice had a
    part in. Costs are estimates from the prices in engines.toml.

    Examples:
      parley compare --engines local,claude --input recordings

      parley compare --engines local,realtime,gemini --input recordings --output compared.html
    """
    state = state_of(context)
    names = list(dict.fromkeys(name.strip() for name in engines.split(",") if name.strip()))
    if not names:
        raise CliFailure(
            "No engine was named.",
            advice="parley compare --engines local,claude --input FOLDER",
            exit_code=ExitCode.USAGE,
        )
    found = read_samples(inputs)
    samples = [sample for sample, _ in found]
    sounds = _folder_for_sound(output)
    listed: dict[str, ai_pb2.EngineInfo] = {}
    runs: list[Run] = []

    def summaries() -> list[Summary]:
        return [
            summary(name, runs, listed[name].price, listed[name].seen_prompt_tokens)
            for name in names
        ]

    def keep(run: Run) -> None:
        runs.append(run)
        if as_json:
            _print_run(run)
        # After each of them: what was found outlives a comparison that is broken off.
        if output is not None:
            _write(output, page(summaries(), samples, runs, output.parent))

    async def work() -> None:
        async with state.client() as client:
            listed.update(await _listed(client, names))
            if output is not None:
                # Before anything is said, since minutes of talk would be for nothing.
                _write(output, page(summaries(), samples, runs, output.parent))
            await _run_all(client, names, found, sounds, answer_timeout, keep)
            # What replies read is known since they were given.
            listed.update(await _listed(client, names))
            if output is not None:
                _write(output, page(summaries(), samples, runs, output.parent))

    run(work())
    if as_json:
        for each in summaries():
            typer.echo(json.dumps({"summary": asdict(each)}, ensure_ascii=False))
    else:
        _print_tables(runs, summaries(), samples)
    if output is not None:
        stderr().print(f"[green]✓[/] {output}")
    if not any(each.answered for each in summaries()):
        raise typer.Exit(int(ExitCode.UNANSWERED))


def _folder_for_sound(output: Path | None) -> Path | None:
    if output is None:
        return None
    folder = output.with_name(f"{output.stem}-audio")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return folder


def _write(output: Path, text: str) -> None:
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise cannot_write(output, error) from error


async def _listed(client: ParleyClient, names: Sequence[str]) -> dict[str, ai_pb2.EngineInfo]:
    """Return what is told of each engine. Raises ``CliFailure`` for one that is not there."""
    answer = await client.call(client.ai.ListEngines, ai_pb2.ListEnginesRequest())
    known = {engine.name: engine for engine in answer.engines}
    for name in names:
        if name not in known:
            raise CliFailure(
                f"There is no engine named {name}.",
                advice=f"There are: {', '.join(known)}.",
                exit_code=ExitCode.USAGE,
            )
    return {name: known[name] for name in names}


async def _run_all(
    client: ParleyClient,
    names: Sequence[str],
    found: Sequence[tuple[Sample, Recording]],
    sounds: Path | None,
    answer_timeout_s: float,
    keep: Callable[[Run], None],
) -> None:
    console = stderr()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as progress:
        bar = progress.add_task("", total=len(names) * len(found))
        for sample, recording in found:
            for name in names:
                progress.update(bar, description=f"{sample.name} · {name}")
                path = sounds / f"{sample.name}-{name}.wav" if sounds is not None else None
                keep(await compare_one(client, name, sample, recording, path, answer_timeout_s))
                progress.advance(bar)
            if not console.is_terminal:
                typer.echo(f"{sample.name}: said to {', '.join(names)}", err=True)


def _print_tables(
    runs: Sequence[Run], summaries: Sequence[Summary], samples: Sequence[Sample]
) -> None:
    # An engine a column: there are a dozen numbers for each, and seldom as many engines.
    table = Table("", *(escape(each.engine) for each in summaries), box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("answered", *(f"{each.answered}/{each.runs}" for each in summaries))
    if any(each.stood_in for each in summaries):
        # Seldom, and then it changes what every other number means.
        table.add_row("by others", *(str(each.stood_in) for each in summaries))
    table.add_row("words wrong", *(_percent(each.word_error_rate) for each in summaries))
    if any(each.stored_error_rate is not None for each in summaries):
        table.add_row("  as stored", *(_percent(each.stored_error_rate) for each in summaries))
    table.add_row("silence", *(_ms(each.silence_ms) for each in summaries))
    for name in dict.fromkeys(name for each in summaries for name in each.stages_ms):
        parts = (_ms(each.stages_ms.get(name)) for each in summaries)
        table.add_row(f"  {name.replace('_', ' ')}", *parts)
    table.add_row("100 turns", *(_dollars(each.cost) for each in summaries))
    stdout().print(table)
    for sample in samples:
        stdout().print(f"\n[bold]{escape(sample.name)}[/]")
        side = Table.grid(padding=(0, 2))
        if sample.said:
            side.add_row("[dim]said[/]", escape(sample.said))
        for each_run in runs:
            if each_run.sample is sample:
                told = [escape(each_run.heard)] if each_run.heard else []
                if each_run.stored != each_run.heard:
                    told.append(f"[dim]stored:[/] {escape(each_run.stored)}")
                if each_run.failure:
                    told.append(f"[red]{escape(each_run.failure)}[/]")
                if each_run.stood_in:
                    told.append(f"[yellow]{escape(each_run.stood_in)}[/]")
                side.add_row(f"[dim]{each_run.engine}[/]", "\n".join(told))
        stdout().print(side)


def _print_run(each: Run) -> None:
    fields = {
        "engine": each.engine,
        "recording": each.sample.name,
        "said": each.sample.said,
        "heard": each.heard,
        "stored": each.stored,
        "reply": each.reply,
        "silence_ms": each.silence_ms,
        "stages": {stage.name: round(stage.duration_ms, 1) for stage in each.stages},
        "stood_in": each.stood_in,
        "failure": each.failure,
    }
    typer.echo(json.dumps(fields, ensure_ascii=False))


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} ms"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _dollars(cost: float | None) -> str:
    return "" if cost is None else f"${cost:.3f}"
