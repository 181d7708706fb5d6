"""Teacher-forced measures: what the decoder would do, read off its probabilities on held-out human replies.

Far less noisy than counting generated phrases: no reply has to be generated. `phrase_probability` gives, at
every place of a human reply where a word may begin, the probability of saying the phrase there; a phrase is
then expected

    sum_t p_t    times in the reply, and at least once with probability    1 - prod_t (1 - p_t),

the places given the words the person wrote (this project's measure).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from vvae.decoder import Alternative, Decoder
from vvae.dialogue import BURST, Dialogue, Pair
from vvae.language import is_unspaced, normal_form
from vvae.packing import Node, Tree, collate

if TYPE_CHECKING:
    import torch

__all__ = ["phrase_probability", "reply_losses"]

Progress = Callable[[int, int], None]


def reply_losses(
    decoder: Decoder,
    dialogues: Mapping[str, Dialogue],
    pairs: Sequence[Pair],
    asked: Mapping[str, Sequence[Alternative]],
    *,
    progress: Progress | None = None,
) -> dict[str, tuple[float, int]]:
    """``pair_id|name`` -> (summed cross-entropy of the human reply in nats, its tokens), for each way to ask for it."""
    result: dict[str, tuple[float, int]] = {}
    for number, pair in enumerate(pairs, start=1):
        result |= decoder.losses([decoder.tree(dialogues[pair.dialogue], [pair], asked)])
        if progress:
            progress(number, len(pairs))
    return result


def phrase_probability(
    decoder: Decoder,
    dialogues: Mapping[str, Dialogue],
    pairs: Sequence[Pair],
    asked: Mapping[str, Sequence[tuple[Alternative, str]]],
    *,
    progress: Progress | None = None,
) -> dict[str, float]:
    """``pair_id|name`` -> probability that the phrase stands in the reply at least once.

    Args:
        asked: pair id -> (z block under a name, the phrase looked for); names are unique per pair.
    """
    boundary = _boundary(decoder)
    result: dict[str, float] = {}
    for number, pair in enumerate(pairs, start=1):
        for alternative, phrase in asked[pair.pair_id]:
            tree = decoder.tree(dialogues[pair.dialogue], [pair], {pair.pair_id: [alternative]})
            hazards = _hazards(decoder, tree, pair, phrase, boundary)
            result[f"{pair.pair_id}|{alternative.name}"] = 1 - math.prod(1 - min(p, 1.0) for p in hazards)
        if progress:
            progress(number, len(pairs))
    return result


def _hazards(decoder: Decoder, tree: Tree, pair: Pair, phrase: str, boundary: torch.Tensor) -> list[float]:
    """p_t at each place of the reply where a word may begin, with and without a capital, a word boundary after it."""
    import torch

    branch = tree.nodes[1]
    reply = branch.tokens[len(branch.tokens) - branch.supervised :]
    header = len(branch.tokens) - len(reply)
    nodes = [tree.nodes[0], branch._replace(supervised=0)]
    phrase = normal_form(phrase)
    unspaced = is_unspaced(phrase)
    spellings = dict.fromkeys((phrase, phrase.capitalize()))
    before = [decoder.tokenizer.decode(list(reply[:place])) for place in range(len(reply) + 1)]
    for place in range(len(reply)):
        piece = before[place + 1][len(before[place]) :]
        opens = place == 0 or before[place].endswith(BURST)
        if not (opens or unspaced) and not piece[:1].isspace() and piece[:1].isalnum():
            continue  # inside a word
        for spelling in spellings:
            tokens = decoder.tokens(spelling if opens or unspaced else f" {spelling}")
            # One token more, never scored: it stands where the boundary after the phrase is read.
            nodes.append(Node(str(place), (*tokens, decoder.stops[0]), 1, header + place, len(tokens) + 1))
    with decoder.evaluating():
        batch = collate([Tree(tuple(nodes))])
        logprobs = decoder.logits(batch).log_softmax(-1)
        own = logprobs.gather(1, torch.from_numpy(batch.targets).to(logprobs.device)[:, None])[:, 0]
        after = logprobs.new_zeros(len(own)) if unspaced else logprobs[:, boundary].logsumexp(-1)
    hazards: dict[str, float] = {}
    start = 0
    for key, node in zip(batch.keys, nodes[2:], strict=True):
        end = start + node.supervised
        log_p = float(own[start : end - 1].sum() + after[end - 1])
        hazards[key] = hazards.get(key, 0.0) + math.exp(log_p)
        start = end
    return list(hazards.values())


def _boundary(decoder: Decoder) -> torch.Tensor:
    """Which tokens may follow a finished word: those that do not begin with a letter or digit."""
    import torch

    size = decoder.causal.get_output_embeddings().weight.shape[0]
    pieces = decoder.tokenizer.batch_decode([[i] for i in range(len(decoder.tokenizer))])
    starts = [not piece[:1].isalnum() for piece in pieces] + [True] * (size - len(pieces))
    return torch.tensor(starts[:size], device=decoder.device)
