"""LoRA adapters over a frozen base by PEFT: made, loaded, saved, and taken off again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from vvae.core.errors import ModelError
from vvae.inference.models import quiet

__all__ = ["LoraConfig", "bare", "fresh", "load", "load_several", "save"]


class LoraConfig(BaseModel):
    """A set of options of the adapter (the paper gives none of these)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    r: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)


def fresh(base: Any, config: LoraConfig, *, seed: int, base_name: str, bf16: bool) -> Any:
    """Return the base with a new adapter on all linear layers, initialised from the seed.

    Args:
        base_name: what the saved adapter says of its base.
        bf16: whether the forward pass runs under autocast.
    """
    import peft
    import torch

    torch.manual_seed(seed)
    settings = peft.LoraConfig(
        r=config.r,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with quiet():
        model = peft.get_peft_model(base, settings)
    model.peft_config["default"].base_model_name_or_path = base_name
    return _prepared(model, bf16)


def load(base: Any, folder: Path, *, trainable: bool, bf16: bool) -> Any:
    """Return the base with a saved adapter.

    Raises:
        ModelError: the folder holds no adapter in safetensors.
    """
    import peft

    _check_saved(folder)
    with quiet():
        model = peft.PeftModel.from_pretrained(base, str(folder), is_trainable=trainable)
    return _prepared(model, bf16)


def load_several(
    base: Any, folders: Mapping[str, Path], *, bf16: bool
) -> tuple[Any, Callable[[str], None]]:
    """Return the base with several saved adapters, and what puts one of them in use by its name.

    Raises:
        ModelError: a folder holds no adapter in safetensors.
    """
    import peft

    for folder in folders.values():
        _check_saved(folder)
    inner = {name: f"adapter{number}" for number, name in enumerate(folders)}  # PEFT takes no dots
    model = base
    with quiet():
        for number, (name, folder) in enumerate(folders.items()):
            if number:
                model.load_adapter(str(folder), adapter_name=inner[name])
            else:
                model = peft.PeftModel.from_pretrained(model, str(folder), adapter_name=inner[name])
    model = _prepared(model, bf16)
    return model, lambda name: model.set_adapter(inner[name])


def save(model: Any, folder: Path) -> None:
    """Write the adapter in PEFT's layout, as safetensors.

    It holds no embeddings, so no hub is asked about them.
    """
    model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card


def bare(model: Any) -> Any:
    """Return the base model without any adapter."""
    return model.unload() if hasattr(model, "unload") else model


def _prepared(model: Any, bf16: bool) -> Any:
    from peft.tuners.tuners_utils import BaseTunerLayer

    from vvae.decoder.kernels.lora import forgetful_mlps, fuse
    from vvae.decoder.kernels.recompute import forgetful_norms

    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            # PEFT casts each layer's input to the adapter's fp32, and autocast casts it back: two
            # copies of every activation for nothing.
            module.cast_input_dtype_enabled = not bf16
    fuse(model)
    if model.device.type != "cpu":  # there it takes 10 % of a step, and memory is plenty
        forgetful_mlps(model)
        forgetful_norms(model)
    return model


def _check_saved(folder: Path) -> None:
    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(
            "no adapter in safetensors here", where=str(folder), fix="train the variant first"
        )
