"""The fused LoRA layer computes what PEFT's does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from vvae.decoder.kernels.lora import fuse


class Small(torch.nn.Module):
    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.first, self.second = (
            torch.nn.Linear(24, 40, bias=bias),
            torch.nn.Linear(40, 12, bias=bias),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x)))  # type: ignore[no-any-return]


def adapted(bias: bool, dropout: float = 0.0, dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    settings = LoraConfig(
        r=4, lora_alpha=12, lora_dropout=dropout, target_modules=["first", "second"]
    )
    model = get_peft_model(Small(bias).to(dtype), settings)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, 0, 0.2)
    return model


def computed(model: Any, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    x = x.clone().requires_grad_()
    y = model(x)
    (y.float() * torch.linspace(-1, 1, 12)).sum().backward()
    assert x.grad is not None
    return y.detach(), {
        "x": x.grad,
        **{n: p.grad for n, p in model.named_parameters() if p.grad is not None},
    }


@pytest.mark.parametrize("bias", [True, False])
def test_output_and_gradients_are_pefts(bias: bool) -> None:
    plain, fused = adapted(bias), adapted(bias)
    fuse(fused)
    x = torch.randn(3, 7, 24)
    (y, theirs), (z, ours) = computed(plain, x), computed(fused, x)
    assert torch.allclose(y, z, atol=1e-6)
    assert ours.keys() == theirs.keys()
    assert len(ours) == 5
    for name, gradient in theirs.items():
        assert torch.allclose(ours[name], gradient, rtol=1e-4, atol=1e-6), name


def test_in_bf16_it_is_as_near_to_fp32_as_pefts() -> None:
    exact, plain, fused = (
        adapted(True),
        adapted(True, dtype=torch.bfloat16),
        adapted(True, dtype=torch.bfloat16),
    )
    fuse(fused)
    x = torch.randn(64, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        results = [computed(model, x.bfloat16()) for model in (plain, fused)]
    y, gradients = computed(exact, x)
    wrong = [float((z.float() - y).norm()) for z, _ in results]
    assert wrong[1] < 1.2 * wrong[0]
    for name in gradients:
        off = [float((g[name].float() - gradients[name]).norm()) for _, g in results]
        assert off[1] < 1.3 * off[0], name


def test_dropout_merged_and_disabled_adapters_are_left_to_peft() -> None:
    x = torch.randn(5, 24)
    plain, fused = adapted(True, dropout=0.5), adapted(True, dropout=0.5)
    fuse(fused)
    for model in (plain, fused):
        model.train()
    torch.manual_seed(1)
    expected = plain(x)
    torch.manual_seed(1)
    assert torch.equal(fused(x), expected)
    fused = adapted(True)
    fuse(fused)
    before = fused(x)
    with fused.disable_adapter():
        assert torch.allclose(
            fused(x),
            fused.get_base_model().second.base_layer(
                torch.tanh(fused.get_base_model().first.base_layer(x))
            ),
        )
    fused.merge_adapter()
    assert torch.allclose(fused(x), before, atol=1e-5)
