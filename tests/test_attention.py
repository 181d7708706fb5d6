"""Attention by blocks is attention: the same values and gradients as the library's kernel under the
dense mask.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from vvae.decoder.kernels.attention import NAME, Sight, TreeAttention
from vvae.decoder.model import Decoder
from vvae.decoder.trees import Node, Tree, collate


def forest() -> list[Tree]:
    """A long tree of several blocks, with a branch of a branch, and a short one."""
    rng = np.random.default_rng(0)

    def some(n: int) -> tuple[int, ...]:
        return tuple(rng.integers(5, 4000, n).tolist())

    branches = [Node(f"b{i}", some(70), 0, cut, 9) for i, cut in enumerate((10, 60, 140, 150))]
    return [
        Tree((Node("", some(150)), *branches, Node("g", some(5), 2, 66, 3))),
        Tree((Node("", some(9)), Node("o", some(4), 0, 5, 2))),
    ]


@pytest.mark.parametrize(("heads", "shared"), [(6, 2), (4, 4), (8, 1)])
def test_values_and_gradients_equal_dense_attention(heads: int, shared: int) -> None:
    batch = collate(forest())
    n, width = len(batch.ids), 8
    torch.manual_seed(0)
    sides = [
        torch.randn(1, h, n, width, dtype=torch.float64, requires_grad=True)
        for h in (heads, shared, shared)
    ]
    weights = torch.randn(1, n, heads, width, dtype=torch.float64)
    ours = TreeAttention.apply(*sides, 0.3, Sight.of(batch, torch.float64))  # type: ignore[no-untyped-call]
    ours_gradients = torch.autograd.grad((ours * weights).sum(), sides)
    query, key, value = sides
    key, value = (x.repeat_interleave(heads // shared, 1) for x in (key, value))
    visible = torch.from_numpy(batch.visible)
    dense = scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=0.3).transpose(
        1, 2
    )
    assert torch.allclose(ours, dense, atol=1e-10)
    for name, a, b in zip(
        ("query", "key", "value"),
        ours_gradients,
        torch.autograd.grad((dense * weights).sum(), sides),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-6), name  # keys and values are summed in fp32


def test_a_decoder_on_a_cpu_uses_it_and_agrees_with_the_library(tiny_decoder: Decoder) -> None:
    trees = forest()
    assert tiny_decoder.blockwise
    ours = tiny_decoder.losses(trees)
    tiny_decoder.causal.set_attn_implementation("sdpa")
    assert not tiny_decoder.blockwise
    theirs = tiny_decoder.losses(trees)
    tiny_decoder.causal.set_attn_implementation(NAME)
    for key, (loss, _) in theirs.items():
        assert ours[key][0] == pytest.approx(loss, rel=1e-5)
