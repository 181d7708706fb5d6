"""The figures of replies beside CP, EC and HM: by hand, and against scipy and scikit-learn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

from vvae.core.dialogue import Pair
from vvae.latent.encoded import EncodedCorpus
from vvae.latent.persona import Persona, Slot
from vvae.latent.prior import Prior
from vvae.latent.space import load_space
from vvae.metrics.bootstrap import jackknifed
from vvae.metrics.habits import Yardstick, compare
from vvae.metrics.metric import WrittenReply
from vvae.metrics.stylometry import ALPHA, SpeakerClassifier
from vvae.metrics.text import (
    as_far_by_chance,
    asks,
    bigrams,
    distinct,
    excess_divergence,
    laughs,
    longest_overlaps,
    opener,
    simpson_diversity,
)

WORDS = ("so", "tired", "today", "haha", "we", "went", "home")
TEXTS = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)


@pytest.mark.parametrize(
    ("reply", "laughed"),
    [
        *(
            (text, True)
            for text in (
                "hahaha",
                "ahahah",
                "Hehe ok",
                "LOL",
                "looool",
                "lmao",
                "哈哈",
                "笑死我了",
                "😂",
                "www",
            )
        ),
        *(
            (text, False)
            for text in (
                "ha",
                "he he is",
                "lo",
                "lollipop",
                "who has",
                "www.example.com",
                "哈",
                "the hat",
            )
        ),
    ],
)
def test_who_laughs(reply: str, laughed: bool) -> None:
    assert laughs(reply) is laughed


def test_small_figures_by_hand() -> None:
    assert (asks("and you?"), asks("你呢？"), asks("no")) == (True, True, False)
    assert [opener(text) for text in ("Oh no", "...", "今天好冷", "好")] == ["oh", "", "今天", "好"]
    assert distinct([*bigrams("a b a"), *bigrams("b a")]) == 2 / 3, "ab, ba, ba"
    assert np.isnan(distinct([]))
    assert simpson_diversity([3, 1]) == 1 - 6 / 12
    assert np.isnan(simpson_diversity([1]))


def longest_run(reply: str, training: list[str]) -> int:
    said = reply.split()
    runs = [said[i:j] for i in range(len(said)) for j in range(i + 1, len(said) + 1)]
    kept = [f" {' '.join(run)} " for run in runs]
    return max(
        (len(k.split()) for k in kept if any(k in f" {text} " for text in training)), default=0
    )


@given(st.lists(TEXTS, max_size=5), st.lists(TEXTS, max_size=5))
def test_the_longest_overlap_is_that_of_a_search_for_every_run(
    replies: list[str], training: list[str]
) -> None:
    assert longest_overlaps(replies, training) == [
        longest_run(reply, training) for reply in replies
    ]


@given(
    st.lists(st.integers(1, 9), min_size=3, max_size=3),
    st.lists(st.integers(1, 9), min_size=3, max_size=3),
)
def test_the_divergence_of_many_labels_is_scipys(p: list[int], q: list[int]) -> None:
    many = [dict(zip("abc", [20_000 * n for n in of], strict=True)) for of in (p, q)]
    ours = excess_divergence(*many)
    assert ours == pytest.approx(float(jensenshannon(p, q, base=2)) ** 2, abs=1e-3)


def test_as_near_as_chance_is_about_zero_however_few_labels_there_are() -> None:
    rng = np.random.default_rng(0)
    usual = {"a": 5000, "b": 3000, "c": 1500, "d": 500}
    shares = np.asarray(list(usual.values())) / 10_000
    for n in (20, 80, 320):
        drawn = [
            dict(zip(usual, map(int, rng.multinomial(n, shares)), strict=True)) for _ in range(200)
        ]
        excess = [excess_divergence(counts, usual) for counts in drawn]
        assert np.mean(excess) == pytest.approx(0, abs=3 * np.std(excess) / np.sqrt(200))
    assert excess_divergence({"d": 30}, usual) > 0.5
    assert np.isnan(excess_divergence({}, usual))


def test_a_distance_says_how_likely_it_is_by_chance() -> None:
    usual = {"a": 6000, "b": 3000, "c": 1000}
    shares = np.array([0.6, 0.3, 0.1])
    random = np.random.default_rng(5)
    drawn = [dict(zip("abc", random.multinomial(80, shares), strict=True)) for _ in range(200)]
    by_chance = [as_far_by_chance(counts, usual, draws=400) for counts in drawn]
    assert 0.02 <= np.mean(np.array(by_chance) <= 0.05) <= 0.09
    assert as_far_by_chance({"a": 20, "b": 40, "c": 20}, usual) < 0.001
    assert np.isnan(as_far_by_chance({}, usual))


def test_the_classifier_is_scikit_learns() -> None:
    replies = {
        "ana": ["oh my gosh, no", "so tired :)"],
        "ben": ["Fair enough.", "I went home."],
        "cleo": ["lol ok"],
    }
    ours = SpeakerClassifier(replies)
    texts = [text for own in replies.values() for text in own]
    owners = [speaker for speaker, own in replies.items() for _ in own]
    counter = CountVectorizer(analyzer="char", ngram_range=(3, 3), lowercase=False)
    theirs = MultinomialNB(alpha=ALPHA, fit_prior=False).fit(counter.fit_transform(texts), owners)
    for text in ("fair, my gosh", "Fair enough, ok", "home at last", "zzz"):
        expected = theirs.predict_log_proba(counter.transform([text]))[0]
        found = ours.evidence(text)
        found = found - np.logaddexp.reduce(found)
        assert found == pytest.approx(expected, abs=1e-9)
    assert ours.speaker(["I went", "home."]) == "ben"


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = {"a": 1.0, "b": 4.0, "c": 7.0, "d": 2.0}
    low, high = jackknifed(values, lambda some: float(np.mean([values[s] for s in some])))
    error = np.std(list(values.values()), ddof=1) / 2
    assert (low, high) == pytest.approx((3.5 - 1.96 * error, 3.5 + 1.96 * error))
    assert np.isnan(jackknifed({"a", "b"}, lambda some: 1.0).low)


def pair(number: int, speaker: str, text: str, split: str = "heldout") -> Pair:
    return Pair(f"d{number}#1", f"d{number}", 1, 0, speaker, ("x",), split, text)


def test_a_comparison_by_hand() -> None:
    train = [
        pair(i, s, text, "train")
        for i, (s, text) in enumerate([("ana", "omg so tired"), ("ben", "FINE. FINE.")])
    ]
    train += [pair(9, "cleo", "lalala lalala", "train")]
    held = [
        pair(10, "ana", "omg why?\nso tired"),
        pair(11, "ben", "FINE."),
        pair(12, "cleo", "lalala"),
        pair(13, "ana", "omg"),
    ]
    benched = held[:3]
    texts = ["haha FINE. why? so tired", "FINE.", "omg omg"]
    written = {
        "model": [
            WrittenReply(p, p.speaker, text, Persona({"tone": Slot("sarcastic", "observed")}))
            for p, text in zip(benched, texts, strict=True)
        ]
    }
    z = {p.pair_id: Persona({"tone": Slot("tender", "observed")}) for p in held}
    speakers = ["ana", "ben", "cleo"]
    corpus = EncodedCorpus({}, [*train, *held], z, Prior({}, "e", "c"), {}, load_space())
    compared = compare(corpus, speakers, written, resamples=200, seed=0)
    found = {name: figure.model_dump(exclude_unset=True) for name, figure in compared.items()}
    question = found["question"]
    assert question["human"]["value"] == pytest.approx((1 / 2 + 0 + 0) / 3, abs=1e-4), (
        "speakers count equally"
    )
    assert question["human"]["n"] == 4
    assert question["variants"]["model"]["value"] == pytest.approx(1 / 3, abs=1e-4)
    assert question["variants"]["model"]["deviation"] == pytest.approx(1 / 6, abs=1e-4)
    assert found["laughter"]["variants"]["model"]["value"] == pytest.approx(1 / 3, abs=1e-4)
    assert found["messages"]["human"]["value"] == pytest.approx((1.5 + 1 + 1) / 3, abs=1e-4)
    assert found["message_length"]["human"]["value"] == pytest.approx((5 / 3 + 1 + 1) / 3, abs=1e-4)
    assert found["overlap"]["variants"]["model"]["value"] == pytest.approx(
        (2 + 1 + 1) / 3, abs=1e-4
    )
    assert found["sounds_like"]["human"] == {
        **found["sounds_like"]["human"],
        "value": 1.0,
        "together": 1.0,
    }
    assert found["sounds_like"]["variants"]["model"]["value"] == pytest.approx(2 / 3, abs=1e-4), (
        "cleo's is ana's"
    )
    assert found["sounds_like"]["chance"] == pytest.approx(1 / 3, abs=1e-4)
    assert found["openers"]["human"]["value"] == 1.0
    assert found["js_tone"]["human"]["value"] == 0.0, "tender, as in people's other replies"
    assert found["js_tone"]["variants"]["model"]["value"] > 0.9
    assert "js_catchphrase" not in found, "only closed dimensions have labels to compare"
    silent = {"model": [reply._replace(z=None) for reply in written["model"]]}
    unread = compare(corpus, speakers, silent, resamples=100, seed=0)
    assert not [figure for figure in unread if figure.startswith("js_")]


def test_each_reply_counts_by_what_was_read_in_it_also_where_several_answer_one_message() -> None:
    """As the seeds of a study do."""
    held = [pair(i, f"s{i % 4}", "so nice to see you") for i in range(80)]
    tones = ("tender", "sarcastic")
    z = {p.pair_id: Persona({"tone": Slot(tones[i // 40], "observed")}) for i, p in enumerate(held)}
    train = [pair(100 + i, f"s{i}", f"word{i} so nice", "train") for i in range(4)]
    corpus = EncodedCorpus({}, [*train, *held], z, Prior({}, "e", "c"), {}, load_space())
    asked = [*held[:20], *held[40:60]]
    written = {
        "model": [
            WrittenReply(p, p.speaker, "so nice", Persona({"tone": Slot(tone, "observed")}))
            for tone in tones
            for p in asked
        ]
    }
    speakers = ["s0", "s1", "s2", "s3"]
    found = compare(corpus, speakers, written, resamples=50, seed=0)["js_tone"].variants["model"]
    assert found.parts == 80
    assert found.value is not None
    assert found.value < 0.02, "40 and 40, as people"


def test_word_pairs_are_taken_from_all_speakers_where_there_are_more_of_them() -> None:
    """Everybody has words of their own, and says three times as much as a person would."""
    rng = np.random.default_rng(0)

    def said(who: int) -> str:
        return " ".join(f"w{who}x{n}" for n in rng.integers(0, 12, 9))

    held = [pair(i, f"s{i % 30}", said(i % 30)) for i in range(300)]
    train = [pair(1000 + i, f"s{i}", f"w{i}x0 so", "train") for i in range(30)]
    corpus = EncodedCorpus({}, [*train, *held], {}, Prior({}, "e", "c"), {}, load_space())
    for times in (1, 3):
        written = {
            "model": [
                WrittenReply(p, p.speaker, said(int(p.speaker[1:])))
                for _ in range(times)
                for p in held
            ]
        }
        figure = compare(corpus, [f"s{i}" for i in range(30)], written, resamples=50, seed=0)
        found = figure["distinct_2"].variants["model"]
        assert found.low is not None
        assert found.high is not None
        assert found.low < 0 < found.high


def test_a_body_is_measured_alike_whatever_its_order() -> None:
    yardstick = Yardstick([pair(0, "ana", "hello there", "train")], ["ana"])
    said = [
        WrittenReply(pair(i, "ana", text), "ana", text)
        for i, text in enumerate(["hello there you", "bye", ""])
    ]
    forward, backward = yardstick.measure(said), yardstick.measure(said[::-1])
    assert forward == backward[::-1]
    assert [found["overlap"][0] for found in forward] == [2.0, 0.0, 0.0]
    assert "message_length" not in forward[2], "no message, no length"
    assert Counter(found["messages"][0] for found in forward) == {1.0: 2, 0.0: 1}
