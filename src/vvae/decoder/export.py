"""A trained adapter as other software wants it: GGUF for llama.cpp and Ollama, or merged into its
base.

As it lies in the run folder it is in PEFT's own layout, which PEFT, TGI and `vllm serve
--lora-modules` take as it is.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vvae.core.errors import DataError, ModelError
from vvae.core.files import atomic_path, write_text
from vvae.decoder.model import Decoder
from vvae.inference.models import quiet, source_of
from vvae.inference.template import SYSTEM_LINE, Frame

__all__ = ["adapter_to_gguf", "merge", "modelfile"]

_FAMILIES = {
    "llama": "LLAMA",
    "mistral": "LLAMA",
    "qwen2": "QWEN2",
    "qwen3": "QWEN3",
    "gemma": "GEMMA",
    "gemma2": "GEMMA2",
    "gemma3_text": "GEMMA3",
}
"""transformers' model types -> llama.cpp's architectures whose adapters are known to need nothing
else.
"""


def adapter_to_gguf(folder: Path, model: str, path: Path) -> None:
    """Write an adapter in PEFT's layout as a GGUF adapter, in fp32.

    Args:
        folder: the adapter.
        model: the base model by its name in a config; only its shape is read.

    Raises:
        ModelError: the base is of a family that llama.cpp names otherwise.
        DataError: the folder holds no LoRA adapter.
    """
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, GGUFWriter, get_tensor_name_map
    from safetensors.numpy import load_file
    from transformers import AutoConfig

    try:
        settings = json.loads((folder / "adapter_config.json").read_text("utf-8"))
        weights = load_file(folder / "adapter_model.safetensors")
    except (OSError, ValueError) as error:
        raise DataError(
            f"no adapter here ({error})", where=str(folder), fix="train the variant first"
        ) from None
    with quiet():
        shape = AutoConfig.from_pretrained(source_of(model), trust_remote_code=False)
    if shape.model_type not in _FAMILIES:
        fix = (
            f"known: {', '.join(_FAMILIES)}; 'vvae export --merged' and llama.cpp's own converter "
            "take any"
        )
        raise ModelError(
            f"no GGUF adapter for the family {shape.model_type!r}", where=model, fix=fix
        )
    family = MODEL_ARCH[_FAMILIES[shape.model_type]]
    names = get_tensor_name_map(family, shape.num_hidden_layers)
    with atomic_path(path) as partial:
        writer = GGUFWriter(str(partial), MODEL_ARCH_NAMES[family])
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", float(settings["lora_alpha"]))
        for key, weight in sorted(weights.items()):
            module, part = key.removeprefix("base_model.model.").rsplit(".lora_", 1)
            name = names.get_name(module)
            if name is None:
                raise ModelError(f"llama.cpp has no tensor for {module}", where=str(folder))
            rows = weight.astype(np.float32)
            if (
                family is MODEL_ARCH.LLAMA
                and part.startswith("B")
                and module.endswith(("q_proj", "k_proj"))
            ):
                query = module.endswith("q_proj")
                rows = _interleaved(
                    rows, shape.num_attention_heads if query else shape.num_key_value_heads
                )
            writer.add_tensor(f"{name}.weight.lora_{part[0].lower()}", np.ascontiguousarray(rows))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def _interleaved(rows: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Rows (heads * width, r) in llama.cpp's rotary order: the two halves of each head one by one
    in turn.
    """
    return (
        rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)
    )


def merge(decoder: Decoder, folder: Path) -> None:
    """Write the base model with the adapter merged in, tokenizer beside it, in transformers layout
    (safetensors).

    The weights keep the base's type: in bf16 what the adapter adds is rounded with them. The
    decoder is used up.
    """
    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with quiet():
        merged: Any = decoder.model.merge_and_unload()
        merged.save_pretrained(str(partial), safe_serialization=True)
        decoder.prompter.tokenizer.save_pretrained(str(partial))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def modelfile(base: str, frame: Frame, example: str, folder: Path) -> None:
    """Write an Ollama Modelfile beside a GGUF adapter.

    Args:
        base: what Ollama starts from: a GGUF file or the name of a model it has.
        example: a z block, shown in a comment.
    """
    where = (
        "a system message after the last user message"
        if frame.late_system
        else "the end of the last user message"
    )
    lines = [
        "# ollama create NAME -f Modelfile",
        f"# What the persona shows goes, in each request, to {where}, for example:",
        f"#   {' '.join(example.split())}",
        f"FROM {base}",
        "ADAPTER ./adapter.gguf",
        f'SYSTEM """{SYSTEM_LINE}"""',
        "PARAMETER temperature 0.8",
        "PARAMETER top_p 0.95",
    ]
    if frame.end.strip():
        lines.append(f"PARAMETER stop {json.dumps(frame.end.strip(), ensure_ascii=False)}")
    write_text(folder / "Modelfile", "\n".join(lines) + "\n")
