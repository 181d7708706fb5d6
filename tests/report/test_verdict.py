"""The report's words, and the axes of its figures, follow from its intervals."""

from __future__ import annotations

import warnings

import pytest

from vvae.latent.prior import DimensionPrior, Prior
from vvae.latent.space import load_space
from vvae.report import figures
from vvae.report.verdict import against_people, of_report


@pytest.mark.parametrize(
    ("by_probability", "by_count", "words"),
    [
        ((9.4, 17.0), (12.2, 31.7), "says it more often than people"),
        ((-1.7, 3.8), (3.9, 21.9), "says it more often than people"),
        ((-6.4, -1.4), (-5.3, 8.8), "cannot be told from people"),
        ((-10.3, -5.3), (-10.4, -1.7), "says it more rarely than people"),
        ((-6.4, -1.4), (0.3, 8.8), "cannot be told from people"),
        ((-5.9, 0.9), (-5.5, 8.4), "cannot be told from people"),
    ],
)
def test_a_verdict_needs_what_its_measures_can_say(
    by_probability: tuple[float, float], by_count: tuple[float, float], words: str
) -> None:
    measures = ({"low": low, "high": high} for low, high in (by_probability, by_count))
    assert against_people(*measures) == words


def rates(n: int) -> dict[str, object]:
    """Results in which P+FT is above people, and SP+FT cannot be told from them."""
    people = {"rate": 0.117, "positives": 2740, "replies": 26458, "speakers": 78}
    counts = {"FT": (-9.2, -1.1), "P+FT": (12.2, 31.7), "SP+FT": (-5.3, 8.8)}
    return {
        "human": {"length": 5.0, "CP": {**people, "measurable": True}},
        "variants": {
            name: {"n": n, "CP": {"rate": 0.2, "low": low, "high": high, "n": n}}
            for name, (low, high) in counts.items()
        },
        "primary": {"difference": -20.5, "low": -28.5, "high": -9.1},
    }


def test_what_is_found_is_said_with_its_interval() -> None:
    verdict = of_report(rates(140), 78, 140, "runs/my run", ["P+FT", "SP+FT"])
    assert verdict.missing == []
    nearer, catchphrase = verdict.found
    assert "SP+FT comes nearer to people's catchphrases than P+FT" in nearer
    assert "-28.5 … -9.1" in nearer
    assert "More often than people: P+FT (20.0 %, +12.2 … +31.7 points)." in catchphrase
    assert "More rarely than people: FT" in catchphrase
    assert "Not to be told from people: SP+FT" in catchphrase
    assert [command for _, command in verdict.next] == [
        "vvae control 'runs/my run'",
        "vvae privacy 'runs/my run'",
    ]


def test_of_a_handful_of_replies_nothing_is_claimed() -> None:
    verdict = of_report(rates(6), 3, 6, "runs/x", [])
    assert verdict.found == [
        "Nothing that holds beyond chance can be said about how often habits are shown."
    ]
    assert verdict.missing == [
        "Catchphrase presence (CP) of FT, P+FT, SP+FT: 6 replies are too few, 100 are needed."
    ]
    assert verdict.next[0][1] == "vvae run runs/x/config.yaml"


def test_a_rate_of_zero_has_an_axis_from_zero_to_one() -> None:
    pytest.importorskip("matplotlib")
    nothing = {"value": 0.0, "low": 0.0, "high": 5e-19}
    svg = figures.habits(
        {
            "laughter": {
                "title": "laughs",
                "unit": "%",
                "human": nothing,
                "variants": {"FT": nothing},
            }
        }
    )
    texts = [line.strip(" <!->") for line in svg.splitlines() if "<!--" in line]
    assert {"0.0", "1.0"} <= set(texts)
    assert not any("e-" in text or "−" in text for text in texts)


def test_values_of_any_script_stand_in_the_figures() -> None:
    """As text, which the page's fonts show; matplotlib's own has no such letters."""
    pytest.importorskip("matplotlib")
    read = {"哈哈": {"哈哈": 30, "": 5}, "😂": {"😂": 12, "哈哈": 3}}
    space, counts = load_space(), DimensionPrior({"哈哈": 30, "😂": 20}, 50)
    z_prior = Prior(dict.fromkeys(space.names, counts), "e", "c")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for svg in (figures.set_and_read(read), figures.prior(z_prior, space)):
            assert ">哈哈</text>" in svg
            assert ">😂</text>" in svg
