from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.runs import vvae, write_config
from vvae.config import load_config
from vvae.core.dialogue import Dialogue
from vvae.core.errors import ConfigError, ModelError
from vvae.inference.models import SMOLLM2, gguf_of
from vvae.inference.transformers import TransformersEngine
from vvae.latent.readers import reader
from vvae.latent.steering import steering_from_text
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages
from vvae.serving.chat import open_session
from vvae.serving.engines import open_engine
from vvae.serving.session import ChatSession


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, corpus: list[Dialogue], tiny_model: Path) -> Run:
    folder = tmp_path_factory.mktemp("chat")
    config = write_config(folder, corpus, tiny_model, variants=["SP+FT"])
    run = Run(load_config(config))
    run_stages(run, until="train")
    return run


def session(run: Run, asked: str = "", seed: int = 0) -> ChatSession:
    return open_session(
        run, "ana", "SP+FT", steering_from_text(asked), temperature=1.0, top_p=1.0, seed=seed
    )


def test_given_values_win_and_profile_values_hold(run: Run) -> None:
    one = session(run, "tone=tender; hobby=beekeeping")
    replies = [one.reply("hi, how are you?"), one.reply("what did you do today?")]
    for persona in (reply.z for reply in replies):
        assert persona["tone"] == ("tender", "given", None, None)
        assert persona.value("hobby") == "beekeeping"
        assert persona["catchphrase"] == ("oh my gosh", "observed", None, None)
    assert all("\n" not in message for reply in replies for message in reply.messages)


def test_who_speaks_unasked_is_somebody_learnt(run: Run) -> None:
    most, *_, least = run.learned_profiles
    assert run.profile(None).speaker == most
    pairs = run.config.pairs.model_copy(update={"speakers": [least]})
    assert Run(run.config.model_copy(update={"pairs": pairs})).profile(None).speaker == least


def test_a_chat_is_the_same_for_the_same_seed(run: Run) -> None:
    said = ["hi", "and you?"]
    one, same, other = session(run), session(run), session(run, seed=9)
    assert [one.reply(t) for t in said] == [same.reply(t) for t in said]
    assert [session(run).reply("hi")] != [other.reply("hi")]


def test_auto_follows_what_the_other_says_and_sample_draws_anew(run: Run) -> None:
    one = session(run, "topic=auto")
    assert one.reply("did you see that new movie on netflix, the last episode?").z["topic"] == (
        "film and television",
        "observed",
        None,
        None,
    )
    drawn = session(run, "tone=sample")
    assert len({drawn.reply("so").z.value("tone") for _ in range(10)}) > 1


def test_a_long_chat_is_cut_into_windows_and_goes_on(run: Run) -> None:
    one = session(run)
    for i in range(12):
        one.reply(f"{i} " + "tell me more about the film " * 8)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("mood=x", "unknown dimension 'mood'"),
        ("tone=angry", "unknown label 'angry'"),
        ("mood=auto", "unknown dimension 'mood'"),
        ("mood.rate=0.1", "unknown dimension 'mood'"),
    ],
)
def test_unknown_dimensions_and_labels_are_refused(run: Run, asked: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        session(run, asked)


def test_llama_cpp_is_not_replaced_where_it_was_asked_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = run.trained_variant("SP+FT")
    with pytest.raises(ConfigError, match="needs the base model as GGUF"):
        open_engine(run, variant, "llama.cpp", None)
    monkeypatch.setitem(sys.modules, "xllamacpp", None)  # as where it is not installed
    monkeypatch.setattr("vvae.serving.engines.gguf_of", lambda model: gguf_of(SMOLLM2))
    with pytest.raises(ModelError, match="xllamacpp is not installed"):
        open_engine(run, variant, "llama.cpp", None)
    assert isinstance(open_engine(run, variant, "auto", None)[1], TransformersEngine)


def test_the_command_shows_bursts_and_z(run: Run) -> None:
    result = vvae(
        "chat",
        str(run.folder),
        "--speaker",
        "ben",
        "--set",
        "tone=playful",
        stdin="hello\nhow was the film\n\n",
    )
    assert result.returncode == 0, result.stderr
    assert "tone=playful" in result.stdout
    assert "catchphrase=fair enough" in result.stdout
    assert result.stdout.count("  z  ") == 2


def test_a_reply_is_no_longer_than_asked_for(run: Run) -> None:
    def said(*options: str) -> str:
        done = vvae("chat", str(run.folder), "--speaker", "ben", *options, stdin="hello\n\n")
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert len(said("--max-tokens", "1")) < len(said("--max-tokens", "30")) < len(said())


def test_an_unknown_speaker_names_some(run: Run) -> None:
    result = vvae("chat", str(run.folder), "--speaker", "nobody")
    assert result.returncode == 2
    assert "no speaker is named 'nobody'" in result.stderr
    assert "cleo" in result.stderr
    assert json.loads((run.folder / "import.json").read_text())["dialogues"] == 48


def test_a_rate_is_met_by_choosing_and_a_strength_needs_logits(run: Run) -> None:
    one = session(run, "length=a word or two; length.rate=0.5; ending.rate=0; candidates=8")
    replies = [one.reply("hi") for _ in range(6)]
    shows = reader("length").shows
    drawn = {reply.steered.demands["length"].shown for reply in replies}
    assert drawn == {True, False}
    for reply in replies:
        assert reply.accepted is not None
        demand = reply.steered.demands["length"]
        shown = shows(demand.value, reply.accepted.completion.text)
        assert ("length" in reply.accepted.met) == (shown == demand.shown)
    pushed, plain = session(run, "tone=sad; tone.strength=9"), session(run, "tone=sad")
    texts = [[str(chat.reply(text)) for text in "abcdef"] for chat in (pushed, plain)]
    assert texts[0] != texts[1]
    with pytest.raises(ConfigError, match="needs the model's logits"):
        open_session(
            run,
            "ana",
            "SP+FT",
            steering_from_text("tone=sad; tone.strength=1"),
            temperature=1.0,
            top_p=1.0,
            seed=0,
            engine="llama.cpp",
            base=Path("base.gguf"),
        )
