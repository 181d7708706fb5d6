"""Other ways to give a model a persona: a vector, a description, and replies that answered
something alike.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from tests.support.runs import write_config
from vvae.config import load_config
from vvae.core.dialogue import Dialogue, Message, Pair, Turn
from vvae.core.errors import ConfigError, ModelError
from vvae.decoder.conditions import Conditions
from vvae.decoder.loading import load_decoder
from vvae.decoder.model import Branch, Decoder
from vvae.decoder.retrieval import Nearest
from vvae.decoder.variants import PRESETS
from vvae.encoders.embedder import Embedder
from vvae.encoders.rules.prototypes import nearest_labels
from vvae.inference.engine import GenerationConfig
from vvae.inference.prompts import SpeakerVector
from vvae.inference.tokenizer import load_prompter
from vvae.latent.encoded import EncodedCorpus
from vvae.latent.persona import Persona, Slot
from vvae.latent.prior import DimensionPrior, Prior, count
from vvae.latent.profile import build_profiles
from vvae.latent.sampling import Misreading, SamplingConfig, misread
from vvae.latent.space import load_space
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages

CHAT = Dialogue(
    "d",
    tuple(
        Turn(i, "ab"[i % 2], (Message(text),))
        for i, text in enumerate(["hi there", "hey you", "so?", "fine"])
    ),
)
PAIR = Pair("d#1", "d", 1, 0, "b", ("a",), "train", "hey you")


def losses(decoder: Decoder, *speakers: str) -> list[float]:
    asked = {"d#1": [Branch(speaker, SpeakerVector(speaker)) for speaker in speakers]}
    found = decoder.losses([decoder.tree(CHAT, [PAIR], asked)])
    return [found[f"d#1|{speaker}"][0] for speaker in speakers]


def test_a_voice_is_looked_up_behind_the_vocabulary(tiny_decoder: Decoder) -> None:
    tiny_decoder.add_adapter(1, ["ana", "ben"])
    voices = tiny_decoder._vectors
    assert voices is not None
    size = tiny_decoder.causal.config.vocab_size
    assert [voices.id_of(name) for name in ("ana", "ben", "cleo")] == [size, size + 1, size + 2]
    with torch.no_grad():
        voices.own[1] = 1.0
    ana, ben, cleo = voices(torch.tensor([size, size + 1, size + 2]))
    assert torch.allclose(ana, voices.weight.mean(0), atol=1e-6), "a voice starts as the mean word"
    assert torch.equal(ana, cleo), "who was not trained on sounds like nobody in particular"
    assert torch.allclose(ben - ana, torch.full_like(ana, 100.0))
    words = torch.tensor([5, 6])
    assert torch.equal(voices(words), voices.base(words))
    one, other, unknown = losses(tiny_decoder, "ana", "ben", "cleo")
    assert one == pytest.approx(unknown)
    assert one != pytest.approx(other)


def test_voices_learn_with_the_adapter_and_are_saved_beside_it(
    tiny_decoder: Decoder, tmp_path: Path
) -> None:
    size = tiny_decoder.parameters
    tiny_decoder.add_adapter(1, ["ana", "ben"])
    assert tiny_decoder.parameters == size, "the base model's own"
    learnt = [p for p in tiny_decoder.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=5e-3)
    before = losses(tiny_decoder, "ana")

    for _ in range(8):
        tree = tiny_decoder.tree(CHAT, [PAIR], {"d#1": [Branch("", SpeakerVector("ana"))]})
        tiny_decoder.token_losses(tiny_decoder.inputs([tree])).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    voices = tiny_decoder._vectors
    assert voices is not None
    assert float(voices.own[0].detach().abs().max()) > 0
    assert float(voices.own[1].detach().abs().max()) == 0, "ben said nothing"
    after = losses(tiny_decoder, "ana", "ben")
    assert after[0] < before[0]
    tiny_decoder.save_adapter(tmp_path)
    request = tiny_decoder.prompter.request(CHAT, PAIR, SpeakerVector("ana"))
    reply = tiny_decoder.engine.complete([request], GenerationConfig(max_new_tokens=4), seed=0)
    tiny_decoder.drop_adapter()
    assert not hasattr(tiny_decoder.causal.get_input_embeddings(), "speakers"), (
        "the base model is as it was"
    )
    with pytest.raises(ModelError, match="vector"):
        tiny_decoder.prompter.request(CHAT, PAIR, SpeakerVector("ana"))
    fresh = load_decoder(tiny_decoder.config)
    fresh.load_adapter(tmp_path)
    assert losses(fresh, "ana", "ben") == pytest.approx(after, rel=1e-5)
    assert fresh.engine.complete([request], GenerationConfig(max_new_tokens=4), seed=0) == reply
    fresh.load_adapter(tmp_path, trainable=True)
    assert (
        {id(p) for p in fresh._vectors.parameters(recurse=False) if p.requires_grad}
        if fresh._vectors
        else False
    )


def test_only_a_decoder_reads_a_voice(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="vector"):
        load_prompter(str(tiny_model)).request(CHAT, PAIR, SpeakerVector("b"))


def test_the_nearest_replies_answered_something_alike() -> None:
    said = [
        "do you like dogs?",
        "i love my dog",
        "what is for dinner?",
        "soup again",
        "is it raining?",
        "all day long",
    ]
    dialogue = Dialogue(
        "t", tuple(Turn(i, "ab"[i % 2], (Message(text),)) for i, text in enumerate(said))
    )
    pairs = [Pair(f"t#{i}", "t", i, 0, "b", ("a",), "train", said[i]) for i in (1, 3, 5)]
    now = Dialogue(
        "n", (Turn(0, "a", (Message("how is the weather?"),)), Turn(1, "b", (Message("wet"),)))
    )
    asked = Pair("n#1", "n", 1, 0, "b", ("a",), "heldout", "wet")
    nearest = Nearest([*pairs, asked], {"t": dialogue, "n": now})
    assert nearest.replies(asked, "b", 1) == ["all day long"]
    assert sorted(nearest.replies(asked, "b", 9)) == ["all day long", "i love my dog", "soup again"]
    assert "soup again" not in nearest.replies(pairs[1], "b", 9), "no reply shows itself"
    assert nearest.replies(asked, "nobody", 4) == []


def test_the_whole_road_with_other_personas(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    config = load_config(
        write_config(
            tmp_path,
            corpus,
            tiny_model,
            variants=["retrieval", "unstructured", "continuous"],
            train={"pairs": 16},
        )
    )
    run_stages(Run(config))
    run = Run(config)
    described = json.loads(run.path("descriptions/unstructured.json").read_text("utf-8"))
    assert set(described) >= set(run.speakers)
    run.path("descriptions/unstructured.json").write_text(json.dumps({"ben": "Says  fair enough."}))
    pair = run.valid_pairs[0]
    retrieval, unstructured, continuous = run.variants
    assert run.conditions(continuous).test_line(pair, "ben") == SpeakerVector("ben")
    assert run.conditions(unstructured).test_line(pair, "ben") == "[persona] Says fair enough."
    assert run.conditions(unstructured).test_line(pair, "ana") is None
    shown = str(run.conditions(retrieval).test_line(pair, "ben"))
    own = {p.response for p in run.pairs if p.speaker == "ben" and p.split == "train"}
    lines = shown.split("before:\n")[1].splitlines()
    assert len(lines) == 4
    assert all(line.removeprefix("- ").replace(" / ", "\n") in own for line in lines)
    results = json.loads(run.path("results.json").read_text("utf-8"))
    for name in ("retrieval", "unstructured", "continuous"):
        found = results["variants"][name]
        assert found["n"] == 10
        assert found["loss_profile_z"] > 1
        assert found["CP"]["predicted"] is None, "r predicts what a decoder does that is shown z"
    with pytest.raises(ConfigError, match="takes no z"):
        run.trained_variant("continuous")


PRIOR = Prior(
    {
        "tone": DimensionPrior({"tender": 3, "playful": 1}, 4),
        "hobby": DimensionPrior({"chess": 2}, 6),
    },
    "e",
    "c",
)
READ = Persona({"tone": Slot("tender", "observed", (0, 4)), "hobby": Slot("chess", "observed")})
NEAR = {"tone": {"tender": "playful"}}


@pytest.mark.parametrize(
    ("kind", "tone", "hobby"),
    [("null", None, None), ("other", "playful", "chess"), ("near", "playful", "chess")],
)
def test_what_is_misread_as_what(kind: str, tone: str | None, hobby: str | None) -> None:
    error = Misreading.model_validate({"kind": kind, "rate": 1})
    found = misread(READ, error, PRIOR, NEAR, pair="d#1", seed=0)
    assert (found.value("tone"), found.value("hobby")) == (tone, hobby), (
        "the only hobby has no other"
    )
    untouched = misread(
        READ, Misreading.model_validate({"kind": kind, "rate": 0}), PRIOR, NEAR, pair="d#1", seed=0
    )
    assert untouched == READ


def test_as_many_are_misread_as_asked_and_more_of_the_same_at_a_larger_rate() -> None:
    def missed(rate: float) -> set[str]:
        error = Misreading(kind="null", rate=rate)
        ids = [f"d#{i}" for i in range(2000)]
        return {i for i in ids if misread(READ, error, PRIOR, NEAR, pair=i, seed=1)["tone"] is None}

    few, many = missed(0.25), missed(0.5)
    assert few < many
    assert len(few) / 2000 == pytest.approx(0.25, abs=0.03)
    assert len(many) / 2000 == pytest.approx(0.5, abs=0.03)


def test_errors_of_an_audit_are_made_as_often_as_it_found_them(tmp_path: Path) -> None:
    audit = tmp_path / "labels.json"
    found = {"tender": {"tender": 60, "playful": 30, "∅": 10}, "sad": {"sad": 1}}
    body = {"dimensions": {"tone": {"confusion": found}, "hobby": {"n": 3}}}
    audit.write_text(json.dumps(body), "utf-8")
    error = Misreading.model_validate({"kind": "audited", "audit": str(audit)})
    read = Counter(
        misread(READ, error, PRIOR, {}, pair=f"d#{i}", seed=0).value("tone") for i in range(2000)
    )
    assert read["tender"] / 2000 == pytest.approx(0.6, abs=0.04)
    assert read["playful"] / 2000 == pytest.approx(0.3, abs=0.04)
    assert read[None] / 2000 == pytest.approx(0.1, abs=0.03)
    hobby = misread(READ, error, PRIOR, {}, pair="d#1", seed=0).value("hobby")
    assert hobby == "chess", "of an open dimension it knows nothing"
    audit.unlink()
    assert Misreading.model_validate(error.model_dump()) == error, "what it found is kept with it"
    for wrong in ({"kind": "audited"}, {"kind": "audited", "audit": str(audit)}):
        with pytest.raises(ValidationError, match="audit"):
            Misreading.model_validate(wrong)


def test_the_nearest_label_means_something_alike() -> None:
    space = load_space()
    found = nearest_labels(space.by_name["tone"], Embedder())
    assert set(found) == set(space.by_name["tone"].labels or {})
    assert all(label != other for label, other in found.items())
    assert nearest_labels(space.by_name["hobby"], Embedder()) == {}


def test_z_at_test_time_is_what_a_chat_could_have() -> None:
    """Ana asks and says chess; what the mood was a turn ago is known, her next reply is not."""
    space = load_space("paper")
    said = ["so, chess?", "fun", "chess again", "ok", "and now?"]
    dialogue = Dialogue("d", tuple(Turn(i, "ab"[i % 2], (Message(x),)) for i, x in enumerate(said)))
    pairs = [
        Pair(f"d#{i}", "d", i, 0, "ab"[i % 2], ("ba"[i % 2],), "heldout", said[i])
        for i in range(1, 5)
    ]
    train = [replace(pair, pair_id=f"t#{pair.turn}", split="train") for pair in pairs]
    vibes = {"d#1": "funny", "d#2": "warm", "d#3": "tense", "d#4": "gloomy"}
    read = {p: Persona({"vibe": Slot(v, "observed")}) for p, v in vibes.items()}
    read |= {p.pair_id: Persona({"hobby": Slot("chess", "observed")}) for p in train}
    personas = [read[p.pair_id] for p in train]
    prior = count(
        [*personas, Persona({"tone": Slot("sad", "observed")})], space, encoder="", corpus=""
    )
    profiles = build_profiles(train, read, space)
    corpus = EncodedCorpus({"d": dialogue}, [*pairs, *train], read, prior, profiles, space)
    lines = Conditions(PRESETS["SP+FT"], lambda: corpus, SamplingConfig(), seed=0).test_lines(
        pairs[-1]
    )
    assert lines == {
        "profile": "[persona] tone: sad; hobby: chess",
        "known": "[persona] hobby: chess",
        "own": "[persona] hobby: chess",
        "context": "[persona] vibe: tense; hobby: chess",
    }
    for z, line in lines.items():
        shown = Conditions(PRESETS["SP+FT"], lambda: corpus, SamplingConfig(), seed=0, z=z)
        assert shown.test_line(pairs[-1], pairs[-1].speaker) == line
        assert shown.test_lines(pairs[-1]) == lines, "whichever replies are written under"
    prompted = Conditions(PRESETS["zero-shot"], lambda: corpus, SamplingConfig(), seed=0)
    told = prompted.test_line(pairs[-1], pairs[-1].speaker)
    assert isinstance(told, str)
    assert "chess" in told
    assert "sad" not in told, "a prompt holds nothing that was drawn"
    from_context = PRESETS["SP+FT"].model_copy(update={"fill": "context"})
    sampling = SamplingConfig(s={"tone": 0.0, "hobby": 0.0})
    taught = Conditions(from_context, lambda: corpus, sampling, seed=0)
    unread = replace(pairs[-1], pair_id="u", turn=4)
    corpus.posteriors["u"] = Persona()  # type: ignore[index]
    filled = taught.training_persona(unread, 0)
    assert filled is not None
    assert filled["vibe"] == Slot("tense", "sampled"), "what was read a turn before"
    assert taught.training_persona(pairs[-1], 0) == read["d#4"], "what was read stays"
    ft = Conditions(PRESETS["FT"], lambda: corpus, SamplingConfig(), seed=0)
    assert ft.test_lines(pairs[-1]) == {"profile": None}
