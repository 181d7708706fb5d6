"""Adapters for other software: what llama.cpp writes with a GGUF adapter is what PEFT writes with
ours.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch

from vvae.core.errors import DataError, ModelError
from vvae.decoder.export import adapter_to_gguf, merge, modelfile
from vvae.decoder.loading import load_decoder
from vvae.decoder.model import Decoder, DecoderConfig, LoraConfig
from vvae.inference.engine import GenerationConfig, Request
from vvae.inference.llama import LlamaEngine, check_vocabulary
from vvae.inference.models import SMOLLM2, gguf_of

TEXTS = (
    "The weather today is",
    "My favourite food is",
    "hi! what are you doing?",
    "你好,今天",
    "I went to the shop and",
)


@pytest.fixture(scope="module")
def small_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model's GGUF file with its 4-bit weights written out in fp32: the weights that
    transformers has.
    """
    from gguf import GGUFReader, GGUFValueType, GGUFWriter, dequantize

    source = gguf_of(SMOLLM2)
    assert source is not None
    reader = GGUFReader(str(source))
    path = tmp_path_factory.mktemp("gguf") / "fp32.gguf"
    writer = GGUFWriter(str(path), "llama")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind is GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub)
    writer.add_file_type(0)
    for tensor in reader.tensors:
        writer.add_tensor(
            tensor.name,
            np.ascontiguousarray(dequantize(tensor.data, tensor.tensor_type), np.float32),
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def adapted() -> Decoder:
    """The small model in fp32 with an adapter that changes what it says."""
    decoder = load_decoder(
        DecoderConfig(model=SMOLLM2, precision="fp32", lora=LoraConfig(r=4, alpha=8))
    )
    decoder.add_adapter(0)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in decoder.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.05)
    return decoder


def greedy(decoder: Decoder, engine: LlamaEngine | None = None) -> list[str]:
    asked = [Request(text, decoder.prompter.tokens(text)) for text in TEXTS]
    config = GenerationConfig(temperature=0, max_new_tokens=16)
    return [c.text for c in (engine or decoder.engine).complete(asked, config, seed=0)]


def test_llama_cpp_says_with_the_exported_adapter_what_peft_says(
    adapted: Decoder, small_gguf: Path, tmp_path: Path
) -> None:
    adapted.save_adapter(tmp_path)
    adapter_to_gguf(tmp_path, SMOLLM2, tmp_path / "adapter.gguf")
    ours = greedy(adapted)
    assert greedy(adapted, LlamaEngine(small_gguf, tmp_path / "adapter.gguf", slots=2)) == ours
    without = greedy(adapted, LlamaEngine(small_gguf))
    assert sum(a != b for a, b in zip(ours, without, strict=True)) >= 3, (
        "the adapter is what makes the difference"
    )


def test_the_merged_model_says_what_base_and_adapter_say(
    tiny_decoder: Decoder, tmp_path: Path
) -> None:
    tiny_decoder.add_adapter(0)
    for name, weight in tiny_decoder.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, 0, 0.1)
    before = greedy(tiny_decoder)
    merge(tiny_decoder, tmp_path / "merged")
    assert not list(tmp_path.rglob("*.bin"))
    again = load_decoder(DecoderConfig(model=str(tmp_path / "merged"), precision="fp32"))
    assert greedy(again) == before
    assert [p.name for p in tmp_path.iterdir()] == ["merged"]


def test_draws_are_keyed_by_request(small_gguf: Path, adapted: Decoder) -> None:
    engine = LlamaEngine(small_gguf)
    asked = [Request(str(i), adapted.prompter.tokens(TEXTS[0])) for i in range(4)]
    config = GenerationConfig(temperature=1.0, max_new_tokens=8)
    engine.complete(
        asked[:1], config, seed=0
    )  # from here on the prompt is read from the cache, to the last bit
    replies = engine.complete(asked, config, seed=1)
    assert engine.complete(asked[::-1], config, seed=1)[::-1] == replies
    assert len({c.text for c in replies}) > 1
    assert engine.complete(asked, config, seed=2) != replies
    assert {c.finish_reason for c in engine.complete(asked, config, seed=1)} <= {"stop", "length"}


def test_the_engines_server_answers_nobody_else(small_gguf: Path) -> None:
    engine = LlamaEngine(small_gguf)
    assert engine.server.address.startswith("http://127.0.0.1:")
    asked = urllib.request.Request(
        f"{engine.server.address}/completion",
        data=b'{"prompt": "hi"}',
        headers={"Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked, timeout=10)
    assert refused.value.code == 401


def test_bad_files_are_one_line(adapted: Decoder, tiny_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF nothing")
    with pytest.raises(ModelError, match="no such file"):
        LlamaEngine(tmp_path / "none.gguf")
    with pytest.raises(ModelError, match="cannot load it") as error:
        LlamaEngine(broken)
    assert "\n" not in str(error.value)
    with pytest.raises(ModelError, match="no GGUF model"):
        check_vocabulary(broken, adapted.prompter.tokenizer)
    with pytest.raises(DataError, match="no adapter here"):
        adapter_to_gguf(tmp_path, SMOLLM2, tmp_path / "a.gguf")
    assert not (tmp_path / "a.gguf").exists()


def test_a_base_with_other_tokens_is_refused(small_gguf: Path, adapted: Decoder) -> None:
    check_vocabulary(small_gguf, adapted.prompter.tokenizer)

    class Other:
        def get_vocab(self) -> dict[str, int]:
            return {text: i + 1 for text, i in adapted.prompter.tokenizer.get_vocab().items()}

    with pytest.raises(ModelError, match="not those of the run's model"):
        check_vocabulary(small_gguf, Other())


def test_a_prompt_that_does_not_fit_is_refused(small_gguf: Path) -> None:
    engine = LlamaEngine(small_gguf, context=256)
    with pytest.raises(ModelError, match="do not fit in 256"):
        engine.complete([Request("long", (5,) * 250)], GenerationConfig(max_new_tokens=10), seed=0)


def test_a_server_that_is_dropped_or_killed_ends_and_says_so(small_gguf: Path) -> None:
    engines = [LlamaEngine(small_gguf, context=256) for _ in range(3)]
    processes = [engine.server._process for engine in engines]
    killed = engines.pop()
    killed.server._process.kill()
    with pytest.raises(ModelError, match=r"llama\.cpp stopped"):
        killed.complete([Request("gone", (5, 6))], GenerationConfig(max_new_tokens=2), seed=0)
    engines.clear()
    del killed
    gc.collect()
    assert all(process.poll() is not None for process in processes)


def test_a_server_ends_with_the_process_that_made_it(small_gguf: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from vvae.inference.llama import LlamaServer\n"
        f"server = LlamaServer(Path({str(small_gguf)!r}), 'm'); print(server._process.pid, "
        "flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    pid = int(made.stdout)
    for _ in range(200):
        if (
            not Path(f"/proc/{pid}/stat").exists()
            or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
        ):
            return
        time.sleep(0.05)
    pytest.fail("the server is still there")


def test_the_engines_process_ends_when_llama_cpp_does(small_gguf: Path) -> None:
    """So that the server above it starts both anew."""
    code = (
        "import os, threading, time; from pathlib import Path\n"
        "from vvae.inference.llama import LlamaServer; from vvae.serving.http.worker import "
        "_end_with\n"
        f"server = LlamaServer(Path({str(small_gguf)!r}), 'm')\n"
        "threading.Thread(target=_end_with, args=(server,), daemon=True).start()\n"
        "os.kill(server._process.pid, 9); time.sleep(60)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 1
    assert "llama.cpp stopped" in ended.stderr


def test_the_modelfile_names_base_adapter_and_stop(adapted: Decoder, tmp_path: Path) -> None:
    modelfile("llama3.2", adapted.prompter.frame, "[persona] tone: playful", tmp_path)
    lines = (tmp_path / "Modelfile").read_text("utf-8").splitlines()
    assert "FROM llama3.2" in lines
    assert "ADAPTER ./adapter.gguf" in lines
    assert 'PARAMETER stop "<|im_end|>"' in lines
    assert any("[persona] tone: playful" in line for line in lines)
