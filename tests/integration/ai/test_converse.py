"""Converse over gRPC: what the conversation service sees of a live engine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc.aio
import pytest

from parley.ai.v1 import ai_pb2, ai_pb2_grpc
from parley.types.v1 import audio_pb2, scenario_pb2, turn_pb2
from services.common.errors import ParleyError
from services.common.status import from_rpc_error
from tests.integration.ai.messages import Start, frames, silence, speech, start

ENGINES = ("scripted", "scripted-pipeline")


async def until(call, kind: str) -> list[ai_pb2.ConverseResponse]:
    """Read responses up to the first of ``kind``."""
    seen: list[ai_pb2.ConverseResponse] = []
    while True:
        response = await call.read()
        assert response is not grpc.aio.EOF, [each.WhichOneof("message") for each in seen]
        seen.append(response)
        if response.WhichOneof("message") == kind:
            return seen


async def live_sessions(stub: ai_pb2_grpc.AiServiceAsyncStub) -> int:
    """Return how many conversations all engines have."""
    listed = await stub.ListEngines(ai_pb2.ListEnginesRequest())
    return sum(engine.sessions for engine in listed.engines)


async def to_the_end(call) -> list[ai_pb2.ConverseResponse]:
    """Read all the responses that are left."""
    seen: list[ai_pb2.ConverseResponse] = []
    while (response := await call.read()) is not grpc.aio.EOF:
        seen.append(response)
    return seen


async def send(call, requests) -> None:
    for request in requests:
        await call.write(request)


def kinds(responses) -> list[str]:
    return [each.WhichOneof("message") for each in responses]


async def failure_of(call) -> ParleyError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await to_the_end(call)
    return from_rpc_error(caught.value)


async def test_an_unknown_engine_is_refused_by_name(ai: Start):
    async with ai() as stub:
        call = stub.Converse()
        await call.write(start(engine="nosuch"))
        error = await failure_of(call)
    assert error.reason == "UNKNOWN_ENGINE"
    assert "scripted" in error.message


async def test_an_unknown_voice_is_refused(ai: Start):
    async with ai() as stub:
        call = stub.Converse()
        await call.write(start(voice="nosuch"))
        assert (await failure_of(call)).reason == "UNKNOWN_VOICE"


async def test_audio_before_start_is_refused(ai: Start):
    async with ai() as stub:
        call = stub.Converse()
        await call.write(frames(silence(0.02))[0])
        assert (await failure_of(call)).reason == "START_REQUIRED"


async def test_audio_at_another_rate_is_refused(ai: Start):
    async with ai() as stub:
        call = stub.Converse()
        await call.write(start(input_format=audio_pb2.AudioFormat(sample_rate_hz=44_100)))
        assert (await failure_of(call)).reason == "AUDIO_FORMAT_UNSUPPORTED"


async def test_half_a_sample_is_refused(ai: Start):
    async with ai() as stub:
        call = stub.Converse()
        await send(call, [start(), ai_pb2.ConverseRequest(audio=ai_pb2.EngineAudio(pcm=b"\0\0\0"))])
        assert (await failure_of(call)).reason == "AUDIO_FRAME_INVALID"


async def test_a_second_start_is_refused(ai: Start):
    async with ai() as stub:
        call = stub.Converse()
        await send(call, [start(), start()])
        assert (await failure_of(call)).reason == "INVALID_REQUEST"


@pytest.mark.parametrize("engine", ENGINES)
async def test_an_utterance_is_answered_with_speech(ai: Start, engine: str):
    async with ai() as stub:
        call = stub.Converse()
        await call.write(start(engine=engine, last_generation=7, next_turn=3))
        ready = (await until(call, "ready"))[0].ready
        assert ready.output_format.sample_rate_hz == 24_000
        await send(call, frames(speech(1.0) + silence(1.0)))
        seen = await until(call, "reply_ended")
        await call.done_writing()
    assert kinds(seen)[0] == "speech_started"
    committed = next(each for each in seen if each.WhichOneof("message") == "turn_committed")
    assert committed.turn == 3
    assert committed.generation > 7
    assert committed.turn_committed.transcript.clean == "Hello, my name is Ana."
    assert abs(committed.turn_committed.end_ms - 1000) <= 40
    reply = [each for each in seen if each.generation == committed.generation]
    assert kinds(reply)[0] == "turn_committed"
    assert "".join(each.reply_text.text for each in reply) == seen[-1].reply_ended.text
    audio = [each.reply_audio for each in reply if each.WhichOneof("message") == "reply_audio"]
    assert sum(len(each.pcm) for each in audio) == 2 * 24 * seen[-1].reply_ended.audio_ms
    assert all(0 < len(each.pcm) <= 9600 for each in audio)
    assert [bool(each.stages) for each in audio] == [True] + [False] * (len(audio) - 1)


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_stages_add_up_to_the_moment_of_the_first_audio(ai: Start, engine: str):
    async with ai() as stub:
        call = stub.Converse()
        await send(call, [start(engine=engine), *frames(speech(1.0) + silence(1.0))])
        seen = await until(call, "reply_audio")
        await call.done_writing()
    stages = seen[-1].reply_audio.stages
    assert sum(stage.duration_ms for stage in stages) == pytest.approx(
        max(stage.at_ms for stage in stages), abs=0.01
    )


@pytest.mark.parametrize("engine", ENGINES)
async def test_speech_over_the_reply_is_no_turn_until_it_is_taken(ai: Start, engine: str):
    async with ai() as stub:
        call = stub.Converse()
        await send(call, [start(engine=engine), *frames(speech(1.0) + silence(1.0))])
        first = (await until(call, "reply_ended"))[-1]
        await send(call, frames(speech(0.6) + silence(2.5)))
        await until(call, "speech_ended")
        interrupt = ai_pb2.InterruptReply(generation=first.generation, heard_text="Nice")
        await send(
            call,
            [
                ai_pb2.ConverseRequest(interrupt=interrupt),
                ai_pb2.ConverseRequest(resolve=ai_pb2.ResolveUtterance(take=True)),
                *frames(silence(0.5)),
            ],
        )
        seen = await until(call, "reply_ended")
        await call.done_writing()
    assert "turn_committed" in kinds(seen)
    assert seen[-1].turn == 2
    assert seen[-1].generation > first.generation


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_backchannel_that_is_dismissed_leaves_no_turn(ai: Start, engine: str):
    async with ai() as stub:
        call = stub.Converse()
        await send(call, [start(engine=engine), *frames(speech(1.0) + silence(1.0))])
        await until(call, "reply_ended")
        await send(call, frames(speech(0.3) + silence(0.5)))
        await until(call, "speech_ended")
        await call.write(ai_pb2.ConverseRequest(resolve=ai_pb2.ResolveUtterance(take=False)))
        seen = await until(call, "utterance_dropped")
        await call.done_writing()
        rest = await to_the_end(call)
    assert seen[-1].utterance_dropped.reason == "dismissed"
    assert "turn_committed" not in kinds(seen + rest)


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_typed_utterance_is_a_turn_at_once(ai: Start, engine: str):
    async with ai() as stub:
        call = stub.Converse()
        text = ai_pb2.ConverseRequest(text=ai_pb2.EngineText(text="I like soup."))
        await send(call, [start(engine=engine), text])
        seen = await until(call, "reply_ended")
        await call.done_writing()
    committed = next(each for each in seen if each.WhichOneof("message") == "turn_committed")
    assert committed.turn_committed.source == turn_pb2.UTTERANCE_SOURCE_TEXT
    assert committed.turn_committed.transcript.clean == "I like soup."


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_tutor_opens_with_the_scenario_line(ai: Start, engine: str):
    async with ai() as stub:
        call = stub.Converse()
        scenario = scenario_pb2.Scenario(
            scenario_id="cafe", opening_line="Welcome! What can I get you?"
        )
        request = ai_pb2.RequestReply(purpose=ai_pb2.REPLY_PURPOSE_OPENING)
        await send(
            call,
            [
                start(engine=engine, scenario=scenario),
                ai_pb2.ConverseRequest(request_reply=request),
            ],
        )
        seen = await until(call, "reply_ended")
        await call.done_writing()
    assert seen[-1].reply_ended.text == "Welcome! What can I get you?"


@pytest.mark.parametrize("engine", ENGINES)
async def test_input_that_ends_in_the_middle_of_speech_is_still_answered(ai: Start, engine: str):
    async with ai() as stub:
        call = stub.Converse()
        await send(call, [start(engine=engine), *frames(speech(1.0))])
        await call.done_writing()
        seen = await to_the_end(call)
    assert kinds(seen)[-1] == "reply_ended"


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_cancelled_call_leaves_nothing_running(ai: Start, engine: str):
    async with ai() as stub:
        call = stub.Converse()
        await send(call, [start(engine=engine), *frames(speech(0.5))])
        await until(call, "speech_started")
        call.cancel()
        await call.code()
        # The call is over here before the service has been told.
        async with asyncio.timeout(10):
            while await live_sessions(stub):
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "fault",
    [
        'where = "language_model"',
        'where = "language_model"\nafter_pieces = 3',
        'where = "synthesizer"',
    ],
)
async def test_a_reply_that_a_fault_broke_is_told_as_failed_and_the_session_goes_on(
    ai: Start, engine: str, fault: str, tmp_path: Path
):
    script = tmp_path / "script.toml"
    script.write_text(f"[[fault]]\n{fault}\non_call = 1\n")
    text = ai_pb2.ConverseRequest(text=ai_pb2.EngineText(text="I like soup."))
    async with ai(script=script) as stub:
        call = stub.Converse()
        await send(call, [start(engine=engine), text])
        failed = await until(call, "reply_ended")
        await call.write(text)
        answered = await until(call, "reply_ended")
        await call.done_writing()
    assert failed[-1].reply_ended.reason == turn_pb2.REPLY_END_REASON_FAILED
    assert kinds(failed).count("notice") == 1
    assert answered[-1].reply_ended.reason == turn_pb2.REPLY_END_REASON_COMPLETED


async def test_a_turn_that_is_heard_again_says_so_and_then_how(ai: Start, tmp_path: Path):
    script = tmp_path / "script.toml"
    script.write_text(
        '[recognizer]\ntexts = ["I love for him."]\nagain = ["I left her at home."]\n'
    )
    async with ai(script=script) as stub:
        call = stub.Converse()
        await call.write(start(engine="scripted-pipeline"))
        await until(call, "ready")
        await send(call, frames(speech(1.0) + silence(1.0)))
        seen = await until(call, "transcript_revised")
        await call.done_writing()
        await to_the_end(call)
    (committed,) = [each for each in seen if each.HasField("turn_committed")]
    assert committed.turn_committed.will_be_revised
    assert committed.turn_committed.transcript.verbatim == "I love for him."
    revised = seen[-1]
    assert (revised.turn, revised.generation) == (committed.turn, committed.generation)
    words = revised.transcript_revised.transcript
    assert (words.verbatim, words.recognizer) == ("I left her at home.", "scripted-again")
    assert kinds(seen).index("reply_ended") < kinds(seen).index("transcript_revised")
