"""How much a dimension of z can tell."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from vvae.core.dialogue import Pair
from vvae.latent.encoded import EncodedCorpus
from vvae.latent.persona import Persona, Slot
from vvae.latent.prior import DimensionPrior, Prior, count
from vvae.latent.profile import Profile, Ranked
from vvae.latent.space import load_space
from vvae.metrics.audit.information import entropy, information, profile_worth, redrawn

TONE = DimensionPrior({"sad": 30, "playful": 10}, nulls=60)
PRIOR = Prior({"tone": TONE}, encoder="e", corpus="c")


def said(number: int, speaker: str) -> Pair:
    return Pair(f"p{number}", "d", number, 0, speaker, ("ben",), "test", "so it goes")


def z(value: str) -> Persona:
    return Persona({"tone": Slot(value, "observed", (0, 2), 0.9)})


def test_a_worked_example() -> None:
    """r = 0.4; H = 1/4 log 4 + 3/4 log 4/3; of 20 replies of ana, whose habit is sad, 15 are; the
    gain is 0.5 nats in each.
    """
    pairs = [said(i, "ana" if i % 2 else "eve") for i in range(40)]
    personas = {p.pair_id: z("playful" if p.turn in (1, 3, 5, 7, 9) else "sad") for p in pairs}
    sad = (Ranked("sad", 15),)
    profiles = {"ana": Profile("ana", 20, {"tone": sad}, {})}
    gains = {"tone": {p.pair_id: 0.5 for p in pairs}}
    (found,) = information(PRIOR, gains, {"tone": 30}, pairs, personas, profiles).values()
    h = math.log(4) / 4 + 3 / 4 * math.log(4 / 3)
    assert (found["rate"], found["entropy"]) == (0.4, round(h, 4))
    assert found["bound"] == pytest.approx(0.4 * h, abs=1e-4)
    assert found["used"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert (found["n"], found["changed"]) == (40, 30)
    assert found["profiled"] == 20, "eve has no profile"
    assert (found["agreement"]["value"], found["chance"]) == (0.75, 0.75)


def test_a_figure_needs_replies() -> None:
    pairs = [said(i, "ana") for i in range(9)]
    gains = {"tone": {p.pair_id: 1.0 for p in pairs}}
    (found,) = information(PRIOR, gains, {"tone": 9}, pairs, {}, {}).values()
    assert found["used"]["value"] is None
    assert found["chance"] is None


def test_one_value_is_drawn_anew_and_the_others_stay() -> None:
    persona = Persona({**z("sad").slots, "topic": Slot("food", "observed")})
    drawn = [redrawn(persona, "tone", PRIOR, key=str(i)) for i in range(400)]
    assert all(one.value("topic") == "food" for one in drawn)
    assert {one.value("tone") for one in drawn} == {"sad", "playful"}
    share = sum(one.value("tone") == "sad" for one in drawn) / 400
    assert share == pytest.approx(0.75, abs=0.08), "as often as the prior has it"
    assert redrawn(persona, "tone", PRIOR, key="1") == drawn[1], "the key says which"
    never = Prior({"tone": DimensionPrior({}, nulls=1)}, encoder="e", corpus="c")
    assert redrawn(persona, "tone", never, key="1").value("tone") is None


def test_no_values_have_no_entropy() -> None:
    assert entropy(DimensionPrior({}, nulls=3)) == 0
    assert entropy(DimensionPrior({"sad": 3}, nulls=3)) == 0


def test_the_command_measures_a_run(served_run: Path) -> None:
    """With a model, end to end; the same figures again."""
    command = [sys.executable, "-m", "vvae.cli", "audit", "information", str(served_run)]
    kept = served_run / "audit" / "information.json"
    texts = []
    for _ in range(2):
        done = subprocess.run([*command, "--replies", "12"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        texts.append(kept.read_bytes())
    assert texts[0] == texts[1]
    found = json.loads(texts[0])
    assert "worth to" in done.stdout
    phrase = found["dimensions"]["catchphrase"]
    assert phrase["n"] == 12
    styles = found["axes"]["talking style"]
    assert styles["n"] == 12
    read = [found["dimensions"][name]["n"] for name in ("catchphrase", "emoji", "tone")]
    assert styles["n"] >= min(read)
    assert styles["used"]["low"] <= styles["used"]["value"] <= styles["used"]["high"]
    assert phrase["agreement"]["value"] > phrase["chance"], "a phrase is a habit of its speaker"
    kept.unlink()
    asked = [*command, "--replies", "12", "--variant", "SP+FT"]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    used = served_run / "audit" / "information-SP+FT.json"
    trained = json.loads(used.read_text())
    assert trained["name"] == "what SP+FT makes of z"
    assert trained["dimensions"]["catchphrase"]["n"] == 12
    assert trained["dimensions"]["catchphrase"]["used"] != phrase["used"], "another model"
    used.unlink()


def test_whether_a_trait_shows_is_part_of_what_a_profile_tells() -> None:
    """Ana says it in 9 of 10 replies, Ben in 1: with one value, all that is told is whether."""
    said, space = Persona({"catchphrase": Slot("yes", "observed")}), load_space()
    pairs, read = [], {}
    for speaker, often in (("ana", 9), ("ben", 1)):
        for number in range(11):
            split = "train" if number < 10 else "heldout"
            shown = number < often or (split == "heldout" and speaker == "ana")
            pair = Pair(f"{speaker}#{number}", speaker, number, 0, speaker, ("x",), split, "yes")
            pairs.append(pair)
            read[pair.pair_id] = said if shown else Persona()
    prior = count(
        [read[p.pair_id] for p in pairs if p.split == "train"], space, encoder="e", corpus="c"
    )
    worth = profile_worth(EncodedCorpus({}, pairs, read, prior, {}, space), ["ana", "ben"])
    rate = (9 + 5 * 0.5) / (10 + 5)
    assert worth["catchphrase"] == pytest.approx(math.log(rate / 0.5), abs=1e-4)
    assert worth["tone"] == 0
