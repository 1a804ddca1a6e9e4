"""`say` and `transcribe`: one voice or one pair of ears, without a conversation."""

from __future__ import annotations

import asyncio
import sys
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from parley.ai.v1 import ai_pb2
from parley.types.v1 import audio_pb2, speech_pb2
from parley_cli.audio.devices import DeviceCard
from parley_cli.audio.files import Samples, read_recording
from parley_cli.audio.playback import PlaybackBuffer
from parley_cli.audio.recorder import cannot_write, check_writable
from parley_cli.commands.printing import print_json_lines
from parley_cli.failures import CliFailure, ExitCode
from parley_cli.state import run, state_of, stderr, stdout
from parley_cli.talk.options import CAPTURE_RATE_HZ

_PANEL = "Single steps"
# One message of the contract holds at most 64 KiB; 200 ms keeps partial words coming.
_CHUNK_SAMPLES = CAPTURE_RATE_HZ // 5
# A word every few milliseconds of work: a server that is silent for so long is stuck.
_TIMEOUT_S = 120.0


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (say, transcribe):
        app.command(rich_help_panel=_PANEL)(command)


def say(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="What to say; - reads it from the input.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A WAV file; without it you hear it.")
    ] = None,
    voice: Annotated[str, typer.Option(help="A name of `parley voices`.")] = "",
    rate: Annotated[
        float | None, typer.Option(min=0.5, max=2.0, help="How fast, 0.5 to 2.")
    ] = None,
) -> None:
    """Say a text with the tutor's voice.

    Examples:
      parley say "Nice to meet you."

      parley say "She sells sea shells." -o shells.wav --rate 0.8

      parley say - -o poem.wav < poem.txt
    """
    state = state_of(context)
    if text == "-":
        text = sys.stdin.read()
    text = text.strip()
    if not text:
        raise CliFailure(
            "There is nothing to say.", advice="Give a text.", exit_code=ExitCode.USAGE
        )
    if output is not None:
        check_writable(output)
    speaker = (
        None
        if output is not None
        else DeviceCard(capture_rate_hz=CAPTURE_RATE_HZ, frame_ms=20, microphone=False)
    )

    async def work() -> tuple[int, list[Samples]]:
        rate_hz, pieces = 0, []
        async with state.client() as client:
            request = ai_pb2.SynthesizeRequest(text=text, voice=voice, speech_rate=rate)
            responses = client.stream(client.ai.Synthesize, request, timeout=_TIMEOUT_S)
            async for response in responses:
                rate_hz = response.format.sample_rate_hz or rate_hz
                pieces.append(np.frombuffer(response.pcm, dtype="<i2"))
        return rate_hz, pieces

    rate_hz, pieces = run(work())
    samples = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int16)
    if not rate_hz or not len(samples):
        raise CliFailure("The server sent no sound.", advice="`parley doctor` looks closer.")
    if speaker is not None:
        run(_play(speaker, samples, rate_hz))
    elif output is not None:
        _write_wav(output, samples, rate_hz)
        stdout().print(f"[green]✓[/] {output} ({len(samples) / rate_hz:.1f} s)")


def transcribe(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="WAV, FLAC, MP3 or Ogg Vorbis; any rate.")],
    partials: Annotated[
        bool, typer.Option("--partials", help="Show the words as they are recognised.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, with words and times.")
    ] = False,
) -> None:
    """Write down what is said in a recording.

    Examples:
      parley transcribe answer.wav

      parley transcribe answer.mp3 --json
    """
    state = state_of(context)
    recording = read_recording(file, CAPTURE_RATE_HZ)

    async def requests() -> AsyncIterator[ai_pb2.TranscribeRequest]:
        yield ai_pb2.TranscribeRequest(
            config=ai_pb2.TranscribeConfig(
                format=audio_pb2.AudioFormat(
                    encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE,
                    sample_rate_hz=CAPTURE_RATE_HZ,
                    channels=1,
                ),
                partials=partials,
            )
        )
        for begin in range(0, len(recording.samples), _CHUNK_SAMPLES):
            chunk = recording.samples[begin : begin + _CHUNK_SAMPLES]
            yield ai_pb2.TranscribeRequest(pcm=chunk.astype("<i2").tobytes())

    async def work() -> speech_pb2.Transcript:
        final = speech_pb2.Transcript()
        async with state.client() as client:
            responses = client.stream(client.ai.Transcribe, requests(), timeout=_TIMEOUT_S)
            async for response in responses:
                final = response.transcript
                if as_json:
                    print_json_lines([response])
                elif not response.final:
                    stderr().print(response.transcript.verbatim, style="dim", markup=False)
        return final

    transcript = run(work())
    if not as_json:
        stdout().print(transcript.verbatim or transcript.clean, markup=False, soft_wrap=True)


async def _play(card: DeviceCard, samples: Samples, rate_hz: int) -> None:
    playback = PlaybackBuffer(rate_hz, capacity_ms=len(samples) * 1000 // rate_hz + 1000)
    playback.push(1, 0, samples)
    playback.complete(1)
    done = asyncio.Event()

    async def ignore(_samples: Samples, _at: float) -> None:
        return

    def played(_samples: Samples, _at: float) -> None:
        if playback.position().drained:
            done.set()

    playing = asyncio.create_task(card.run(playback, ignore, played))
    waiting = asyncio.create_task(done.wait())
    await asyncio.wait({playing, waiting}, return_when=asyncio.FIRST_COMPLETED)
    for task in (playing, waiting):
        task.cancel()
    results = await asyncio.gather(playing, waiting, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


def _write_wav(path: Path, samples: Samples, rate_hz: int) -> None:
    try:
        with path.open("wb") as handle, wave.open(handle, "wb") as writer:
            writer.setnchannels(1)
            writer.setsampwidth(2)
            writer.setframerate(rate_hz)
            writer.writeframes(samples.astype("<i2").tobytes())
    except OSError as error:
        raise cannot_write(path, error) from error
