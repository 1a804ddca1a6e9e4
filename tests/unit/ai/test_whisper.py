"""Hearing closely, with models that only count: what is heard, how often, and when it is not."""

import asyncio
import threading
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
import pytest

from services.ai.adapters.local_recognition import MAX_AUDIO_S, Again
from services.ai.adapters.moonshine_model import Token, text_of
from services.ai.adapters.whisper import WhisperRecognizer, in_its_room
from services.ai.compute import ComputePool
from services.ai.spare_time import SpareTime
from tests.unit.ai.test_segmenter import SECOND, Loud, sound

SENTENCE = (("voice", 1.5), ("pause", 0.1))
GOES_ON = (("pause", 0.8), *SENTENCE)
VOCABULARY = ["▁closely".encode(), "▁café,".encode(), "日".encode()[:2], "日".encode()[2:], b"."]
END = len(VOCABULARY)


class Saying:
    """A decoder that says ``tokens``."""

    end = END

    def __init__(self, tokens: Sequence[int], on_step: Callable[[], object]) -> None:
        self._tokens = (*tokens, END)
        self._said = 0
        self._on_step = on_step

    def begin(self) -> np.ndarray:
        return self._row()

    def extend(self, parents: Sequence[int], tokens: Sequence[int]) -> np.ndarray:
        self._said += 1
        self._on_step()
        return np.tile(self._row(), (len(tokens), 1))

    def _row(self) -> np.ndarray:
        row = np.full(END + 1, -50.0, np.float32)
        row[self._tokens[min(self._said, len(self._tokens) - 1)]] = 0.0
        return row


class Whisper:
    """Says the same of everything; notes how much it heard and how long the window was."""

    def __init__(self) -> None:
        self.vocabulary = VOCABULARY
        self.says: tuple[int, ...] = (0,)
        self.heard: list[tuple[int, int]] = []
        self.on_step: Callable[[], object] = lambda: None

    def listen(self, samples: np.ndarray, window: int) -> Saying:
        self.heard.append((len(samples), window))
        return Saying(self.says, self.on_step)

    def token_limit(self, samples: int) -> int:
        return 30


class Moonshine:
    """Says the same of everything, or nothing; notes its drafts."""

    def __init__(self) -> None:
        self.says = "roughly"
        self.drafts: list[str] = []

    def decode(
        self, audio: np.ndarray, stopped: Callable[[], bool], draft: Sequence[Token] = ()
    ) -> tuple[Token, ...]:
        self.drafts.append(text_of(tuple(draft)))
        return tuple(Token(0, f"▁{word}".encode(), -0.1) for word in self.says.split())


class Ears:
    """The recognizer and the models that it hears with."""

    def __init__(self, pool: ComputePool, again: Again | None = None) -> None:
        self.whisper, self.moonshine = Whisper(), Moonshine()
        self.recognizer = WhisperRecognizer(
            self.whisper, self.moonshine, Loud(), pool, segment_s=14.0, again=again
        )
        self.whisper.heard.clear()
        self.moonshine.drafts.clear()
        self.session = self.recognizer.open()


@pytest.fixture
def pool() -> Iterator[ComputePool]:
    pool = ComputePool(2, 8)
    yield pool
    pool.close()


@pytest.fixture
def ears(pool: ComputePool) -> Ears:
    return Ears(pool)


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize("audio", [np.zeros(0, np.int16), np.zeros(SECOND, np.int16)])
async def test_silence_is_given_to_no_model(ears: Ears, audio: np.ndarray):
    ears.session.feed(audio)
    assert (await ears.session.final()).is_empty
    assert await ears.session.partial() == ""
    assert ears.whisper.heard == []
    assert ears.moonshine.drafts == []


async def test_a_noise_that_moonshine_hears_no_words_in_has_none(ears: Ears):
    ears.moonshine.says = ""
    ears.session.feed(sound(*SENTENCE))
    assert (await ears.session.final()).is_empty
    assert ears.whisper.heard == []


async def test_five_minutes_are_heard_as_far_as_they_are_kept_and_in_pieces(ears: Ears):
    for _ in range(5):
        ears.session.feed(sound(("voice", 60.0)))
    transcript = await ears.session.final()
    assert transcript.audio_ms == 1000 * MAX_AUDIO_S
    assert len(ears.whisper.heard) >= MAX_AUDIO_S / 14
    assert max(window for _, window in ears.whisper.heard) <= 16.5 * SECOND
    assert len(transcript.words) == len(ears.whisper.heard)


async def test_what_whisper_says_without_words_leaves_moonshines(ears: Ears):
    ears.whisper.says = (4,)
    ears.session.feed(sound(*SENTENCE))
    assert (await ears.session.final()).verbatim == "roughly"


async def test_letters_of_several_tokens_come_whole(ears: Ears):
    ears.whisper.says = (0, 1, 2, 3)
    ears.session.feed(sound(*SENTENCE))
    assert (await ears.session.final()).verbatim == "closely café,日"


async def test_a_loop_is_cut(ears: Ears):
    ears.whisper.says = (0,) * 20
    ears.session.feed(sound(*SENTENCE))
    assert (await ears.session.final()).verbatim == "closely"


# --- what is heard when -----------------------------------------------------------------------


async def test_captions_are_moonshines_and_the_transcript_whispers(ears: Ears):
    ears.session.feed(sound(("voice", 1.0)))
    assert await ears.session.partial() == "roughly"
    ears.session.feed(sound(("voice", 0.5), ("pause", 0.1)))
    transcript = await ears.session.final()
    assert transcript.verbatim == "closely"
    assert transcript.words[0].confidence == pytest.approx(1.0)
    # The caption had words: nobody need ask again.
    assert ears.moonshine.drafts == [""]
    ((samples, window),) = ears.whisper.heard
    assert samples == pytest.approx(2.1 * SECOND, abs=1024)
    assert window == pytest.approx(4.1 * SECOND, abs=1024)


async def test_what_was_heard_before_a_long_pause_is_not_heard_again(ears: Ears):
    ears.session.feed(sound(*SENTENCE))
    await ears.session.final()
    ears.session.feed(sound(*GOES_ON))
    transcript = await ears.session.final()
    assert transcript.verbatim == "closely closely"
    assert len(ears.whisper.heard) == 2
    first, second = transcript.words
    assert first.end_ms <= 1700
    assert second.start_ms >= 2000


async def test_what_nobody_asked_for_at_the_pause_is_heard_with_the_next_caption(ears: Ears):
    ears.session.feed(sound(*SENTENCE, *GOES_ON))
    assert await ears.session.partial() == "closely roughly"
    assert len(ears.whisper.heard) == 1
    assert ears.moonshine.drafts == ["", ""]
    assert (await ears.session.final()).verbatim == "closely closely"
    assert len(ears.whisper.heard) == 2


async def test_after_a_short_pause_the_sentence_is_heard_as_a_whole(ears: Ears):
    ears.session.feed(sound(*SENTENCE))
    await ears.session.final()
    ears.session.feed(sound(("pause", 0.2), *SENTENCE))
    assert (await ears.session.final()).verbatim == "closely"
    (first, _), (whole, _) = ears.whisper.heard
    assert whole > first + 1.5 * SECOND


async def test_a_pause_that_goes_on_is_not_heard_again(ears: Ears):
    ears.session.feed(sound(*SENTENCE))
    first = await ears.session.final()
    ears.session.feed(sound(("pause", 0.5)))
    second = await ears.session.final()
    assert second.verbatim == first.verbatim
    assert second.audio_ms > first.audio_ms
    assert len(ears.whisper.heard) == 1


def test_the_room_is_where_it_is_quietest():
    audio = sound(("voice", 0.5), ("pause", 0.2), ("voice", 0.5))
    behind = in_its_room(audio)[len(audio) :]
    assert len(behind) == 0.5 * SECOND
    assert 20 < np.abs(behind).max() <= 50
    assert len(in_its_room(audio[:100])) == 100


# --- stopping ---------------------------------------------------------------------------------


async def test_a_hearing_that_is_cancelled_stops_and_leaves_nothing(ears: Ears, pool: ComputePool):
    begun, go_on = threading.Event(), threading.Event()
    steps = 0

    def wait() -> None:
        nonlocal steps
        steps += 1
        begun.set()
        go_on.wait(20)

    ears.whisper.says = (0,) * 20
    ears.whisper.on_step = wait
    ears.session.feed(sound(*SENTENCE))
    hearing = asyncio.create_task(ears.session.final())
    while not begun.is_set():
        await asyncio.sleep(0)
    hearing.cancel()
    await asyncio.gather(hearing, return_exceptions=True)
    go_on.set()
    ears.whisper.says = (1,)
    assert (await ears.session.final()).verbatim == "café,"
    # One of the hearing that was stopped, one of the other.
    assert steps == 2
    ears.session.close()
    ears.session.close()


async def test_no_caption_is_made_while_the_pool_works(ears: Ears, pool: ComputePool):
    ears.session.feed(sound(*SENTENCE))
    working = asyncio.create_task(pool.run(lambda: 1))
    await asyncio.sleep(0)
    assert await ears.session.partial() is None
    await working


class Careful:
    """Hears everything again."""

    def hear(
        self, samples: np.ndarray, expected: Collection[str], stopped: Callable[[], bool]
    ) -> list[tuple[str, float]]:
        return [("carefully", 0.9)]


async def test_it_is_heard_a_second_time(pool: ComputePool):
    spare = SpareTime()
    session = Ears(pool, Again("both", Careful(), spare)).session
    session.feed(sound(*SENTENCE))
    transcript = await session.again(())
    spare.close()
    assert session.again_by == "both"
    assert transcript is not None
    assert transcript.verbatim == "carefully"
