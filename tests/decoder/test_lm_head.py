"""The head's loss in chunks is cross-entropy, and so is its gradient."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from vvae.decoder.kernels.lm_head import HeadLoss, capped, rows_at_once

ROWS = rows_at_once(torch.device("cpu"))


@pytest.mark.parametrize("cap", [None, 5.0])
@pytest.mark.parametrize("rows", [1, ROWS, 2 * ROWS + 3])
def test_losses_and_gradients_are_those_of_cross_entropy(rows: int, cap: float | None) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(rows, 12, requires_grad=True)
    weight, targets, upstream = torch.randn(50, 12), torch.randint(50, (rows,)), torch.rand(rows)
    ours = HeadLoss.apply(hidden, weight, targets, cap)  # type: ignore[no-untyped-call]
    theirs = cross_entropy(capped(hidden @ weight.T, cap), targets, reduction="none")
    assert torch.allclose(ours, theirs, atol=1e-5)
    slope, expected = (
        torch.autograd.grad((losses * upstream).sum(), hidden)[0] for losses in (ours, theirs)
    )
    assert torch.allclose(slope, expected, atol=1e-5)
