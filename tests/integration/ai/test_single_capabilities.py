"""Transcribe, Generate, Synthesize, Assess and the lists, over gRPC."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import grpc.aio
import pytest

from parley.ai.v1 import ai_pb2
from parley.types.v1 import audio_pb2, feedback_pb2, speech_pb2
from services.common.status import from_rpc_error
from tests.integration.ai.messages import Start, speech


def assessment(**config: Any) -> Iterator[ai_pb2.AssessRequest]:
    return iter([ai_pb2.AssessRequest(config=ai_pb2.AssessConfig(**config))])


def recording(pcm: bytes, **config: object) -> list[ai_pb2.TranscribeRequest]:
    pieces = [pcm[i : i + 32_000] for i in range(0, len(pcm), 32_000)]
    return [
        ai_pb2.TranscribeRequest(config=ai_pb2.TranscribeConfig(**config)),
        *(ai_pb2.TranscribeRequest(pcm=piece) for piece in pieces),
    ]


async def reason_of(responses) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in responses:
            pass
    return from_rpc_error(caught.value).reason


async def test_a_recording_without_audio_is_refused(ai: Start):
    async with ai() as stub:
        assert await reason_of(stub.Transcribe(iter(recording(b"")))) == "AUDIO_FRAME_INVALID"


async def test_a_recording_cut_inside_a_sample_is_refused(ai: Start):
    async with ai() as stub:
        cut = recording(b"\0\0\0")
        assert await reason_of(stub.Transcribe(iter(cut))) == "AUDIO_FRAME_INVALID"


async def test_a_recording_in_stereo_is_refused(ai: Start):
    async with ai() as stub:
        stereo = recording(speech(0.1), format=audio_pb2.AudioFormat(channels=2))
        assert await reason_of(stub.Transcribe(iter(stereo))) == "AUDIO_FORMAT_UNSUPPORTED"


async def test_a_recording_before_its_config_is_refused(ai: Start):
    async with ai() as stub:
        late = recording(speech(0.1))[1:]
        assert await reason_of(stub.Transcribe(iter(late))) == "START_REQUIRED"


async def test_a_recording_of_any_rate_is_measured_in_its_own_time(ai: Start):
    async with ai() as stub:
        request = recording(speech(1.0), format=audio_pb2.AudioFormat(sample_rate_hz=48_000))
        responses = [each async for each in stub.Transcribe(iter(request))]
    assert responses[-1].final
    assert abs(responses[-1].audio_ms - 333) <= 5


async def test_a_recording_is_recognised_with_partials_on_the_way(ai: Start):
    async with ai() as stub:
        request = recording(speech(3.0), partials=True)
        responses = [each async for each in stub.Transcribe(iter(request))]
    assert [each.final for each in responses] == [False] * (len(responses) - 1) + [True]
    assert len(responses) > 1
    assert responses[-1].transcript.recognizer == "scripted"
    assert responses[-1].transcript.clean == "Hello, my name is Ana."


async def test_generate_streams_pieces_and_ends_with_usage(ai: Start):
    message = ai_pb2.ChatMessage(role=ai_pb2.ROLE_LEARNER, text="Hello!")
    async with ai() as stub:
        request = ai_pb2.GenerateRequest(messages=[message])
        responses = [each async for each in stub.Generate(request)]
    text = "".join(each.text for each in responses)
    assert text == "Nice to meet you! What do you like to do?"
    assert responses[-1].final
    assert responses[-1].usage.output_tokens == len(responses) - 1
    assert responses[-1].usage.prompt_tokens > 0


async def test_generate_refuses_to_go_on_for_the_tutor(ai: Start):
    message = ai_pb2.ChatMessage(role=ai_pb2.ROLE_TUTOR, text="Hello!")
    async with ai() as stub:
        responses = stub.Generate(ai_pb2.GenerateRequest(messages=[message]))
        assert await reason_of(responses) == "INVALID_REQUEST"


async def test_synthesize_gives_the_format_first_and_words_where_they_begin(ai: Start):
    async with ai() as stub:
        request = ai_pb2.SynthesizeRequest(text="one two three", voice="tone-low")
        responses = [each async for each in stub.Synthesize(request)]
    assert responses[0].format.sample_rate_hz == 24_000
    assert not responses[0].pcm
    words = [word.text for each in responses for word in each.words]
    assert words == ["one", "two", "three"]
    assert sum(len(each.pcm) for each in responses) == 2 * 24 * 900
    assert all(len(each.pcm) <= 9600 for each in responses)


async def test_synthesize_refuses_an_unknown_voice(ai: Start):
    async with ai() as stub:
        request = ai_pb2.SynthesizeRequest(text="hello", voice="nosuch")
        assert await reason_of(stub.Synthesize(request)) == "UNKNOWN_VOICE"


@pytest.mark.parametrize("engine", ["", "scripted", "scripted-pipeline"])
async def test_assess_quotes_the_learner_and_says_it_better(ai: Start, engine: str):
    said = speech_pb2.Transcript(verbatim="Well, yesterday I go to the market.")
    async with ai() as stub:
        answer = await stub.Assess(assessment(transcript=said, engine=engine))
    (one,) = answer.feedback.corrections
    assert (one.original, one.replacement) == ("yesterday I go", "Yesterday I went")
    assert (one.first_word, one.end_word) == (1, 4)
    assert one.kind == feedback_pb2.CORRECTION_KIND_GRAMMAR
    assert one.explanation
    assert one.scorer == "scripted@1"
    assert UUID(one.correction_id).version == 7


async def test_assess_finds_nothing_in_what_is_right(ai: Start):
    said = speech_pb2.Transcript(verbatim="Yesterday I went to the market.")
    async with ai() as stub:
        answer = await stub.Assess(assessment(transcript=said))
    assert not answer.feedback.corrections


async def test_assess_finds_nothing_where_that_is_turned_off(ai: Start):
    said = speech_pb2.Transcript(verbatim="Yesterday I go to the market.")
    async with ai(corrections=False) as stub:
        answer = await stub.Assess(assessment(transcript=said))
    assert not answer.feedback.corrections


@pytest.mark.parametrize(
    ("requests", "reason"),
    [
        ([], "START_REQUIRED"),
        ([ai_pb2.AssessRequest(pcm=b"\0\0")], "START_REQUIRED"),
        ([ai_pb2.AssessRequest(config=ai_pb2.AssessConfig())], "NOT_IMPLEMENTED"),
        (
            [
                ai_pb2.AssessRequest(
                    config=ai_pb2.AssessConfig(
                        transcript=speech_pb2.Transcript(verbatim="Hello"), engine="nobody"
                    )
                )
            ],
            "UNKNOWN_ENGINE",
        ),
    ],
)
async def test_assess_says_what_it_lacks(
    ai: Start, requests: list[ai_pb2.AssessRequest], reason: str
):
    async with ai() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Assess(iter(requests))
    assert from_rpc_error(caught.value).reason == reason


async def test_engines_are_listed_with_the_default_first(ai: Start):
    async with ai() as stub:
        listed = await stub.ListEngines(ai_pb2.ListEnginesRequest())
    assert [engine.name for engine in listed.engines] == ["scripted", "scripted-pipeline"]
    assert [engine.default for engine in listed.engines] == [True, False]
    assert all(engine.available for engine in listed.engines)
    assert listed.engines[1].capabilities.speculation


async def test_an_engine_without_its_models_is_listed_with_the_reason(ai: Start, tmp_path):
    async with ai(engines=("local", "scripted"), models_dir=tmp_path / "none") as stub:
        listed = await stub.ListEngines(ai_pb2.ListEnginesRequest())
        call = stub.Converse()
        start = ai_pb2.StartEngine(
            conversation_id="01900000-0000-7000-8000-000000000001", next_turn=1
        )
        await call.write(ai_pb2.ConverseRequest(start=start))
        assert await reason_of(call) == "MODEL_NOT_INSTALLED"
    assert not listed.engines[0].available
    assert "parley models fetch" in listed.engines[0].unavailable_reason


async def test_voices_name_the_engines_that_can_use_them(ai: Start):
    async with ai() as stub:
        listed = await stub.ListVoices(ai_pb2.ListVoicesRequest())
    assert [voice.name for voice in listed.voices] == ["tone", "tone-low"]
    assert list(listed.voices[0].engines) == ["scripted", "scripted-pipeline"]
