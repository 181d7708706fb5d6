"""Two processes share the frozen weights of a model's layers: neither holds them all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vvae.core.errors import ConfigError
from vvae.decoder.loading import load_decoder
from vvae.decoder.model import Decoder, DecoderConfig, LoraConfig
from vvae.decoder.trees import Node, Tree

TREE = Tree((Node("", tuple(range(20, 60))), Node("a", tuple(range(30, 50)), 0, 30, 12)))
PROGRAM = """
import json, sys
import torch
from torch.distributed.tensor import DTensor
from vvae.decoder import distributed
from vvae.decoder.loading import load_decoder
from vvae.decoder.model import DecoderConfig, LoraConfig
from tests.decoder.test_shard import TREE, gradients

lora = LoraConfig(r=4, alpha=8)
decoder = load_decoder(DecoderConfig(model=sys.argv[1], precision="fp32", lora=lora, shard=True))
decoder.add_adapter(0)
layers = decoder.causal.model.layers
frozen = [p for n, p in layers.named_parameters() if "lora_" not in n]
loss, norms = gradients(decoder)
found = {
    "all": sum(p.numel() for p in frozen),
    "here": sum(p.to_local().numel() for p in frozen if isinstance(p, DTensor)),
    "loss": loss,
    "norms": norms,
}
open(f"{sys.argv[2]}/{distributed.rank()}.json", "w").write(json.dumps(found))
"""


def gradients(decoder: Decoder) -> tuple[float, list[float]]:
    """Loss of a tree, and the norm of each gradient."""
    loss = decoder.token_losses(decoder.inputs([TREE])).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    weights = [p for p in decoder.model.parameters() if p.requires_grad]
    return float(loss.detach()), [float(p.grad.norm()) for p in weights if p.grad is not None]


def test_each_of_two_processes_holds_half(tiny_model: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    root = Path(__file__).parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    done = subprocess.run(
        [*launch, str(program), str(tiny_model), str(tmp_path)],
        cwd=root,
        env={**environment, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lora = LoraConfig(r=4, alpha=8)
    whole = load_decoder(DecoderConfig(model=str(tiny_model), precision="fp32", lora=lora))
    whole.add_adapter(0)
    loss, norms = gradients(whole)
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found["here"] == pytest.approx(found["all"] / 2, rel=0.01)
        assert found["loss"] == pytest.approx(loss, rel=1e-5)
        assert found["norms"] == pytest.approx(norms, rel=1e-4, abs=1e-7)


def test_one_process_has_nobody_to_share_with(tiny_model: Path) -> None:
    assert not torch.distributed.is_initialized()
    with pytest.raises(ConfigError, match="torchrun"):
        load_decoder(DecoderConfig(model=str(tiny_model), precision="fp32", shard=True))
