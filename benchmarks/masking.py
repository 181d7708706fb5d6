"""How many personal items are found, and how much else is taken for one.

python -m benchmarks.masking --seeds 20 21 22

Items are made up by Faker for five countries and planted among its sentences; the numbers of
`phonenumbers` are examples of every country; the BYU corpus is real chat, in which nearly
everything masked is a mistake.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter

import phonenumbers
import regex
from tests.support.planted import planted

from vvae.corpus.formats import load
from vvae.corpus.privacy.patterns import KINDS, masked

PLACEHOLDER = regex.compile(f"<(?:{'|'.join(KINDS)})>")
WORD = regex.compile(r"[\p{L}\p{N}]+")


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[20])
    parser.add_argument("--items", type=int, default=4500)
    args = parser.parse_args()
    found: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    placeholders = lost = words = plain = 0
    for one in (one for seed in args.seeds for one in planted(args.items, args.items, seed)):
        out = masked(one.text)[0]
        around = set(WORD.findall(f"{one.before} {one.after}"))
        left = set(WORD.findall(PLACEHOLDER.sub(" ", out)))
        lost, words = lost + len(around - left), words + len(around)
        if one.kind is None:
            plain += len(PLACEHOLDER.findall(out))
            continue
        placeholders += len(PLACEHOLDER.findall(out))
        asked[one.kind] += 1
        parts = {part for part in WORD.findall(one.item) if len(part) > 2} - around
        found[one.kind] += not (parts & left) and one.item not in out
    turns = [turn.text for dialogue in load("byu").dialogues for turn in dialogue.turns]
    print(
        json.dumps(
            {
                "recall": {kind: [found[kind], asked[kind]] for kind in asked},
                "placeholders_with_an_item": [placeholders, placeholders + plain],
                "other_words_lost": [lost, words],
                "phones_of_every_country": _phones(),
                "byu_turns_touched": [sum(masked(text)[0] != text for text in turns), len(turns)],
            }
        )
    )


def _phones() -> list[int]:
    """Example numbers of seven digits or more that are found, and all."""
    found = asked = 0
    for region in phonenumbers.SUPPORTED_REGIONS:
        for kind in (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE):
            number = phonenumbers.example_number_for_type(region, kind)
            if number is None:
                continue
            for form in ("INTERNATIONAL", "NATIONAL", "E164"):
                text = phonenumbers.format_number(
                    number, getattr(phonenumbers.PhoneNumberFormat, form)
                )
                if sum(c.isdigit() for c in text) >= 7:
                    asked += 1
                    found += not any(c.isdigit() for c in masked(f"call me on {text} tonight")[0])
    return [found, asked]


if __name__ == "__main__":
    main()
