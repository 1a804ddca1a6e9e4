"""`parley compare`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from parley.ai.v1 import ai_pb2
from parley_cli.audio.files import Recording, read_recording
from parley_cli.audio.recorder import cannot_write
from parley_cli.client.parley_client import ParleyClient
from parley_cli.compare.page import page
from parley_cli.compare.results import Prices, Run, Sample, Summary, summary
from parley_cli.compare.running import compare_one
from parley_cli.failures import CliFailure, ExitCode
from parley_cli.state import run, state_of, stderr, stdout
from parley_cli.talk.options import CAPTURE_RATE_HZ

_SOUNDS = frozenset({".wav", ".flac", ".mp3", ".ogg"})


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

    Where NAME.txt lies beside NAME.wav, with what is said in it, the words are compared too: the
    rate of those wrong, left out or put in. Silence is what a learner hears before the answer, and
    its parts add up to it (medians). Costs are estimates from the prices in engines.toml.

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
    found = _samples(inputs)
    sounds = _folder_for_sound(output)

    async def work() -> tuple[list[Run], dict[str, Prices]]:
        async with state.client() as client:
            prices = await _prices(client, names)
            return await _run_all(client, names, found, sounds, answer_timeout), prices

    runs, prices = run(work())
    summaries = [summary(name, runs, prices[name]) for name in names]
    if as_json:
        _print_json(runs, summaries)
    else:
        _print_tables(runs, summaries, [sample for sample, _ in found])
    if output is not None:
        try:
            text = page(summaries, [sample for sample, _ in found], runs, output.parent)
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise cannot_write(output, error) from error
        stderr().print(f"[green]✓[/] {output}")
    if not any(each.answered for each in summaries):
        raise typer.Exit(int(ExitCode.UNANSWERED))


def _samples(folder: Path) -> list[tuple[Sample, Recording]]:
    if not folder.is_dir():
        raise CliFailure(
            f"{folder} is no folder.",
            advice="Name a folder with recordings (WAV, FLAC, MP3 or Ogg Vorbis).",
            exit_code=ExitCode.USAGE,
        )
    found: list[tuple[Sample, Recording]] = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _SOUNDS:
            continue
        recording = read_recording(path, CAPTURE_RATE_HZ)
        words = path.with_suffix(".txt")
        said = words.read_text(encoding="utf-8").strip() if words.is_file() else ""
        found.append((Sample(path.stem, path, recording.duration_ms, said), recording))
    if not found:
        raise CliFailure(
            f"{folder} holds no recordings.",
            advice="WAV, FLAC, MP3 and Ogg Vorbis are read.",
            exit_code=ExitCode.USAGE,
        )
    return found


def _folder_for_sound(output: Path | None) -> Path | None:
    if output is None:
        return None
    folder = output.with_name(f"{output.stem}-audio")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return folder


async def _prices(client: ParleyClient, names: Sequence[str]) -> dict[str, Prices]:
    """Return each engine's prices. Raises ``CliFailure`` for an engine that is not there."""
    listed = await client.call(client.ai.ListEngines, ai_pb2.ListEnginesRequest())
    known = {engine.name: engine for engine in listed.engines}
    for name in names:
        if name not in known:
            raise CliFailure(
                f"There is no engine named {name}.",
                advice=f"There are: {', '.join(known)}.",
                exit_code=ExitCode.USAGE,
            )
    return {
        name: Prices(
            known[name].price.audio_hour,
            known[name].price.million_tokens,
            known[name].price.million_characters,
        )
        for name in names
    }


async def _run_all(
    client: ParleyClient,
    names: Sequence[str],
    found: Sequence[tuple[Sample, Recording]],
    sounds: Path | None,
    answer_timeout_s: float,
) -> list[Run]:
    runs: list[Run] = []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=stderr(),
        transient=True,
    ) as progress:
        bar = progress.add_task("", total=len(names) * len(found))
        for sample, recording in found:
            for name in names:
                progress.update(bar, description=f"{sample.name} · {name}")
                path = sounds / f"{sample.name}-{name}.wav" if sounds is not None else None
                runs.append(
                    await compare_one(client, name, sample, recording, path, answer_timeout_s)
                )
                progress.advance(bar)
    return runs


def _print_tables(
    runs: Sequence[Run], summaries: Sequence[Summary], samples: Sequence[Sample]
) -> None:
    stages = list(dict.fromkeys(name for each in summaries for name in each.stages_ms))
    table = Table("engine", box=None, header_style="bold")
    for name in ("answered", "words wrong", "silence", *stages, "100 turns"):
        table.add_column(name.replace("_", " "), justify="right")
    for each in summaries:
        wer = "" if each.word_error_rate is None else f"{100 * each.word_error_rate:.1f} %"
        table.add_row(
            each.engine,
            f"{each.answered}/{each.runs}",
            wer,
            _ms(each.silence_ms),
            *(_ms(each.stages_ms.get(name)) for name in stages),
            "" if each.cost is None else f"${each.cost:.3f}",
        )
    stdout().print(table)
    for sample in samples:
        stdout().print(f"\n[bold]{escape(sample.name)}[/]")
        side = Table.grid(padding=(0, 2))
        if sample.said:
            side.add_row("[dim]said[/]", escape(sample.said))
        for each_run in runs:
            if each_run.sample is sample:
                heard = each_run.heard or (
                    f"[red]{each_run.failure}[/]" if each_run.failure else ""
                )
                side.add_row(f"[dim]{each_run.engine}[/]", heard)
        stdout().print(side)


def _print_json(runs: Sequence[Run], summaries: Sequence[Summary]) -> None:
    for each in runs:
        fields = {
            "engine": each.engine,
            "recording": each.sample.name,
            "said": each.sample.said,
            "heard": each.heard,
            "reply": each.reply,
            "silence_ms": each.silence_ms,
            "stages": {stage.name: round(stage.duration_ms, 1) for stage in each.stages},
            "failure": each.failure,
        }
        typer.echo(json.dumps(fields, ensure_ascii=False))
    for each_summary in summaries:
        typer.echo(json.dumps({"summary": asdict(each_summary)}, ensure_ascii=False))


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} ms"
