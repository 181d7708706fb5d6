"""How human is a chatbot? python examples/measure_chatbot.py CONFIG URL MODEL.

CONFIG names the chats whose people are compared with (make one with: vvae init mine.yaml --data
chats), URL an OpenAI-compatible endpoint up to /v1. Nothing is trained. Answers are kept: asked
again, it asks nothing twice.
"""

import sys

import vvae

config, url, model = sys.argv[1:]
found = vvae.measure_chatbot(config, base_url=url, model=model)
for name in ("CP", "question", "length", "message_length", "sounds_like"):
    measures = found["measures"].get(name, {})
    for variant, measured in measures.items():
        interval = f"{measured['low']:.3f} to {measured['high']:.3f}, n = {measured['n']}"
        print(f"{name:15} {variant:18} {measured['estimate']:8.3f}   ({interval})")
