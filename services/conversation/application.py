"""Use cases: begin a session, resume one, ask about one."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from dataclasses import dataclass, replace
from typing import Literal

import structlog

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import feedback_pb2, learner_pb2, scenario_pb2, turn_pb2
from parley.user.v1 import user_pb2
from services.common.call_context import Caller
from services.common.errors import NotFound, ParleyError, Unauthenticated
from services.common.ids import new_id
from services.conversation import broken_off, problems
from services.conversation.adapters.learners import Learners
from services.conversation.adapters.store import SqlStore, StoredConversation
from services.conversation.connection import Connection
from services.conversation.directory import Directory
from services.conversation.events import ClientBack, Refused
from services.conversation.learner_audio import input_format
from services.conversation.live import LiveSession
from services.conversation.plan import Plan, SessionLimits, Surroundings
from services.conversation.scenarios import Scenarios
from services.conversation.session_config import preferences_with

_log = structlog.get_logger(__name__)

# 192 bits: nobody guesses it, and it fits a line.
_SECRET_BYTES = 24

# A session ends within a second; what it leaves for its recording goes on beside it.
_ENDING_S = 3.0
_LOOK_S = 0.05
# How long who resumes waits for what another connection said last to be written.
_UNWRITTEN_S = 3.0

# Generations that a process may have begun after the last turn it stored. A session that is
# resumed elsewhere goes on above them.
_GENERATION_GAP = 1_000


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a learner when a session begins; `notices` tell of what is not."""

    account: user_pb2.Account
    notices: tuple[ParleyError, ...]
    corrections: tuple[feedback_pb2.Correction, ...]


class Conversations:
    """What can be done with sessions."""

    def __init__(
        self,
        directory: Directory,
        scenarios: Scenarios,
        learners: Learners,
        store: SqlStore,
        around: Surroundings,
        limits: SessionLimits,
    ) -> None:
        self._directory = directory
        self._scenarios = scenarios
        self._learners = learners
        self._store = store
        self._around = around
        self._limits = limits

    def scenarios(self) -> list[scenario_pb2.Scenario]:
        """Return the situations to practise."""
        return self._scenarios.all()

    def find(self, caller: Caller, conversation_id: str) -> LiveSession:
        """Return a live session of the caller's. Raises `NotFound`: NO_LIVE_SESSION."""
        return self._directory.find(conversation_id, caller.user_id)

    def find_held(self, caller: Caller, conversation_id: str) -> LiveSession:
        """Return a live session that the caller's own sign-in holds: who may speak in it.

        An access token outlives its sign-in by minutes, so one that belongs to another of the
        learner's may be of an ended one; it is the resume handle that moves a session.

        Raises:
            NotFound: NO_LIVE_SESSION, also for one held with another sign-in.
        """
        live = self.find(caller, conversation_id)
        if live.sign_in != caller.session_id:
            raise problems.no_live_session()
        return live

    async def open(
        self, caller: Caller, start: conversation_pb2.StartSession, seq: int = 0
    ) -> tuple[LiveSession, Connection]:
        """Begin a session, or resume one by its handle, and connect the client to it.

        `seq` is the number of the message that carried `start`; 0 where its form numbers none.

        Raises:
            InvalidArgument: UNKNOWN_SCENARIO, AUDIO_FORMAT_UNSUPPORTED, RESUME_HANDLE_INVALID, or
                what the engine says of its name and voice.
            ResourceExhausted: AT_CAPACITY, TOO_MANY_CONVERSATIONS.
            Unavailable: ENGINE_UNAVAILABLE.
        """
        if start.resume_handle:
            live, connection = await self._resume(caller, start, seq)
        else:
            self._directory.check_room(caller.user_id)
            plan = await self._plan(caller, start)
            live = await self._begin(plan, voice_is_wish=bool(start.voice))
            connection = live.attach()
        live.sign_in = caller.session_id
        return live, connection

    async def erase_user(self, user_id: str) -> tuple[int, int]:
        """End the user's live sessions of this process, and erase what has ended.

        Returns how many conversations were erased, and how many have not ended yet: here, because
        they take their time, or in another process, where they end by themselves.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        for live in self._directory:
            if live.plan.user_id == user_id and live.ready.done() and not live.over:
                live.handle(Refused(problems.account_deleted(), 0, fatal=True))
        clock = self._around.clock
        until = clock.monotonic() + _ENDING_S
        # What a session says at its end is written before its rows go: it would come after them.
        while self._unfinished(user_id) and clock.monotonic() < until:
            await clock.sleep(_LOOK_S)
        return await self._store.erase_user(user_id, self._unfinished(user_id))

    def _unfinished(self, user_id: str) -> set[str]:
        """Return the conversations of the user's that this process still holds."""
        return {live.conversation_id for live in self._directory if live.plan.user_id == user_id}

    async def _plan(self, caller: Caller, start: conversation_pb2.StartSession) -> Plan:
        input_rate_hz = input_format(start.input_format).sample_rate_hz
        scenario = self._scenarios.find(start.scenario_id)
        known = await self._known()
        conversation_id, secret = new_id(), secrets.token_bytes(_SECRET_BYTES)
        return Plan(
            conversation_id=conversation_id,
            user_id=caller.user_id,
            handle=f"{conversation_id}.{secret.hex()}",
            handle_hash=hashlib.sha256(secret).digest(),
            start=start,
            scenario=scenario,
            profile=known.account.profile,
            turn_taking=await self._turn_taking(caller.user_id, start, known.account),
            voice=start.voice or known.account.voice,
            input_rate_hz=input_rate_hz,
            recording_id=new_id(),
            started_at=self._around.clock.now(),
            limits=self._limits,
            first_notices=known.notices,
            corrections=known.corrections,
        )

    async def _known(self) -> _Known:
        """Ask the other services about the learner, all at once."""
        asking = asyncio.create_task(self._mistakes())
        try:
            account, notices = await self._account()
            return _Known(account, notices, await asking)
        finally:
            asking.cancel()

    async def _mistakes(self) -> tuple[feedback_pb2.Correction, ...]:
        try:
            return tuple(await self._learners.mistakes())
        except ParleyError as error:
            # Nobody is told: the tutor only comes back to fewer things.
            _log.warning("mistakes_not_known", reason=error.reason)
            return ()

    async def _account(self) -> tuple[user_pb2.Account, tuple[ParleyError, ...]]:
        try:
            return await self._learners.account(), ()
        except (Unauthenticated, NotFound):
            # Signed out, or the account is deleted: an access token outlives both by minutes.
            raise
        except ParleyError:
            return user_pb2.Account(), (problems.profile_unavailable(),)

    async def _turn_taking(
        self, user_id: str, start: conversation_pb2.StartSession, account: user_pb2.Account
    ) -> learner_pb2.TurnTakingPreferences:
        """Return the preferences for one session: what was wished for, the profile, the pace."""
        preferences = preferences_with(start.turn_taking, account.turn_taking)
        if not preferences.typical_pause_ms:
            try:
                preferences.typical_pause_ms = await self._store.typical_pause_ms(user_id)
            except ParleyError:
                # Storage has told of itself; the engine learns the pace anew.
                _log.warning("pace_not_known")
        return preferences

    async def _begin(self, plan: Plan, *, voice_is_wish: bool) -> LiveSession:
        live = LiveSession(plan, self._around)
        await self._directory.begin(live)
        try:
            # Shielded: who goes away must not make the session fail that is being opened.
            await asyncio.shield(live.ready)
        except asyncio.CancelledError:
            live.abandon()
            raise
        except ParleyError as error:
            # The voice of the profile may be another engine's; it was not asked for now.
            if error.reason == "UNKNOWN_VOICE" and not voice_is_wish:
                return await self._begin(replace(plan, voice=""), voice_is_wish=True)
            raise
        return live

    # --- resuming -----------------------------------------------------------------------------

    async def _resume(
        self, caller: Caller, start: conversation_pb2.StartSession, seq: int
    ) -> tuple[LiveSession, Connection]:
        conversation_id, secret = _parse_handle(start.resume_handle)
        where: Literal["process", "storage"] = "process"
        try:
            live = self._directory.find(conversation_id, caller.user_id)
        except ParleyError:
            where = "storage"
            live = await self._restore(caller, conversation_id, secret, start)
        if not hmac.compare_digest(live.plan.handle_hash, hashlib.sha256(secret).digest()):
            raise problems.bad_handle()
        self._around.metrics.resumed(where)
        back = ClientBack(seq, start.heard if start.HasField("heard") else None)
        return live, live.attach(back, last_seq=start.last_seq)

    async def _restore(
        self,
        caller: Caller,
        conversation_id: str,
        secret: bytes,
        start: conversation_pb2.StartSession,
    ) -> LiveSession:
        """Go on with a session that another process held, from what is stored of it."""
        self._directory.check_room(caller.user_id)
        if self._directory.is_over_for_good(conversation_id):
            raise problems.bad_handle()
        try:
            # What is not written yet would be missing: the last turn, or that it has ended.
            async with asyncio.timeout(_UNWRITTEN_S):
                await self._around.journal.settled(conversation_id)
        except TimeoutError:
            raise problems.not_stored_yet() from None
        stored = await self._store.find_open(conversation_id)
        proof = hashlib.sha256(secret).digest()
        if (
            stored is None
            or stored.user_id != caller.user_id
            or not hmac.compare_digest(stored.handle_hash, proof)
        ):
            raise problems.bad_handle()
        now = self._around.clock.now()
        elapsed_s = (now - stored.started_at).total_seconds()
        if elapsed_s >= self._limits.session_s:
            raise problems.bad_handle()
        known = await self._known()
        plan = replace(
            self._plan_of(stored, start, known.account, elapsed_s),
            first_notices=known.notices,
            corrections=known.corrections,
            turn_taking=await self._turn_taking(stored.user_id, stored.start, known.account),
        )
        return await self._begin(plan, voice_is_wish=False)

    def _plan_of(
        self,
        stored: StoredConversation,
        resuming: conversation_pb2.StartSession,
        account: user_pb2.Account,
        elapsed_s: float,
    ) -> Plan:
        turns = stored.turns
        start = conversation_pb2.StartSession()
        start.CopyFrom(stored.start)
        start.engine = stored.engine
        last_number = max((turn.number for turn in turns), default=0)
        kept, cut_off = stored.kept, None
        if kept is not None and kept.turn.number == last_number + 1:
            heard = resuming.heard
            cut_off = broken_off.close(kept, heard.generation, heard.audio_ms)
        known = (*turns, cut_off.turn) if cut_off is not None else turns
        # Also above a reply that nobody heard: it was begun all the same.
        newest = max((each.generation for each in known), default=0)
        if kept is not None:
            newest = max(newest, kept.turn.generation)
        return Plan(
            conversation_id=stored.conversation_id,
            user_id=stored.user_id,
            handle=resuming.resume_handle,
            handle_hash=stored.handle_hash,
            start=start,
            scenario=self._scenarios.find(start.scenario_id),
            profile=account.profile,
            turn_taking=account.turn_taking,
            voice=stored.voice,
            input_rate_hz=stored.input_rate_hz,
            recording_id=stored.recording_id,
            started_at=stored.started_at,
            limits=self._limits,
            stored=True,
            elapsed_s=elapsed_s,
            next_turn=len(known) + 1,
            last_generation=newest + _GENERATION_GAP,
            last_seq=resuming.last_seq,
            past=turns,
            accounted_ms=max(stored.accounted_ms, cut_off.accounted_ms if cut_off else 0),
            accounted_seq=max(stored.accounted_seq, cut_off.accounted_seq if cut_off else 0),
            broken_off=cut_off,
            context=tuple(map(_context_turn, known)),
        )


def _context_turn(turn: turn_pb2.Turn) -> ai_pb2.ContextTurn:
    """Return a stored turn as the engine shall remember it."""
    return ai_pb2.ContextTurn(
        learner=(turn.utterance.clean or turn.utterance.verbatim)[:8000],
        tutor=turn.heard_text[:16000],
    )


def _parse_handle(handle: str) -> tuple[str, bytes]:
    conversation_id, _, secret = handle.partition(".")
    try:
        return conversation_id, bytes.fromhex(secret)
    except ValueError:
        raise problems.bad_handle() from None
