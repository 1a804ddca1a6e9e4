"""What the engine hears again is what history is told, and what is looked at for mistakes."""

from __future__ import annotations

import pytest

from parley.ai.v1 import ai_pb2
from parley.types.v1 import feedback_pb2, speech_pb2
from tests.integration.conversation.conftest import World

FIRST = "I love for him"
BETTER = "I left her at home"
LEFT = feedback_pb2.Correction(
    correction_id="01900000-0000-7000-8000-0000000000c2",
    kind=feedback_pb2.CORRECTION_KIND_GRAMMAR,
    first_word=1,
    end_word=2,
    original="left",
    replacement="had left",
    explanation="It was before.",
    confidence=0.8,
    scorer="test@1",
)


def revised(text: str) -> ai_pb2.TranscriptRevised:
    words = [speech_pb2.Word(text=word, confidence=0.9) for word in text.split()]
    transcript = speech_pb2.Transcript(verbatim=text, clean=text, words=words, recognizer="ear@1")
    return ai_pb2.TranscriptRevised(transcript=transcript)


async def test_the_better_words_are_in_the_history_and_in_the_corrections(world: World):
    world.ai.feedback.corrections.append(LEFT)
    talk = world.talk()
    started = await talk.start(engine="scripted")
    engine = await world.ai.session()
    generation = await engine.commit(FIRST, will_be_revised=True)
    await engine.speak(generation, "Did you go alone then?")
    await engine.send(1, generation, transcript_revised=revised(BETTER))
    told = await talk.until("feedback")
    finals = [each.transcript.verbatim for each in talk.of_kind("transcript") if each.final]
    assert finals == [FIRST, BETTER]
    assert list(told.feedback.feedback.corrections) == [LEFT]
    (asked,) = world.ai.assessed
    assert asked.transcript.verbatim == BETTER
    await world.history.wait_for(started.conversation_id, "turn")
    (turn,) = world.history.of(started.conversation_id, "turn")
    assert (turn.utterance.verbatim, turn.utterance.recognizer) == (BETTER, "ear@1")
    assert [word.text for word in turn.utterance.words] == BETTER.split()
    talk.call.cancel()


@pytest.mark.parametrize("announced", [True, False])
async def test_without_better_words_the_first_are_stored_and_looked_at(
    world: World, announced: bool
):
    talk = world.talk()
    started = await talk.start(engine="scripted")
    engine = await world.ai.session()
    generation = await engine.commit(FIRST, will_be_revised=announced)
    await engine.speak(generation, "Oh.")
    await talk.until("turn_saved")
    # Too late: the turn is stored, and what is said of it is said of these words.
    await engine.send(1, generation, transcript_revised=revised(BETTER))
    await talk.send(text={"text": "and then"})
    await talk.until("turn_saved")
    await world.history.wait_for(started.conversation_id, "turn", 2)
    first, _ = world.history.of(started.conversation_id, "turn")
    assert first.utterance.verbatim == FIRST
    assert [each.transcript.verbatim for each in world.ai.assessed] == [FIRST, "and then"]
    talk.call.cancel()
