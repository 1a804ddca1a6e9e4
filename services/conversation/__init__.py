"""Live practice sessions: the floor, the reply's way to the loudspeaker, and turns that are kept.

Map:

- `session`: the pure machine; `events` are what it takes and gives.
- `turn`, `listening`, `interruption`, `playback`, `pacing`, `heard`, `stages`, `totals`,
  `messages`, `problems`: the pure parts it is made of.
- `learner_audio`, `audio_gate`: the learner's samples on their way to the engine.
- `responses`: what goes to the client, kept for a while so that it can resume.
- `plan`, `live`: one session with its coroutines; `connection`, `engine_link`: its two sides;
  `directory`: the sessions of this process.
- `journal`, `recorder`: turns and sound on their way to storage, beside the talk.
- `application`, `servicer`, `push_order`: use cases and translation; `bootstrap` constructs;
  `housekeeping` clears up.
- `adapters`: the engine, the other services, the database.
"""
