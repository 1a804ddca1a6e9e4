"""Register and Login: success, and each documented failure."""

import asyncio
import threading
from collections import Counter
from typing import Any

import bcrypt
import grpc
import pytest

from parley.types.v1 import learner_pb2
from parley.user.v1 import user_pb2 as pb
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.ids import new_id
from services.common.lifecycle import running
from services.user.bootstrap import bootstrap
from services.user.passwords import PasswordHasher
from tests.contract.user.conftest import NEW_PASSWORD, PASSWORD, Users, bearer


def stored_hash(users: Users) -> bytes:
    ((found,),) = users.rows("SELECT password_hash FROM accounts")
    return bytes(found)


def login(username: str = "Ada", password: str = PASSWORD) -> pb.LoginRequest:
    return pb.LoginRequest(username=username, password=password)


# --- Register -----------------------------------------------------------------------------------


async def test_register_makes_an_account_and_signs_it_in(users: Users):
    profile = learner_pb2.LearnerProfile(
        display_name="Ada", level=learner_pb2.CEFR_LEVEL_B1, goals=["order food"]
    )
    answer = await users.register(profile=profile)
    assert answer.account.username == "Ada"
    assert answer.account.profile == profile
    assert answer.account.created_at.ToDatetime() == users.clock.now().replace(tzinfo=None)
    got = await users.stub.GetProfile(pb.GetProfileRequest(), metadata=bearer(answer.tokens))
    assert got.account == answer.account


@pytest.mark.parametrize("again", ["Ada", "ada", "ADA", "Ａｄａ"])
async def test_a_username_is_taken_in_every_form_that_looks_the_same(users: Users, again):
    await users.register("Ada")
    request = pb.RegisterRequest(username=again, password=PASSWORD)
    assert (await users.refused("Register", request)).reason == "USERNAME_TAKEN"


async def test_of_many_who_want_one_name_at_once_one_gets_it(users: Users):
    results = await asyncio.gather(
        *(users.register("Ada") for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(each, pb.RegisterResponse) for each in results) == 1


@pytest.mark.parametrize(
    ("username", "password", "field"),
    [
        ("ab", PASSWORD, "username"),
        ("", PASSWORD, "username"),
        ("a" * 65, PASSWORD, "username"),
        ("has space", PASSWORD, "username"),
        (".dots", PASSWORD, "username"),
        ("new\nline", PASSWORD, "username"),
        ("emoji😀", PASSWORD, "username"),
        ("ada", "short", "password"),
        ("ada", "x" * 257, "password"),
        ("ada@nowhere", PASSWORD, "username"),
        ("\u0430da", PASSWORD, "username"),
    ],
)
async def test_a_bad_field_is_named(users: Users, username, password, field):
    request = pb.RegisterRequest(username=username, password=password)
    error = await users.refused("Register", request)
    assert error.reason == "INVALID_REQUEST"
    assert [each.field for each in error.fields] == [field]


async def test_a_password_that_everybody_has_is_refused(users: Users):
    request = pb.RegisterRequest(username="ada", password="Password1")
    error = await users.refused("Register", request)
    assert error.reason == "PASSWORD_TOO_COMMON"
    assert [each.field for each in error.fields] == ["password"]
    await users.register("ada")  # the name was not used up


@pytest.mark.parametrize(
    "username", ["ada.l-o_v+e", "ada@example.org", "Ångström", "李小龙", "हिन्दी"]
)
async def test_names_of_every_script_and_addresses_are_welcome(users: Users, username):
    answer = await users.register(username)
    await users.stub.Login(login(username.upper()))
    assert answer.account.username == username


async def test_an_unknown_time_zone_is_named(users: Users):
    profile = learner_pb2.LearnerProfile(time_zone="Mars/Olympus")
    request = pb.RegisterRequest(username="ada", password=PASSWORD, profile=profile)
    error = await users.refused("Register", request)
    assert [each.field for each in error.fields] == ["profile.time_zone"]


async def test_a_registration_repeated_with_its_request_id_is_harmless(users: Users):
    request_id = new_id()
    first = await users.register(request_id=request_id)
    again = await users.register(request_id=request_id)
    assert again.account == first.account


@pytest.mark.parametrize(
    ("username", "password", "hours"),
    [("Bob", PASSWORD, 0), ("Ada", "another password", 0), ("Ada", PASSWORD, 25)],
)
async def test_a_request_id_opens_no_door_to_others(users: Users, username, password, hours):
    request_id = new_id()
    await users.register(request_id=request_id)
    await users.clock.advance(hours * 3600)
    request = pb.RegisterRequest(username=username, password=password, request_id=request_id)
    assert (await users.refused("Register", request)).reason == "REQUEST_ID_REUSED"


# --- Login --------------------------------------------------------------------------------------


async def test_login_gives_tokens_that_work(users: Users):
    await users.register()
    answer = await users.stub.Login(login("aDA"))
    got = await users.stub.GetProfile(pb.GetProfileRequest(), metadata=bearer(answer.tokens))
    assert got.account == answer.account
    life = answer.tokens.access_token_expires_at.ToDatetime() - users.clock.now().replace(
        tzinfo=None
    )
    assert life.total_seconds() == 600


async def test_an_unknown_user_and_a_wrong_password_are_refused_alike(users: Users):
    await users.register()
    wrong = await users.refused("Login", login(password="not it, no"))
    unknown = await users.refused("Login", login("nobody"))
    assert wrong.reason == unknown.reason == "BAD_CREDENTIALS"
    assert wrong.message == unknown.message


async def test_composed_and_decomposed_letters_are_the_same_password(users: Users):
    await users.register(password="Ångström12")
    await users.stub.Login(login(password="A\u030angstro\u0308m12"))
    # As an input method for Japanese or Chinese writes Latin letters when it is left on.
    await users.stub.Login(login(password="Ångström１２"))


async def test_a_password_is_told_apart_beyond_bcrypts_72_bytes_and_zero_bytes(users: Users):
    long = "x" * 100
    await users.register(password=long + "a")
    assert (await users.refused("Login", login(password=long + "b"))).reason == "BAD_CREDENTIALS"
    await users.register("Bob", password="zero\0one-byte")
    error = await users.refused("Login", login("Bob", "zero\0two-bytes"))
    assert error.reason == "BAD_CREDENTIALS"


async def test_a_hash_of_less_work_is_made_anew_at_the_next_login(users: Users):
    await users.register()
    changed = users.settings.model_copy(update={"bcrypt_cost": 5})
    async with (
        running("user", changed, bootstrap, clock=users.clock) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        stub: Any = UserServiceStub(channel)
        for _ in range(2):
            await stub.Login(login())
    assert stored_hash(users).startswith(b"$2b$05$")
    await users.stub.Login(login())


async def test_a_login_under_way_while_the_password_changes_opens_nothing(
    users: Users, monkeypatch: pytest.MonkeyPatch
):
    tokens = (await users.register()).tokens
    checking, go = asyncio.Event(), asyncio.Event()
    matches = PasswordHasher.matches

    async def held(self: PasswordHasher, *asked: Any) -> bool:
        same = await matches(self, *asked)
        if not checking.is_set():
            checking.set()
            await go.wait()
        return same

    monkeypatch.setattr(PasswordHasher, "matches", held)
    late = asyncio.create_task(users.refused("Login", login()))
    await checking.wait()
    change = pb.ChangePasswordRequest(old_password=PASSWORD, new_password=NEW_PASSWORD)
    await users.stub.ChangePassword(change, metadata=bearer(tokens))
    go.set()
    assert (await late).reason == "BAD_CREDENTIALS"


async def test_guessing_at_one_name_is_slowed_down_and_then_let_in_again(users: Users):
    await users.register()
    for _ in range(users.settings.login_attempts):
        await users.refused("Login", login(password="a wrong guess"))
    error = await users.refused("Login", login())
    assert error.reason == "TOO_MANY_ATTEMPTS"
    assert error.retry_after is not None
    await users.clock.advance(error.retry_after)
    await users.stub.Login(login())


async def test_more_hashing_than_can_wait_is_refused_at_once(
    users: Users, monkeypatch: pytest.MonkeyPatch
):
    most, many = users.settings.password_queue, 60
    refusals, go = asyncio.Semaphore(0), threading.Event()
    monkeypatch.setattr(bcrypt, "checkpw", lambda *_: not go.wait(20))

    async def guess(number: int) -> str | None:
        reason = (await users.refused("Login", login(f"user{number}", "a wrong guess"))).reason
        refusals.release()
        return reason

    guesses = [asyncio.create_task(guess(number)) for number in range(many)]
    async with asyncio.timeout(20):
        for _ in range(many - most):
            await refusals.acquire()
        go.set()
        reasons = Counter(await asyncio.gather(*guesses))
    assert reasons == {"BAD_CREDENTIALS": most, "TOO_MANY_ATTEMPTS": many - most}


# --- GetProfile, UpdateProfile ------------------------------------------------------------------


async def update(users: Users, tokens: pb.TokenPair, *paths: str, **fields: Any) -> pb.Account:
    request = pb.UpdateProfileRequest(account=pb.Account(**fields))
    request.update_mask.paths.extend(paths)
    answer = await users.stub.UpdateProfile(request, metadata=bearer(tokens))
    account: pb.Account = answer.account
    return account


async def test_only_the_fields_of_the_mask_change(users: Users):
    tokens = (await users.register(profile={"display_name": "Ada", "goals": ["a"]})).tokens
    changed = await update(
        users, tokens, "profile.goals", profile={"display_name": "Eve", "goals": ["b", "c"]}
    )
    assert changed.profile.display_name == "Ada"
    assert list(changed.profile.goals) == ["b", "c"]
    got = await users.stub.GetProfile(pb.GetProfileRequest(), metadata=bearer(tokens))
    assert got.account == changed


async def test_a_field_of_the_mask_that_is_not_set_is_cleared(users: Users):
    tokens = (await users.register(profile={"display_name": "Ada"})).tokens
    await update(users, tokens, "turn_taking.patience", turn_taking={"patience": 0.0})
    changed = await update(users, tokens, "profile.display_name", "turn_taking.patience")
    assert changed.profile.display_name == ""
    assert not changed.turn_taking.HasField("patience")


async def test_without_a_mask_what_is_set_changes_and_the_rest_stays(users: Users):
    tokens = (await users.register(profile={"display_name": "Ada", "goals": ["a"]})).tokens
    changed = await update(users, tokens, voice="amy", turn_taking={"patience": 0.0})
    assert changed.voice == "amy"
    assert changed.turn_taking.HasField("patience")
    assert list(changed.profile.goals) == ["a"]


async def test_sending_the_whole_account_back_is_fine(users: Users):
    answer = await users.register()
    answer.account.profile.display_name = "Countess"
    request = pb.UpdateProfileRequest(account=answer.account)
    changed = await users.stub.UpdateProfile(request, metadata=bearer(answer.tokens))
    assert changed.account == answer.account


def profile(**fields: Any) -> dict[str, Any]:
    return {"profile": fields}


@pytest.mark.parametrize(
    ("most", "one_more", "field"),
    [
        (profile(display_name="d" * 80), profile(display_name="d" * 81), "profile.display_name"),
        (
            profile(first_language="zh-Hant-TW"),
            profile(first_language="zh_TW"),
            "profile.first_language",
        ),
        (profile(level=6), profile(level=7), "profile.level"),
        (profile(interests=["i"] * 20), profile(interests=["i"] * 21), "profile.interests"),
        (
            profile(interests=["i" * 60]),
            profile(interests=["i" * 61]),
            "profile.interests[0]",
        ),
        (profile(goals=["g"] * 10), profile(goals=["g"] * 11), "profile.goals"),
        (profile(goals=["g" * 200]), profile(goals=["g" * 201]), "profile.goals[0]"),
        (
            profile(time_zone="America/Argentina/Buenos_Aires"),
            profile(time_zone="CEST"),
            "profile.time_zone",
        ),
        (
            {"turn_taking": {"patience": 1.0}},
            {"turn_taking": {"patience": 1.01}},
            "turn_taking.patience",
        ),
    ],
)
async def test_a_field_takes_so_much_and_no_more(users: Users, most, one_more, field):
    answer = await users.register()
    changed = await update(users, answer.tokens, **most)
    request = pb.UpdateProfileRequest(account=pb.Account(**one_more))
    error = await users.refused("UpdateProfile", request, bearer(answer.tokens))
    assert error.reason == "INVALID_REQUEST"
    assert [each.field.removeprefix("account.") for each in error.fields] == [field]
    got = await users.stub.GetProfile(pb.GetProfileRequest(), metadata=bearer(answer.tokens))
    assert got.account == changed, "what was refused changed nothing"


async def test_every_field_of_a_profile_is_kept(users: Users):
    tokens = (await users.register()).tokens
    wanted = pb.Account(
        profile=learner_pb2.LearnerProfile(
            display_name="Ada 🦜",
            first_language="pt-BR",
            level=learner_pb2.CEFR_LEVEL_C1,
            interests=["chess", "الشطرنج"],
            goals=["talk to my neighbours"],
            time_zone="Asia/Kolkata",
        ),
        turn_taking=learner_pb2.TurnTakingPreferences(
            patience=0.25, push_to_talk=True, no_hints=True, no_barge_in=True, typical_pause_ms=700
        ),
        voice="amy",
    )
    request = pb.UpdateProfileRequest(account=wanted)
    await users.stub.UpdateProfile(request, metadata=bearer(tokens))
    got = (await users.stub.GetProfile(pb.GetProfileRequest(), metadata=bearer(tokens))).account
    for part in ("profile", "turn_taking", "voice"):
        assert getattr(got, part) == getattr(wanted, part)
    described = learner_pb2.LearnerProfile.DESCRIPTOR.fields
    assert {each.name for each, _ in got.profile.ListFields()} == {each.name for each in described}


@pytest.mark.parametrize(
    "path",
    ["user_id", "username", "created_at", "profile.nonsense", "voice.x", "profile.goals.x", ""],
)
async def test_a_mask_that_names_what_cannot_change_is_refused(users: Users, path):
    tokens = (await users.register()).tokens
    request = pb.UpdateProfileRequest(account=pb.Account(voice="amy"))
    request.update_mask.paths.append(path)
    error = await users.refused("UpdateProfile", request, bearer(tokens))
    assert error.reason == "PROFILE_FIELD_UNKNOWN"


async def test_updates_at_once_lose_nothing(users: Users):
    tokens = (await users.register()).tokens
    await asyncio.gather(
        update(users, tokens, "voice", voice="amy"),
        update(users, tokens, "profile.goals", profile={"goals": ["a"]}),
        update(users, tokens, "turn_taking.no_hints", turn_taking={"no_hints": True}),
    )
    got = await users.stub.GetProfile(pb.GetProfileRequest(), metadata=bearer(tokens))
    assert (got.account.voice, list(got.account.profile.goals)) == ("amy", ["a"])
    assert got.account.turn_taking.no_hints


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("GetProfile", pb.GetProfileRequest()),
        ("UpdateProfile", pb.UpdateProfileRequest(account=pb.Account(voice="x"))),
        ("ChangePassword", pb.ChangePasswordRequest(old_password="x", new_password=NEW_PASSWORD)),
        ("ListSessions", pb.ListSessionsRequest()),
        ("RevokeSession", pb.RevokeSessionRequest(all=True)),
        ("DeleteAccount", pb.DeleteAccountRequest(password="x")),
        ("ExportData", pb.ExportDataRequest()),
    ],
)
async def test_what_is_the_learners_own_needs_a_token(users: Users, method, request_):
    assert (await users.refused(method, request_)).reason == "TOKEN_MISSING"
