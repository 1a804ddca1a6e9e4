"""Variables that vendors' clients read by themselves: none of them changes where a request goes, or
what goes with it. See docs/engines.md, "Keys".
"""

from __future__ import annotations

import os
from unittest import mock

import pytest
from google.genai import live
from pydantic import SecretStr
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from services.ai.adapters import gemini_live
from services.ai.adapters.anthropic_messages import AnthropicWire
from services.ai.adapters.openai_client import client_for
from services.ai.capabilities import GenerationOptions, Message, ProviderError, Role
from services.ai.engine_file import AnthropicMessages, GeminiLive, OpenAiChat
from services.ai.speech_model import Briefing
from tests.contract.ai import conftest, live_engines
from tests.contract.vendors.realtime_server import RealtimeServer

BRIEFING = Briefing("Be kind.", (), "", 1.0)
ASKED = (Message(Role.USER, "Hi"),)
# Port 1 of the loopback: whoever goes there finds nobody.
ELSEWHERE = "http://127.0.0.1:1/v1"
VARIABLES = {
    "ANTHROPIC_AUTH_TOKEN": "LEAKED",
    "ANTHROPIC_BASE_URL": ELSEWHERE,
    "ANTHROPIC_CUSTOM_HEADERS": "X-House: LEAKED\nX-Api-Key: LEAKED",
    "OPENAI_ADMIN_KEY": "LEAKED",
    "OPENAI_BASE_URL": ELSEWHERE,
    "OPENAI_CUSTOM_HEADERS": "X-House: LEAKED\nAuthorization: Bearer LEAKED",
    "OPENAI_ORG_ID": "LEAKED",
    "OPENAI_PROJECT_ID": "LEAKED",
    "GOOGLE_API_KEY": "LEAKED",
    "GOOGLE_GEMINI_BASE_URL": "https://127.0.0.1:1",
    "GOOGLE_GENAI_API_VERSION": "v9",
    "GOOGLE_GENAI_USE_VERTEXAI": "true",
}


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("make", conftest.REMOTE.values(), ids=conftest.REMOTE)
async def test_a_house_servers_language_model_gets_what_it_was_meant_to_get(make: conftest.Make):
    async with make() as subject:
        session = subject.model.open()
        pieces = [piece async for piece in session.stream(ASKED, GenerationOptions())]
        session.close()
        assert "".join(pieces) == subject.says
        (request,) = subject.vendor.http.requests
    assert "x-house" not in request.headers
    assert "LEAKED" not in str(request.headers)


async def test_a_house_servers_realtime_gets_what_it_was_meant_to_get(
    monkeypatch: pytest.MonkeyPatch,
):
    seen: list[str] = []
    refuse = RealtimeServer.refuse

    def look(
        vendor: RealtimeServer, connection: ServerConnection, request: Request
    ) -> Response | None:
        seen.append(str(request.headers))
        return refuse(vendor, connection, request)

    monkeypatch.setattr(RealtimeServer, "refuse", look)
    async with live_engines.realtime(connect_timeout_s=20) as subject:
        assert subject.model is not None
        await (await subject.model.connect(BRIEFING)).aclose()
    (headers,) = seen
    assert "x-house" not in headers.lower()
    assert "LEAKED" not in headers


async def test_gemini_without_an_address_is_googles():
    part = GeminiLive.model_validate({"adapter": "gemini"})
    model = gemini_live.speech_model("gemini", part, SecretStr("the-key"))
    try:
        with (
            mock.patch.object(live, "ws_connect", side_effect=OSError) as connect,
            pytest.raises(ProviderError),
        ):
            await model.connect(BRIEFING)
    finally:
        await model.aclose()
    (uri,), told = connect.call_args
    assert uri.startswith("wss://generativelanguage.googleapis.com/ws/")
    assert ".v1beta." in uri
    assert "LEAKED" not in f"{uri} {told}"


async def test_what_has_no_address_is_the_vendors():
    key = SecretStr("the-key")
    openai = client_for(
        OpenAiChat.model_validate({"adapter": "openai", "model": "gpt-5.4-mini"}), key
    )
    anthropic = AnthropicWire("claude", AnthropicMessages(adapter="anthropic"), key)
    assert str(openai.base_url) == "https://api.openai.com/v1/"
    assert str(anthropic._client.base_url).rstrip("/") == "https://api.anthropic.com"
    await openai.close()
    await anthropic.aclose()


def test_the_environment_itself_stays_as_it_was():
    part = OpenAiChat.model_validate({"adapter": "openai", "model": "gpt-5.4-mini"})
    client_for(part, SecretStr("the-key"))
    assert {name: os.environ.get(name) for name in VARIABLES} == VARIABLES
