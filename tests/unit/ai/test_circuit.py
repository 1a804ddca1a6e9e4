"""A provider that failed is left alone, and found again."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest

from services.ai.capabilities import (
    GenerationOptions,
    Message,
    ProviderBusyError,
    ProviderError,
    ProviderRefusedError,
    ProviderTimeoutError,
)
from services.ai.circuit import Circuit
from services.ai.fallback import (
    FallbackLanguageModel,
    FallbackRecognizer,
    Named,
    Switch,
    record_switches,
)
from services.ai.streams import closable

AGAIN = ProviderError("it is down", retryable=True)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize(
    ("error", "alone_s"),
    [
        (AGAIN, 5.0),
        (ProviderTimeoutError("slow"), 5.0),
        (ProviderBusyError("full"), 5.0),
        (ProviderBusyError("full", 42.0), 42.0),
        (ProviderBusyError("full", 86_400.0), 900.0),
        (ProviderBusyError("full", 0.0), 0.0),
        (ProviderRefusedError("no key"), 60.0),
        (ProviderError("too long", retryable=False, elsewhere=True), 0.0),
    ],
)
def test_how_long_is_the_failures_to_say(clock: Clock, error: ProviderError, alone_s: float):
    circuit = Circuit(clock)
    assert circuit.failed(error) == alone_s
    assert circuit.admits() is (alone_s == 0)
    clock.now += alone_s
    assert circuit.admits()


def test_failures_in_a_row_double_the_time_up_to_a_bound(clock: Clock):
    circuit = Circuit(clock)
    times = []
    for _ in range(7):
        times.append(circuit.failed(AGAIN))
        clock.now += times[-1]
    assert times == [5, 10, 20, 40, 80, 120, 120]
    circuit.succeeded()
    assert circuit.failed(AGAIN) == 5


def test_one_call_tries_again_while_the_others_go_elsewhere(clock: Clock):
    circuit = Circuit(clock)
    circuit.failed(AGAIN)
    clock.now += 5
    assert circuit.admits()
    assert not circuit.admits()
    circuit.succeeded()
    assert circuit.admits()


def test_a_trial_that_never_ended_does_not_shut_the_provider_out(clock: Clock):
    circuit = Circuit(clock)
    circuit.failed(AGAIN)
    clock.now += 5
    assert circuit.admits()
    clock.now += 15
    assert circuit.admits()


# --- in a row of providers -----------------------------------------------------------------------


class Model:
    """A language model that fails as it is told to, and counts how often it was asked."""

    def __init__(self, says: str, error: ProviderError | None = None, after: int = 0) -> None:
        self.says, self.error, self.after = says, error, after
        self.asked = 0

    def open(self) -> "Model":
        return self

    async def stream(
        self, messages: Sequence[Message], options: GenerationOptions
    ) -> AsyncIterator[str]:
        self.asked += 1
        for index, piece in enumerate(self.says.split()):
            if self.error and index >= self.after:
                raise self.error
            yield piece
        if self.error:
            raise self.error

    def close(self) -> None:
        return


async def said(chain: FallbackLanguageModel) -> str:
    session = chain.open()
    return " ".join([piece async for piece in session.stream([], GenerationOptions())])


async def test_what_is_left_alone_is_not_asked_and_the_turn_says_why(clock: Clock):
    first, second = Model("first", AGAIN), Model("second")
    chain = FallbackLanguageModel(
        [Named("a", first, Circuit(clock)), Named("b", second, Circuit(clock))]
    )
    assert await said(chain) == "second"
    switches: list[Switch] = []
    record_switches(switches)
    assert await said(chain) == "second"
    assert first.asked == 1
    assert [each.note for each in switches] == ["a failed: left alone for now, since it is down"]
    first.error = None
    clock.now += 5
    assert await said(chain) == "first"
    assert await said(chain) == "first"


async def test_the_last_of_a_row_is_asked_in_any_case(clock: Clock):
    first, second = Model("first", AGAIN), Model("second", AGAIN)
    chain = FallbackLanguageModel(
        [Named("a", first, Circuit(clock)), Named("b", second, Circuit(clock))]
    )
    for _ in range(3):
        with pytest.raises(ProviderError):
            await said(chain)
    assert (first.asked, second.asked) == (1, 3)


async def test_a_reply_that_breaks_in_the_middle_counts_and_is_not_begun_again(clock: Clock):
    first, second = Model("one two three", AGAIN, after=2), Model("second")
    chain = FallbackLanguageModel(
        [Named("a", first, Circuit(clock)), Named("b", second, Circuit(clock))]
    )
    with pytest.raises(ProviderError):
        await said(chain)
    assert second.asked == 0
    assert await said(chain) == "second"


async def test_a_reply_that_was_interrupted_is_no_failure(clock: Clock):
    circuit = Circuit(clock)
    circuit.failed(AGAIN)
    clock.now += 5
    chain = FallbackLanguageModel(
        [Named("a", Model("one two"), circuit), Named("b", Model("second"), Circuit(clock))]
    )
    async with aclosing(closable(chain.open().stream([], GenerationOptions()))) as stream:
        assert await anext(stream) == "one"
    assert await said(chain) == "one two"


async def test_recognizers_are_left_alone_too(clock: Clock):
    class Ear:
        def __init__(self, error: ProviderError | None) -> None:
            self.error, self.asked = error, 0

        def open(self) -> "Ear":
            return self

        async def final(self) -> str:
            self.asked += 1
            if self.error:
                raise self.error
            return "heard"

    first, second = Ear(ProviderRefusedError("no key")), Ear(None)
    chain = FallbackRecognizer(
        [Named("a", first, Circuit(clock)), Named("b", second, Circuit(clock))]
    )
    for _ in range(3):
        assert await chain.open().final() == "heard"
    assert (first.asked, second.asked) == (1, 3)
