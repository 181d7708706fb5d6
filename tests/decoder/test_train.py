from __future__ import annotations

import json
import math
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from vvae.core.dialogue import Dialogue, Pair
from vvae.core.errors import ModelError, VVAEError
from vvae.corpus.pairs import PairsConfig, pairs_with_account
from vvae.decoder.loading import load_decoder
from vvae.decoder.model import Branch, Decoder, DecoderConfig, LoraConfig
from vvae.decoder.train import (
    STEPS_AHEAD,
    BuildTree,
    Step,
    TrainConfig,
    Window,
    plan,
    rate_at,
    train,
)
from vvae.decoder.trees import Tree

CONFIG = TrainConfig(pairs=60, batch_replies=6, checkpoint_every=2, learning_rate=3e-3)


@pytest.fixture(scope="module")
def pairs(corpus: list[Dialogue]) -> list[Pair]:
    return pairs_with_account(corpus, PairsConfig(), seed=0)[0]


def builder(decoder: Decoder, corpus: list[Dialogue]) -> BuildTree:
    dialogues = {d.id: d for d in corpus}

    def build(window: Window, draw: int) -> Tree:
        asked = {p.pair_id: [Branch("", f"[persona] tone: {draw}")] for p in window}
        return decoder.tree(dialogues[window[0].dialogue], window, asked)

    return build


def loaded(model: Path, dropout: float = 0.1) -> Decoder:
    return load_decoder(
        DecoderConfig(
            model=str(model), precision="fp32", lora=LoraConfig(r=4, alpha=8, dropout=dropout)
        )
    )


def run(
    decoder: Decoder,
    corpus: list[Dialogue],
    steps: list[Step],
    folder: Path,
    config: TrainConfig = CONFIG,
    **extra: Any,
) -> None:
    train(
        decoder,
        steps,
        builder(decoder, corpus),
        config,
        folder,
        seed=1,
        description={"variant": "x"},
        **extra,
    )


class Killed(BaseException):
    pass


def test_a_killed_run_goes_on_bit_by_bit(
    tiny_model: Path, corpus: list[Dialogue], pairs: list[Pair], tmp_path: Path
) -> None:
    steps = plan(pairs, CONFIG, seed=1)
    assert len(steps) > 6
    run(loaded(tiny_model), corpus, steps, tmp_path / "whole")

    def kill(done: int) -> None:
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        run(loaded(tiny_model), corpus, steps, tmp_path / "killed", each_step=kill)
    assert sorted(p.name for p in (tmp_path / "killed" / "checkpoints").iterdir()) == [
        "step-2",
        "step-4",
    ]
    run(loaded(tiny_model), corpus, steps, tmp_path / "killed")
    whole, killed = (
        load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "killed")
    )
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    logs = [
        json.loads((tmp_path / name / "vvae.json").read_text())["training_loss"]
        for name in ("whole", "killed")
    ]
    assert logs[0] == logs[1]
    assert logs[0][-1] < logs[0][0], "it learns"
    assert not (tmp_path / "killed" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("adapter_model.safetensors", None),
        ("optimizer.safetensors", b"\x10" * 40),
        ("state.json", b'{"log": ['),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(
    tiny_model: Path,
    corpus: list[Dialogue],
    pairs: list[Pair],
    tmp_path: Path,
    file: str,
    content: bytes | None,
) -> None:
    steps = plan(pairs, CONFIG, seed=1)[:6]

    def kill(done: int) -> None:
        if done == 5:
            raise Killed

    run(loaded(tiny_model), corpus, steps, tmp_path / "whole")
    with pytest.raises(Killed):
        run(loaded(tiny_model), corpus, steps, tmp_path / "killed", each_step=kill)
    damaged = tmp_path / "killed" / "checkpoints" / "step-4" / file
    if content is None:
        damaged.unlink()
    else:
        damaged.write_bytes(content)
    said: list[str] = []
    trained: list[int] = []
    run(
        loaded(tiny_model),
        corpus,
        steps,
        tmp_path / "killed",
        say=said.append,
        each_step=trained.append,
    )
    assert len(said) == 1
    assert "step-4: damaged checkpoint" in said[0]
    assert "\n" not in said[0]
    assert trained == [3, 4, 5, 6]
    whole, killed = (
        load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "killed")
    )
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


def test_the_adapter_loads_in_plain_peft(
    tiny_model: Path, corpus: list[Dialogue], pairs: list[Pair], tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    decoder = loaded(tiny_model)
    run(decoder, corpus, plan(pairs, CONFIG, seed=1)[:3], tmp_path)
    plain = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32), str(tmp_path)
    )
    ids = torch.tensor([decoder.prompter.tokens("how was the film")])
    with torch.inference_mode():
        decoder.model.eval()
        assert torch.allclose(
            plain.eval()(input_ids=ids).logits, decoder.model(input_ids=ids).logits, atol=1e-5
        )
    assert json.loads((tmp_path / "adapter_config.json").read_text())["r"] == 4
    assert not list(tmp_path.rglob("*.bin"))
    shutil.rmtree(tmp_path)
    with pytest.raises(ModelError, match="no adapter"):
        decoder.load_adapter(tmp_path)


def test_recomputed_activations_train_the_same_adapter(
    tiny_model: Path, corpus: list[Dialogue], pairs: list[Pair], tmp_path: Path
) -> None:
    steps = plan(pairs, CONFIG, seed=1)[:3]
    run(loaded(tiny_model, dropout=0.0), corpus, steps, tmp_path / "kept")
    recomputing = CONFIG.model_copy(update={"gradient_checkpointing": True})
    run(loaded(tiny_model, dropout=0.0), corpus, steps, tmp_path / "recomputed", recomputing)
    kept, again = (
        load_file(tmp_path / name / "adapter_model.safetensors") for name in ("kept", "recomputed")
    )
    assert all(torch.allclose(kept[name], again[name], atol=1e-6) for name in kept)


def test_steps_prepared_by_a_thread_train_the_same_adapter(
    tiny_model: Path,
    corpus: list[Dialogue],
    pairs: list[Pair],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = plan(pairs, CONFIG, seed=1)[:5]
    run(loaded(tiny_model), corpus, steps, tmp_path / "in-place")
    monkeypatch.setitem(STEPS_AHEAD, "cpu", 2)
    run(loaded(tiny_model), corpus, steps, tmp_path / "ahead")
    here, ahead = (
        load_file(tmp_path / name / "adapter_model.safetensors") for name in ("in-place", "ahead")
    )
    assert all(torch.equal(here[name], ahead[name]) for name in here)


def test_the_plan_is_keyed_whole_and_a_prefix_of_a_larger_one(pairs: list[Pair]) -> None:
    small, large = (
        plan(pairs, TrainConfig(pairs=20), seed=1),
        plan(pairs, TrainConfig(pairs=40), seed=1),
    )
    assert (
        plan(pairs, TrainConfig(pairs=20), seed=1)
        == small
        != plan(pairs, TrainConfig(pairs=20), seed=2)
    )
    ids = [p.pair_id for step in small for window in step.windows for p in window]
    more = [p.pair_id for step in large for window in step.windows for p in window]
    assert len(ids) == 20
    assert more[:20] == ids
    assert len(set(more)) == 40
    assert not any(
        p.split == "heldout" for step in large for window in step.windows for p in window
    )
    twice = plan(pairs, TrainConfig(pairs=20, passes=2), seed=1)
    assert {step.draw for step in twice} == {0, 1}
    assert sorted(p.pair_id for s in twice if s.draw for w in s.windows for p in w) == sorted(ids)


def test_the_schedule_warms_up_and_ends_at_a_tenth() -> None:
    rates = [rate_at(i, 100, TrainConfig(learning_rate=1.0, warmup=0.1)) for i in range(100)]
    assert rates[0] < rates[5] < rates[10] == max(rates) == 1.0
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert rate_at(99, 100, TrainConfig(learning_rate=1.0, schedule="constant")) == 1.0


def test_a_loss_that_is_no_number_stops_with_the_pairs(
    tiny_model: Path, corpus: list[Dialogue], pairs: list[Pair], tmp_path: Path
) -> None:
    decoder = loaded(tiny_model)
    with torch.no_grad():
        decoder.causal.get_input_embeddings().weight.fill_(math.nan)
    steps = plan(pairs, CONFIG, seed=1)
    with pytest.raises(VVAEError, match="not a number at step 0") as error:
        run(decoder, corpus, steps, tmp_path)
    assert steps[0].windows[0][0].pair_id in str(error.value)
    assert not (tmp_path / "adapter_model.safetensors").exists()


def test_early_stopping_keeps_the_best_adapter_and_survives_a_kill(
    tiny_model: Path, corpus: list[Dialogue], pairs: list[Pair], tmp_path: Path
) -> None:
    steps = plan(pairs, CONFIG.model_copy(update={"pairs": 200}), seed=1)
    config = CONFIG.model_copy(update={"patience": 2, "checkpoint_every": 1})
    losses = [3.0, 2.0, 2.5, 2.4, 1.0]

    def start(folder: Path, kill: int | None = None) -> None:
        decoder, done = loaded(tiny_model), [0]

        def each(number: int) -> None:
            done[0] = number
            if number == 2:
                decoder.save_adapter(tmp_path / "after two")

        def validate() -> float:
            if done[0] == kill:
                raise Killed
            return losses[done[0] - 1]

        run(decoder, corpus, steps, folder, config, each_step=each, validate=validate)

    with pytest.raises(Killed):
        start(tmp_path / "killed", kill=3)
    start(tmp_path / "killed")
    start(tmp_path / "whole")
    made = json.loads((tmp_path / "whole" / "vvae.json").read_text())
    assert (made["validation_loss"], made["steps"]) == ([3.0, 2.0, 2.5, 2.4], 4), (
        "two in a row were not below the second"
    )
    assert json.loads((tmp_path / "killed" / "vvae.json").read_text()) == made
    best = load_file(tmp_path / "after two" / "adapter_model.safetensors")
    for name in ("whole", "killed"):
        kept = load_file(tmp_path / name / "adapter_model.safetensors")
        assert all(torch.equal(best[key], kept[key]) for key in best)


def test_figures_go_to_a_tracker(
    tiny_model: Path, corpus: list[Dialogue], pairs: list[Pair], tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    steps = plan(pairs, CONFIG, seed=1)[:3]
    run(
        loaded(tiny_model),
        corpus,
        steps,
        tmp_path,
        CONFIG.model_copy(update={"tracker": "tensorboard"}),
    )
    log = json.loads((tmp_path / "vvae.json").read_text())["training_loss"]
    (events,) = {path.parent for path in tmp_path.rglob("events.*") if path.parent.name == "vvae"}
    found = EventAccumulator(str(events))
    found.Reload()
    assert [round(event.value, 4) for event in found.Scalars("loss")] == [
        pytest.approx(x, abs=1e-4) for x in log
    ]
