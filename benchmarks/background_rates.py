"""How often set phrases stand in chat at large, for the catchphrase miner; and what they are worth
for a person whose chats are all with one partner.

    python -m benchmarks.background_rates make --goemotions train.tsv --topicalchat DIR \
        --personachat valid.txt --casino casino_train.json --cped valid_split.csv
    python -m benchmarks.background_rates measure

`make` writes src/vvae/encoders/rules/weights/background.json. Rates alone are kept, of phrases that
stand in at least `LEAST` texts, no text: GoEmotions and CPED are Apache-2.0, PersonaChat and CaSiNo
CC BY 4.0, Topical-Chat CDLA-Sharing-1.0, under which results are free.

`measure` takes each speaker of the BYU corpus who has catchphrases when everybody is there to
compare with, leaves only their own replies and those of their partners, as one other person, and
mines again: with and without the background. (BYU is not in the background.)
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.audit_data import casino, comments, cped, personachat, topicalchat
from vvae.corpus.formats import load
from vvae.corpus.pairs import PairsConfig, pairs_with_account
from vvae.encoders.rules.catchphrase import CatchphraseConfig, candidates, mine
from vvae.encoders.rules.heads import script_of
from vvae.latent.readers.lexicon import default_lexicon

LEAST = 8
OUT = Path(__file__).parents[1] / "src/vvae/encoders/rules/weights/background.json"


def texts(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the texts of all corpora."""
    sources = (
        comments(arguments.goemotions),
        *(topicalchat(arguments.topicalchat / f"{n}.json") for n in ("valid_freq", "valid_rare")),
        personachat(arguments.personachat),
        casino(arguments.casino),
        cped(arguments.cped),
    )
    for rows in sources:
        yield from (row["text"] for row in rows)


def make(corpus: Iterable[str]) -> None:
    """Write the rates."""
    counts: dict[str, Counter[str]] = {"spaced": Counter(), "unspaced": Counter()}
    totals: Counter[str] = Counter()
    for text in corpus:
        script = script_of(text)
        totals[script] += 1
        found = candidates(text)
        if script == "unspaced":  # a whole clause may be a name
            found &= set(default_lexicon().chinese_markers)
        counts[script].update(found)
    rates = {
        script: {
            "replies": totals[script],
            "phrases": {p: n for p, n in sorted(counted.items()) if n >= LEAST},
        }
        for script, counted in counts.items()
    }
    OUT.write_text(json.dumps(rates, ensure_ascii=False) + "\n", "utf-8")
    sizes = {script: (r["replies"], len(r["phrases"])) for script, r in rates.items()}  # type: ignore[arg-type]
    print(f"{OUT}: {OUT.stat().st_size:,} bytes; replies and phrases {sizes}")


def measure() -> None:
    """Print what is found with one partner, against what is found with everybody."""
    dialogues = load("byu").dialogues
    pairs, _ = pairs_with_account(dialogues, PairsConfig(), seed=0)
    train = [pair for pair in pairs if pair.split == "train"]
    topics = {d.id: prompt for d in dialogues if (prompt := d.get("prompt"))}
    everybody = mine(train, topics, CatchphraseConfig())
    print(f"{len(everybody)} speakers with a list")
    for background in (0.0, CatchphraseConfig().background):
        config = CatchphraseConfig(background=background)
        found = right = right_first = 0
        for speaker, known in everybody.items():
            inside = {pair.dialogue for pair in train if pair.speaker == speaker}
            two = [
                replace(pair, speaker=speaker if pair.speaker == speaker else "partner")
                for pair in train
                if pair.dialogue in inside
            ]
            two = [
                replace(p, listeners=("partner",) if p.speaker == speaker else (speaker,))
                for p in two
            ]
            mined = [c.phrase for c in mine(two, topics, config).get(speaker, ())]
            true = {c.phrase for c in known}
            found += len(mined)
            right += len(true & set(mined))
            right_first += bool(mined) and mined[0] in true
        total = sum(len(known) for known in everybody.values())
        print(
            f"background {background:,.0f}: {found} phrases named, {right} of them on the list "
            f"({right / max(found, 1):.1%}); {right / total:.1%} of {total} listed phrases found; "
            f"the first one is right for {right_first} of {len(everybody)} speakers"
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("measure")
    maker = commands.add_parser("make")
    for name in ("goemotions", "topicalchat", "personachat", "casino", "cped"):
        maker.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.command == "make":
        make(texts(arguments))
    else:
        measure()


if __name__ == "__main__":
    main()
