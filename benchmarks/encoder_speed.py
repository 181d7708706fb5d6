"""Pairs per second of the default encoder on the BYU corpus: lexical dimensions alone, and all of
them.

python benchmarks/encoder_speed.py --pairs 4000
"""

from __future__ import annotations

import argparse
import time

from vvae.corpus.formats import load
from vvae.corpus.pairs import PairsConfig, pairs_with_account
from vvae.encoders.rules.encoder import RulesEncoder
from vvae.latent.space import LatentSpace, load_space


def main() -> None:
    """Prints both rates; the last line is `lexical_pairs_per_s X`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=4000)
    number = parser.parse_args().pairs
    dialogues = load("byu").dialogues
    pairs, _ = pairs_with_account(dialogues, PairsConfig(), seed=0)
    topics = {d.id: prompt for d in dialogues if (prompt := d.get("prompt"))}
    space = load_space()
    by_words = ("catchphrase", "emoji", "nickname", "hobby")
    lexical = LatentSpace("lexical", tuple(d for d in space.dimensions if d.reader in by_words))
    rates = {}
    for name, chosen in (("all", space), ("lexical", lexical)):
        encoder = RulesEncoder.fit(pairs, chosen, topics=topics)
        sample = pairs[:: max(1, len(pairs) // number)][:number]
        fresh = RulesEncoder.from_state(encoder.state())
        list(fresh.encode(sample[:8]))
        started = time.perf_counter()
        list(fresh.encode(sample))
        rates[name] = len(sample) / (time.perf_counter() - started)
        print(f"{name}: {len(sample)} pairs, {rates[name]:.0f} pairs/s")
    print(f"lexical_pairs_per_s {rates['lexical']:.0f}")


if __name__ == "__main__":
    main()
