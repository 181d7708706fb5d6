"""A base model, loaded and checked."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from vvae.core.errors import ModelError
from vvae.decoder import distributed
from vvae.decoder.model import Decoder, DecoderConfig
from vvae.decoder.trees import Node, Tree
from vvae.inference.models import quiet, source_of, unloadable
from vvae.inference.tokenizer import load_prompter

__all__ = ["load_decoder"]


def load_decoder(config: DecoderConfig) -> Decoder:
    """Return a decoder with the base model, loaded quietly and without remote code.

    Raises:
        ModelError: it cannot be found or loaded, or is of a kind whose loss would not be exact.
        TemplateError: its chat template cannot carry context and z.
    """
    try:
        import peft  # noqa: F401
        import torch
        from transformers import AutoModelForCausalLM

        from vvae.decoder.kernels import attention
    except ImportError as error:
        raise ModelError(
            f"{error.name} is not installed", fix="pip install 'vvae[train]'"
        ) from None

    prompter = load_prompter(config.model)
    device, source = distributed.local_device(), source_of(config.model)
    bf16 = config.precision == "bf16" or (config.precision == "auto" and _fast_bf16())
    weights = _four_bits(bf16, device) if config.quantize else {}
    try:
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=torch.bfloat16 if bf16 else torch.float32,
                attn_implementation=attention.register(),
                trust_remote_code=False,
                use_safetensors=True,
                **weights,
            )
    except Exception as error:
        raise unloadable(config.model, error) from None
    if config.shard:  # on the CPU as long as it is whole
        _check_head(Decoder(model, prompter, config, bf16=bf16))
        distributed.shard(model)
        return Decoder(model, prompter, config, bf16=bf16)
    if not config.quantize:
        model = model.to(device)
    decoder = Decoder(model, prompter, config, bf16=bf16)
    _check_head(decoder)
    return decoder


def _four_bits(bf16: bool, device: str) -> dict[str, Any]:
    """What loads the frozen weights in 4 bits (NF4, double quantisation: arXiv 2305.14314)."""
    import torch

    if not torch.cuda.is_available():
        raise ModelError("4-bit weights need a GPU", where="decoder.quantize", fix="leave it out")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            "bitsandbytes is not installed",
            where="decoder.quantize",
            fix="pip install bitsandbytes",
        )
    from transformers import BitsAndBytesConfig

    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if bf16 else torch.float32,
    )
    return {"quantization_config": settings, "device_map": {"": device}}


def _fast_bf16() -> bool:
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    capabilities: Mapping[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(
        capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16")
    )


def _check_head(decoder: Decoder) -> None:
    """Our path to the logits must be the model's own; a family with extra scaling is refused, not
    trained wrongly.
    """
    import torch

    tokens = (decoder.prompter.tokens("The quick brown fox jumps over the lazy dog.") * 2)[:12]
    sibling = Node("", tokens[::-1], 0, 4, 0)  # must not be seen by the branch that is checked
    tree = Tree((Node("", tokens[:6]), sibling, Node("check", tokens[6:], 0, 6, 6)))
    with decoder.evaluating():
        ours = decoder.logits(decoder.inputs([tree]))
        theirs = (
            decoder.causal(input_ids=torch.tensor([tokens], device=decoder.device))
            .logits[0, 5:11]
            .float()
        )
    if (ours - theirs).abs().max() > 0.05 * theirs.abs().max():
        raise ModelError(
            "this family's logits cannot be computed exactly", where=decoder.config.model
        )
