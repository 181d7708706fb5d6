"""Tiny models of the families that the decoder knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from vvae.decoder.loading import load_decoder
from vvae.decoder.model import Decoder, DecoderConfig, LoraConfig

TEMPLATES = Path(__file__).parent.parent / "templates"
TEMPLATE_OF = {"qwen3": "qwen3", "gemma3": "gemma"}


@pytest.fixture(params=["llama", "qwen3", "gemma3"])
def family(request: pytest.FixtureRequest, tiny_model: Path, tmp_path: Path) -> Decoder:
    """A tiny model of a family, with random weights and the family's chat template, in fp32."""
    folder = tiny_model
    if request.param != "llama":
        folder = tmp_path / request.param
        tokenizer = AutoTokenizer.from_pretrained(str(tiny_model))
        tokenizer.chat_template = (TEMPLATES / f"{TEMPLATE_OF[request.param]}.jinja").read_text(
            "utf-8"
        )
        shape = {
            "vocab_size": len(tokenizer),
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 12,
            "max_position_embeddings": 2048,
            "eos_token_id": tokenizer.eos_token_id,
        }
        torch.manual_seed(0)
        model: Any = (
            Qwen3ForCausalLM(Qwen3Config(**shape))
            if request.param == "qwen3"
            else Gemma3ForCausalLM(
                Gemma3TextConfig(**shape, layer_types=["sliding_attention", "full_attention"])
            )
        )
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return load_decoder(
        DecoderConfig(model=str(folder), precision="fp32", lora=LoraConfig(r=4, alpha=8))
    )
