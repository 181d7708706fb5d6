"""What a person says of readings counts once it is put into effect, and can be taken back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.runs import write_config
from vvae.config import load_config
from vvae.core.dialogue import Dialogue
from vvae.evaluation import corrections
from vvae.evaluation.corrections import apply_corrections
from vvae.evaluation.review import Review
from vvae.pipeline.run import Run
from vvae.pipeline.runner import is_made, run_stages, stages_of
from vvae.serving.engines import check_adapter


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, corpus: list[Dialogue], tiny_model: Path
) -> Path:
    folder = tmp_path_factory.mktemp("corrections")
    path = write_config(folder, corpus, tiny_model, variants=["SP+FT"])
    run_stages(Run(load_config(path)), until="train")
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Run:
    shutil.copytree(trained, tmp_path / "run")
    return Run.open(tmp_path / "run")


def habit(run: Run) -> tuple[str, str, list[str]]:
    """A speaker with a catchphrase, the phrase, and the replies in which it was read."""
    speaker = next(s for s in run.speakers if run.profiles[s].persona().value("catchphrase"))
    phrase = str(run.profiles[speaker].persona().value("catchphrase"))
    pairs = [
        p.pair_id
        for p in run.valid_pairs
        if p.speaker == speaker and run.posteriors[p.pair_id].value("catchphrase") == phrase
    ]
    return speaker, phrase, pairs


def content(run: Run) -> dict[str, bytes]:
    return {name: run.path(name).read_bytes() for name in ("prior.json", "profiles.parquet")}


def test_corrections_refit_prior_and_profiles_and_are_taken_back(run: Run) -> None:
    speaker, phrase, pairs = habit(run)
    before, rate = content(run), run.prior["catchphrase"].rate
    review = Review(run)
    for pair in pairs:
        review.say(pair, "catchphrase", "null", None)
    review.say(pairs[0], "catchphrase", "corrected", "no way")
    assert content(run) == before, "a verdict changes nothing by itself"
    changes = apply_corrections(run)
    assert changes.readings == len(pairs)
    assert changes.rates["catchphrase"] == pytest.approx(
        (rate, run.prior["catchphrase"].rate), abs=1e-6
    )
    assert run.prior["catchphrase"].rate < rate
    gone = [c for c in changes.people if c["speaker"] == speaker and c["before"] == phrase]
    assert [c["dimension"] for c in gone] == ["catchphrase"]
    assert run.profiles[speaker].persona().value("catchphrase") != phrase
    assert run.posteriors[pairs[0]].value("catchphrase") == "no way"
    shown = {item["pair"]: item for item in Review(run).items(speaker, 0, 10_000)[0]}
    assert shown[pairs[0]]["values"]["catchphrase"]["value"] == phrase, "as the encoder read it"

    variant = run.trained_variant("SP+FT")
    check_adapter(Run.open(run.folder), variant)  # is served as it is
    train = next(stage for stage in stages_of(run) if stage.name == "train SP+FT")
    assert not is_made(run, train), "and trained again when training is asked for"
    read_again = next(stage for stage in stages_of(run) if stage.name == "encode")
    assert is_made(run, read_again), "what was corrected is not read again"

    review = Review(run)
    for pair in pairs:
        review.say(pair, "catchphrase", None, None)
    assert apply_corrections(run).readings == 0
    assert content(run) == before
    assert is_made(run, train)


def test_a_kill_between_two_files_loses_neither_reading(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, phrase, pairs = habit(run)
    before = content(run)
    Review(run).say(pairs[0], "catchphrase", "null", None)

    def killed(_: Run) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(corrections, "count_prior", killed)
        with pytest.raises(KeyboardInterrupt):
            apply_corrections(run)
    again = Run.open(run.folder)
    assert apply_corrections(again).readings == 1
    assert again.posteriors[pairs[0]].value("catchphrase") is None
    Review(again).say(pairs[0], "catchphrase", None, None)
    assert apply_corrections(again).readings == 0
    assert again.posteriors[pairs[0]].value("catchphrase") == phrase
    assert content(again) == before
