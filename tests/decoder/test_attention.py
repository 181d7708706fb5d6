"""Every attention kernel is attention: the values and gradients of the dense reference."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import flex_attention

from vvae.decoder.kernels import blocks
from vvae.decoder.kernels.attention import KERNELS, choose
from vvae.decoder.kernels.flex import TILE, tiles
from vvae.decoder.model import Decoder
from vvae.decoder.trees import Node, Tree, TreeBatch, collate, visible

CPU = torch.device("cpu")
FAST = [name for name in KERNELS if name != "dense"]


def some(rng: np.random.Generator, n: int) -> tuple[int, ...]:
    return tuple(rng.integers(5, 4000, n).tolist())


def forest() -> list[Tree]:
    """A long tree of several blocks, with a branch of a branch, a short one, and one in between."""
    rng = np.random.default_rng(0)
    branches = [Node(f"b{i}", some(rng, 70), 0, cut, 9) for i, cut in enumerate((10, 60, 140, 150))]
    return [
        Tree((Node("", some(rng, 150)), *branches, Node("g", some(rng, 5), 2, 66, 3))),
        Tree((Node("", some(rng, 9)), Node("o", some(rng, 4), 0, 5, 2))),
        Tree((Node("", some(rng, 200)), Node("o", some(rng, 30), 0, 180, 2))),
    ]


@pytest.fixture(autouse=True)
def _flex_has_gradients_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention refuses gradients on a CPU, though its plain implementation has them."""
    monkeypatch.setattr(flex_attention, "_validate_device", lambda *_: None)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize(("heads", "shared"), [(6, 2), (4, 4), (8, 1)])
@pytest.mark.parametrize("name", FAST)
def test_values_and_gradients_equal_the_dense_kernels(
    name: str, heads: int, shared: int, softcap: float | None
) -> None:
    kernel, dense = KERNELS[name], KERNELS["dense"]
    if softcap and kernel.refuses(SimpleNamespace(attn_logit_softcapping=softcap, head_dim=16)):
        return  # it says so, and is never chosen there
    batch = collate(forest())
    n, width = len(batch.ids), 16
    torch.manual_seed(0)
    query, key, value = sides = [
        torch.randn(1, h, n, width, dtype=torch.float64, requires_grad=True)
        for h in (heads, shared, shared)
    ]
    weights = torch.randn(1, n, heads, width, dtype=torch.float64)
    found: list[tuple[torch.Tensor, tuple[torch.Tensor, ...]]] = []
    for one in (kernel, dense):
        plan = one.plan(batch, CPU, torch.float64)
        result = one.attend(query, key, value, plan, scaling=0.3, softcap=softcap, dropout=0.0)
        assert result.shape == weights.shape
        found.append((result, torch.autograd.grad((result * weights).sum(), sides)))
    (ours, our_gradients), (theirs, their_gradients) = found
    assert torch.allclose(ours, theirs, atol=1e-6)
    for name_of_side, a, b in zip(
        ("query", "key", "value"), our_gradients, their_gradients, strict=True
    ):
        assert torch.allclose(a, b, atol=1e-5), name_of_side  # some sums are made in fp32


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("name", FAST)
def test_a_decoder_has_the_same_losses_under_every_kernel(name: str, tiny_decoder: Decoder) -> None:
    losses = {}
    for used in (name, "dense"):
        tiny_decoder.attention = KERNELS[used]
        losses[used] = tiny_decoder.losses(forest())
    for key, (loss, _) in losses["dense"].items():
        assert losses[name][key][0] == pytest.approx(loss, rel=1e-5)


def test_the_kernel_is_chosen_by_the_device_and_by_what_a_model_asks() -> None:
    plain = SimpleNamespace(hidden_size=64, num_attention_heads=4)
    assert choose(CPU, plain)[0].name == "blocks"
    assert choose(torch.device("cuda"), plain)[0].name == "flex"
    assert choose(torch.device("mps"), plain)[0].name == "dense"
    capped = SimpleNamespace(**vars(plain), attn_logit_softcapping=50.0)
    kernel, reason = choose(CPU, capped)
    assert kernel.name == "dense"
    assert "soft cap" in str(reason)
    assert choose(torch.device("cuda"), capped) == (KERNELS["flex"], None)
    dropped = SimpleNamespace(**vars(plain), attention_dropout=0.1)
    assert choose(torch.device("cuda"), dropped)[0].name == "dense"


@st.composite
def batches(draw: st.DrawFn) -> TreeBatch:
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    trees = []
    for _ in range(draw(st.integers(1, 4))):
        trunk = draw(st.integers(1, 200))
        cuts = draw(st.lists(st.integers(1, trunk), min_size=1, max_size=4))
        nodes = [Node(f"{i}", some(rng, 1 + 30 * i), 0, cut, 1) for i, cut in enumerate(cuts)]
        trees.append(Tree((Node("", some(rng, trunk)), *nodes)))
    return collate(trees)


@given(batches())
def test_tiles_are_full_or_partly_seen_as_the_whole_square_says(batch: TreeBatch) -> None:
    sees = visible(batch.preorder, batch.subtree_end)
    n, side = len(sees), -(-len(sees) // TILE)
    square = np.zeros((side * TILE, side * TILE), dtype=np.bool_)
    square[:n, :n] = sees
    counts = square.reshape(side, TILE, side, TILE).sum((1, 3))
    partial, full = tiles(batch)
    assert np.array_equal(full, counts == TILE * TILE)
    assert np.array_equal(partial, (counts > 0) & (counts < TILE * TILE))


@given(batches(), st.integers(1, 40), st.integers(0, 20))
def test_blocks_hold_what_is_seen(batch: TreeBatch, rows: int, gap: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_ROWS", rows)
        patch.setattr(blocks, "GAP", gap)
        made: list[Any] = list(blocks.visible_blocks(batch, torch.float32))
    sees = np.zeros((len(batch.ids), len(batch.ids)), dtype=np.bool_)
    for block in made:
        columns = np.concatenate([np.arange(c.start, c.stop) for c in block.columns])
        sees[np.arange(block.rows.start, block.rows.stop)[:, None], columns] = (
            block.bias.numpy() == 0
        )
    assert np.array_equal(sees, visible(batch.preorder, batch.subtree_end))
    assert [row for block in made for row in range(block.rows.start, block.rows.stop)] == list(
        range(len(batch.ids))
    )
