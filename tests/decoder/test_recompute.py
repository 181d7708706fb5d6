"""What is not kept is made again: the same loss, in less memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vvae.decoder.adapters import bare
from vvae.decoder.kernels.lora import forgetful_mlps, fuse
from vvae.decoder.kernels.recompute import forgetful_norms
from vvae.decoder.model import Decoder
from vvae.decoder.trees import Node, Tree

TREE = Tree(
    (
        Node("", tuple(range(20, 60))),
        Node("a", tuple(range(30, 50)), 0, 10, 12),
        Node("b", tuple(range(25, 45)), 0, 33, 20),
    )
)


def computed(decoder: Decoder) -> tuple[float, dict[str, torch.Tensor], int]:
    """Loss, gradients, and bytes kept for the backward pass."""
    weights = {p.untyped_storage().data_ptr() for p in decoder.model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    decoder.model.train()
    decoder.model.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = decoder.token_losses(decoder.inputs([TREE])).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {
        name: p.grad.clone() for name, p in decoder.model.named_parameters() if p.grad is not None
    }
    return float(loss.detach()), gradients, sum(kept.values())


def as_the_library(model: Any) -> None:
    """Take back what was put in place of the library's own code."""
    for module in model.modules():
        module.__dict__.pop("forward", None)


@pytest.mark.parametrize("bf16", [False, True])
def test_loss_and_gradients_are_the_same_and_less_is_kept(family: Decoder, bf16: bool) -> None:
    family.bf16 = bf16
    if bf16:
        family.model = family.model.to(torch.bfloat16)
    family.add_adapter(3)
    with torch.no_grad():  # at the start B is zero, and nothing would depend on A
        for name, parameter in family.model.named_parameters():
            if "lora_B" in name:
                parameter.add_(torch.randn_like(parameter), alpha=0.02)
    as_the_library(family.model)
    fuse(family.model)
    loss, gradients, kept = computed(family)
    forgetful_mlps(family.model)
    forgetful_norms(family.model)
    loss_again, gradients_again, kept_again = computed(family)
    assert loss_again == loss
    assert gradients_again.keys() == gradients.keys()
    for name, gradient in gradients.items():
        # A norm's two paths are now added before the residual's, not after it.
        difference = (gradients_again[name] - gradient).abs().max()
        assert difference <= (2e-2 if bf16 else 1e-5) * gradient.abs().max(), name
    assert kept_again < 0.8 * kept
    as_the_library(bare(family.model))


@pytest.mark.parametrize("foreach", [False, True])  # the second is CUDA's default
def test_a_step_of_the_optimizer_is_seen_at_once(tiny_decoder: Decoder, foreach: bool) -> None:
    tiny_decoder.add_adapter(1)
    weights = [p for p in tiny_decoder.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=0.1, foreach=foreach)
    before = computed(tiny_decoder)[0]
    optimizer.step()
    after = computed(tiny_decoder)[0]
    assert after != before
    for module in tiny_decoder.model.modules():
        module.__dict__.pop("_multiplied", None)
    assert computed(tiny_decoder)[0] == after
