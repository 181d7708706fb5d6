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

Several trees stand one after the other in a batch, without padding. Of the square of (token, token)
pairs only a part is ever seen; `Block` says which, so that attention can leave out the rest::

    rows         columns seen
    tree 1  ██·  its trunk so far, its own tokens
            █·█
    tree 2     ██·
               █·█

Pure functions on token ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vvae.core.errors import DataError

__all__ = ["Batch", "Block", "Node", "Tree", "collate", "layout"]

BLOCK_ROWS = 96
"""Rows of a block: many enough for fast products, few enough that little is computed in vain."""
GAP = 16
"""Unseen columns between seen ones that cost less than a separate piece."""


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


class Block(NamedTuple):
    """Some tokens of a batch and all that any of them sees: R rows,
    C columns in ascending pieces.
    """

    rows: tuple[int, int]
    """First row and the one after the last."""
    columns: tuple[tuple[int, int], ...]
    """Pieces of columns: first and the one after the last."""
    visible: npt.NDArray[np.bool_]
    """(R, C) whether the row attends to the column."""


class Batch(NamedTuple):
    """Trees one after the other: N tokens, S supervised tokens in all."""

    ids: npt.NDArray[np.int64]
    """(N,)"""
    positions: npt.NDArray[np.int64]
    """(N,) each token's position in its own path from its root."""
    blocks: tuple[Block, ...]
    """All rows in order."""
    sources: npt.NDArray[np.int64]
    """(S,) the token each supervised token is predicted from."""
    targets: npt.NDArray[np.int64]
    """(S,)"""
    keys: tuple[str, ...]
    """Keys of the supervised nodes, trees in order."""
    owners: npt.NDArray[np.int64]
    """(S,) index into `keys`."""

    @property
    def visible(self) -> npt.NDArray[np.bool_]:
        """(N, N) visible[i, j]: token i attends to token j."""
        seen = np.zeros((len(self.ids), len(self.ids)), dtype=np.bool_)
        for block in self.blocks:
            (start, end), done = block.rows, 0
            for first, last in block.columns:
                seen[start:end, first:last] = block.visible[:, done : done + last - first]
                done += last - first
        return seen


def collate(trees: Sequence[Tree]) -> Batch:
    """A batch of trees.

    Raises:
        DataError: no token of the batch carries loss.
    """
    layouts = [layout(tree) for tree in trees]
    if not sum(len(one.targets) for one in layouts):
        raise DataError("a batch without a single supervised token", fix="are the replies empty?")
    starts = np.cumsum([0, *(len(one.ids) for one in layouts)])
    keys: list[str] = []
    owners = []
    for tree, one in zip(trees, layouts, strict=True):
        index = np.cumsum([bool(node.supervised) for node in tree.nodes]) - 1 + len(keys)
        keys += [node.key for node in tree.nodes if node.supervised]
        owners.append(index[one.owners])
    return Batch(
        np.concatenate([one.ids for one in layouts]),
        np.concatenate([one.positions for one in layouts]),
        tuple(
            b
            for start, one in zip(starts, layouts, strict=False)
            for b in _blocks(one.visible, int(start))
        ),
        np.concatenate([one.sources + start for start, one in zip(starts, layouts, strict=False)]),
        np.concatenate([one.targets for one in layouts]),
        tuple(keys),
        np.concatenate(owners),
    )


def _blocks(visible: npt.NDArray[np.bool_], offset: int) -> Iterator[Block]:
    """The blocks of one tree whose first token is number `offset` of its batch."""
    for start in range(0, len(visible), BLOCK_ROWS):
        rows = visible[start : start + BLOCK_ROWS]
        seen = np.flatnonzero(rows.any(0))
        breaks = np.flatnonzero(np.diff(seen) > GAP)
        pieces = [
            (int(a), int(b) + 1)
            for a, b in zip(seen[[0, *breaks + 1]], seen[[*breaks, -1]], strict=True)
        ]
        columns = np.concatenate([rows[:, a:b] for a, b in pieces], axis=1)
        here = offset + start
        yield Block(
            (here, here + len(rows)), tuple((offset + a, offset + b) for a, b in pieces), columns
        )
