"""Read chats and look at z: python examples/read_chats.py chats.jsonl (or byu)."""

import sys

import vvae

dialogues = vvae.load_dialogues(sys.argv[1])
space = vvae.LatentSpace.load("default")
pairs = vvae.make_pairs(dialogues)
encoder = vvae.RulesEncoder.fit(pairs, space)
encodings = list(encoder.encode(pairs))

# What the encoder sees in single replies; null where it sees no evidence.
for pair, encoding in zip(pairs[:20], encodings, strict=False):
    print(f"{pair.speaker}: {' / '.join(pair.response.splitlines())}")
    print(f"    z  {encoding.persona or 'nothing'}")

# The prior p(z_k), counted over the training replies, and how often there was evidence at all.
train = [e for pair, e in zip(pairs, encodings, strict=True) if pair.split == "train"]
prior = vvae.Prior.count(train, space)
for name in space.names:
    values = ", ".join(f"{value} ({n})" for value, n in prior[name].ordered[:4])
    print(f"{name:13} r {prior[name].rate:6.3f}  {values}")

# A whole z: what was read, and draws from the prior where it was null.
print(vvae.fill_nulls(encodings[0].persona, prior, key=pairs[0].pair_id))
