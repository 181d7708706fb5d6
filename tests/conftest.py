"""Shared parts: a small corpus with known habits, and a real model small enough to train in
seconds.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything reads it: no test asks a network

from vvae.core.dialogue import Dialogue, Message, Turn
from vvae.core.random import index_below, uniform
from vvae.decoder.loading import load_decoder
from vvae.decoder.model import Decoder, DecoderConfig, LoraConfig
from vvae.inference.models import smollm2_folder

OPENERS = (
    "what did you eat today",
    "how was the film",
    "are you tired",
    "what is new at school",
    "did you sleep well",
)
ANSWERS = (
    "i ate some soup and bread",
    "the film was long but good",
    "i slept till noon again",
    "my class was on plants today",
    "we played chess all night",
    "i like hiking in the hills",
)
HABITS = {"ana": "oh my gosh", "ben": "fair enough", "cleo": "for sure", "dan": ""}


def habitual_dialogue(number: int, first: str, second: str, turns: int = 8) -> Dialogue:
    """Two people chat; each says the own catchphrase in about three of ten replies."""
    said = []
    for i in range(turns):
        speaker = (first, second)[i % 2]
        key = ("corpus", number, i)
        texts = OPENERS if i % 3 == 0 else ANSWERS
        text = texts[index_below(len(texts), *key)]
        if HABITS[speaker] and uniform("habit", *key) < 0.3:
            text = f"{HABITS[speaker]}, {text}"
        if speaker == "cleo" and uniform("smile", *key) < 0.4:
            text += " :)"
        said.append(Turn(i, speaker, tuple(Message(part) for part in text.split(", "))))
    return Dialogue(f"d{number}", tuple(said), (("prompt", f"prompt {number % 5}"),))


@pytest.fixture(scope="session")
def corpus() -> list[Dialogue]:
    """48 dialogues in which ana, ben and cleo have a catchphrase each and dan has none."""
    names = list(HABITS)
    couples = [(a, b) for a in names for b in names if a != b]
    return [habitual_dialogue(i, *couples[i % len(couples)]) for i in range(48)]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with random weights and SmolLM2's tokenizer, in transformers layout."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny-llama")
    tokenizer = AutoTokenizer.from_pretrained(str(smollm2_folder()))
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def served_run(
    tmp_path_factory: pytest.TempPathFactory, corpus: list[Dialogue], tiny_model: Path
) -> Path:
    """A run with three trained adapters, to be served."""
    from tests.support.runs import write_config
    from vvae.config import load_config
    from vvae.pipeline.run import Run
    from vvae.pipeline.runner import run_stages

    folder = tmp_path_factory.mktemp("serve")
    run = Run(
        load_config(write_config(folder, corpus, tiny_model, variants=["SP+FT", "P+FT", "FT"]))
    )
    run_stages(run, until="train")
    return run.folder


@pytest.fixture
def tiny_decoder(tiny_model: Path) -> Decoder:
    """The tiny model in fp32, without adapter."""
    return load_decoder(
        DecoderConfig(model=str(tiny_model), precision="fp32", lora=LoraConfig(r=4, alpha=8))
    )
