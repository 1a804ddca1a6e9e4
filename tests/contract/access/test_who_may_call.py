"""Caller by method: who gets in is written here once more, and held against real servers."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from google.protobuf.descriptor import MethodDescriptor

from tests.contract.access.conftest import SERVICES, Doors, methods

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.leaves_behind("what the services of all these tests begin when it is first needed"),
]


@dataclass(frozen=True)
class Rule:
    """Who gets in: anybody, a learner, these services alone, these with a learner's token."""

    anybody: bool = False
    learner: bool = False
    alone: frozenset[str] = field(default_factory=frozenset)
    with_learner: frozenset[str] = field(default_factory=frozenset)


ANYBODY = Rule(anybody=True)
LEARNER = Rule(learner=True)


def only(*services: str) -> Rule:
    return Rule(alone=frozenset(services), with_learner=frozenset(services))


def learner_or(*services: str) -> Rule:
    return Rule(False, True, frozenset(services), frozenset(services))


def learner_also_through(*services: str) -> Rule:
    """The data is the learner's: a service gets it with the learner's own token, never alone."""
    return Rule(learner=True, with_learner=frozenset(services))


RULES: dict[str, Rule] = {
    "user.Register": ANYBODY,
    "user.Login": ANYBODY,
    "user.Refresh": ANYBODY,
    "user.Logout": ANYBODY,
    "user.GetJwks": ANYBODY,
    "user.GetProfile": learner_also_through("conversation", "history"),
    "user.UpdateProfile": LEARNER,
    "user.ChangePassword": LEARNER,
    "user.ListSessions": LEARNER,
    "user.RevokeSession": LEARNER,
    "user.DeleteAccount": LEARNER,
    "user.ExportData": LEARNER,
    # Tells which of the ids that it is given are over, and nothing else.
    "user.FindEndedSessions": only("conversation", "ai", "history", "media"),
    "conversation.Converse": LEARNER,
    "conversation.Subscribe": LEARNER,
    "conversation.Upload": LEARNER,
    "conversation.Push": LEARNER,
    "conversation.ListScenarios": LEARNER,
    "conversation.GetConversationState": LEARNER,
    # Erasing reads nothing.
    "conversation.EraseUser": only("user"),
    "history.EraseUser": only("user"),
    "media.EraseUser": only("user"),
    # Models keep nothing: what they are asked comes with the call.
    "ai.Converse": only("conversation"),
    "ai.Transcribe": learner_or("conversation", "media", "history"),
    "ai.Generate": learner_or("conversation", "history"),
    "ai.Synthesize": learner_or("conversation", "history"),
    "ai.Assess": learner_or("conversation", "history"),
    "ai.ListEngines": learner_or("conversation"),
    "ai.ListVoices": learner_or("conversation"),
    # Events come in; nothing goes out.
    "history.Ingest": only("conversation", "media", "ai"),
    "history.ListConversations": LEARNER,
    "history.GetConversation": LEARNER,
    "history.SearchTurns": LEARNER,
    "history.DeleteConversation": LEARNER,
    "history.GetProgress": LEARNER,
    "history.ListMistakes": LEARNER,
    "history.ExportConversations": LEARNER,
    "media.Record": only("conversation"),
    "media.UploadAudio": LEARNER,
    "media.GetRecording": LEARNER,
    "media.ListRecordings": LEARNER,
    "media.DownloadRecording": LEARNER,
    "media.CreateDownloadUrl": LEARNER,
    "media.DeleteRecording": learner_or("history"),
}

AT_THE_DOOR = frozenset(
    {"TOKEN_MISSING", "TOKEN_INVALID", "SERVICE_IDENTITY_REQUIRED", "SERVICE_IDENTITY_INVALID"}
)

each_method = pytest.mark.parametrize(
    ("callee", "method"),
    [pytest.param(*each, id=f"{each[0]}.{each[1].name}") for each in methods()],
)


async def test_every_method_of_the_contract_has_a_rule_here_and_no_other_has():
    assert set(RULES) == {f"{name}.{method.name}" for name, method in methods()}


@each_method
async def test_nobody_gets_in_without_a_token(doors: Doors, callee: str, method: MethodDescriptor):
    rule = RULES[f"{callee}.{method.name}"]
    reason = await doors.knock(callee, method, ())
    assert (reason not in AT_THE_DOOR) is rule.anybody, reason


@each_method
async def test_a_learner_gets_into_what_is_the_learners(
    doors: Doors, callee: str, method: MethodDescriptor
):
    rule = RULES[f"{callee}.{method.name}"]
    reason = await doors.knock(callee, method, doors.learner)
    assert (reason not in AT_THE_DOOR) is (rule.anybody or rule.learner), reason
    assert reason != "INTERNAL"


@each_method
@pytest.mark.parametrize("caller", SERVICES)
async def test_a_service_gets_in_where_it_is_named_and_to_no_learners_data_alone(
    doors: Doors, callee: str, method: MethodDescriptor, caller: str
):
    rule = RULES[f"{callee}.{method.name}"]
    reason = await doors.knock(callee, method, doors.service(caller, callee))
    assert (reason not in AT_THE_DOOR) is (rule.anybody or caller in rule.alone), reason
    assert reason != "INTERNAL"


@each_method
@pytest.mark.parametrize("caller", SERVICES)
async def test_a_service_carries_a_learners_token_only_where_it_is_named(
    doors: Doors, callee: str, method: MethodDescriptor, caller: str
):
    rule = RULES[f"{callee}.{method.name}"]
    shown = (*doors.service(caller, callee), *doors.learner)
    reason = await doors.knock(callee, method, shown)
    # Where no service is named, its identity is not looked at: the learner's token counts alone.
    names_none = rule.learner and not rule.with_learner
    expected = rule.anybody or names_none or caller in rule.with_learner
    assert (reason not in AT_THE_DOOR) is expected, reason


@each_method
async def test_a_token_for_one_service_opens_no_other(
    doors: Doors, callee: str, method: MethodDescriptor
):
    rule = RULES[f"{callee}.{method.name}"]
    for caller in rule.alone:
        for other in set(SERVICES) - {callee}:
            reason = await doors.knock(callee, method, doors.service(caller, other))
            assert reason == "SERVICE_IDENTITY_INVALID"
