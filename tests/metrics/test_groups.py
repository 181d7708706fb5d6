"""Two groups of speakers: planted differences are found, none where there are none; the permutation
by enumeration.
"""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.support.runs import write_config
from vvae.config import load_config
from vvae.core.dialogue import Dialogue, Pair
from vvae.core.errors import ConfigError, DataError
from vvae.latent.persona import Persona, Slot
from vvae.latent.space import load_space
from vvae.metrics.groups import populations, read_groups
from vvae.metrics.metric import WrittenReply
from vvae.pipeline.run import Run
from vvae.pipeline.stages.analysis import analyze_z

SPACE = load_space()
GROUPS = {f"s{i:02d}": "old" if i < 10 else "young" for i in range(20)}


def corpus_of(differ: bool) -> tuple[list[Pair], dict[str, Persona]]:
    """20 speakers with 12 training and 8 held-out replies; the young are playful and laugh, if they
    differ.
    """
    pairs, personas = [], {}
    for s, (speaker, group) in enumerate(GROUPS.items()):
        for i in range(20):
            young = differ and group == "young"
            text = "haha yes" if (young and i % 2) or (i % 10 == s % 3) else "yes well"
            pair = Pair(
                f"{speaker}d#{i}",
                f"{speaker}d",
                i,
                0,
                speaker,
                ("x",),
                "train" if i < 12 else "heldout",
                text,
            )
            tone = "playful" if young or (i + s) % 4 == 0 else "earnest"
            personas[pair.pair_id] = Persona({"tone": Slot(tone, "observed")})
            pairs.append(pair)
    return pairs, personas


def p_of(found: dict[str, object], what: str) -> float:
    rows: list[dict[str, object]] = found["rows"]  # type: ignore[assignment]
    return float(next(row["p_adjusted"] for row in rows if row["what"] == what))  # type: ignore[arg-type]


def test_planted_differences_are_found_and_no_others() -> None:
    pairs, personas = corpus_of(differ=True)
    silent = [WrittenReply(p, p.speaker, "ok") for p in pairs if p.split == "heldout"]
    found = populations(pairs, personas, SPACE, GROUPS, {"FT": silent})
    assert found["groups"]["old"] == {"speakers": 10, "replies": 120}
    assert p_of(found, "tone: values") < 0.05
    assert p_of(found, "people: laughs") < 0.05
    assert p_of(found, "tone: observation rate") == 1.0, "everybody shows one"
    assert p_of(found, "people: asks a question") == 1.0
    assert p_of(found, "FT: laughs") == 1.0, "the variant imitates both groups alike"
    laughs = next(row for row in found["rows"] if row["what"] == "people: laughs")
    assert laughs["values"][1] > laughs["values"][0] + 0.3
    alike = populations(*corpus_of(differ=False), SPACE, GROUPS, {})
    assert p_of(alike, "tone: values") > 0.1
    assert p_of(alike, "people: laughs") > 0.1


def test_the_permutation_p_value_is_scipys() -> None:
    pairs, personas = corpus_of(differ=True)
    some = {f"s{i:02d}": GROUPS[f"s{i:02d}"] for i in (0, 1, 2, 10, 11, 12)}
    pairs = [p for p in pairs if p.speaker in some]
    rates = {
        s: np.mean(["haha" in p.response for p in pairs if p.speaker == s and p.split == "heldout"])
        for s in some
    }
    sides = [[rates[s] for s in some if some[s] == name] for name in ("old", "young")]
    exact = stats.permutation_test(
        sides, lambda a, b: abs(np.mean(a) - np.mean(b)), alternative="greater"
    ).pvalue
    by_hand = [
        abs(
            np.mean([rates[s] for s in chosen])
            - np.mean([rates[s] for s in some if s not in chosen])
        )
        for chosen in combinations(some, 3)
    ]
    observed = abs(np.mean(sides[0]) - np.mean(sides[1]))
    assert exact == pytest.approx(np.mean([value >= observed - 1e-12 for value in by_hand]))
    found = populations(pairs, personas, SPACE, some, {}, permutations=4999)
    row = next(row for row in found["rows"] if row["what"] == "people: laughs")
    assert row["p"] == pytest.approx(exact, abs=0.02)


def test_groups_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "speakers.csv"
    file.write_text("\ufeffspeaker,gender,age\nana,f,20\nben,m,\ncleo,f,31\n", "utf-8")
    assert read_groups(file, "gender") == {"ana": "f", "ben": "m", "cleo": "f"}
    assert read_groups(file, "age") == {"ana": "20", "cleo": "31"}
    with pytest.raises(ConfigError, match="its columns: speaker, gender, age"):
        read_groups(file, "corpus")
    file.write_text("speaker,gender\nana,f\nben,m\ncleo,d\n", "utf-8")
    with pytest.raises(ConfigError, match="3 groups"):
        read_groups(file, "gender")
    with pytest.raises(DataError, match="3 of each group"):
        populations(*corpus_of(differ=False), SPACE, {"s00": "old", "s10": "young"}, {})


def test_groups_stand_in_the_analysis(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(tmp_path, corpus, tiny_model)
    file = tmp_path / "speakers.csv"
    file.write_text("speaker,town\nana,A\nben,A\ncleo,B\ndan,B\n", "utf-8")
    command = [
        sys.executable,
        "-m",
        "vvae.cli",
        "analyze",
        str(config),
        "--groups",
        str(file),
        "--column",
        "town",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert "3 of each group are needed" in done.stderr
    monkeypatch.setattr("vvae.metrics.groups.LEAST", 2)
    run = Run(load_config(config))
    analyze_z(run, read_groups(file, "town"))
    page = run.path("analysis.html").read_text()
    assert "Two groups of speakers" in page
    assert "A: 2 speakers" in page
