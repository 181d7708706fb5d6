"""The prefix tree is exact: the same loss and gradients as one example per reply."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vvae.core.errors import DataError
from vvae.decoder.model import Decoder
from vvae.decoder.trees import Node, Tree, collate, layout, visible

tokens = st.lists(st.integers(5, 400), min_size=1, max_size=6).map(tuple)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    nodes = [Node("", draw(tokens))]
    for index in range(draw(st.integers(1, 5))):
        parent = draw(st.integers(0, len(nodes) - 1))
        own = draw(tokens)
        cut = draw(st.integers(0, len(nodes[parent].tokens)))
        most = len(own) if cut else len(own) - 1  # a first token is predicted from what it sees
        nodes.append(Node(f"n{index}", own, parent, cut, draw(st.integers(0, most))))
    return Tree(tuple(nodes))


def path(tree: Tree, index: int) -> list[int]:
    """Tokens a node follows, by walking up: what it would be alone."""
    node = tree.nodes[index]
    if node.parent is None:
        return []
    return path(tree, node.parent) + list(tree.nodes[node.parent].tokens[: node.cut])


@given(trees())
def test_each_token_sees_its_own_path_at_its_own_position(tree: Tree) -> None:
    arrays = layout(tree)
    sees = visible(arrays.preorder, arrays.subtree_end)
    start = 0
    for index, node in enumerate(tree.nodes):
        before = path(tree, index)
        for offset, token in enumerate(node.tokens):
            row = start + offset
            alone = [*before, *node.tokens[: offset + 1]]
            assert arrays.ids[row] == token
            assert arrays.positions[row] == len(alone) - 1
            seen = np.flatnonzero(sees[row])
            order = seen[np.argsort(arrays.positions[seen])]
            assert arrays.ids[order].tolist() == alone
        start += len(node.tokens)
    for source, target, owner in zip(arrays.sources, arrays.targets, arrays.owners, strict=True):
        after = np.flatnonzero(arrays.ids == target)
        assert any(arrays.positions[i] == arrays.positions[source] + 1 for i in after)
        assert tree.nodes[owner].supervised


@given(st.lists(trees(), min_size=1, max_size=3))
def test_no_tree_of_a_batch_sees_another(forest: list[Tree]) -> None:
    if not any(tree.supervised for tree in forest):
        return
    batch = collate(forest)
    sees = visible(batch.preorder, batch.subtree_end)
    start = 0
    for tree in forest:
        alone, own = layout(tree), slice(start, start + len(tree))
        assert np.array_equal(sees[own, own], visible(alone.preorder, alone.subtree_end))
        assert not sees[own, : own.start].any()
        assert not sees[own, own.stop :].any()
        start += len(tree)
    assert batch.starts.tolist() == np.cumsum([0, *map(len, forest)]).tolist()


def flat(tree: Tree) -> list[Tree]:
    """One example per supervised node."""
    return [
        Tree((Node("", tuple(path(tree, i))), node._replace(parent=0, cut=len(path(tree, i)))))
        for i, node in enumerate(tree.nodes)
        if node.supervised
    ]


def example() -> Tree:
    rng = np.random.default_rng(0)

    def some(n: int) -> tuple[int, ...]:
        return tuple(rng.integers(5, 4000, n).tolist())

    trunk, children = Node("", some(40)), [(8, 9), (15, 12), (29, 7), (40, 9), (40, 9)]
    branches = [Node(f"b{i}", some(n), 0, cut, n - 4) for i, (cut, n) in enumerate(children)]
    grandchild = Node("g", some(5), 2, 6, 3)
    return Tree((trunk, *branches, grandchild))


def gradients(
    decoder: Decoder, batches: list[list[Tree]], total: int
) -> tuple[float, dict[str, torch.Tensor]]:
    decoder.model.zero_grad()
    loss = 0.0
    for batch in batches:
        part = decoder.token_losses(decoder.inputs(batch)).sum() / total
        part.backward()  # type: ignore[no-untyped-call]
        loss += float(part.detach())
    return loss, {
        n: p.grad.clone() for n, p in decoder.model.named_parameters() if p.grad is not None
    }


def test_loss_and_gradients_equal_one_example_per_reply(family: Decoder) -> None:
    tree = example()
    family.add_adapter(1)
    for name, weight in family.model.named_parameters():
        if "lora_B" in name:  # it starts at zero, where half the gradients vanish
            torch.nn.init.normal_(weight, std=0.05)
    packed, packed_gradients = gradients(family, [[tree]], tree.supervised)
    alone, alone_gradients = gradients(family, [[one] for one in flat(tree)], tree.supervised)
    assert packed == pytest.approx(alone, rel=1e-5)
    assert packed_gradients.keys() == alone_gradients.keys()
    for name, gradient in packed_gradients.items():
        scale = alone_gradients[name].abs().max()
        assert (gradient - alone_gradients[name]).abs().max() <= 1e-4 * scale, name


def test_changing_one_branch_leaves_the_others_alone(tiny_decoder: Decoder) -> None:
    tree = example()
    changed = Tree(
        (*tree.nodes[:1], tree.nodes[1]._replace(tokens=tree.nodes[2].tokens[:9]), *tree.nodes[2:])
    )
    before, after = tiny_decoder.losses([tree]), tiny_decoder.losses([changed])
    assert before["b0"] != after["b0"]
    assert all(before[key] == after[key] for key in before if key != "b0"), (
        "bit-equal at equal length"
    )


def test_company_changes_nothing(tiny_decoder: Decoder) -> None:
    tree, other = example(), Tree((Node("", (7, 8, 9)), Node("o", (4, 5), 0, 2, 1)))
    alone = tiny_decoder.losses([tree])
    together = tiny_decoder.losses([tree, other], budget=10_000)
    for key, (loss, count) in alone.items():
        assert together[key][0] == pytest.approx(loss, rel=1e-5)
        assert together[key][1] == count


def test_nothing_to_learn_is_an_error() -> None:
    with pytest.raises(DataError, match="without a single supervised token"):
        collate([Tree((Node("", (1, 2)), Node("a", (3,), 0, 1, 0)))])


@pytest.mark.parametrize(
    "nodes",
    [
        (Node("", (1, 2)), Node("a", (3,), 0, 3, 1)),
        (Node("", (1, 2)), Node("a", (3,), 1, 1, 1)),
        (Node("", (1, 2)), Node("a", (3,), 0, 0, 1)),
        (Node("", (1, 2)), Node("a", (3,))),
    ],
)
def test_a_misplaced_node_is_refused(nodes: tuple[Node, ...]) -> None:
    with pytest.raises(ValueError, match="node 1"):
        layout(Tree(nodes))


settings.register_profile("default", deadline=None)
settings.load_profile("default")
