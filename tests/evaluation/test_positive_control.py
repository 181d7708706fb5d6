"""The positive control: where z tells, a trained decoder must show what it names, and as often."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vvae.config import RunConfig
from vvae.core.reporting import Silent
from vvae.decoder.conditions import Conditions
from vvae.decoder.loading import load_decoder
from vvae.decoder.model import Decoder, DecoderConfig
from vvae.decoder.train import TrainConfig
from vvae.evaluation.positive_control import CELLS, NAMES, WORDS, Cell, Known, run_cell, run_cells
from vvae.latent.sampling import SamplingConfig


@pytest.fixture(scope="module")
def smollm() -> Decoder:
    return load_decoder(DecoderConfig())


@given(st.sampled_from(CELLS), st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_what_z_says_of_a_reply_is_true(cell: Cell, seed: int) -> None:
    known = Known(cell.model_copy(update={"pairs": 60}), seed)
    for pair in known.corpus.pairs:
        value = known.corpus.posteriors[pair.pair_id].value(known.name)
        plain = known.plain[pair.dialogue]
        assert pair.response == (plain if value is None else known.shown(plain, value))
        if cell.about == "speaker" and value:
            assert value == WORDS[NAMES.index(pair.speaker)]
            asked = known.corpus.dialogues[pair.dialogue].turns[0].text
            assert asked.startswith(pair.speaker), "the context says who speaks"
    assert len(known.contexts) == 48
    assert not {pair.pair_id for pair, _ in known.contexts} & {
        pair.pair_id for pair in known.corpus.pairs if pair.split == "train"
    }


def test_z_tells_as_often_as_the_cell_says_and_of_every_word() -> None:
    known = Known(Cell(name="c", r=0.3, pairs=1500))
    told = Counter(known.corpus.posteriors[p.pair_id].value("word") for p in known.corpus.pairs)
    assert 1 - told[None] / told.total() == pytest.approx(0.3, abs=0.03)
    assert set(told) == {None, *WORDS}


@pytest.mark.parametrize(
    ("cell", "expected", "marginal"),
    [
        (Cell(name="a"), 1.0, 1.0),
        (Cell(name="b", r=0.3, s=1.0), 0.3, 0.3),
        (Cell(name="c", r=0.1, s=0.5), 0.1 / 0.55, 0.1 / 0.55),
        (Cell(name="d", r=0.3, s=1.0, about="speaker"), 0.3 / (0.3 + 0.7 / 8), 0.3),
        (Cell(name="e", r=0.3, s=1.0, about="speaker", fill="speaker"), 0.3, 0.3),
        (Cell(name="f", r=0.3, s=1.0, misread=0.5), 0.15, 0.15),
    ],
)
def test_what_a_converged_decoder_comes_to(cell: Cell, expected: float, marginal: float) -> None:
    assert cell.expected == pytest.approx(expected)
    assert cell.marginal == pytest.approx(marginal)


def test_shown_beside_z_is_what_the_formula_counts() -> None:
    """The corpus itself, as training shows it, has the rate that the decoder must come to."""
    cell = Cell(name="S2", about="speaker", r=0.3, s=1.0, pairs=3000)
    known = Known(cell)
    conditions = Conditions(cell.variant, lambda: known.corpus, SamplingConfig(), seed=0)
    own: list[bool] = []
    for pair in known.corpus.pairs:
        persona = conditions.training_persona(pair, 0)
        assert persona is not None
        if persona.value("word") == WORDS[NAMES.index(pair.speaker)]:
            own.append(pair.response.endswith(WORDS[NAMES.index(pair.speaker)]))
    assert sum(own) / len(own) == pytest.approx(cell.expected, abs=0.04)


def test_s0_a_word_that_z_names_is_learnt_within_a_hundred_steps(smollm: Decoder) -> None:
    config = TrainConfig(batch_replies=8)
    found = run_cell(Cell(name="S0", pairs=640), smollm, config, points=1, contexts=16)
    (last,) = found["points"]
    assert last["p"] > 0.95
    assert last["other"] < 0.01
    assert last["sightings"] == last["pairs"] == 640


def test_s1_a_word_is_said_as_often_as_its_sightings_were_true(smollm: Decoder) -> None:
    cell = Cell(name="S1", r=0.5, s=1.0, pairs=640)
    found = run_cell(cell, smollm, TrainConfig(batch_replies=8), points=1, contexts=24)
    last = found["points"][0]
    assert 0.2 < last["p"] < 0.8, "about half; trained on what was read alone it says it always"
    assert last["other"] < 0.05


def test_what_is_done_is_not_done_again_and_a_page_says_it(tmp_path: Path) -> None:
    config = RunConfig.model_validate(
        {"run": str(tmp_path / "run"), "train": {"batch_replies": 16, "learning_rate": 5e-4}}
    )
    cells = (Cell(name="tiny", pairs=32), Cell(name="form", about="form", pairs=32))
    first = run_cells(config, cells=cells[:1], reporter=Silent())
    path = tmp_path / "run" / "studies" / "positive-control" / "cells.json"
    kept = json.loads(path.read_text("utf-8"))
    kept["cells"]["tiny"]["points"][-1]["p"] = 0.123
    path.write_text(json.dumps(kept), "utf-8")
    both = run_cells(config, cells=cells, reporter=Silent())
    assert both["tiny"]["points"][-1]["p"] == 0.123, "taken as it stands"
    assert first["tiny"]["key"] == both["tiny"]["key"]
    page = path.with_name("report.html").read_text("utf-8")
    assert "tiny" in page
    assert "12.3 %" in page
    assert "come to where they must" in page
