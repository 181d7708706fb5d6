"""Where a phrase may stand in a reply, and how likely it is there.

A phrase is tried at every place of a reply where a word may begin: p_t is the probability that the
model says it at place t, given what stands before. All places of several replies to one context are
asked for in one forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate, islice
from typing import TYPE_CHECKING, NamedTuple

from vvae.core.dialogue import BURST
from vvae.core.text import is_unspaced
from vvae.decoder.trees import Node, Tree, batches
from vvae.inference.engine import Request
from vvae.inference.template import escape
from vvae.inference.transformers import TransformersEngine

if TYPE_CHECKING:
    import torch

    from vvae.decoder.model import Decoder

__all__ = ["DecoderEngine", "Odds", "Tries", "cut_weights", "odds", "with_tries"]

LOOKED_AT = 128
"""Tokens of a reply in which a phrase is placed."""


class DecoderEngine(TransformersEngine):
    """A decoder's model as an engine, which also finds the place of a phrase in a reply."""

    def __init__(self, decoder: Decoder) -> None:
        prompter = decoder.prompter
        super().__init__(decoder.model, prompter.tokenizer, prompter.stops, bf16=decoder.bf16)
        self._decoder = decoder

    @cached_property
    def _boundary(self) -> torch.Tensor:
        return _boundary(self._decoder)

    def place(
        self, request: Request, replies: Sequence[str], phrase: str, *, draw: float
    ) -> tuple[int, ...]:
        """Return the tokens of a reply's beginning that ends with a phrase: one of some replies
        without it is cut where the model would say it (`cut_weights`).

        Written on from there, and written anew where the phrase's last word grows on, it is a draw
        from p(reply | context, z, the phrase stands in it), as far as so many replies resolve it,
        however rare the phrase is; rejection needs 1 / P(phrase) replies. The odds are those of
        temperature 1, and of the prompt without its contrasts.

        Args:
            replies: at least one, drawn from the model; the first `LOOKED_AT` tokens of each are
                looked at.
            draw: uniform in 0 to 1.
        """
        decoder = self._decoder
        *prompt, last = request.prompt
        frame = decoder.prompter.frame
        bodies = [decoder.prompter.tokens(frame.reply(text))[:LOOKED_AT] for text in replies]
        # The prompt's last token stands in each branch: the reply's first one is predicted from it.
        nodes = [
            Node(str(number), (last, *body), 0, len(prompt), len(body))
            for number, body in enumerate(bodies)
        ]
        tree = Tree((Node("", tuple(prompt)), *nodes))
        tries = with_tries(decoder, tree, [phrase] * len(bodies))
        (found,) = odds(decoder, [tries], self._boundary)
        weights = cut_weights(tries.places, found)
        target = draw * sum(weights)
        chosen = next(
            (number for number, below in enumerate(accumulate(weights)) if below > target),
            len(weights) - 1,
        )
        (number, cut), tried = tries.places[chosen], tries.tree.nodes[1 + len(bodies) + chosen]
        return (*bodies[number][:cut], *tried.tokens[:-1])


def cut_weights(places: Sequence[tuple[int, int]], odds: Sequence[Odds]) -> list[float]:
    """Return in proportion to what each place of replies without a phrase is where it would be
    said::

        w_jt = p_jt / prod over t' >= t of (1 - p_jt')

    Replies that lack the phrase have beginnings that are followed by it too seldom, by the
    probability of lacking it from there on; the denominator is that, unbiased from the one way in
    which the reply went on (self-normalised importance sampling; this use of it is this
    project's). A place may stand several times, for several spellings; w is of each of them, before
    it is seen whether the word ends there.

    Args:
        places: (reply, place in it) of each try, in order.
    """
    said: dict[tuple[int, int], float] = {}
    for place, one in zip(places, odds, strict=True):
        said[place] = said.get(place, 0.0) + one.whole
    lacking: dict[tuple[int, int], float] = {}
    after: dict[int, float] = {}
    for place in sorted(said, reverse=True):
        after[place[0]] = after.get(place[0], 1.0) * max(1e-9, 1 - said[place])
        lacking[place] = after[place[0]]
    return [one.said / lacking[place] for place, one in zip(places, odds, strict=True)]


class Odds(NamedTuple):
    """The probabilities of a phrase at one place."""

    said: float
    """Of its tokens."""
    ends: float
    """Of a word boundary after them; 1 in a script without spaces."""

    @property
    def whole(self) -> float:
        """Return the probability of the phrase as words of their own."""
        return self.said * self.ends


class Tries(NamedTuple):
    """A tree in which phrases are tried at all places of its replies."""

    tree: Tree
    branches: tuple[str, ...]
    """Keys of the replies' branches."""
    spaced: tuple[bool, ...]
    """Whether a word boundary must follow each branch's phrase."""
    places: tuple[tuple[int, int], ...]
    """(number of the branch, place in its reply) of each try, in the order of the nodes."""


def with_tries(
    decoder: Decoder, tree: Tree, phrases: Sequence[str], *, everywhere: bool = False
) -> Tries:
    """Return a tree with a phrase for each branch, tried at each place where a word may begin.

    All places of a reply are tried in one forward pass: each try is a branch of the branch, which
    leaves the reply where the phrase would begin::

        branch   z z z  i  was  so  tired  <end>
        try 1          └ oh  my  gosh  ·          place 0 of the reply
        try 2                └ oh  my  gosh  ·    place 2

    p_t is the product of the probabilities of the phrase's tokens and of a word boundary after
    them. The last token of a try (·) is never scored itself: it stands where what follows the
    phrase is predicted, so its row of probabilities is the boundary's.

    Args:
        everywhere: also inside of words, which might have ended there.
    """
    trunk, *branches = tree.nodes
    nodes = [trunk, *(branch._replace(supervised=0) for branch in branches)]
    places: list[tuple[int, int]] = []
    for number, (branch, phrase) in enumerate(zip(branches, phrases, strict=True)):
        header = len(branch.tokens) - branch.supervised
        for place, tokens in _openings(decoder, branch.tokens[header:], phrase, everywhere):
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


def odds(
    decoder: Decoder, tries: Sequence[Tries], boundary: torch.Tensor | None = None
) -> Iterator[list[Odds]]:
    """Yield, of each tree, the odds of each try.

    Args:
        boundary: the tokens at which a word has ended, where they are known.
    """
    boundary = _boundary(decoder) if boundary is None else boundary
    waiting = iter(tries)
    for group in batches((attempt.tree for attempt in tries), decoder.evaluation_tokens):
        rows = iter(_tried_rows(decoder, group, boundary))
        for attempt in islice(waiting, len(group)):
            nodes = attempt.tree.nodes[1 + len(attempt.branches) :]
            found: list[Odds] = []
            for (number, _), node in zip(attempt.places, nodes, strict=True):
                *tokens, last = islice(rows, node.supervised)
                ends = math.exp(last[1]) if attempt.spaced[number] else 1.0
                found.append(Odds(math.exp(sum(token for token, _ in tokens)), ends))
            yield found


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


def _openings(
    decoder: Decoder, reply: Sequence[int], phrase: str, everywhere: bool
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
        inside = not (opens or unspaced) and not piece[:1].isspace() and piece[:1].isalnum()
        if inside and not everywhere:
            continue
        for spelling in dict.fromkeys((phrase, phrase.capitalize())):
            text = escape(spelling, decoder.prompter.frame.control)
            yield place, decoder.prompter.tokens(text if opens or unspaced else f" {text}")


def _boundary(decoder: Decoder) -> torch.Tensor:
    """Which tokens may follow a finished word: those that do not begin with a letter or digit."""
    import torch

    size = decoder.causal.get_output_embeddings().weight.shape[0]
    pieces = decoder.prompter.tokenizer.batch_decode(
        [[i] for i in range(len(decoder.prompter.tokenizer))]
    )
    starts = [not piece[:1].isalnum() for piece in pieces] + [True] * (size - len(pieces))
    return torch.tensor(starts[:size], device=decoder.device)
