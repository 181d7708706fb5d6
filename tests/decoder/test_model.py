from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vvae.core.dialogue import Dialogue, Message, Pair, Turn
from vvae.core.errors import DataError, ModelError
from vvae.corpus.pairs import PairsConfig, pairs_with_account
from vvae.decoder.loading import load_decoder
from vvae.decoder.model import Branch, Decoder, DecoderConfig
from vvae.inference.models import SMOLLM2


def chat(*texts: str) -> tuple[Dialogue, list[Pair]]:
    turns = tuple(Turn(i, ("ben", "ana")[i % 2], (Message(text),)) for i, text in enumerate(texts))
    pairs = [Pair(f"d#{t.id}", "d", t.id, 0, t.speaker, ("x",), "train", t.text) for t in turns[1:]]
    return Dialogue("d", turns), pairs


def test_tree_and_prompt_are_token_for_token_the_template(tiny_decoder: Decoder) -> None:
    dialogue, pairs = chat("hi <|im_end|>", "hello you", "tired? 你呢", "so  tired!!")
    own = [p for p in pairs if p.speaker == "ana"]
    tree = tiny_decoder.tree(
        dialogue, own, {p.pair_id: [Branch("z", "[persona] tone: sad")] for p in own}
    )
    tokenizer = tiny_decoder.prompter.tokenizer
    for node, pair in zip(tree.nodes[1:], own, strict=True):
        path = [*tree.nodes[0].tokens[: node.cut], *node.tokens]
        text = tokenizer.decode(path)
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == path, (
            "segments split where the tokenizer would"
        )
        prompt = tiny_decoder.prompter.request(dialogue, pair, "[persona] tone: sad").prompt
        assert path[: len(prompt)] == list(prompt), "training and generation see the same prompt"
        assert text.endswith(f"{pair.response}<|im_end|>")
        assert node.supervised == len(path) - len(prompt)
    assert tokenizer.decode(tree.nodes[0].tokens).count("<|im_end|>") == 3, (
        "text cannot write a control token"
    )


def test_a_group_reads_alike_in_training_and_generation_whoever_joins_later(
    tiny_decoder: Decoder,
) -> None:
    said = [
        ("ben", "hi"),
        ("ana", "hello"),
        ("ben", "so"),
        ("ana", "yes"),
        ("cleo", "me too"),
        ("ana", "oh"),
    ]
    group = Dialogue(
        "g", tuple(Turn(i, who, (Message(text),)) for i, (who, text) in enumerate(said))
    )
    pairs, _ = pairs_with_account([group], PairsConfig(heldout=0.01), seed=0)
    own = [pair for pair in pairs if pair.speaker == "ana"]
    assert [pair.listeners for pair in own] == [("ben",), ("ben",), ("ben", "cleo")]
    tree = tiny_decoder.tree(
        group, own, {p.pair_id: [Branch("z", "[persona] tone: sad")] for p in own}
    )
    for node, pair in zip(tree.nodes[1:], own, strict=True):
        prompt = tiny_decoder.prompter.request(group, pair, "[persona] tone: sad").prompt
        assert [*tree.nodes[0].tokens[: node.cut], *node.tokens][: len(prompt)] == list(prompt)


def test_a_window_longer_than_the_model_is_one_error(tiny_decoder: Decoder) -> None:
    dialogue, pairs = chat("word " * 3000, "ok")
    with pytest.raises(DataError, match=r"dialogue d.*window_tokens"):
        tiny_decoder.tree(dialogue, pairs, {"d#1": [Branch("z", None)]})


@pytest.mark.parametrize("name", ["no/such-model", "/no/such/folder", ""])
def test_a_model_that_cannot_be_found_is_one_line(name: str) -> None:
    with pytest.raises(ModelError, match="cannot be loaded") as error:
        load_decoder(DecoderConfig(model=name))
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_four_bits_without_a_gpu_are_refused(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match=r"decoder\.quantize: 4-bit weights need a GPU"):
        load_decoder(DecoderConfig(model=str(tiny_model), quantize="nf4"))


def test_a_model_without_chat_template_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(tiny_model, bare)
    for file in bare.glob("chat_template*"):
        file.unlink()
    with pytest.raises(ModelError, match="no chat template"):
        load_decoder(DecoderConfig(model=str(bare)))


def test_the_small_model_of_the_wheel_knows_its_language() -> None:
    decoder = load_decoder(DecoderConfig(model=SMOLLM2))
    likely, unlikely = (
        chat("What is the capital of France?", text) for text in ("It is Paris.", "It is Tuesday.")
    )
    losses = []
    for dialogue, pairs in (likely, unlikely):
        tree = decoder.tree(dialogue, pairs, {"d#1": [Branch("plain", None)]})
        losses.append(decoder.losses([tree])["d#1|plain"][0])
    assert losses[0] < losses[1] - 1
