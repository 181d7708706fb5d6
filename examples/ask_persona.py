"""Ask a persona: python examples/ask_persona.py RUN [NAME]. RUN is a trained run folder."""

import sys

import vvae

chat = vvae.Chat(
    sys.argv[1],
    sys.argv[2] if len(sys.argv) > 2 else None,
    tone="playful",  # fixed
    topic="auto",  # read in the conversation so far
    vibe="sample",  # drawn anew for each reply
    rates={"catchphrase": 0.1},  # shows in about one reply of ten
    seed=7,
)
for message in ("hi! how was your weekend?", "did you see the new film?", "and now?"):
    reply = chat.say(message)
    print(f"you: {message}")
    print("\n".join(f"{chat.speaker}: {line}" for line in reply.messages))
    print(f"    z  {reply.z}")
    for note in reply.steered.notes:
        print(f"    !  {note}")
