"""Prefix trees: all replies of one speaker in a window as branches of one trunk, computed in one
forward pass.

A training example per reply repeats the context once per reply. Here the context stands once, as
the trunk, and each reply is a branch that sees its own prefix of the trunk and itself, at the
positions it would have alone::

    trunk    s u u a a u u a a u u           position  0 1 2 3 4 5 6 7 8 9 10
    branch 1       └ z z z x x x             cut 3, positions 3 4 5 6 7 8
    branch 2               └ z z z x x       cut 7, positions 7 8 9 10 11

    attends to:   trunk[:3]  trunk[3:7]  trunk[7:]  branch 1   branch 2
    trunk[7:]     all        all         causal     .          .
    branch 1      all        .           .          causal     .
    branch 2      all        all         .          .          causal

Loss and gradients equal those of one example per reply (arXiv 2511.00413, 2504.18246). A branch may
have branches of its own, so several z of one reply, or a phrase tried at every place of a reply,
cost little.

Who sees whom is said by two integers a token. Seen as a tree of tokens, in which each token is a
child of the one before it in its path, a token attends to its ancestors. Number the tokens in
preorder, the branches that leave after a token before the token that goes on::

    trunk        t0  t1  t2  t3 ...          preorder      t0:0  t1:1  t2:2  t3:9
    branch 1             └ b0 .. b5          preorder      b0:3 ... b5:8
    subtree ends: after the last token of t0's own node, and everything that hangs on it

    i attends to j   exactly where   preorder[j] <= preorder[i] < subtree_end[j]

Several trees stand one after the other in a batch, without padding; their numbers do not overlap.
Pure functions on token ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vvae.core.errors import DataError

__all__ = ["Layout", "Node", "Tree", "TreeBatch", "batches", "collate", "layout", "visible"]

Integers = npt.NDArray[np.int64]


class Node(NamedTuple):
    """A run of tokens that follows the first `cut` tokens of its parent.

    `supervised` is the number of final tokens that carry loss. The root has no parent and carries
    none.
    """

    key: str
    tokens: tuple[int, ...]
    parent: int | None = None
    cut: int = 0
    supervised: int = 0


@dataclass(frozen=True)
class Tree:
    """A tree of nodes in an order in which parents come first; node 0 is the trunk."""

    nodes: tuple[Node, ...]

    def __len__(self) -> int:
        return sum(len(node.tokens) for node in self.nodes)

    @property
    def supervised(self) -> int:
        """Return the number of tokens that carry loss."""
        return sum(node.supervised for node in self.nodes)


class Layout(NamedTuple):
    """A tree of N tokens, S of them supervised, as arrays, in the order of its nodes."""

    ids: Integers
    """(N,) token ids."""
    positions: Integers
    """(N,) each token's position in its own path from the root."""
    preorder: Integers
    """(N,) each token's number in the tree of tokens."""
    subtree_end: Integers
    """(N,) the number after those of the tokens that follow it."""
    sources: Integers
    """(S,) where each supervised token is predicted from."""
    targets: Integers
    """(S,) the supervised token ids."""
    owners: Integers
    """(S,) the node of each supervised token."""


def layout(tree: Tree) -> Layout:
    """Return the arrays of one tree.

    A supervised token is predicted from the token before it in its path, which for a node's first
    token is the last one it sees of its parent.

    Raises:
        ValueError: a node refers to a later parent, cuts beyond it, or has nothing to be predicted
            from.
    """
    n = len(tree)
    starts = np.cumsum([0, *(len(node.tokens) for node in tree.nodes)])
    ids = np.fromiter((t for node in tree.nodes for t in node.tokens), dtype=np.int64, count=n)
    positions = np.empty(n, dtype=np.int64)
    first_position: list[int] = []
    sources: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    for index, node in enumerate(tree.nodes):
        start, length = int(starts[index]), len(node.tokens)
        parent, cut = node.parent, node.cut
        if (parent is None) != (index == 0) or (parent is not None and not 0 <= parent < index):
            raise ValueError(f"node {index} has no place in the tree")
        if parent is not None and not 0 <= cut <= len(tree.nodes[parent].tokens):
            raise ValueError(f"node {index} is cut beyond its parent")
        first_position.append(0 if parent is None else first_position[parent] + cut)
        positions[start : start + length] = first_position[index] + np.arange(length)
        before = -1 if parent is None else int(starts[parent]) + cut - 1
        for offset in range(length - node.supervised, length):
            source = start + offset - 1 if offset else before
            if source < 0 or (offset == 0 and node.cut == 0):
                raise ValueError(f"node {index} has a supervised token with nothing before it")
            sources.append(source)
            targets.append(node.tokens[offset])
            owners.append(index)
    as_array = [np.asarray(values, dtype=np.int64) for values in (sources, targets, owners)]
    return Layout(ids, positions, *_numbered(tree, starts), *as_array)


def _numbered(tree: Tree, starts: Integers) -> tuple[Integers, Integers]:
    """Return preorder and subtree end of each token."""
    # A node that sees nothing of its parent hangs where the parent hangs.
    hung = [_hung(tree, index) for index in range(len(tree.nodes))]
    sizes = [len(node.tokens) for node in tree.nodes]  # with all that hangs on them
    for index in range(len(tree.nodes) - 1, -1, -1):
        if (parent := hung[index][0]) is not None:
            sizes[parent] += sizes[index]
    preorder, subtree_end = np.empty(starts[-1], np.int64), np.empty(starts[-1], np.int64)
    next_free = 0  # for roots
    numbers: list[Integers] = []
    occupied: list[dict[int, int]] = [{} for _ in tree.nodes]
    hanging: list[Integers] = [np.zeros(len(node.tokens) + 1, np.int64) for node in tree.nodes]
    for index, (parent, cut) in enumerate(hung):
        if parent is not None:
            hanging[parent][cut] += sizes[index]
    for index, (parent, cut) in enumerate(hung):
        if parent is None:
            begin, next_free = next_free, next_free + sizes[index]
        else:
            begin = int(numbers[parent][cut - 1]) + 1 + occupied[parent].get(cut, 0)
            occupied[parent][cut] = occupied[parent].get(cut, 0) + sizes[index]
        length = len(tree.nodes[index].tokens)
        numbers.append(begin + np.arange(length) + np.cumsum(hanging[index])[:length])
        rows = slice(starts[index], starts[index + 1])
        preorder[rows], subtree_end[rows] = numbers[index], begin + sizes[index]
    return preorder, subtree_end


def _hung(tree: Tree, index: int) -> tuple[int | None, int]:
    """Return the node whose token a node follows, and after how many of its tokens."""
    _, _, parent, cut, _ = tree.nodes[index]
    while parent is not None and cut == 0:
        _, _, parent, cut, _ = tree.nodes[parent]
    return parent, cut


def visible(preorder: Integers, subtree_end: Integers) -> npt.NDArray[np.bool_]:
    """Return the (N, N) array whose [i, j] says that token i attends to token j.

    N squared: for references and tests. Kernels compute what they need of it.
    """
    number = preorder[:, None]
    return (preorder[None] <= number) & (number < subtree_end[None])


class TreeBatch(NamedTuple):
    """A batch of trees one after the other: N tokens, S supervised tokens in all."""

    ids: Integers
    """(N,)"""
    positions: Integers
    """(N,) each token's position in its own path from its root."""
    preorder: Integers
    """(N,) each token's number in the batch's forest of tokens."""
    subtree_end: Integers
    """(N,)"""
    starts: Integers
    """(trees + 1,) the first token of each tree, and the end."""
    sources: Integers
    """(S,) the token each supervised token is predicted from."""
    targets: Integers
    """(S,)"""
    keys: tuple[str, ...]
    """Keys of the supervised nodes, trees in order."""
    owners: Integers
    """(S,) index into `keys`."""


def collate(trees: Sequence[Tree]) -> TreeBatch:
    """Return the batch of some trees.

    Raises:
        DataError: no token of the batch carries loss.
    """
    layouts = [layout(tree) for tree in trees]
    if not sum(len(part.targets) for part in layouts):
        raise DataError("a batch without a single supervised token", fix="are the replies empty?")
    starts = np.cumsum([0, *(len(part.ids) for part in layouts)])
    keys: list[str] = []
    owners = []
    for tree, part in zip(trees, layouts, strict=True):
        index = np.cumsum([bool(node.supervised) for node in tree.nodes]) - 1 + len(keys)
        keys += [node.key for node in tree.nodes if node.supervised]
        owners.append(index[part.owners])
    shifted = list(zip(starts, layouts, strict=False))
    return TreeBatch(
        np.concatenate([part.ids for part in layouts]),
        np.concatenate([part.positions for part in layouts]),
        np.concatenate([part.preorder + start for start, part in shifted]),
        np.concatenate([part.subtree_end + start for start, part in shifted]),
        starts,
        np.concatenate([part.sources + start for start, part in shifted]),
        np.concatenate([part.targets for part in layouts]),
        tuple(keys),
        np.concatenate(owners),
    )


def batches(trees: Iterable[Tree], budget: int) -> Iterator[list[Tree]]:
    """Yield trees in order, in groups of at most `budget` tokens (one tree at the least)."""
    group: list[Tree] = []
    for tree in trees:
        if group and sum(map(len, group)) + len(tree) > budget:
            yield group
            group = []
        group.append(tree)
    if group:
        yield group
