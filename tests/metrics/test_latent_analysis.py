"""The questions asked of z: against independent implementations and worked examples."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats.contingency import association as scipy_association
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import normalized_mutual_info_score, roc_auc_score

from tests.support.browser import CHROMIUM, assert_readable
from vvae.core.dialogue import Dialogue, Message, Pair, Turn
from vvae.core.random import index_below, uniform
from vvae.corpus.pairs import PairsConfig, pairs_with_account
from vvae.decoder.model import Branch, Decoder
from vvae.encoders.rules.encoder import RulesEncoder
from vvae.latent.persona import Persona, Slot
from vvae.latent.prior import DimensionPrior, Prior, count
from vvae.latent.space import load_space
from vvae.metrics.association import (
    association,
    auc,
    cramers_v,
    holm,
    logistic,
    mutual_information,
    shift,
)
from vvae.metrics.latent_analysis import (
    analyze,
    consistency,
    describe_prior,
    dialogue_topics,
    drift,
    kl_to_prior,
    missingness,
    orthogonality,
)
from vvae.report.pages import build_analysis

SPACE = load_space()
Table = npt.NDArray[np.float64]


def shown(**values: str) -> Persona:
    return Persona({name: Slot(value, "observed") for name, value in values.items()})


# --- statistics against other software ---


TABLES = st.lists(st.lists(st.integers(1, 40), min_size=3, max_size=3), min_size=2, max_size=5).map(
    lambda rows: np.asarray(rows, dtype=float)
)


@given(TABLES)
def test_cramers_v_is_scipys_corrected_for_bias(table: Table) -> None:
    n, rows, columns = table.sum(), *table.shape
    plain = float(scipy_association(table.astype(int), method="cramer"))
    phi = max(0.0, plain**2 * (min(rows, columns) - 1) - (rows - 1) * (columns - 1) / (n - 1))
    smaller = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1))
    assert cramers_v(table) == pytest.approx(math.sqrt(phi / (smaller - 1)), abs=1e-9)


@given(TABLES)
def test_mutual_information_is_scikit_learns(table: Table) -> None:
    pairs = [
        (i, j) for i, row in enumerate(table) for j, n in enumerate(row) for _ in range(int(n))
    ]
    theirs = normalized_mutual_info_score([i for i, _ in pairs], [j for _, j in pairs])
    assert mutual_information(table) == pytest.approx(theirs, abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=4, max_size=60))
def test_auc_is_scikit_learns_with_ties(rows: list[tuple[int, bool]]) -> None:
    y = np.asarray([label for _, label in rows], dtype=float)
    score = np.asarray([value for value, _ in rows], dtype=float)
    if 0 < y.sum() < len(y):
        assert auc(score, y) == pytest.approx(roc_auc_score(y, score))
    else:
        assert math.isnan(auc(score, y))


def test_logistic_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    y = (rng.random(400) < 1 / (1 + np.exp(-(0.5 + x @ [1.0, -2.0, 0.0])))).astype(float)
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(x, y)
    ours = logistic(x, y, ridge=1.0)
    assert ours[0] == pytest.approx(theirs.intercept_[0], abs=1e-4)
    assert ours[1:] == pytest.approx(theirs.coef_[0], abs=1e-4)


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=12))
def test_holm_by_its_definition(p: list[float]) -> None:
    ordered = sorted(p)
    expected = [
        min(1.0, max((len(p) - j) * ordered[j] for j in range(i + 1))) for i in range(len(p))
    ]
    assert sorted(holm(p)) == pytest.approx(expected)


def test_the_permutation_test_is_close_to_chi_squared() -> None:
    a = [f"{uniform('a', i) < 0.5}" for i in range(400)]
    b = [x if uniform("b", i) < 0.12 else f"{uniform('c', i) < 0.5}" for i, x in enumerate(a)]
    found = association(a, b)
    assert found is not None
    both, values = list(zip(a, b, strict=True)), ("False", "True")
    table = np.asarray([[both.count((i, j)) for j in values] for i in values])
    theirs = stats.chi2_contingency(table, correction=False).pvalue
    assert found.p == pytest.approx(theirs, abs=0.03)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_independent_lists_are_rarely_called_associated(seed: int) -> None:
    a = [str(index_below(3, "a", seed, i)) for i in range(120)]
    b = [str(index_below(3, "b", seed, i)) for i in range(120)]
    found = association(a, b, permutations=99)
    assert found is not None
    assert found.v < 0.35


# --- worked examples ---


def test_a_prior_described() -> None:
    found = describe_prior(DimensionPrior({"friend": 60, "lover": 40}, nulls=100))
    assert found["entropy"] == pytest.approx(
        -(0.6 * math.log2(0.6) + 0.4 * math.log2(0.4)), abs=1e-4
    )
    assert found["top"] == ["friend", 0.6]
    assert found["dominated"]
    assert found["rate"] == 0.5
    assert not describe_prior(DimensionPrior({"a": 1, "b": 1}, nulls=0))["dominated"]
    assert describe_prior(DimensionPrior({}, nulls=3))["entropy"] is None


def test_kl_is_minus_log_p_of_what_was_observed() -> None:
    personas = [shown(tone="sad"), shown(tone="sad"), shown(tone="excited"), shown()]
    prior = count(personas, SPACE, encoder="e", corpus="c")
    found = kl_to_prior(personas, prior, SPACE)
    expected = (2 * -math.log(2 / 3) - math.log(1 / 3)) / 4
    assert found["nats"] == pytest.approx(expected, abs=1e-4)
    sampled = Persona({"tone": Slot("sad", "sampled")})
    assert kl_to_prior([sampled], prior, SPACE)["nats"] == 0.0
    assert kl_to_prior([shown(tone="polite")], prior, SPACE)["unseen"] == {"tone": 1}


def test_kl_has_no_gradient_in_the_decoder(tiny_decoder: Decoder, corpus: list[Dialogue]) -> None:
    """The bound with and without its KL term pulls the adapter's weights in the same direction, bit
    by bit.
    """
    import torch

    pairs, _ = pairs_with_account(corpus[:2], PairsConfig(), seed=0)
    window = [p for p in pairs if p.dialogue == "d0" and p.speaker == pairs[0].speaker]
    personas = [shown(tone="sad") for _ in window]
    prior = count(personas * 3 + [shown(tone="excited")], SPACE, encoder="e", corpus="c")
    kl = kl_to_prior(personas, prior, SPACE)["nats"] or 0.0
    assert kl > 0
    tiny_decoder.add_adapter(1)
    tree = tiny_decoder.tree(
        corpus[0], window, {p.pair_id: [Branch("z", "[persona] tone: sad")] for p in window}
    )
    weights = [w for w in tiny_decoder.model.parameters() if w.requires_grad]

    def gradients(extra: float) -> list[torch.Tensor]:
        for weight in weights:
            weight.grad = None
        bound = tiny_decoder.token_losses(tiny_decoder.inputs([tree])).sum() + extra
        bound.backward()  # type: ignore[no-untyped-call]
        return [weight.grad.clone() for weight in weights if weight.grad is not None]

    without, with_kl = gradients(0.0), gradients(kl * len(window))
    assert len(without) == len(weights)
    assert all(torch.equal(a, b) for a, b in zip(without, with_kl, strict=True))


def corpus_of(
    rows: Sequence[tuple[str, int, str, str | None]],
) -> tuple[list[Pair], dict[str, Persona], dict[str, Dialogue]]:
    """Pairs of (dialogue, turn, speaker, tone)."""
    pairs, personas = [], {}
    turns: dict[str, list[Turn]] = {}
    for dialogue, turn, speaker, tone in rows:
        pair = Pair(f"{dialogue}#{turn}", dialogue, turn, 0, speaker, ("z",), "train", "a b c")
        pairs.append(pair)
        personas[pair.pair_id] = shown(**({"tone": tone} if tone else {}))
        turns.setdefault(dialogue, []).append(Turn(turn, speaker, (Message("a b c"),)))
    return pairs, personas, {name: Dialogue(name, tuple(own)) for name, own in turns.items()}


def test_a_course_is_found_where_there_is_one_and_not_where_there_is_none() -> None:
    moving = [
        (f"d{d}", t, "a", "sad" if t < 5 else "excited") for d in range(20) for t in range(10)
    ]
    still = [
        (f"d{d}", t, "a", ("sad", "excited")[index_below(2, d, t)])
        for d in range(20)
        for t in range(10)
    ]
    found = drift(*corpus_of(moving), "tone", permutations=99)
    assert found is not None
    assert (found["distance"], found["p"]) == (1.0, 0.01)
    assert found["shares"][0] == [0.0, 1.0]
    none = drift(*corpus_of(still), "tone", permutations=99)
    assert none is not None
    assert (none["p"] or 0) > 0.05


def test_consistency_by_hand() -> None:
    rows = [(f"d{d}", 0, "a", "sad") for d in range(30)] + [
        (f"e{d}", 0, "b", "excited") for d in range(30)
    ]
    pairs, personas, _ = corpus_of(rows)
    found = consistency(pairs, personas, SPACE.by_name["tone"])
    assert found is not None
    assert found["same"] == 1.0
    assert found["chance"] == pytest.approx(2 * 30 * 29 / (60 * 59), abs=1e-4)
    assert found["speakers"] == 2


def test_nulls_that_depend_on_length_are_found_and_random_ones_are_not() -> None:
    rows = [(f"d{d}", t, "a", None) for d in range(60) for t in range(10)]
    pairs, _, dialogues = corpus_of(rows)
    pairs = [
        Pair(
            p.pair_id,
            p.dialogue,
            p.turn,
            0,
            "a",
            ("z",),
            "train",
            "w " * (1 + index_below(20, "n", p.pair_id)),
        )
        for p in pairs
    ]
    by_length = {
        p.pair_id: shown(**({"tone": "sad"} if len(p.response.split()) > 10 else {})) for p in pairs
    }
    at_random = {
        p.pair_id: shown(**({"tone": "sad"} if uniform("r", p.pair_id) < 0.4 else {}))
        for p in pairs
    }
    found = missingness(pairs, by_length, dialogues, "tone", permutations=49)
    assert (found["auc"] or 0) > 0.95
    assert found["p"] == 0.02
    assert found["by_length"][0] == 1.0
    assert found["by_length"][-1] == 0.0
    none = missingness(pairs, at_random, dialogues, "tone", permutations=49)
    assert abs((none["auc"] or 0) - 0.5) < 0.1
    assert (none["p"] or 0) > 0.05


def test_what_goes_together_by_the_person_alone_is_not_what_goes_together_in_replies() -> None:
    """Ana is mostly sad and gloomy, Ben mostly excited and warm, each reply by itself."""
    rng = random.Random(0)
    speakers = [("ana", "ben")[i % 2] for i in range(800)]
    of = {
        "ana": (("sad", "excited"), ("gloomy", "warm")),
        "ben": (("excited", "sad"), ("warm", "gloomy")),
    }
    drawn = [[values[rng.random() < 0.2] for values in of[s]] for s in speakers]
    personas = [
        Persona({"tone": Slot(tone, "observed"), "vibe": Slot(vibe, "observed")})
        for tone, vibe in drawn
    ]

    def p(**whose: Any) -> float:
        found = orthogonality(personas, SPACE, permutations=199, **whose)
        return next(row["p"] for row in found["pairs"] if (row["a"], row["b"]) == ("tone", "vibe"))

    assert p() < 1e-6, "no permutation of 199 comes near"
    assert p(speakers=speakers) > 0.05


def test_sampled_values_are_never_looked_at() -> None:
    tied = [
        Persona({"tone": Slot(v, "sampled"), "vibe": Slot(v, "sampled")})
        for v in ("sad", "warm") * 60
    ]
    assert all(row["n"] == 0 for row in orthogonality(tied, SPACE, permutations=9)["pairs"])


def test_the_page_is_drawn_from_a_real_corpus(corpus: list[Dialogue], tmp_path: Path) -> None:
    pairs, _ = pairs_with_account(corpus, PairsConfig(), seed=0)
    encoder = RulesEncoder.fit(pairs, SPACE)
    personas = {e.pair_id: e.persona for e in encoder.encode(pairs)}
    prior: Prior = count(personas.values(), SPACE, encoder=encoder.id, corpus="c")
    found = analyze(pairs, personas, {d.id: d for d in corpus}, prior, SPACE, permutations=19)
    again = analyze(pairs, personas, {d.id: d for d in corpus}, prior, SPACE, permutations=19)
    assert found == again
    page = build_analysis(found, SPACE, "corpus")
    paired = any("v" in row for row in found["orthogonality"]["pairs"])
    assert page.count("<svg") == 1 + paired + bool(found["drift"])
    assert ">-0.00<" not in page
    (tmp_path / "analysis.html").write_text(page, "utf-8")
    if CHROMIUM:
        assert_readable((tmp_path / "analysis.html").as_uri())
    assert not any(f'{attribute}="http' in page for attribute in ("src", "href"))


def test_missingness_by_topic_by_hand() -> None:
    pairs = [
        Pair(f"d{d}#{i}", f"d{d}", i, 0, "a", ("b",), "train", "so it is")
        for d in (1, 2)
        for i in range(1, 61)
    ]
    turns = (Turn(0, "b", (Message("hi"),)), Turn(60, "a", (Message("so"),)))
    dialogues = {name: Dialogue(name, turns) for name in ("d1", "d2")}
    topic = {"d1": "games", "d2": "food"}
    personas = {
        p.pair_id: Persona(
            {"topic": Slot(topic[p.dialogue], "observed")}
            | ({"tone": Slot("sad", "observed")} if p.dialogue == "d1" or p.turn % 2 else {})
        )
        for p in pairs
    }
    assert dialogue_topics(pairs, personas, "topic") == topic
    found = missingness(pairs, personas, dialogues, "tone", topics=topic, permutations=9)
    assert found["by_topic"] == {"games": 0.0, "food": 0.5}


def test_what_one_conversation_alone_shows_tells_nothing_of_nulls() -> None:
    """Whichever half it falls into: where all is null there is no AUC, and no p of one."""
    pairs = [
        Pair(f"d{d}#{i}", f"d{d}", i, 0, "a", ("b",), "train", "so it is " * (1 + i % 3))
        for d in range(20)
        for i in range(1, 31)
    ]
    turns = (Turn(0, "b", (Message("hi"),)), Turn(30, "a", (Message("so"),)))
    dialogues = {f"d{d}": Dialogue(f"d{d}", turns) for d in range(20)}
    for d in range(4):
        personas = {
            p.pair_id: Persona(
                {"tone": Slot("sad", "observed")} if p.dialogue == f"d{d}" and p.turn % 2 else {}
            )
            for p in pairs
        }
        found = missingness(pairs, personas, dialogues, "tone", permutations=9)
        assert (found["auc"], found["p"]) == (None, None)


def test_what_is_permuted_within_contexts_does_not_mistake_contexts_for_control() -> None:
    """Every label is set in every context, and what is read is the context's mood alone."""
    rng = np.random.default_rng(0)
    contexts = [f"c{i}" for i in range(40) for _ in range(4)]
    labels = ["a", "b", "c", "d"] * 40
    moods = {f"c{i}": str(rng.integers(3)) for i in range(40)}
    read = [moods[context] for context in contexts]
    found = association(labels, read, within=contexts)
    assert found is not None
    assert found.p > 0.5
    followed = [
        x if rng.random() < 0.3 else moods[c] for x, c in zip(labels, contexts, strict=True)
    ]
    turned = association(labels, followed, within=contexts)
    assert turned is not None
    assert turned.p < 0.01


def test_a_score_that_rises_where_its_label_is_set_is_seen_below_any_threshold() -> None:
    rng = np.random.default_rng(1)
    set_to = [0, 1, 2, 3] * 100
    contexts = [f"c{i // 4}" for i in range(400)]
    scores = rng.normal(size=(400, 4)) + rng.normal(size=100).repeat(4)[:, None]
    none = shift(set_to, scores.copy(), contexts)
    assert none is not None
    assert abs(none.shift) < 0.15
    assert none.p > 0.05
    scores[np.arange(400), set_to] += 0.5 * scores.std()
    moved = shift(set_to, scores, contexts)
    assert moved is not None
    assert moved.shift == pytest.approx(0.5, abs=0.15)
    assert moved.p < 0.01
    assert shift([0] * 400, scores, contexts) is None, "nothing to compare with"
