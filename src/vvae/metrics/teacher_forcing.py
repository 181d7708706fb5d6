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
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from vvae.core.dialogue import BURST, Dialogue, Pair
from vvae.core.reporting import Progress
from vvae.core.text import is_unspaced, normal_form
from vvae.decoder.model import Branch, Decoder, per_token
from vvae.decoder.trees import Node, Tree, batches
from vvae.metrics.results import Bound, Phrase, VariantResults

if TYPE_CHECKING:
    import torch

    from vvae.metrics.tables import Likelihood

__all__ = [
    "SHOWN",
    "Tries",
    "add_summary",
    "bound",
    "phrase_probability",
    "reply_losses",
    "said",
    "with_tries",
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
    boundary = _boundary(decoder)
    result: dict[str, float] = {}
    waiting = iter(tries)
    done = 0
    for group in batches((attempt.tree for attempt in tries), decoder.evaluation_tokens):
        rows = iter(_tried_rows(decoder, group, boundary))
        for attempt in islice(waiting, len(group)):
            result |= {
                key: 1 - math.prod(1 - min(p, 1.0) for p in hazards.values())
                for key, hazards in _hazards(attempt, rows).items()
            }
        done += len(group)
        if progress:
            progress(done, len(tries))
    return result


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


class Tries(NamedTuple):
    """A tree in which phrases are tried at all places of its replies."""

    tree: Tree
    branches: tuple[str, ...]
    """Keys of the replies' branches."""
    spaced: tuple[bool, ...]
    """Whether a word boundary must follow each branch's phrase."""
    places: tuple[tuple[int, int], ...]
    """(number of the branch, place in its reply) of each try, in the order of the nodes."""


def with_tries(decoder: Decoder, tree: Tree, phrases: Sequence[str]) -> Tries:
    """Return a tree with a phrase for each branch, tried at each place where a word may begin.

    All places of a reply are tried in one forward pass: each try is a branch of the branch, which
    leaves the reply where the phrase would begin::

        branch   z z z  i  was  so  tired  <end>
        try 1          └ oh  my  gosh  ·          place 0 of the reply
        try 2                └ oh  my  gosh  ·    place 2

    p_t is the product of the probabilities of the phrase's tokens and of a word boundary after
    them. The last token of a try (·) is never scored itself: it stands where what follows the
    phrase is predicted, so its row of probabilities is the boundary's.
    """
    trunk, *branches = tree.nodes
    nodes = [trunk, *(branch._replace(supervised=0) for branch in branches)]
    places: list[tuple[int, int]] = []
    for number, (branch, phrase) in enumerate(zip(branches, phrases, strict=True)):
        header = len(branch.tokens) - branch.supervised
        for place, tokens in _openings(decoder, branch.tokens[header:], phrase):
            places.append((number, place))
            nodes.append(
                Node(
                    f"{branch.key}|{place}",
                    tokens=(*tokens, decoder.prompter.stops[0]),
                    parent=1 + number,
                    cut=header + place,
                    supervised=len(tokens) + 1,
                )
            )
    return Tries(
        Tree(tuple(nodes)),
        tuple(branch.key for branch in branches),
        tuple(not is_unspaced(phrase) for phrase in phrases),
        tuple(places),
    )


def _tried_rows(
    decoder: Decoder, trees: Sequence[Tree], boundary: torch.Tensor
) -> list[tuple[float, float]]:
    """Return of each supervised token its log probability and that of a word boundary there."""

    rows: list[tuple[float, float]] = []
    with decoder.evaluating():
        inputs = decoder.inputs(trees)
        for scores in decoder.logits_in_parts(inputs):
            logprobs = scores.log_softmax(-1)
            token = logprobs.gather(1, inputs.targets[len(rows) : len(rows) + len(scores), None])[
                :, 0
            ]
            rows += zip(token.tolist(), logprobs[:, boundary].logsumexp(-1).tolist(), strict=True)
    return rows


def _hazards(tries: Tries, rows: Iterator[tuple[float, float]]) -> dict[str, dict[int, float]]:
    """Return for each branch the p_t of each place where a word may begin, from its rows."""
    hazards: dict[str, dict[int, float]] = {key: {} for key in tries.branches}
    nodes = tries.tree.nodes[1 + len(tries.branches) :]
    for (number, place), node in zip(tries.places, nodes, strict=True):
        *tokens, last = islice(rows, node.supervised)
        log_p = sum(token for token, _ in tokens) + (last[1] if tries.spaced[number] else 0.0)
        at = hazards[tries.branches[number]]
        at[place] = at.get(place, 0.0) + math.exp(log_p)
    return hazards


def _openings(
    decoder: Decoder, reply: Sequence[int], phrase: str
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The places of a reply where the phrase may begin, each with the phrase's tokens there, small
    and capital.
    """
    unspaced = is_unspaced(phrase)
    before = [
        decoder.prompter.tokenizer.decode(list(reply[:place])) for place in range(len(reply) + 1)
    ]
    for place in range(len(reply)):
        piece = before[place + 1][len(before[place]) :]
        opens = place == 0 or before[place].endswith(BURST)
        if not (opens or unspaced) and not piece[:1].isspace() and piece[:1].isalnum():
            continue  # inside a word
        for spelling in dict.fromkeys((phrase, phrase.capitalize())):
            yield place, decoder.prompter.tokens(spelling if opens or unspaced else f" {spelling}")


def _boundary(decoder: Decoder) -> torch.Tensor:
    """Which tokens may follow a finished word: those that do not begin with a letter or digit."""
    import torch

    size = decoder.causal.get_output_embeddings().weight.shape[0]
    pieces = decoder.prompter.tokenizer.batch_decode(
        [[i] for i in range(len(decoder.prompter.tokenizer))]
    )
    starts = [not piece[:1].isalnum() for piece in pieces] + [True] * (size - len(pieces))
    return torch.tensor(starts[:size], device=decoder.device)
