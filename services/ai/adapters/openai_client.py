"""OpenAI's client, as all adapters of its protocols use it.

The official client speaks the protocol: it knows the failures and the forms of the stream that its
own server has, and compatible servers are tested against it. Its retries are switched off, since
they wait up to eight seconds; a chain of providers does better.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import openai
from pydantic import SecretStr

from services.ai.adapters.http_client import http_arguments, without
from services.ai.adapters.http_failures import (
    keep_quiet,
    status_failure,
    unreachable,
    unreadable,
)
from services.ai.capabilities import ProviderTimeoutError
from services.ai.engine_file import RemotePart

_OWN_ADDRESS = "https://api.openai.com/v1"
# The client insists on a key; servers of one's own that want none ignore it.
_NO_KEY = "none"

keep_quiet("openai")


def client_for(part: RemotePart, key: SecretStr | None) -> openai.AsyncOpenAI:
    """Return a client of ``part``'s address that never tries twice by itself.

    Every address and key is given, so that nothing of the environment sends it elsewhere.
    """
    http = http_arguments(part)
    with without("OPENAI_CUSTOM_HEADERS"):
        return openai.AsyncOpenAI(
            api_key=key.get_secret_value() if key else _NO_KEY,
            base_url=part.base_url or _OWN_ADDRESS,
            organization="",
            project="",
            timeout=http["timeout"],
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(**http),
        )


@contextmanager
def failures(who: str) -> Iterator[None]:
    """Tell of what the client raises as ``ProviderError``."""
    try:
        yield
    except openai.APIStatusError as error:
        code = error.code or error.type
        raise status_failure(who, error.status_code, code, error.response.headers) from error
    except openai.APITimeoutError as error:
        raise ProviderTimeoutError(f"{who} took too long to answer") from error
    except openai.APIConnectionError as error:
        raise unreachable(who) from error
    except openai.APIError as error:
        # In the middle of a stream: its body is the failure's, its status was 200.
        raise status_failure(who, 500, error.code or error.type, {}) from error
    except (openai.OpenAIError, httpx2.HTTPError, ValueError, TypeError, AttributeError) as error:
        # The client builds its objects without checking them: wrong forms show where they are used.
        raise unreadable(who) from error
