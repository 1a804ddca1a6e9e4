"""An engine file says what is wrong in it, and never what a key is."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from services.ai.engine_file import EngineFile, EngineFileError, EnginePart, OpenAiChat
from services.ai.keys import KeyMissingError, find_key


def read(tmp_path: Path, text: str) -> EngineFile:
    path = tmp_path / "engines.toml"
    path.write_text(text, encoding="utf-8")
    return EngineFile.read(path)


# --- bad files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[engines", "engines.toml: "),
        ("engines = 3", "engines: "),
        ("[engine.x]", "engine: there is no such setting"),
        ("[engines.Bad_Name]", "a name has up to 63"),
        ("[engines.x]\nrecogniser = 'local'", "engines.x.recogniser: there is no such setting"),
        ("[engines.x]\nlanguage_model = 'cloude'", "did you mean 'claude'?"),
        ("[engines.x]\nlanguage_model = []", "engines.x.language_model: "),
        ("[engines.x]\nlanguage_model = ['claude', 'claude']", "names one twice"),
        ("[engines.local]", "engines.local: there is one of this name already"),
        ("[language_models.local]\nadapter = 'anthropic'", "language_models.local: there is one"),
        ("[recognizers.moonshine-tiny-en]\nadapter = 'riva'", "moonshine-tiny-en: there is one"),
        ("[engines.x]\nrecognizer = 'moonshine-tiny'", "did you mean 'moonshine-tiny-en'?"),
        ("[engines.x]\nrecognizer = 'smollm2-135m-instruct'", "no 'smollm2-135m-instruct'"),
        ("[engines.x]\nspeech_model = 'moonshine-tiny-en'", "there is no 'moonshine-tiny-en'"),
        ("[language_models.x]\nadapter = 'nosuch'", "'nosuch'"),
        ("[language_models.x]\nadapter = 'openai'", "language_models.x.model: "),
        (
            "[language_models.x]\nadapter = 'openai'\nmodel = 'm'\nfirst_timeout_s = 0",
            "language_models.x.first_timeout_s: ",
        ),
        (
            "[language_models.x]\nadapter = 'anthropic'\nbase_url = 'ftp://x'",
            "language_models.x.base_url: must be like http://host:port/v1",
        ),
        (
            "[synthesizers.openai]\nadapter = 'openai'\nvoices = []",
            "synthesizers.openai.voices: ",
        ),
        (
            "[recognizers.x]\nadapter = 'openai'\nlanguage = 'English'",
            "recognizers.x.language: ",
        ),
        (
            "[synthesizers.x]\nadapter = 'edge'\nvoices = ['a<b']",
            "synthesizers.x.voices.0: ",
        ),
        ("[synthesizers.x]\nadapter = 'edge'\napi_key_env = 'A'", "there is no such setting"),
        ("default = 'nosuch'", "default: there is no 'nosuch'"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, text: str, told: str):
    with pytest.raises(EngineFileError) as caught:
        read(tmp_path, text)
    assert told in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_every_fault_of_a_file_is_told_at_once(tmp_path: Path):
    with pytest.raises(EngineFileError) as caught:
        read(tmp_path, "default = 'a'\n[engines.x]\nrecognizer = 'b'\nsynthesizer = 'c'")
    for name in ("'a'", "'b'", "'c'"):
        assert name in str(caught.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path):
    with pytest.raises(EngineFileError, match=r"nowhere\.toml"):
        EngineFile.read(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    "line",
    [
        "api_key_env = 'sk-secret-0'",
        "base_url = 'https://user:sk-secret-0@host/v1'",
        "base_url = 'https://host/v1?key=sk-secret-0'",
        "api_key = 'sk-secret-0'",
    ],
)
def test_a_key_put_in_the_wrong_place_is_not_repeated(tmp_path: Path, line: str):
    with pytest.raises(EngineFileError) as caught:
        read(tmp_path, f"[language_models.x]\nadapter = 'openai'\nmodel = 'm'\n{line}")
    assert "sk-secret" not in str(caught.value)


def test_a_key_has_one_place(tmp_path: Path):
    with pytest.raises(EngineFileError, match="cannot both be set"):
        read(
            tmp_path,
            "[language_models.x]\nadapter = 'anthropic'\n"
            "api_key_env = 'A'\napi_key_file = '/run/a'",
        )


def test_a_model_that_hears_and_speaks_by_itself_takes_no_other_parts(tmp_path: Path):
    for part in ("recognizer", "synthesizer"):
        with pytest.raises(EngineFileError, match=f"a speech_model needs no {part}"):
            read(tmp_path, f"[engines.x]\nspeech_model = 'realtime'\n{part} = 'local'")
    with pytest.raises(EngineFileError, match=r"engines\.x\.speech_model: there is no 'local'"):
        read(tmp_path, "[engines.x]\nspeech_model = 'local'")
    with pytest.raises(EngineFileError, match=r"speech_models\.y: base_url must begin with https"):
        read(tmp_path, "[speech_models.y]\nadapter = 'gemini'\nbase_url = 'http://a'")


# --- good files -------------------------------------------------------------------------------


def test_what_parley_ships_is_right():
    shipped = EngineFile.read(None)
    names = "claude openai openai-all edge ollama vllm llama-server riva realtime gemini".split()
    assert set(shipped.engines) == set(names)
    assert not shipped.own
    assert all(engine.needs_local_models for engine in shipped.engines.values())


def test_a_hosts_engines_come_in_their_order_and_over_what_is_shipped(tmp_path: Path):
    file = read(
        tmp_path,
        """
        default = "ours"
        [language_models.claude]
        adapter = "anthropic"
        model = "claude-sonnet-5-5"
        [language_models.house]
        adapter = "openai"
        base_url = "http://gpu:8000/v1/"
        model = "m"
        [engines.ours]
        language_model = ["house", "claude", "local"]
        [engines.claude]
        language_model = "claude"
        """,
    )
    assert file.own == ("ours", "claude")
    assert file.language_models["claude"].model == "claude-sonnet-5-5"
    assert file.language_models["house"].base_url == "http://gpu:8000/v1"
    assert file.engines["ours"].language_model == ("house", "claude", "local")
    assert file.engines["claude"].language_model == ("claude",)
    assert "ollama" in file.engines


def test_an_engine_of_scripts_alone_needs_no_models():
    scripted = ("scripted",)
    part = EnginePart(
        turn_taking="scripted",
        recognizer=scripted,
        language_model=("claude", "local"),
        synthesizer=scripted,
    )
    assert not part.needs_local_models


def test_an_engine_may_name_models_of_this_machine_beside_those_of_the_preset(tmp_path: Path):
    file = read(
        tmp_path,
        """
        [engines.small]
        recognizer = ["moonshine-tiny-en", "local"]
        language_model = "qwen2.5-coder-0.5b-instruct"
        """,
    )
    small = file.engines["small"]
    assert small.recognizer == ("moonshine-tiny-en", "local")
    assert small.language_model == ("qwen2.5-coder-0.5b-instruct",)


def test_an_engine_that_names_models_of_this_machine_alone_cannot_do_without():
    scripted = ("scripted",)
    for recognizer, needs in (
        (("moonshine-tiny-en",), True),
        (("moonshine-tiny-en", "local"), True),
        (("openai", "moonshine-tiny-en"), False),
    ):
        part = EnginePart(
            turn_taking="scripted",
            recognizer=recognizer,
            language_model=scripted,
            synthesizer=scripted,
        )
        assert part.needs_local_models is needs


# --- keys -------------------------------------------------------------------------------------


def remote(**settings: object) -> OpenAiChat:
    return OpenAiChat.model_validate({"adapter": "openai", "model": "m", **settings})


def test_a_key_comes_from_the_usual_variable_only_for_the_vendors_own_address():
    environment = {"OPENAI_API_KEY": "sk-1"}
    assert find_key(remote(), "OPENAI_API_KEY", environment) == SecretStr("sk-1")
    elsewhere = remote(base_url="http://gpu:8000/v1")
    assert find_key(elsewhere, "OPENAI_API_KEY", environment) is None


def test_a_key_comes_from_a_variable_or_a_file_of_ones_own(tmp_path: Path):
    path = tmp_path / "key"
    path.write_text("sk-2\n")
    for part, environment in (
        (remote(api_key_env="HOUSE"), {"HOUSE": "sk-2"}),
        (remote(api_key_env="HOUSE"), {"HOUSE_FILE": str(path)}),
        (remote(api_key_file=str(path)), {}),
    ):
        assert find_key(part, "OPENAI_API_KEY", environment) == SecretStr("sk-2")


@pytest.mark.parametrize("value", ["", " ", "two words", "line\nbreak", "schlüssel"])
def test_what_is_no_key_is_refused_and_not_shown(tmp_path: Path, value: str):
    path = tmp_path / "key"
    path.write_text(value, encoding="utf-8")
    with pytest.raises(KeyMissingError) as caught:
        find_key(remote(api_key_file=str(path)), None, {})
    assert not value.strip() or value not in str(caught.value)


def test_a_missing_key_says_where_it_was_looked_for(tmp_path: Path):
    with pytest.raises(KeyMissingError, match="OPENAI_API_KEY_FILE"):
        find_key(remote(), "OPENAI_API_KEY", {})
    with pytest.raises(KeyMissingError, match="No such file"):
        find_key(remote(api_key_file=str(tmp_path / "none")), None, {})


def test_a_shown_part_has_no_key(tmp_path: Path):
    key = find_key(remote(api_key_env="HOUSE"), None, {"HOUSE": "sk-3"})
    assert "sk-3" not in f"{key!r} {key}"


def test_who_looks_for_mistakes_is_named_where_a_model_speaks_by_itself(tmp_path: Path):
    file = read(
        tmp_path,
        """
        [engines.alone]
        speech_model = "realtime"
        turn_taking = "scripted"
        [engines.corrected]
        speech_model = ["realtime", "gemini"]
        language_model = "claude"
        turn_taking = "scripted"
        """,
    )
    assert file.engines["alone"].corrector == ()
    assert file.engines["corrected"].corrector == ("claude",)
    assert not file.engines["alone"].needs_local_models
