"""llama.cpp in this process: a binding of what Parley needs of it, and a scheduler over it.

`library` finds and loads the shared libraries, `binding` declares their structs and functions,
`runtime` is one model with its context, `chat` writes prompts as tokens, `sampling` chooses tokens,
`text` joins them, `scheduler` decides what each step evaluates, `worker` runs it on a thread,
`states` keeps evaluated prompts on disk.
"""
