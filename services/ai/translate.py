"""The contract's messages to the engine's values and back. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from parley.ai.v1 import ai_pb2
from parley.types.v1 import (
    audio_pb2,
    feedback_pb2,
    learner_pb2,
    scenario_pb2,
    speech_pb2,
    turn_pb2,
)
from services.ai import engine as e
from services.ai.capabilities import LEARNER_RATE_HZ, Transcript, Word
from services.ai.learner import (
    Correction,
    CorrectionKind,
    FoundCorrection,
    HeardWord,
    LearnerProfile,
    Level,
    PastTurn,
    Scenario,
)
from services.common.errors import FieldViolation, InvalidArgument

_LEVELS = {
    learner_pb2.CEFR_LEVEL_A1: Level.A1,
    learner_pb2.CEFR_LEVEL_A2: Level.A2,
    learner_pb2.CEFR_LEVEL_B1: Level.B1,
    learner_pb2.CEFR_LEVEL_B2: Level.B2,
    learner_pb2.CEFR_LEVEL_C1: Level.C1,
    learner_pb2.CEFR_LEVEL_C2: Level.C2,
}
_FLOORS = {ai_pb2.FLOOR_LEARNER: e.Floor.LEARNER, ai_pb2.FLOOR_TUTOR: e.Floor.TUTOR}
_PURPOSES = {
    ai_pb2.REPLY_PURPOSE_OPENING: e.ReplyPurpose.OPENING,
    ai_pb2.REPLY_PURPOSE_HINT: e.ReplyPurpose.HINT,
}
_SOURCES = {
    e.UtteranceSource.SPEECH: turn_pb2.UTTERANCE_SOURCE_SPEECH,
    e.UtteranceSource.TEXT: turn_pb2.UTTERANCE_SOURCE_TEXT,
    e.UtteranceSource.NONE: turn_pb2.UTTERANCE_SOURCE_NONE,
}
_STAGES = {
    e.StageKind.ENDPOINT: turn_pb2.STAGE_KIND_ENDPOINT,
    e.StageKind.TRANSCRIPT: turn_pb2.STAGE_KIND_TRANSCRIPT,
    e.StageKind.FIRST_TOKEN: turn_pb2.STAGE_KIND_FIRST_TOKEN,
    e.StageKind.FIRST_CLAUSE: turn_pb2.STAGE_KIND_FIRST_CLAUSE,
    e.StageKind.FIRST_AUDIO: turn_pb2.STAGE_KIND_FIRST_AUDIO,
}
_CORRECTION_KINDS = {
    CorrectionKind.GRAMMAR: feedback_pb2.CORRECTION_KIND_GRAMMAR,
    CorrectionKind.VOCABULARY: feedback_pb2.CORRECTION_KIND_VOCABULARY,
    CorrectionKind.PRONUNCIATION: feedback_pb2.CORRECTION_KIND_PRONUNCIATION,
    CorrectionKind.STYLE: feedback_pb2.CORRECTION_KIND_STYLE,
}
_REASONS = {
    e.ReplyEndReason.COMPLETED: turn_pb2.REPLY_END_REASON_COMPLETED,
    e.ReplyEndReason.FAILED: turn_pb2.REPLY_END_REASON_FAILED,
}
# The contract's middle of the patience setting, where the client says nothing.
_DEFAULT_PATIENCE = 0.5
# What a session sounds like where the client says nothing: the synthesizer's own pace.
_DEFAULT_RATE = 1.0


# --- in -------------------------------------------------------------------------------------


def session_config(start: ai_pb2.StartEngine) -> e.SessionConfig:
    """Return the configuration of a live session. Raises ``InvalidArgument`` for its audio."""
    check_learner_format(start.input_format, "start.input_format")
    return e.SessionConfig(
        voice=start.voice,
        profile=_profile(start.profile),
        scenario=_scenario(start.scenario),
        history=tuple(PastTurn(turn.learner, turn.tutor) for turn in start.history),
        recent_corrections=_corrections(start.recent_corrections),
        turn_taking=_preferences(start.turn_taking),
        speech_rate=start.speech_rate if start.HasField("speech_rate") else _DEFAULT_RATE,
        last_generation=start.last_generation,
        next_turn=start.next_turn,
        first_sample=start.first_sample,
        captions_only=start.captions_only,
    )


def engine_input(request: ai_pb2.ConverseRequest) -> e.EngineInput:
    """Return what a request after ``start`` says. Raises ``InvalidArgument``."""
    match request.WhichOneof("message"):
        case "audio":
            return e.Audio(whole_samples(request.audio.pcm, "audio.pcm"))
        case "text":
            return e.TypedText(request.text.text)
        case "end_turn":
            return e.EndTurn()
        case "interrupt":
            interrupt = request.interrupt
            return e.Interrupt(interrupt.generation, interrupt.heard_text, interrupt.heard_ms)
        case "reply_heard":
            return e.ReplyHeard(request.reply_heard.generation)
        case "floor":
            return e.SetFloor(_FLOORS[request.floor.floor])
        case "resolve":
            return e.Resolve(request.resolve.take)
        case "settings":
            return _change(request.settings)
        case "request_reply":
            return e.RequestReply(_PURPOSES[request.request_reply.purpose])
        case "end_input":
            return e.EndInput()
        case other:
            # The contract's validation lets nothing else through but a second start.
            raise InvalidArgument(
                f"{other or 'an empty message'} cannot come here: the session has started.",
                reason="INVALID_REQUEST",
            )


def whole_samples(pcm: bytes, field: str) -> bytes:
    """Return ``pcm`` if it holds whole 16-bit samples.

    Raises ``InvalidArgument`` (AUDIO_FRAME_INVALID).
    """
    if len(pcm) % 2:
        raise InvalidArgument(
            "Audio is cut inside a sample: 16-bit PCM has an even number of bytes.",
            reason="AUDIO_FRAME_INVALID",
            fields=[FieldViolation(field, f"{len(pcm)} bytes")],
        )
    return pcm


def check_learner_format(audio: audio_pb2.AudioFormat, field: str) -> None:
    """Raise ``InvalidArgument`` (AUDIO_FORMAT_UNSUPPORTED) unless it is 16 kHz mono PCM."""
    encodings = (audio_pb2.AUDIO_ENCODING_UNSPECIFIED, audio_pb2.AUDIO_ENCODING_PCM_S16LE)
    if (
        audio.encoding not in encodings
        or audio.sample_rate_hz not in (0, LEARNER_RATE_HZ)
        or audio.channels not in (0, 1)
    ):
        raise InvalidArgument(
            f"Audio must be 16-bit little-endian mono PCM at {LEARNER_RATE_HZ} Hz.",
            reason="AUDIO_FORMAT_UNSUPPORTED",
            fields=[FieldViolation(field, "unsupported encoding, rate or channel count")],
        )


def _profile(profile: learner_pb2.LearnerProfile) -> LearnerProfile:
    return LearnerProfile(
        name=profile.display_name,
        first_language=profile.first_language,
        level=_LEVELS.get(profile.level, Level.UNKNOWN),
        interests=tuple(profile.interests),
        goals=tuple(profile.goals),
    )


def _scenario(scenario: scenario_pb2.Scenario) -> Scenario:
    return Scenario(
        title=scenario.title,
        role=scenario.role,
        opening_line=scenario.opening_line,
        vocabulary=tuple(scenario.vocabulary),
    )


def _corrections(corrections: Iterable[feedback_pb2.Correction]) -> tuple[Correction, ...]:
    return tuple(
        Correction(c.original, c.replacement) for c in corrections if c.original and c.replacement
    )


def _preferences(wanted: learner_pb2.TurnTakingPreferences) -> e.TurnTakingPreferences:
    return e.TurnTakingPreferences(
        patience=wanted.patience if wanted.HasField("patience") else _DEFAULT_PATIENCE,
        push_to_talk=wanted.push_to_talk,
        no_hints=wanted.no_hints,
        typical_pause_ms=wanted.typical_pause_ms,
    )


def _change(change: ai_pb2.ChangeEngineSettings) -> e.ChangeSettings:
    return e.ChangeSettings(
        turn_taking=_preferences(change.turn_taking) if change.HasField("turn_taking") else None,
        speech_rate=change.speech_rate if change.HasField("speech_rate") else None,
        voice=change.voice if change.HasField("voice") else None,
        captions_only=change.captions_only if change.HasField("captions_only") else None,
    )


# --- out ------------------------------------------------------------------------------------


def ready(name: str, voice: str, description: e.EngineDescription) -> ai_pb2.ConverseResponse:
    """Return the first message of a session."""
    return ai_pb2.ConverseResponse(
        ready=ai_pb2.EngineReady(
            engine=name,
            voice=voice or default_voice(description),
            output_format=pcm_format(description.output_rate_hz),
            capabilities=capabilities(description.capabilities),
        )
    )


def default_voice(description: e.EngineDescription) -> str:
    """Return the voice that speaks where none is asked for; empty where there is none."""
    return description.voices[0].id if description.voices else ""


def pcm_format(rate_hz: int) -> audio_pb2.AudioFormat:
    """Return the format of mono 16-bit PCM at ``rate_hz``."""
    return audio_pb2.AudioFormat(
        encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=rate_hz, channels=1
    )


def capabilities(able: e.EngineCapabilities) -> ai_pb2.EngineCapabilities:
    """Return what an engine can do."""
    return ai_pb2.EngineCapabilities(
        partial_transcripts=able.partial_transcripts,
        word_times=able.word_times,
        speculation=able.speculation,
        speech_to_speech=able.speech_to_speech,
        languages=able.languages,
    )


def transcript(heard: Transcript, recognizer: str) -> speech_pb2.Transcript:
    """Return a transcript; ``recognizer`` made it."""
    return speech_pb2.Transcript(
        verbatim=heard.verbatim,
        clean=heard.clean,
        words=words(heard.words),
        confidence=heard.confidence,
        recognizer=recognizer,
    )


def heard_words(heard: speech_pb2.Transcript) -> list[HeardWord]:
    """Return the verbatim words of an utterance; those of a typed one are surely what was meant."""
    if heard.words:
        return [HeardWord(word.text, word.confidence or 1.0) for word in heard.words]
    return [HeardWord(word) for word in heard.verbatim.split()]


def correction(found: FoundCorrection, correction_id: str) -> feedback_pb2.Correction:
    """Return a correction as it is told."""
    return feedback_pb2.Correction(
        correction_id=correction_id,
        kind=_CORRECTION_KINDS[found.kind],
        first_word=found.first_word,
        end_word=found.end_word,
        original=found.original,
        replacement=found.replacement,
        explanation=found.explanation,
        confidence=found.confidence,
        scorer=found.scorer,
    )


def shifted(word: Word, by_ms: int) -> Word:
    """Return ``word`` on a time line that begins ``by_ms`` earlier."""
    return replace(word, start_ms=word.start_ms + by_ms, end_ms=word.end_ms + by_ms)


def words(timed: Iterable[Word], *, estimated: bool = True) -> list[speech_pb2.Word]:
    """Return words with their times."""
    return [
        speech_pb2.Word(
            text=word.text,
            start_ms=word.start_ms,
            end_ms=word.end_ms,
            confidence=word.confidence,
            times_estimated=estimated,
        )
        for word in timed
    ]


def engine_output(output: e.EngineOutput, recognizer: str) -> ai_pb2.ConverseResponse:
    """Return the message that tells of ``output``. A notice's status is the servicer's matter."""
    match output:
        case e.ReplyAudio():
            return _reply_audio(output)
        case e.ReplyText(turn, generation, text, offset_ms, timed):
            said = ai_pb2.EngineReplyText(text=text, audio_offset_ms=offset_ms, words=words(timed))
            return ai_pb2.ConverseResponse(turn=turn, generation=generation, reply_text=said)
        case e.SpeechStarted(at_ms):
            return ai_pb2.ConverseResponse(speech_started=ai_pb2.EngineSpeechStarted(at_ms=at_ms))
        case e.SpeechEnded(at_ms):
            return ai_pb2.ConverseResponse(speech_ended=ai_pb2.EngineSpeechEnded(at_ms=at_ms))
        case e.Heard(heard, final, start_ms, end_ms):
            return ai_pb2.ConverseResponse(
                transcript=ai_pb2.EngineTranscript(
                    transcript=transcript(heard, recognizer),
                    final=final,
                    start_ms=start_ms,
                    end_ms=end_ms,
                )
            )
        case e.TurnCommitted():
            return _turn_committed(output, recognizer)
        case e.TranscriptRevised(turn, generation, heard, who):
            revised = ai_pb2.TranscriptRevised(transcript=transcript(heard, who or recognizer))
            return ai_pb2.ConverseResponse(
                turn=turn, generation=generation, transcript_revised=revised
            )
        case e.ReplyEnded():
            return _reply_ended(output)
        case e.Notice(turn=turn, generation=generation):
            return ai_pb2.ConverseResponse(
                turn=turn, generation=generation, notice=ai_pb2.EngineNotice()
            )
        case e.LongSilence(silence_ms):
            return ai_pb2.ConverseResponse(long_silence=ai_pb2.LongSilence(silence_ms=silence_ms))
        case e.UtteranceDropped(reason=reason):
            return ai_pb2.ConverseResponse(utterance_dropped=ai_pb2.UtteranceDropped(reason=reason))


def _reply_audio(output: e.ReplyAudio) -> ai_pb2.ConverseResponse:
    audio = ai_pb2.EngineReplyAudio(pcm=output.pcm, offset_ms=output.offset_ms)
    audio.stages.extend(
        turn_pb2.Stage(
            kind=_STAGES[stage.kind],
            duration_ms=stage.duration_ms,
            at_ms=stage.at_ms,
            provider=stage.provider,
            note=stage.note,
        )
        for stage in output.stages
    )
    return ai_pb2.ConverseResponse(
        turn=output.turn, generation=output.generation, reply_audio=audio
    )


def _turn_committed(output: e.TurnCommitted, recognizer: str) -> ai_pb2.ConverseResponse:
    return ai_pb2.ConverseResponse(
        turn=output.turn,
        generation=output.generation,
        turn_committed=ai_pb2.TurnCommitted(
            source=_SOURCES[output.source],
            transcript=transcript(
                output.transcript,
                recognizer if output.source is e.UtteranceSource.SPEECH else "",
            ),
            start_ms=output.start_ms,
            end_ms=output.end_ms,
            typical_pause_ms=output.typical_pause_ms,
            will_be_revised=output.will_be_revised,
        ),
    )


def _reply_ended(output: e.ReplyEnded) -> ai_pb2.ConverseResponse:
    usage = output.usage
    return ai_pb2.ConverseResponse(
        turn=output.turn,
        generation=output.generation,
        reply_ended=ai_pb2.EngineReplyEnded(
            reason=_REASONS[output.reason],
            text=output.text,
            audio_ms=output.audio_ms,
            usage=ai_pb2.Usage(
                prompt_tokens=usage.prompt_tokens,
                output_tokens=usage.output_tokens,
                characters=usage.characters,
                audio_in_ms=usage.audio_in_ms,
                speculations=usage.speculations,
                speculations_discarded=usage.speculations_discarded,
            ),
        ),
    )
