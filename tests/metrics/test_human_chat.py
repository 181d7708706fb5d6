from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import linregress

from vvae.core.dialogue import Pair
from vvae.decoder.conditions import Conditions
from vvae.decoder.variants import PRESETS
from vvae.latent.encoded import EncodedCorpus
from vvae.latent.persona import Persona, Slot
from vvae.latent.prior import count
from vvae.latent.profile import Profile, Ranked, build_profiles
from vvae.latent.sampling import SamplingConfig, complete
from vvae.latent.space import load_space
from vvae.metrics.bootstrap import Hit, bootstrap, calibration_slope, interval, rate, tabulate
from vvae.metrics.human_chat import BenchConfig, score, swapped_profile
from vvae.metrics.metric import shows
from vvae.metrics.rates import emoji_consistency
from vvae.metrics.tables import Reply
from vvae.metrics.text import repetition, spoken_length

SPACE = load_space()


@pytest.mark.parametrize(
    ("metric", "value", "reply", "hit"),
    [
        ("CP", "oh no", "Oh no!", True),
        ("CP", "no", "I know", False),
        ("CP", "真的假的", "真的假的啊", True),
        ("EC", ":)", "fine :)", True),
        ("EC", ":)", "fine :))", False),
        ("EC", "XD", "lol xD", True),
        ("HM", "guitar", "my ukulele broke", True),
        ("HM", "guitar", "my piano broke", False),
        ("HM", "beekeeping", "beekeeping is fun", True),
    ],
)
def test_what_counts_as_showing_a_value(metric: str, value: str, reply: str, hit: bool) -> None:
    assert shows(metric, value, reply) is hit


def test_length_repetition_and_consistency_by_hand() -> None:
    assert spoken_length(["a b", "你好吗", ""]) == 5 / 3
    assert repetition(["a b c d", "a b c"]) == pytest.approx(1 / 3)
    assert repetition([]) == 0
    assert emoji_consistency([("hi :)", [":)"]), ("hi :(", [":)"]), ("hi", [":)"])]) == (1, 2)


def test_speakers_count_equally() -> None:
    table = tabulate([Hit("a", "d1", True), Hit("a", "d1", False), *[Hit("b", "d2", False)] * 8])
    assert table == {"a": {"d1": (1, 2)}, "b": {"d2": (0, 8)}}
    assert rate(table) == 0.25


def test_the_bootstrap_agrees_with_theory_where_theory_is_simple() -> None:
    # 60 speakers with one reply each: the rate's standard error is sqrt(p (1 - p) / 60).
    table = tabulate(Hit(f"s{i}", "d", i < 20) for i in range(60))
    samples = bootstrap({"t": table}, resamples=4000, seed=1)["t"]
    assert samples.mean() == pytest.approx(1 / 3, abs=0.01)
    assert samples.std() == pytest.approx((1 / 3 * 2 / 3 / 60) ** 0.5, rel=0.06)
    low, high = interval(samples)
    assert low < 1 / 3 < high


def test_differences_are_paired() -> None:
    table = tabulate(Hit(f"s{i}", f"d{j}", (i * j) % 3 == 0) for i in range(20) for j in range(4))
    samples = bootstrap({"one": table, "same": table}, resamples=200, seed=0)
    assert np.array_equal(samples["one"], samples["same"])


def test_the_calibration_slope_is_least_squares() -> None:
    human = {f"s{i}": {"d": (i, 10)} for i in range(5)}
    doubled = {f"s{i}": {"d": (2 * i, 10)} for i in range(5)}
    flat = {f"s{i}": {"d": (3, 10)} for i in range(5)}
    assert calibration_slope(doubled, human) == pytest.approx((2, 2, 2))
    assert calibration_slope(flat, human) == pytest.approx((0, 0, 0))
    assert calibration_slope(human, flat) is None


def test_the_interval_of_a_slope_is_that_of_least_squares() -> None:
    random = np.random.default_rng(3)
    x = random.uniform(0.1, 0.6, 200)
    y = 0.05 + 0.5 * x + random.normal(0, 0.05, 200)
    human = {f"s{i}": {"d": (100 * p, 100)} for i, p in enumerate(x)}
    model = {f"s{i}": {"d": (100 * p, 100)} for i, p in enumerate(y)}
    theirs = linregress(x, y)
    ours = calibration_slope(model, human)
    assert ours is not None
    assert ours.value == pytest.approx(theirs.slope)
    assert (ours.high - ours.low) / 3.92 == pytest.approx(theirs.stderr, rel=0.15)


SPEAKERS = ["ana", "ben"]


def bench_corpus() -> tuple[EncodedCorpus, list[Pair]]:
    pairs: list[Pair] = []
    personas = {}
    for speaker, phrase, habit in (("ana", "oh no", 0.5), ("ben", "for sure", 0.25)):
        for i in range(160):
            split = "train" if i < 40 else "heldout"
            said = i % 4 < 4 * habit
            pair = Pair(
                f"{speaker}{i}#1",
                f"{speaker}{i}",
                1,
                0,
                speaker,
                ("x",),
                split,
                f"{phrase} it is" if said else "it is",
            )
            pairs.append(pair)
            personas[pair.pair_id] = Persona(
                {"catchphrase": Slot(phrase, "observed")} if said else {}
            )
    prior = count(
        (personas[p.pair_id] for p in pairs if p.split == "train"), SPACE, encoder="e", corpus="c"
    )
    profiles = build_profiles(pairs, personas, SPACE)
    return EncodedCorpus({}, pairs, personas, prior, profiles, SPACE), pairs


def conditions_of(corpus: EncodedCorpus, *names: str) -> dict[str, Conditions]:
    return {
        name: Conditions(PRESETS[name], lambda: corpus, SamplingConfig(), seed=0) for name in names
    }


def test_the_benchmark_on_a_corpus_worked_out_by_hand() -> None:
    corpus, pairs = bench_corpus()
    held = [p for p in pairs if p.split == "heldout"][::6]
    persona = Persona()
    always = [
        Reply(
            "P+FT",
            p.pair_id,
            0,
            p.speaker,
            persona,
            f"{corpus.profiles[p.speaker].persona().value('catchphrase')}!",
            "stop",
        )
        for p in held
    ]
    never = [Reply("SP+FT", p.pair_id, 0, p.speaker, persona, "it is", "length") for p in held]
    late = [
        Reply(
            "FT", reply.pair_id, 0, reply.profile, None, f"it is what it is {reply.reply}", "stop"
        )
        for reply in always
    ]
    corpus = replace(corpus, profiles={**corpus.profiles, "zoe": corpus.profiles["ana"]})
    more = [
        replace(p, speaker="zoe", pair_id=f"z{p.pair_id}") for p in held
    ]  # eligible, but nobody replies for zoe
    corpus = replace(corpus, pairs=[*corpus.pairs, *more])
    swapped = [Reply("P+FT", held[0].pair_id, 0, "ben", persona, "for sure", "stop")]
    results = score(
        corpus,
        ["ana", "ben", "zoe"],
        conditions_of(corpus, "P+FT", "SP+FT", "FT"),
        [*always, *never, *late, *swapped],
        BenchConfig(resamples=300),
        seed=0,
    ).to_json()
    counts = (results["human"]["CP"]["replies"], results["variants"]["P+FT"]["CP"]["n"])
    assert all(isinstance(count, int) for count in counts), "replies are counted, not measured"
    human = results["human"]["CP"]
    assert (human["rate"], human["speakers"], human["positives"], human["measurable"]) == (
        0.375,
        2,
        90,
        True,
    )
    assert human["observation_rate"] == 0.375
    p_ft, sp_ft = results["variants"]["P+FT"]["CP"], results["variants"]["SP+FT"]["CP"]
    assert (p_ft["rate"], p_ft["deviation"], p_ft["predicted"]) == (1.0, 62.5, 1.0)
    assert (sp_ft["rate"], sp_ft["deviation"], sp_ft["predicted"]) == (0.0, -37.5, 0.375)
    assert p_ft["in_training"] == 1.0
    assert sp_ft["in_training"] >= sp_ft["predicted"], (
        "a sampled phrase can stand in a reply by chance"
    )
    assert p_ft["low"] <= 62.5 <= p_ft["high"]
    assert p_ft["swapped"] == {"shown": 1.0, "true": 0.0, "n": 1}
    assert results["primary"]["difference"] == -25.0
    assert results["variants"]["SP+FT"]["cut"] == len(held)
    assert results["human"]["HM"]["measurable"] is False
    ft = results["variants"]["FT"]["CP"]
    assert (ft["rate"], results["human"]["opening_words"]) == (1.0, 3), "people write 2 or 4 words"
    assert (ft["opening"]["value"], p_ft["opening"]["value"], human["opening"]) == (0.0, 1.0, 0.375)
    assert ft["opening_people"]["value"] == -0.375


def test_a_swapped_profile_is_anothers_and_differs() -> None:
    corpus, pairs = bench_corpus()
    assert swapped_profile(pairs[0], SPEAKERS, corpus.profiles, "catchphrase") == "ben"
    assert swapped_profile(pairs[0], ["ana"], corpus.profiles, "catchphrase") is None


def test_profiles_hold_training_values_with_support_and_keep_nulls() -> None:
    corpus, pairs = bench_corpus()
    ana = corpus.profiles["ana"]
    assert ana == Profile("ana", 40, {"catchphrase": (Ranked("oh no", 20),)})
    persona = complete(ana, pairs[0], corpus.prior, SPACE, seed=0)
    assert persona["catchphrase"] == Slot("oh no", "observed")
    assert persona["tone"] is None, "never observed, so there is nothing to draw"
    assert ana.persona()["tone"] is None, "drawing does not write into the profile"


def test_pair_scope_values_belong_to_a_listener() -> None:
    def said(number: int, listener: str, nickname: str) -> tuple[Pair, Persona]:
        pair = Pair(f"d{number}#1", f"d{number}", 1, 0, "ana", (listener,), "train", nickname)
        return pair, Persona({"nickname": Slot(nickname, "observed")})

    rows = [
        said(0, "ben", "bro"),
        said(1, "ben", "bro"),
        said(2, "ben", "man"),
        said(3, "cleo", "hun"),
    ]
    profile = build_profiles([p for p, _ in rows], {p.pair_id: z for p, z in rows}, SPACE)["ana"]
    assert profile.persona("ben").value("nickname") == "bro"
    assert profile.persona("cleo").value("nickname") == "hun"
    assert profile.persona().value("nickname") is None
    group = Pair("d9#1", "d9", 1, 0, "ana", ("ben", "cleo"), "train", "mate")
    of_group = build_profiles(
        [group], {"d9#1": Persona({"nickname": Slot("mate", "observed")})}, SPACE
    )["ana"]
    assert not of_group.by_listener, "in a group it is unknown who was meant"
    assert profile.by_listener["ben"]["nickname"] == (Ranked("bro", 2), Ranked("man", 1))
