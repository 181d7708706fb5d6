"""Prefix trees: all replies of one speaker in a window as branches of one trunk, computed in one forward pass.

A training example per reply repeats the context once per reply. Here the context stands once, as the trunk, and each
reply is a branch that sees its own prefix of the trunk and itself, at the positions it would have alone::

    trunk    s u u a a u u a a u u           position  0 1 2 3 4 5 6 7 8 9 10
    branch 1       └ z z z x x x             cut 3, positions 3 4 5 6 7 8
    branch 2               └ z z z x x       cut 7, positions 7 8 9 10 11

    attends to:   trunk[:3]  trunk[3:7]  trunk[7:]  branch 1   branch 2
    trunk[7:]     all        all         causal     .          .
    branch 1      all        .           .          causal     .
    branch 2      all        all         .          .          causal

Loss and gradients equal those of one example per reply (arXiv 2511.00413, 2504.18246). A branch may have
branches of its own, so several z of one reply, or a phrase tried at every place of a reply, cost little. Pure
functions on token ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vvae.errors import DataError

__all__ = ["Batch", "Node", "Tree", "collate", "layout"]


class Node(NamedTuple):
    """A run of tokens that follows the first `cut` tokens of its parent.

    `supervised` is the number of final tokens that carry loss. The root has no parent and carries none.
    """

    key: str
    tokens: tuple[int, ...]
    parent: int | None = None
    cut: int = 0
    supervised: int = 0


@dataclass(frozen=True)
class Tree:
    """Nodes in an order in which parents come first; node 0 is the trunk."""

    nodes: tuple[Node, ...]

    def __len__(self) -> int:
        return sum(len(node.tokens) for node in self.nodes)

    @property
    def supervised(self) -> int:
        """Tokens that carry loss."""
        return sum(node.supervised for node in self.nodes)


class Layout(NamedTuple):
    """A tree of N tokens as arrays."""

    ids: npt.NDArray[np.int64]
    """(N,) token ids."""
    positions: npt.NDArray[np.int64]
    """(N,) each token's position in its own path from the root."""
    visible: npt.NDArray[np.bool_]
    """(N, N) visible[i, j]: token i attends to token j."""
    sources: npt.NDArray[np.int64]
    """(S,) where each supervised token is predicted from."""
    targets: npt.NDArray[np.int64]
    """(S,) the supervised token ids."""
    owners: npt.NDArray[np.int64]
    """(S,) the node of each supervised token."""


def layout(tree: Tree) -> Layout:
    """The arrays of one tree.

    A supervised token is predicted from the token before it in its path, which for a node's first token is the last one
    it sees of its parent.

    Raises:
        ValueError: a node refers to a later parent, cuts beyond it, or has nothing to be predicted from.
    """
    n = len(tree)
    starts = np.cumsum([0, *(len(node.tokens) for node in tree.nodes)])
    ids = np.fromiter((t for node in tree.nodes for t in node.tokens), dtype=np.int64, count=n)
    positions = np.empty(n, dtype=np.int64)
    visible = np.zeros((n, n), dtype=np.bool_)
    base: list[int] = []
    sources: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    for index, node in enumerate(tree.nodes):
        start, length = int(starts[index]), len(node.tokens)
        rows = slice(start, start + length)
        parent, cut = node.parent, node.cut
        if (parent is None) != (index == 0) or (parent is not None and not 0 <= parent < index):
            raise ValueError(f"node {index} has no place in the tree")
        if parent is not None and not 0 <= cut <= len(tree.nodes[parent].tokens):
            raise ValueError(f"node {index} is cut beyond its parent")
        base.append(0 if parent is None else base[parent] + cut)
        positions[rows] = base[index] + np.arange(length)
        visible[rows, rows] = np.tri(length, dtype=np.bool_)
        before = -1 if parent is None else int(starts[parent]) + cut - 1
        while parent is not None:
            visible[rows, starts[parent] : starts[parent] + cut] = True
            _, _, parent, cut, _ = tree.nodes[parent]
        for offset in range(length - node.supervised, length):
            source = start + offset - 1 if offset else before
            if source < 0 or (offset == 0 and node.cut == 0):
                raise ValueError(f"node {index} has a supervised token with nothing before it")
            sources.append(source)
            targets.append(node.tokens[offset])
            owners.append(index)
    as_array = [np.asarray(values, dtype=np.int64) for values in (sources, targets, owners)]
    return Layout(ids, positions, visible, *as_array)


class Batch(NamedTuple):
    """Trees side by side, padded to the longest: B trees, N tokens, S supervised tokens in all."""

    ids: npt.NDArray[np.int64]
    """(B, N)"""
    positions: npt.NDArray[np.int64]
    """(B, N)"""
    visible: npt.NDArray[np.bool_]
    """(B, 1, N, N); padding sees itself alone, so that no row of the softmax is empty."""
    rows: npt.NDArray[np.int64]
    """(S,) the tree of each supervised token."""
    sources: npt.NDArray[np.int64]
    """(S,) where in its tree it is predicted from."""
    targets: npt.NDArray[np.int64]
    """(S,)"""
    keys: tuple[str, ...]
    """Keys of the supervised nodes, trees in order."""
    owners: npt.NDArray[np.int64]
    """(S,) index into `keys`."""


def collate(trees: Sequence[Tree], pad: int) -> Batch:
    """A batch of trees.

    Raises:
        DataError: no token of the batch carries loss.
    """
    layouts = [layout(tree) for tree in trees]
    if not sum(len(one.targets) for one in layouts):
        raise DataError("a batch without a single supervised token", fix="are the replies empty?")
    width = max(len(one.ids) for one in layouts)
    ids = np.full((len(trees), width), pad, dtype=np.int64)
    positions = np.zeros((len(trees), width), dtype=np.int64)
    visible = np.zeros((len(trees), 1, width, width), dtype=np.bool_)
    visible[:, 0, range(width), range(width)] = True
    keys: list[str] = []
    rows, owners = [], []
    for row, (tree, one) in enumerate(zip(trees, layouts, strict=True)):
        n = len(one.ids)
        ids[row, :n], positions[row, :n] = one.ids, one.positions
        visible[row, 0, :n, :n] = one.visible
        index = {}
        for node_index, node in enumerate(tree.nodes):
            if node.supervised:
                index[node_index] = len(keys)
                keys.append(node.key)
        rows.append(np.full(len(one.targets), row, dtype=np.int64))
        owners.append(np.asarray([index[int(o)] for o in one.owners], dtype=np.int64))
    return Batch(
        ids,
        positions,
        visible,
        np.concatenate(rows),
        np.concatenate([one.sources for one in layouts]),
        np.concatenate([one.targets for one in layouts]),
        tuple(keys),
        np.concatenate(owners),
    )
