"""Is it like them? Told of people first, and only then of a text."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.support.runs import vvae, write_config
from vvae.config import load_config
from vvae.core.dialogue import Dialogue
from vvae.latent.space import load_space
from vvae.metrics.likeness import Likeness, differences
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages

SPACE = load_space("paper+form")
FORM = [d for d in SPACE.dimensions if d.axis == "form"]


def people(distinct: bool, number: int = 60) -> dict[str, list[str]]:
    """Three who write differently, or all alike."""
    rng = random.Random(0)
    topics = ("the game", "my class", "that film", "dinner", "the train", "your plan")
    ways = {
        "ana": "omg {} is sooo good!!",
        "ben": "I should say that {} was quite acceptable.",
        "cleo": "idk about {} lol... maybe",
    }
    return {
        name: [(way if distinct else ways["ana"]).format(rng.choice(topics)) for _ in range(number)]
        for name, way in ways.items()
    }


def test_a_text_of_theirs_is_like_them_and_another_persons_is_not() -> None:
    judge = Likeness(people(True), people(True, 40))
    worth = judge.worth("ana", 1)
    assert worth.auc == pytest.approx(1.0, abs=0.01)
    assert worth.tells
    own = judge.of("ana", ["omg the weather is sooo bad!!", "omg the exam is sooo hard!!"])
    assert own.among_others == 1.0
    foreign = judge.of("ana", ["I should say that the exam was quite acceptable."] * 2)
    assert foreign.among_own == 0.0
    assert foreign.score < 0 < own.score
    assert judge.beaten("ana", ["I should say that it was quite acceptable."]) == 1.0
    assert judge.beaten("ana", people(True, 9)["ana"]) == pytest.approx(0.5, abs=0.25)


def test_where_people_cannot_be_told_apart_nothing_is_said() -> None:
    judge = Likeness(people(False), people(False, 40))
    worth = judge.worth("ana", 2)
    assert worth.low < 0.6
    assert not worth.tells


def test_what_differs_is_said_in_words() -> None:
    own = ["Are you there?", "I am here.", "Did you see it?", "It is fine."] * 20
    texts = ["well i went to the shop and then i bought some bread and milk and came home"] * 12
    said = [one.says for one in differences(texts, own, FORM, "Ana")]
    assert any("times longer: 17 words a reply, Ana 3" in one for one in said), said
    assert any("lower in 100 % of replies, Ana 0 %" in one for one in said), said
    assert any("asks in 0 % of replies, Ana 50 %" in one for one in said), said
    assert len([one for one in said if one.startswith("what stands at the end")]) == 1
    assert differences(own[:8], own, FORM, "Ana") == []


def test_the_command_scores_a_file_and_the_variants(
    corpus: list[Dialogue], tiny_model: Path, tmp_path: Path
) -> None:
    path = write_config(
        tmp_path,
        corpus,
        tiny_model,
        variants=["FT", "SP+FT"],
        bench={"replies": 60, "swapped": 2, "resamples": 100},
    )
    run_stages(Run(load_config(path)), until="replies")
    replies = tmp_path / "replies.txt"
    replies.write_text("fair enough\nfair enough, i guess\n\n", "utf-8")
    run = str(tmp_path / "run")
    found = vvae("score", run, str(replies), "--speaker", "ben")
    assert found.returncode == 0, found.stderr
    assert "told from others' with an AUC of" in " ".join(found.stdout.split())
    variants = vvae("score", run)
    assert variants.returncode == 0, variants.stderr
    assert "other people" in variants.stdout
    assert "SP+FT" in variants.stdout
    saved = json.loads((tmp_path / "run" / "likeness" / "likeness.json").read_text("utf-8"))
    assert set(saved["variants"]) == set(saved["differences"]) == {"FT", "SP+FT"}
    told = saved["told"]["1"]
    assert 0 <= told["low"] <= told["value"] <= told["high"] <= 1
    page = (tmp_path / "run" / "likeness" / "report.html").read_text("utf-8")
    assert "told from others" in page.replace("&#39;", "'")
    assert "times longer" in page or "times shorter" in page, "random weights write no people"
    nobody = vvae("score", run, str(replies), "--speaker", "bem")
    assert nobody.returncode == 2
    assert "did you mean 'ben'" in nobody.stderr
    assert vvae("score", run, str(replies)).returncode == 2
    assert vvae("score", run, str(tmp_path / "absent.txt"), "--speaker", "ben").returncode == 2
