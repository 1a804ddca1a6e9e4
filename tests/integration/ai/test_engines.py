"""Engines of an engine file: on offer, talking, or listed with what is missing."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from pathlib import Path

import grpc.aio
import pytest

from parley.ai.v1 import ai_pb2
from parley.types.v1 import speech_pb2
from parley_cli.audio.files import read_recording
from parley_models import ModelStore, default_models_dir
from services.ai.settings import AiSettings
from services.common.status import from_rpc_error
from tests.contract.vendors import openai_server as openai_vendor
from tests.contract.vendors import realtime_server as realtime_vendor
from tests.contract.vendors.anthropic_server import KEY, anthropic_server
from tests.contract.vendors.faults import Break, Broken, Refusal
from tests.integration.ai.messages import Start, frames, silence, speech, start

ENGINE = """
default = "mixed"

[language_models.stand-in]
adapter = "anthropic"
base_url = "{url}"
api_key_env = "STAND_IN_KEY"
price = "a penny a word"

[engines.mixed]
title = "Ours"
turn_taking = "scripted"
recognizer = "scripted"
language_model = ["stand-in", "scripted"]
synthesizer = "scripted"
"""


BOTH_SIZES = """
[engines.small]
turn_taking = "scripted"
recognizer = "moonshine-tiny-en"
language_model = "scripted"
synthesizer = "scripted"

[engines.large]
turn_taking = "scripted"
recognizer = "moonshine-base-en-int8"
language_model = "scripted"
synthesizer = "scripted"
"""
SPEECH = Path(__file__).parents[2] / "data" / "speech" / "000360210.wav"


def engine_file(tmp_path: Path, url: str) -> Path:
    path = tmp_path / "ours.toml"
    path.write_text(ENGINE.format(url=url))
    return path


async def listed(stub) -> dict[str, ai_pb2.EngineInfo]:
    response = await stub.ListEngines(ai_pb2.ListEnginesRequest())
    return {each.name: each for each in response.engines}


async def one_turn(stub, engine: str, spoken: bytes = b"") -> list[ai_pb2.ConverseResponse]:
    """Say something; return what comes up to the end of the reply."""
    call = stub.Converse()
    await call.write(start(engine=engine))
    for frame in frames((spoken or speech(0.8)) + silence(2.0)):
        await call.write(frame)
    seen: list[ai_pb2.ConverseResponse] = []
    while not seen or seen[-1].WhichOneof("message") != "reply_ended":
        response = await call.read()
        assert response is not grpc.aio.EOF
        seen.append(response)
    call.cancel()
    return seen


def reply_text(responses: list[ai_pb2.ConverseResponse]) -> str:
    return "".join(each.reply_text.text for each in responses if each.HasField("reply_text"))


async def test_a_hosts_engine_talks_through_its_provider(
    ai: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("STAND_IN_KEY", KEY)
    async with anthropic_server() as vendor:
        vendor.reply = "Hello from far away!"
        async with ai(engines_file=engine_file(tmp_path, vendor.base_url)) as stub:
            engines = await listed(stub)
            assert list(engines) == ["mixed", "scripted", "scripted-pipeline"]
            assert engines["mixed"].available
            assert engines["mixed"].default
            assert engines["mixed"].description == "Ours (a penny a word)"
            assert engines["mixed"].language_model == "stand-in"
            assert reply_text(await one_turn(stub, "")) == "Hello from far away!"
            assert vendor.http.requests[-1].json()["system"][0]["cache_control"]
        await vendor.http.until_connected(0)


async def test_when_a_provider_refuses_the_next_answers_and_the_stages_say_so(
    ai: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("STAND_IN_KEY", KEY)
    async with anthropic_server() as vendor:
        vendor.fault = Refusal(429, headers={"retry-after": "30"})
        async with ai(engines_file=engine_file(tmp_path, vendor.base_url)) as stub:
            first = await one_turn(stub, "mixed")
            second = await one_turn(stub, "mixed")
            # It asked to be left alone, and is.
            assert len(vendor.http.requests) == 1
    for responses, why in (
        (first, "stand-in failed: stand-in takes no more requests now (429"),
        (second, "stand-in failed: left alone for now, since stand-in takes no more requests"),
    ):
        assert reply_text(responses) == "Nice to meet you! What do you like to do?"
        stages = next(
            each.reply_audio.stages
            for each in responses
            if each.HasField("reply_audio") and each.reply_audio.stages
        )
        told = next(stage for stage in stages if stage.note)
        assert told.provider == "scripted"
        assert why in told.note


async def test_an_engine_without_its_key_or_package_says_what_to_do(
    ai: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = engine_file(tmp_path, "http://127.0.0.1:1")
    async with ai(engines_file=path) as stub:
        mixed = (await listed(stub))["mixed"]
        assert not mixed.available
        assert "set STAND_IN_KEY" in mixed.unavailable_reason
        assert mixed.language_model == "stand-in"
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "anthropic" else found(name)
    )
    async with ai(engines_file=path) as stub:
        mixed = (await listed(stub))["mixed"]
        assert not mixed.available
        assert "make engines" in mixed.unavailable_reason


async def test_hearing_and_speaking_elsewhere_make_a_turn(
    ai: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("STAND_IN_KEY", openai_vendor.KEY)
    path = tmp_path / "ours.toml"
    async with openai_vendor.openai_server() as vendor:
        vendor.reply = "I like it here."
        remote = (
            f'adapter = "openai"\nbase_url = "{vendor.base_url}"\n'
            f'model = "{openai_vendor.MODEL}"\napi_key_env = "STAND_IN_KEY"\n'
        )
        path.write_text(
            f"[recognizers.ear]\n{remote}[language_models.head]\n{remote}"
            f"[synthesizers.mouth]\n{remote}[engines.far]\nturn_taking = 'scripted'\n"
            "recognizer = 'ear'\nlanguage_model = 'head'\nsynthesizer = 'mouth'\n"
        )
        async with ai(engines_file=path) as stub:
            responses = await one_turn(stub, "far")
        await vendor.http.until_connected(0)
    turn = next(each.turn_committed for each in responses if each.HasField("turn_committed"))
    assert turn.transcript.verbatim == "I like it here."
    assert reply_text(responses) == "I like it here."
    audio = sum(len(each.reply_audio.pcm) for each in responses if each.HasField("reply_audio"))
    assert audio == 2 * int(openai_vendor.SPEECH_S * 24_000)


async def test_a_model_of_this_machine_that_was_not_fetched_is_told_with_the_command(
    ai: Start, tmp_path: Path
):
    path = tmp_path / "ours.toml"
    path.write_text(BOTH_SIZES)
    async with ai(engines_file=path, models_dir=tmp_path / "none") as stub:
        engines = await listed(stub)
    for name, model in (("small", "moonshine-tiny-en"), ("large", "moonshine-base-en-int8")):
        assert not engines[name].available
        assert f"parley models fetch {model}" in engines[name].unavailable_reason
        assert engines[name].recognizer == model


@pytest.mark.models
async def test_two_recognizers_of_this_machine_are_two_engines(ai: Start, tmp_path: Path):
    models_dir = default_models_dir()
    missing = ModelStore(models_dir).missing(["moonshine-tiny-en", "moonshine-base-en-int8"])
    if missing:
        pytest.skip(f"parley models fetch {' '.join(missing)}")
    path = tmp_path / "ours.toml"
    path.write_text(BOTH_SIZES)
    spoken = read_recording(SPEECH, 16_000).samples.astype("<i2").tobytes()
    async with ai(engines_file=path, models_dir=models_dir) as stub:
        for name, model in (("small", "moonshine-tiny-en"), ("large", "moonshine-base-en-int8")):
            assert (await listed(stub))[name].capacity == AiSettings().max_sessions
            responses = await one_turn(stub, name, spoken)
            turn = next(
                each.turn_committed for each in responses if each.HasField("turn_committed")
            )
            assert "better than this" in turn.transcript.clean.lower()
            stages = next(each.reply_audio.stages for each in responses if each.reply_audio.stages)
            assert model in {stage.provider for stage in stages}


def test_a_wrong_file_or_an_unknown_engine_is_refused_with_the_other_settings(tmp_path: Path):
    (tmp_path / "engines.toml").write_text("[engines.x]\nrecognizer = 'nosuch'")
    with pytest.raises(ValueError, match=r"engines\.toml: engines\.x\.recognizer"):
        AiSettings(data_dir=tmp_path)
    with pytest.raises(ValueError, match="there is no engine 'nosuch'"):
        AiSettings(data_dir=tmp_path / "else", engines=("nosuch",))


async def test_a_chain_of_different_rates_is_listed_with_the_reason_and_the_others_serve(
    ai: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("STAND_IN_KEY", KEY)
    path = tmp_path / "ours.toml"
    path.write_text(
        "[synthesizers.slow]\nadapter = 'openai'\nbase_url = 'http://127.0.0.1:9/v1'\n"
        "api_key_env = 'STAND_IN_KEY'\nsample_rate_hz = 16000\n"
        "[engines.mixed]\nturn_taking = 'scripted'\nrecognizer = 'scripted'\n"
        "language_model = 'scripted'\nsynthesizer = ['slow', 'scripted']\n"
    )
    async with ai(engines_file=path, engines=("mixed", "scripted-pipeline")) as stub:
        info = (await listed(stub))["mixed"]
        responses = await one_turn(stub, "scripted-pipeline")
    assert not info.available
    assert "'slow' at 16000 Hz, 'scripted' at 24000 Hz" in info.unavailable_reason
    assert responses[-1].HasField("reply_ended")


# --- budgets and prices -----------------------------------------------------------------------

METERED = """
[engines.paid]
turn_taking = "scripted"
recognizer = "scripted"
language_model = "scripted"
synthesizer = "scripted"
metered = true
"""
ANA, BEN = "01900000-0000-7000-8000-00000000000a", "01900000-0000-7000-8000-00000000000b"


async def typed_turn(call) -> list[ai_pb2.ConverseResponse]:
    """Type something; return what comes up to the end of the reply."""
    await call.write(ai_pb2.ConverseRequest(text=ai_pb2.EngineText(text="I like soup.")))
    seen: list[ai_pb2.ConverseResponse] = []
    while not seen or seen[-1].WhichOneof("message") != "reply_ended":
        seen.append(await call.read())
    return seen


async def test_a_learner_whose_budget_is_used_up_is_told_and_the_next_talk_is_refused(
    ai: Start, tmp_path: Path
):
    path = tmp_path / "ours.toml"
    path.write_text(METERED)
    async with ai(engines_file=path, daily_characters=30) as stub:
        call = stub.Converse()
        await call.write(start(engine="paid", user_id=ANA))
        first = await typed_turn(call)
        notice = await call.read()
        assert isinstance(notice, ai_pb2.ConverseResponse)
        assert first[-1].reply_ended.usage.characters >= 30
        status = notice.notice.status
        assert "budget" in status.message
        # What is asked now is asked of nobody.
        await call.write(ai_pb2.ConverseRequest(text=ai_pb2.EngineText(text="Hello?")))
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        refused = stub.Converse()
        await refused.write(start(engine="paid", user_id=ANA))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            while await refused.read() is not grpc.aio.EOF:
                pass
        error = from_rpc_error(caught.value)
        assert error.reason == "DAILY_BUDGET_SPENT"
        assert error.retry_after
        assert error.metadata["budget"] == "characters"
        for other in (start(engine="paid", user_id=BEN), start(engine="scripted", user_id=ANA)):
            call = stub.Converse()
            await call.write(other)
            assert await typed_turn(call)
            call.cancel()


def slow_reply(tmp_path: Path) -> Path:
    """Return a script whose replies take seconds, so that a learner can hang up within one."""
    path = tmp_path / "slow.toml"
    path.write_text("[language_model]\nfirst_token_ms = 300\ntoken_ms = 200\n")
    return path


async def hung_up_at(stub, kind: str, engine: str = "paid") -> None:
    """Say something as Ana and hang up as soon as ``kind`` comes."""
    call = stub.Converse()
    await call.write(start(engine=engine, user_id=ANA))
    await call.read()
    for frame in frames(speech(0.8) + silence(2.0)):
        await call.write(frame)
    while (response := await call.read()).WhichOneof("message") != kind:
        assert response.WhichOneof("message") != "reply_ended"
    call.cancel()


async def refused(stub, engine: str = "paid") -> str:
    """Return which budget of Ana's is told to be spent; waits until one is."""
    async with asyncio.timeout(10):
        while True:
            call = stub.Converse()
            await call.write(start(engine=engine, user_id=ANA))
            try:
                await call.read()
            except grpc.aio.AioRpcError as refusal:
                error = from_rpc_error(refusal)
                assert error.reason == "DAILY_BUDGET_SPENT"
                return error.metadata["budget"]
            call.cancel()
            # The service notices a moment later that somebody hung up.
            await asyncio.sleep(0.02)


async def test_what_was_heard_is_paid_for_though_the_learner_hangs_up_at_once(
    ai: Start, tmp_path: Path
):
    path = tmp_path / "ours.toml"
    path.write_text(METERED)
    slow = slow_reply(tmp_path)
    async with ai(engines_file=path, script=slow, daily_audio_seconds=2) as stub:
        for _ in range(2):
            await hung_up_at(stub, "turn_committed")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            for _ in range(4):
                await hung_up_at(stub, "turn_committed")
        assert from_rpc_error(caught.value).reason == "DAILY_BUDGET_SPENT"
        assert await refused(stub) == "audio_s"


@pytest.mark.parametrize(
    ("daily", "kind"), [("daily_tokens", "tokens"), ("daily_characters", "characters")]
)
async def test_what_was_written_and_spoken_is_paid_for_though_the_learner_hangs_up(
    ai: Start, tmp_path: Path, daily: str, kind: str
):
    path = tmp_path / "ours.toml"
    path.write_text(METERED)
    slow = slow_reply(tmp_path)
    async with ai(engines_file=path, script=slow, **{daily: 3}) as stub:
        await hung_up_at(stub, "reply_audio")
        assert await refused(stub) == kind


async def test_a_reply_that_is_complete_is_paid_for_once(ai: Start, tmp_path: Path):
    path = tmp_path / "ours.toml"
    path.write_text(METERED)
    async with ai(engines_file=path) as stub:
        call = stub.Converse()
        await call.write(start(engine="paid", user_id=ANA))
        used = [(await typed_turn(call))[-1].reply_ended.usage for _ in range(2)]
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    (file,) = (tmp_path / "budgets").iterdir()
    paid = [json.loads(line) for line in file.read_text().splitlines()]
    assert sum(each[2] for each in paid) == sum(each.output_tokens for each in used)
    assert sum(each[3] for each in paid) == sum(each.characters for each in used)


async def test_corrections_by_a_paid_model_are_paid_for_and_end_with_the_budget(
    ai: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("STAND_IN_KEY", KEY)

    async def assess(stub, engine: str, user: str) -> None:
        said = speech_pb2.Transcript(verbatim="Yesterday I go to the market.")
        config = ai_pb2.AssessConfig(transcript=said, engine=engine, user_id=user)
        await stub.Assess(iter([ai_pb2.AssessRequest(config=config)]))

    async with anthropic_server() as vendor:
        path = engine_file(tmp_path, vendor.base_url)
        async with ai(engines_file=path, engines=("mixed", "scripted"), daily_tokens=1) as stub:
            await assess(stub, "mixed", ANA)
            asked = len(vendor.http.requests)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await assess(stub, "mixed", ANA)
            assert len(vendor.http.requests) == asked == 1
            error = from_rpc_error(caught.value)
            assert error.reason == "DAILY_BUDGET_SPENT"
            assert error.metadata["budget"] == "tokens"
            for engine, user in (("mixed", BEN), ("mixed", ""), ("scripted", ANA)):
                await assess(stub, engine, user)


async def test_prices_and_what_was_seen_of_the_last_turns_are_listed(
    ai: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("STAND_IN_KEY", KEY)
    text = ENGINE.replace(
        "price =", "usd_per_million_tokens = 2.5\nusd_per_million_tokens_read = 0.5\nprice ="
    )
    async with anthropic_server() as vendor:
        path = tmp_path / "ours.toml"
        path.write_text(text.format(url=vendor.base_url))
        async with ai(engines_file=path) as stub:
            before = (await listed(stub))["mixed"]
            await one_turn(stub, "mixed")
            after = (await listed(stub))["mixed"]
    assert (before.price.million_tokens, before.price.million_tokens_read) == (2.5, 0.5)
    assert (before.seen_latency_ms, before.seen_prompt_tokens) == (0, 0)
    assert after.seen_latency_ms > 0
    # The rules of the tutor are in it.
    assert after.seen_prompt_tokens > 100


async def test_a_second_model_is_asked_where_the_first_is_slow_and_the_stages_say_so(
    ai: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("STAND_IN_KEY", KEY)
    text = ENGINE.replace('title = "Ours"', "hedge_after_ms = 20")
    async with anthropic_server() as vendor:
        vendor.fault = Broken(Break.SILENT)
        path = tmp_path / "ours.toml"
        path.write_text(text.format(url=vendor.base_url))
        async with ai(engines_file=path) as stub:
            responses = await one_turn(stub, "mixed")
            await vendor.http.until_connected(0)
    stages = next(each.reply_audio.stages for each in responses if each.reply_audio.stages)
    told = next(stage for stage in stages if stage.note)
    assert told.provider == "scripted"
    assert told.note == "stand-in failed: no first word within 20 ms"


# --- engines that hear and speak by themselves ------------------------------------------------


async def test_a_model_that_hears_and_speaks_by_itself_is_an_engine_like_any(
    ai: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("STAND_IN_KEY", realtime_vendor.KEY)
    path = tmp_path / "ours.toml"
    async with realtime_vendor.realtime_server() as vendor:
        path.write_text(
            "[speech_models.talker]\nadapter = 'openai'\napi_key_env = 'STAND_IN_KEY'\n"
            f"base_url = '{vendor.base_url}'\nmodel = '{realtime_vendor.MODEL}'\n"
            f"voices = {list(realtime_vendor.VOICES)}\n"
            "[engines.talking]\nturn_taking = 'scripted'\nspeech_model = 'talker'\n"
        )
        async with ai(engines_file=path) as stub:
            info = (await listed(stub))["talking"]
            responses = await one_turn(stub, "talking")
            await vendor.until_connected(0)
    assert info.available
    assert info.capabilities.speech_to_speech
    assert (info.recognizer, info.language_model, info.synthesizer) == ("", "talker", "")
    turn = next(each.turn_committed for each in responses if each.HasField("turn_committed"))
    assert turn.transcript.verbatim == "Hello, my name is Ana."
    assert reply_text(responses) == "Nice to meet you! What do you like?"
