"""Teacher-forced measures: what the decoder would do, read off its probabilities on held-out human
replies.

Far less noisy than counting generated phrases: no reply has to be generated. `phrase_probability`
gives, at every place of a human reply where a word may begin, the probability of saying the phrase
there; a phrase is then expected

    sum_t p_t    times in the reply, and at least once with probability    1 - prod_t (1 - p_t),

the places given the words the person wrote (this project's measure).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from vvae.core.dialogue import Dialogue, Pair
from vvae.core.reporting import Progress
from vvae.core.text import find_phrase, is_unspaced, normal_form, words
from vvae.decoder.model import Branch, Decoder, per_token
from vvae.decoder.phrases import Tries, odds, with_tries
from vvae.decoder.trees import batches
from vvae.inference.prompts import PersonaLine
from vvae.metrics.results import Bound, Phrase, VariantResults

if TYPE_CHECKING:
    from vvae.metrics.tables import Likelihood

__all__ = [
    "SHOWN",
    "add_summary",
    "bound",
    "phrase_probability",
    "reply_losses",
    "said",
    "said_in_own",
]

SHOWN = ("posterior", "profile", "known", "own", "context", "swapped", "none")
"""The z under which a reply's likelihood is measured."""
PHRASE_UNDER = ("profile", "swapped")


def reply_losses(
    decoder: Decoder,
    dialogues: Mapping[str, Dialogue],
    pairs: Sequence[Pair],
    branches: Mapping[str, Sequence[Branch]],
    *,
    progress: Progress | None = None,
) -> dict[str, tuple[float, int]]:
    """Return ``pair_id|name`` -> (summed cross-entropy of the human reply in nats, its tokens), for
    each way to ask for it.
    """
    trees = (decoder.tree(dialogues[pair.dialogue], [pair], branches) for pair in pairs)
    result: dict[str, tuple[float, int]] = {}
    done = 0
    for group in batches(trees, decoder.evaluation_tokens):
        result |= decoder.losses(group)
        done += len(group)
        if progress:
            progress(done, len(pairs))
    return result


def phrase_probability(
    decoder: Decoder,
    dialogues: Mapping[str, Dialogue],
    pairs: Sequence[Pair],
    branches: Mapping[str, Sequence[tuple[Branch, str]]],
    *,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Return ``pair_id|name`` -> probability that the phrase stands in the reply at least once.

    Args:
        branches: pair id -> (z block under a name, the phrase looked for); names are unique per
            pair.
    """
    tries = []
    for pair in pairs:
        blocks = {pair.pair_id: [alternative for alternative, _ in branches[pair.pair_id]]}
        tree = decoder.tree(dialogues[pair.dialogue], [pair], blocks)
        phrases = [normal_form(phrase) for _, phrase in branches[pair.pair_id]]
        tries.append(with_tries(decoder, tree, phrases))
    return said(decoder, tries, progress=progress)


def said(
    decoder: Decoder, tries: Sequence[Tries], *, progress: Progress | None = None
) -> dict[str, float]:
    """Return key of a branch -> probability that its phrase stands in the reply at least once."""
    return {
        key: 1 - math.prod(1 - p for p in places.values())
        for key, places in _by_place(decoder, tries, progress)
    }


def said_in_own(
    decoder: Decoder,
    dialogues: Mapping[str, Dialogue],
    written: Sequence[tuple[Pair, PersonaLine, str]],
    *,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Return pair id -> sum_t p_t over the places of a reply that the decoder wrote itself, as far
    as the phrase has not been said.

    Its mean over replies drawn at temperature 1 is the probability that a reply has the phrase, in
    small letters or with a capital (people's rates count any spelling), whatever the decoder is:
    each place adds the probability of saying it first there, where counting adds whether it came.
    It varies less than counting, as a reply tells by every place and not by yes or no. (The sum of
    one reply may pass 1.)

    Args:
        written: (pair with what was written as its response, what was shown, the phrase).
    """
    phrases, replies, tries = [], [], []
    for pair, line, phrase in written:
        tree = decoder.tree(dialogues[pair.dialogue], [pair], {pair.pair_id: [Branch("own", line)]})
        branch = tree.nodes[1]
        phrases.append(normal_form(phrase))
        replies.append(list(branch.tokens[-branch.supervised :]))
        tries.append(with_tries(decoder, tree, phrases[-1:], everywhere=True))
    decode = decoder.prompter.tokenizer.decode
    places = _by_place(decoder, tries, progress)
    return {
        key.rpartition("|")[0]: sum(
            p for place, p in at.items() if not _is_over(phrase, decode(reply[:place]))
        )
        for phrase, reply, (key, at) in zip(phrases, replies, places, strict=True)
    }


def _is_over(phrase: str, before: str) -> bool:
    """Return whether a phrase that begins behind a text would be no first one: it was said, or its
    beginning was, so that the phrase would end there earlier.

    >>> _is_over("no no", "Well, no"), _is_over("no no", "well"), _is_over("oh no", "oh")
    (True, False, False)
    >>> _is_over("哈哈", "好哈"), _is_over("no", "No, no way")
    (True, True)
    """
    if find_phrase(phrase, before):
        return True
    unspaced = is_unspaced(phrase)
    units = list(phrase) if unspaced else phrase.split()
    said = (list(before) if unspaced else words(before))[-len(units) :]
    return any(
        units[d:] == units[: len(units) - d] and said[-d:] == units[:d]
        for d in range(1, len(units))
    )


def _by_place(
    decoder: Decoder, tries: Sequence[Tries], progress: Progress | None
) -> Iterator[tuple[str, dict[int, float]]]:
    """Each branch's key, and the probability of its phrase by the place in its reply."""
    for done, (of, found) in enumerate(zip(tries, odds(decoder, tries), strict=True), start=1):
        at: dict[str, dict[int, float]] = {key: defaultdict(float) for key in of.branches}
        for (number, place), p in zip(of.places, found, strict=True):
            at[of.branches[number]][place] += p.whole  # in small letters, or with a capital
        for key, places in at.items():
            yield key, {place: min(p, 1.0) for place, p in places.items()}
        if progress:
            progress(done, len(tries))


def add_summary(results: VariantResults, rows: Sequence[Likelihood]) -> None:
    """Add to a variant's results what its likelihoods come to.

    These are the losses per token, the reconstruction term per reply, both in nats, and the
    probabilities of a phrase.
    """
    results.loss_n = len({row.pair_id for row in rows if row.nats is not None})
    for condition in SHOWN:
        held = [
            (row.nats, row.tokens)
            for row in rows
            if row.shown == condition and row.nats is not None and row.tokens
        ]
        setattr(results, f"loss_{condition}_z", round(per_token(held), 4) if held else None)
    own = [row.nats for row in rows if row.shown == "posterior" and row.nats is not None]
    results.reconstruction = round(sum(own) / len(own), 4) if own else None
    phrases = {
        condition: [row.phrase for row in rows if row.shown == condition and row.phrase is not None]
        for condition in PHRASE_UNDER
    }
    if all(phrases.values()):
        means = {
            condition: round(sum(probabilities) / len(probabilities), 4)
            for condition, probabilities in phrases.items()
        }
        results.forced = Phrase(**means, n=len(phrases["profile"]))


def bound(rows: Sequence[Likelihood], kl: float) -> Bound | None:
    """Return the bound on -log p(x|c) in nats a reply, with one draw of the nulls (the ELBO) and
    with all that were measured (IWAE: Burda, Grosse and Salakhutdinov 2016); None without any.

    q is certain of what it read, and draws the rest from the prior itself: the importance weight of
    every draw is p of the values that were read, whose -log is the reply's part of KL(q || p)::

        -log p(x|c)  <=  KL - E log (1/K) sum_k p(x|c, z_k)  <=  KL - E (1/K) sum_k log p(x|c, z_k)

    Args:
        kl: KL(q || p), mean over the replies.
    """
    draws: dict[str, list[float]] = {}
    for row in rows:
        if row.shown.split(" ")[0] == "posterior" and row.nats is not None:
            draws.setdefault(row.pair_id, []).append(-row.nats)
    if not draws:
        return None
    means = [sum(of) / len(of) for of in draws.values()]
    mixed = [
        max(of) + math.log(sum(math.exp(x - max(of)) for x in of) / len(of))
        for of in draws.values()
    ]
    return Bound(
        elbo=round(kl - sum(means) / len(means), 4),
        iwae=round(kl - sum(mixed) / len(mixed), 4),
        draws=min(map(len, draws.values())),
        n=len(draws),
    )
