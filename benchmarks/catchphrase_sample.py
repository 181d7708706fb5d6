"""A keyed sample of mined catchphrases with what one needs to judge them by hand, as tab-separated
values.

python benchmarks/catchphrase_sample.py --number 100 > sample.tsv
"""

from __future__ import annotations

import argparse

from vvae.core.random import shuffled
from vvae.core.text import find_phrase
from vvae.corpus.formats import load
from vvae.corpus.pairs import PairsConfig, pairs_with_account
from vvae.encoders.rules.catchphrase import CatchphraseConfig, mine


def main() -> None:
    """Prints number, phrase, z, share of the speaker's replies, share of others' replies, an
    example.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=100)
    number = parser.parse_args().number
    dialogues = load("byu").dialogues
    pairs, _ = pairs_with_account(dialogues, PairsConfig(), seed=0)
    topics = {d.id: prompt for d in dialogues if (prompt := d.get("prompt"))}
    train = [pair for pair in pairs if pair.split == "train"]
    lists = mine(train, topics, CatchphraseConfig())
    mined = [(speaker, c) for speaker, phrases in lists.items() for c in phrases]
    names = [f"{speaker}\t{c.phrase}" for speaker, c in mined]
    for i, (speaker, c) in enumerate(shuffled(mined, "judge", name=names)[:number], start=1):
        own = [p for p in train if p.speaker == speaker]
        rest = [p for p in train[:: len(train) // 4000] if p.speaker != speaker]
        share = sum(find_phrase(c.phrase, p.response) is not None for p in rest) / len(rest)
        used = [p for p in own if find_phrase(c.phrase, p.response)]
        example = shuffled(used, "example", name=[p.pair_id for p in used])[0].response.replace(
            "\n", " / "
        )[:90]
        print(i, c.phrase, c.z, f"{len(used) / len(own):.3f}", f"{share:.3f}", example, sep="\t")


if __name__ == "__main__":
    main()
