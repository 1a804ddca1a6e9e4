"""Live practice sessions: the floor, the reply's way to the loudspeaker, and turns that are kept.

Map:

- `session`: the pure machine; `events` are what it takes and gives.
- `interruption`, `playback`, `pacing`, `heard`, `stages`, `turn`: the pure parts it is made of.
- `learner_audio`, `audio_gate`: the learner's samples on their way to the engine.
- `responses`: what goes to the client, kept for a while so that it can resume.
- `live`: one session with its coroutines; `directory`: the sessions of this process.
- `journal`, `recorder`: turns and sound on their way to storage, beside the talk.
- `application`, `servicer`, `bootstrap`: use cases, translation, construction.
- `adapters`: the engine, the other services, the database.
"""
