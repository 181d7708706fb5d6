"""A dimension of your own: python examples/own_dimension.py chats.jsonl.

One that is read by meaning needs no code: labels with example sentences in a YAML file. This one is
read by a function.
"""

import re
import sys

import vvae


def find_clock(reply: str, phrases: object) -> vvae.Span | None:
    """Return the first time of day that stands in a reply."""
    found = re.search(r"\b\d{1,2}:\d{2}\b", reply)
    return vvae.Span(found[0], *found.span()) if found else None


clock = vvae.Reader(
    "clock",
    read=find_clock,
    ground=lambda value, reply, phrases: find_clock(reply, phrases) or "not in the reply",
    asked_as="a time of day, as it stands in the reply",
)
vvae.register_reader(clock)

what = {"scope": "turn", "reader": "clock", "description": "a time of day that is mentioned"}
space = vvae.LatentSpace.from_dict({"name": "mine", "axes": {"plans": {"clock": what}}})
pairs = vvae.make_pairs(vvae.load_dialogues(sys.argv[1]))
encoder = vvae.RulesEncoder.fit(pairs, space)
prior = vvae.Prior.count(encoder.encode(pairs), space)
print(f"a time of day in {100 * prior['clock'].rate:.1f} % of replies")
print(prior["clock"].ordered[:5])
