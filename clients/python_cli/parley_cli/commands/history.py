"""`history`, `show`, `delete`, `download`: what was said before."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from parley.history.v1 import history_pb2
from parley.media.v1 import media_pb2
from parley.types.v1 import audio_pb2, turn_pb2
from parley_cli.audio.recorder import cannot_write
from parley_cli.client.parley_client import ParleyClient
from parley_cli.commands.printing import duration, local_time, print_json_lines, short_ids
from parley_cli.failures import CliFailure, ExitCode
from parley_cli.session import corrections
from parley_cli.stages import stage_views
from parley_cli.state import run, state_of, stdout
from parley_cli.talk.drawing import hung, stage_bar

_PANEL = "What was said"
_FULL_ID_LENGTH = 36
# Pages looked through for a short id: the last 1,000 conversations.
_ID_PAGES = 10

_FORMATS = {
    "opus": (audio_pb2.AUDIO_ENCODING_OGG_OPUS, "ogg"),
    "wav": (audio_pb2.AUDIO_ENCODING_WAV, "wav"),
    "flac": (audio_pb2.AUDIO_ENCODING_FLAC, "flac"),
    "mp3": (audio_pb2.AUDIO_ENCODING_MP3, "mp3"),
}
_TRACKS = {
    "mix": audio_pb2.AUDIO_TRACK_MIX,
    "learner": audio_pb2.AUDIO_TRACK_LEARNER,
    "tutor": audio_pb2.AUDIO_TRACK_TUTOR,
}

ConversationId = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="From `parley history`: its first characters, or 'last' for the newest."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (history, show, download, delete):
        app.command(rich_help_panel=_PANEL)(command)


def history(
    context: typer.Context,
    search: Annotated[
        str, typer.Option("--search", "-s", metavar="WORDS", help='Words, or "a phrase".')
    ] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many.")] = 20,
    scenario: Annotated[str, typer.Option(help="Only this situation.")] = "",
    as_json: Json = False,
) -> None:
    """List your conversations, newest first, or find what was said.

    Examples:
      parley history

      parley history --limit 5 --scenario restaurant

      parley history --search "went to the market"
    """
    state = state_of(context)

    async def listed() -> list[history_pb2.ConversationSummary]:
        async with state.client() as client:
            return await _conversations(client, limit, scenario)

    async def found() -> list[history_pb2.TurnMatch]:
        async with state.client() as client:
            matches: list[history_pb2.TurnMatch] = []
            token = ""
            while len(matches) < limit:
                page: history_pb2.SearchTurnsResponse = await client.call(
                    client.history.SearchTurns,
                    history_pb2.SearchTurnsRequest(
                        query=search, page_size=min(100, limit - len(matches)), page_token=token
                    ),
                )
                matches.extend(page.matches)
                token = page.next_page_token
                if not token:
                    break
            return matches[:limit]

    if search:
        matches = run(found())
        print_json_lines(matches) if as_json else _print_matches(matches, search)
    else:
        conversations = run(listed())
        print_json_lines(conversations) if as_json else _print_conversations(conversations)


def show(context: typer.Context, conversation: ConversationId, as_json: Json = False) -> None:
    """Read a conversation: what you said, what you heard, what could be said better.

    Examples:
      parley show last

      parley show 0197c3a2

      parley show last --json
    """
    state = state_of(context)

    async def work() -> history_pb2.GetConversationResponse:
        async with state.client() as client:
            full_id = await _resolve(client, conversation)
            whole = history_pb2.GetConversationResponse()
            token = ""
            while True:
                page: history_pb2.GetConversationResponse = await client.call(
                    client.history.GetConversation,
                    history_pb2.GetConversationRequest(conversation_id=full_id, page_token=token),
                )
                whole.conversation.CopyFrom(page.conversation)
                whole.turns.extend(page.turns)
                token = page.next_page_token
                if not token:
                    return whole

    found = run(work())
    print_json_lines([found]) if as_json else _print_conversation(found)


def delete(
    context: typer.Context,
    conversation: ConversationId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a conversation and its recording, for good.

    Examples:
      parley delete 0197c3a2

      parley delete last --yes
    """
    state = state_of(context)

    async def find() -> history_pb2.ConversationSummary:
        async with state.client() as client:
            full_id = await _resolve(client, conversation)
            page: history_pb2.GetConversationResponse = await client.call(
                client.history.GetConversation,
                history_pb2.GetConversationRequest(conversation_id=full_id, page_size=1),
            )
            return page.conversation

    async def remove(full_id: str) -> None:
        async with state.client() as client:
            await client.call(
                client.history.DeleteConversation,
                history_pb2.DeleteConversationRequest(conversation_id=full_id),
            )

    found = run(find())
    about = f"the conversation of {local_time(found.started_at)} with {found.turns} turns"
    if not yes:
        typer.confirm(f"Delete {about} and its recording, for good?", abort=True)
    run(remove(found.conversation_id))
    stdout().print(f"[green]✓[/] Deleted {about}.")


def download(
    context: typer.Context,
    conversation: ConversationId,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to; named by the server if missing."),
    ] = None,
    audio_format: Annotated[
        str, typer.Option("--format", help=f"One of {', '.join(_FORMATS)}.")
    ] = "",
    track: Annotated[str, typer.Option(help=f"One of {', '.join(_TRACKS)}.")] = "mix",
) -> None:
    """Save a conversation's recording.

    The format follows the file's ending where --format does not say it.

    Examples:
      parley download last

      parley download 0197c3a2 -o talk.mp3

      parley download last --format wav --track tutor
    """
    state = state_of(context)
    encoding, ending = _format_for(audio_format, output)
    if track not in _TRACKS:
        raise CliFailure(
            f"'{track}' is not a track.",
            advice=f"The tracks are {', '.join(_TRACKS)}.",
            exit_code=ExitCode.USAGE,
        )

    async def work() -> tuple[Path, int]:
        async with state.client() as client:
            full_id = await _resolve(client, conversation)
            found: media_pb2.GetRecordingResponse = await client.call(
                client.media.GetRecording,
                media_pb2.GetRecordingRequest(conversation_id=full_id),
            )
            request = media_pb2.DownloadRecordingRequest(
                recording_id=found.recording.recording_id,
                track=_TRACKS[track],
                encoding=encoding,
            )
            path = output or Path(f"parley-{full_id[:13]}-{track}.{ending}")
            # Written beside and renamed: a broken download leaves no half file under that name.
            partial = path.with_name(path.name + ".part")
            size = 0
            try:
                with partial.open("wb") as handle:
                    async for piece in client.stream(client.media.DownloadRecording, request):
                        size += handle.write(piece.chunk)
                partial.replace(path)
            except OSError as error:
                raise cannot_write(path, error) from error
            finally:
                partial.unlink(missing_ok=True)
            return path, size

    path, size = run(work())
    stdout().print(f"[green]✓[/] {path} ({size / 1024:.0f} KiB)")


async def _conversations(
    client: ParleyClient, limit: int, scenario: str = ""
) -> list[history_pb2.ConversationSummary]:
    found: list[history_pb2.ConversationSummary] = []
    token = ""
    while len(found) < limit:
        page: history_pb2.ListConversationsResponse = await client.call(
            client.history.ListConversations,
            history_pb2.ListConversationsRequest(
                page_size=min(100, limit - len(found)), page_token=token, scenario_id=scenario
            ),
        )
        found.extend(page.conversations)
        token = page.next_page_token
        if not token:
            break
    return found[:limit]


async def _resolve(client: ParleyClient, text: str) -> str:
    """Find the one conversation that `text` means.

    Raises:
        CliFailure: none begins so, or several do.
    """
    wanted = text.strip().lower()
    if len(wanted) == _FULL_ID_LENGTH:
        return wanted
    if wanted == "last":
        newest = await _conversations(client, 1)
        if not newest:
            raise CliFailure("You have no conversations yet.", advice="Begin with `parley talk`.")
        return newest[0].conversation_id
    ids = [c.conversation_id for c in await _conversations(client, 100 * _ID_PAGES)]
    matching = [full for full in ids if full.startswith(wanted)] if wanted else []
    if len(matching) == 1:
        return matching[0]
    if not matching:
        raise CliFailure(
            f"No conversation of yours begins with '{text}'.",
            advice="`parley history` lists them.",
        )
    names = sorted(short_ids(matching).values())
    shown = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
    raise CliFailure(
        f"{len(matching)} conversations begin with '{text}'.",
        advice=f"Give more of it: {shown}.",
        exit_code=ExitCode.USAGE,
    )


def _format_for(name: str, output: Path | None) -> tuple[audio_pb2.AudioEncoding.ValueType, str]:
    if not name and output is not None and output.suffix:
        suffix = output.suffix.removeprefix(".").lower()
        name = "opus" if suffix in ("ogg", "oga", "opus") else suffix
    name = name or "opus"
    if name not in _FORMATS:
        raise CliFailure(
            f"'{name}' is not a format that recordings come in.",
            advice=f"The formats are {', '.join(_FORMATS)}; name one with --format.",
            exit_code=ExitCode.USAGE,
        )
    return _FORMATS[name]


def _print_conversations(conversations: list[history_pb2.ConversationSummary]) -> None:
    if not conversations:
        stdout().print("No conversations yet. Begin with `parley talk`.")
        return
    short = short_ids([c.conversation_id for c in conversations])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("id", no_wrap=True, style="cyan")
    table.add_column("when", no_wrap=True)
    table.add_column("situation")
    table.add_column("turns", justify="right")
    table.add_column("silence", justify="right", no_wrap=True)
    table.add_column("began with", ratio=1)
    for one in conversations:
        table.add_row(
            short[one.conversation_id],
            local_time(one.started_at),
            one.scenario_title or one.scenario_id,
            str(one.turns),
            f"{one.median_silence_ms} ms" if one.median_silence_ms else "",
            Text(one.preview),
        )
    stdout().print(table)


def _print_matches(matches: list[history_pb2.TurnMatch], query: str) -> None:
    if not matches:
        stdout().print(f"Nothing found for '{query}'.", markup=False)
        return
    short = short_ids(list(dict.fromkeys(m.conversation_id for m in matches)))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("id", no_wrap=True, style="cyan")
    table.add_column("turn", justify="right")
    table.add_column("when", no_wrap=True)
    table.add_column("who", no_wrap=True)
    table.add_column("said", ratio=1)
    for match in matches:
        snippet = Text(match.snippet)
        for span in match.spans:
            snippet.stylize("bold yellow", span.start, span.end)
        table.add_row(
            short[match.conversation_id],
            str(match.number),
            local_time(match.started_at),
            "tutor" if match.tutor else "you",
            snippet,
        )
    stdout().print(table)


def _print_conversation(found: history_pb2.GetConversationResponse) -> None:
    console = stdout()
    about = found.conversation
    console.rule(about.scenario_title or about.scenario_id or "Conversation", align="left")
    facts = [
        local_time(about.started_at),
        f"{about.turns} turn{'' if about.turns == 1 else 's'}",
        f"you spoke {duration(about.learner_speech_ms)}",
        f"engine {about.engine}" if about.engine else "",
        "recorded" if about.recording_id else "not recorded",
    ]
    console.print(" · ".join(fact for fact in facts if fact), style="dim")
    console.print(about.conversation_id, style="dim", soft_wrap=True)
    for record in found.turns:
        console.print()
        turn = record.turn
        said = turn.utterance.verbatim or turn.utterance.clean
        if said:
            you = Text(f"{turn.number:>3}  you    ", style="green").append(said, "default")
            console.print(hung(you, console.width - 1, indent=12))
        for correction in corrections(record.feedback):
            line = Text("            ✎ ", style="yellow")
            line.append(correction.original, style="dim strike").append(" → ", style="default")
            line.append(correction.replacement, style="bold default")
            line.append(f"  {correction.explanation}", style="dim default")
            console.print(line)
        heard = Text(f"{turn.number:>3}  tutor  ", style="cyan").append(turn.heard_text, "default")
        if turn.reply_end_reason == turn_pb2.REPLY_END_REASON_INTERRUPTED:
            heard.append("  — interrupted", style="yellow")
        console.print(hung(heard, console.width - 1, indent=12))
        stages = stage_views(list(turn.stages))
        if stages:
            silence_ms = sum(stage.duration_ms for stage in stages)
            bar = stage_bar(stages, silence_ms, console.width - 14)
            console.print(Text("            ").append_text(bar))
