"""The report's figures, as SVG text: on a transparent ground, in the page's colours, which read
on light and dark.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from warnings import catch_warnings, filterwarnings

import numpy as np
from rich.cells import cell_len

from vvae.core.errors import ModelError
from vvae.latent.prior import Prior
from vvae.latent.space import LatentSpace
from vvae.metrics.claims import ALPHA
from vvae.report.numbers import number

__all__ = [
    "asked_rates",
    "association",
    "confusion",
    "drift",
    "exposures",
    "habits",
    "leakage",
    "likeness",
    "losses",
    "measures",
    "missingness",
    "positive_control",
    "prior",
    "rates",
    "reading",
    "set_and_read",
    "verbatim_runs",
]

# Each is a name in the page's style, which has one colour for light and one for dark.
TEXT = "#060606"
INK = "#010101"
HUMAN = "#020202"
MODEL = "#030303"
SOFT = "#040404"
PREDICTED = "#050505"
NAMES = {
    TEXT: "ink",
    INK: "soft",
    HUMAN: "human",
    MODEL: "model",
    SOFT: "span",
    PREDICTED: "predicted",
}
COURSES = ("#2563eb", "#d97706", "#059669", "#db2777", "#8b5cf6", "#0891b2")
"""Of lines beside each other: three to one on white and on the dark ground."""
DEPTHS = (0.55, 0.45, 0.35, 0.25, 0.15)
"""Of the most frequent values, first to fifth."""
DASHES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)))
LINES = 6
"""Labels of a dimension that a line figure shows, the most frequent ones."""


@contextmanager
def _any_script() -> Iterator[None]:
    """Lays out text in scripts that matplotlib's font lacks without a warning for each character:
    the page's fonts have them.
    """
    with catch_warnings():
        filterwarnings("ignore", "Glyph .* missing from font")
        yield


def _svg(figure: Any, *, values: bool = False) -> str:
    """Return a figure as SVG and close it.

    Args:
        values: whether values of z stand in it, which may be in any script: they are left as text
            to the page's fonts, which have what matplotlib's has not.
    """
    import matplotlib.pyplot as plt

    stream = io.StringIO()
    with plt.rc_context({"svg.fonttype": "none" if values else "path"}), _any_script():
        figure.savefig(
            stream, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None}
        )
    plt.close(figure)
    text = stream.getvalue()
    for colour, name in NAMES.items():
        text = text.replace(colour, f"var(--{name})")
    return text[text.index("<svg") :]


def _span(axis: Any, of: Mapping[str, float], value: str, factor: float, **line: Any) -> None:
    """Draw people: their value as a line, their interval as a band with edges."""
    for end in ("low", "high"):
        axis.axvline(factor * of[end], color=HUMAN, lw=0.7, ls=":")
    axis.axvspan(factor * of["low"], factor * of["high"], color=HUMAN, alpha=0.15, lw=0)
    axis.axvline(factor * of[value], color=HUMAN, lw=1.6, **line)


def _diamonds(
    axis: Any, rates: Iterable[float | None], row: int, *, fits: float, edge: float, **line: Any
) -> None:
    """Draw predicted rates in percent; one that does not fit is written at the axis's edge, for it
    would squash the rest.
    """
    for rate in dict.fromkeys(100 * rate for rate in rates if rate is not None):
        if rate <= fits:
            axis.plot(rate, row, "D", mfc="none", mec=PREDICTED, ms=7, **line)
        else:
            beyond, at = f"{rate:.0f} ▸", (edge, row - 0.12)
            axis.annotate(beyond, at, ha="right", va="bottom", color=PREDICTED)


def _from_zero(limits: Any, values: Iterable[float], most: float = math.inf) -> None:
    """Let an axis of figures that are never negative begin at zero and end at one at least."""
    limits(0, min(most, max(1.0, *(1.08 * value for value in values if math.isfinite(value)))))


def _heat(axis: Any, shares: Any, text: Callable[[int, int], str], size: int = 8) -> None:
    """Draw a table of shares: the more, the deeper, and never too deep for the text on it."""
    from matplotlib.patches import Rectangle

    for (y, x), share in np.ndenumerate(shares):
        if np.isfinite(share):
            alpha = 0.55 * min(1.0, max(0.0, float(share)))
            axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=MODEL, alpha=alpha, lw=0))
        axis.text(x, y, text(y, x), ha="center", va="center", fontsize=size, color=TEXT)
    axis.set_xlim(-0.5, shares.shape[1] - 0.5)
    axis.set_ylim(shares.shape[0] - 0.5, -0.5)


def _axes(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Any, Any]:
    try:
        import matplotlib
    except ImportError:
        raise ModelError("matplotlib is not installed", fix="pip install 'vvae[plot]'") from None
    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    style: dict[Any, Any] = {
        "font.size": 10,
        "font.family": ["DejaVu Sans"],
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "text.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.hashsalt": "vvae",
    }
    matplotlib.rcParams.update(style)
    return plt.subplots(rows, columns, figsize=(width, height), squeeze=False)


def rates(results: Mapping[str, Any], metrics: Sequence[str]) -> str:
    """Return each variant's rate with the interval of its deviation, the human target as a band,
    the prediction as a mark.
    """
    if not metrics:
        return ""
    names = list(results["variants"])
    figure, axes = _axes(3.5 * len(metrics) + 1.4, 0.42 * len(names) + 1.3, len(metrics))
    for axis, metric in zip(axes[0], metrics, strict=True):
        human = results["human"][metric]
        variant_rates = [v[metric]["rate"] or 0.0 for v in results["variants"].values()]
        limit = min(
            100.0, 140 * max(*variant_rates, human["high"], 0.02)
        )  # a prediction of 100 % would squash the rest
        _span(axis, human, "rate", 100, label="human target (95 %)")
        for row, name in enumerate(names):
            estimate = results["variants"][name].get(metric)
            if not estimate or estimate["rate"] is None:
                continue
            rate, target = 100 * estimate["rate"], 100 * estimate["target"]
            if estimate["low"] is not None:
                axis.plot(
                    [max(0, target + estimate["low"]), target + estimate["high"]],
                    [row, row],
                    color=SOFT,
                    lw=4,
                    solid_capstyle="butt",
                )
            axis.plot(
                rate,
                row,
                "o",
                color=MODEL,
                ms=6,
                clip_on=False,
                label="variant, 95 % of its deviation" if row == 0 else None,
            )
            ends = (estimate["predicted"], estimate.get("predicted_own"))
            _diamonds(axis, ends, row, fits=limit, edge=limit, label="predicted from r")
        axis.set_yticks(range(len(names)), names if axis is axes[0][0] else [""] * len(names))
        axis.invert_yaxis()
        axis.set_xlim(0, limit)
        axis.set_xlabel("% of replies")
        axis.set_title(metric, color=INK, fontsize=11)
    handles = dict(zip(*reversed(axes[0][0].get_legend_handles_labels()), strict=True))
    figure.legend(
        handles.values(),
        handles.keys(),
        frameon=False,
        fontsize=8,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.05),
        ncols=3,
    )
    return _svg(figure)


def losses(results: Mapping[str, Any]) -> str:
    """Return both validation losses of each variant."""
    names = [
        name
        for name, variant in results["variants"].items()
        if variant["loss_profile_z"] is not None
    ]
    if not names:
        return ""
    figure, axes = _axes(6.4, 0.42 * len(names) + 1.2)
    axis = axes[0][0]
    for shift, key, colour, label in (
        (-0.18, "loss_posterior_z", SOFT, "z extracted from the reply (leaks the answer)"),
        (0.18, "loss_profile_z", MODEL, "z = the speaker's profile"),
    ):
        values = [results["variants"][name][key] for name in names]
        axis.barh(
            [i + shift for i in range(len(names))], values, height=0.34, color=colour, label=label
        )
        for row, value in enumerate(values):
            axis.text(value, row + shift, f" {value:.3f}", va="center", fontsize=8)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    low = min(
        results["variants"][n][k] for n in names for k in ("loss_posterior_z", "loss_profile_z")
    )
    axis.set_xlim(left=max(0.0, low - 0.5))
    axis.set_xlabel("nats per reply token (axis cut)")
    axis.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    return _svg(figure)


def positive_control(cells: Mapping[str, Any], columns: int = 4) -> str:
    """Return P against sightings for each cell, beside what it must come to."""
    rows = -(-len(cells) // columns)
    figure, axes = _axes(2.6 * columns, 2.1 * rows + 0.3, columns, rows)
    for axis, (name, cell) in zip(axes.flat, cells.items(), strict=False):
        points = cell["points"]
        seen = [point["sightings"] for point in points]
        p = [point["p"] for point in points]
        axis.axhline(cell["expected"], color=HUMAN, lw=1.4, ls="--")
        if abs(cell["marginal"] - cell["expected"]) > 0.01:
            axis.axhline(cell["marginal"], color=PREDICTED, lw=1.2, ls=":")
        low, high = (
            [q + sign * point["se"] for q, point in zip(p, points, strict=True)] for sign in (-1, 1)
        )
        axis.fill_between(seen, low, high, color=MODEL, alpha=0.25, lw=0)
        axis.plot(seen, p, color=MODEL, lw=1.6, marker="o", ms=3)
        axis.set_ylim(0, 1.05)
        axis.set_xscale("log")
        axis.set_title(name, fontsize=9)
    for axis in axes.flat[len(cells) :]:
        axis.set_visible(False)
    figure.supxlabel("training replies so far beside which z told (sightings)", fontsize=9)
    figure.supylabel("P(what z names stands in the reply)", fontsize=9)
    figure.tight_layout()
    return _svg(figure)


def reading(results: Mapping[str, Any]) -> str:
    """Return P(own catchphrase stands in the reply) by teacher forcing, under the own and under a
    swapped profile, with intervals over speakers, beside people's rate.
    """
    names = [n for n, v in results["variants"].items() if v.get("forced")]
    if not names:
        return ""
    figure, axes = _axes(6.4, 0.5 * len(names) + 1.4)
    axis = axes[0][0]
    if people := results.get("people_forced"):
        _span(axis, people, "value", 100, label="people (95 %)")
    elif counted := results["human"].get("CP"):
        axis.axvline(100 * counted["rate"], color=HUMAN, lw=1.6, label="people")
    for shift, mean, spread, colour, label in (
        (-0.16, "profile", "own", MODEL, "own profile shown"),
        (0.16, "swapped", "others", SOFT, "another's profile shown"),
    ):
        for row, name in enumerate(names):
            forced = results["variants"][name]["forced"]
            value, around = 100 * forced[mean], forced.get(spread)
            low, high = (100 * around[end] if around else value for end in ("low", "high"))
            axis.plot([low, high], [row + shift] * 2, color=colour, lw=2, solid_capstyle="butt")
            axis.plot(
                value,
                row + shift,
                "o",
                color=colour,
                ms=6,
                clip_on=False,
                label=label if not row else "",
            )
            axis.text(high, row + shift, f"  {value:.1f}", va="center", fontsize=8)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    _from_zero(axis.set_xlim, (axis.get_xlim()[1] / 1.08,), 100)
    axis.set_xlabel("% probability that the speaker's own catchphrase stands in the reply (95 %)")
    axis.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3)
    return _svg(figure)


def measures(study: Mapping[str, Any], panels: Mapping[str, str]) -> str:
    """Return a study's measures: estimate and interval of each variant, each seed's own, people,
    and what r predicts.

    Args:
        panels: measure -> title, in order; measures in which people were rated come with a line for
            them.
    """
    present = [m for m in panels if m in study["measures"]]
    names = list(study["variants"])
    if not present:
        return ""
    across = min(len(present), 4)
    down = -(-len(present) // across)
    figure, axes = _axes(2.7 * across + 1.4, down * (0.36 * len(names) + 1.4), across, down)
    for place, (axis, measure) in enumerate(zip(axes.flat, present, strict=False)):
        of, factor = study["measures"][measure], 1 if measure.startswith("loss") else 100
        people = (
            study["measures"]["CP"].get("human") if measure == "phrase_profile" else of.get("human")
        )
        if people:
            _span(axis, people, "estimate", factor)
        for row, name in enumerate(names):
            if name not in of:
                axis.text(
                    0.5, row, "–", transform=axis.get_yaxis_transform(), ha="center", va="center"
                )
                continue
            estimate = of[name]
            axis.plot(
                [factor * estimate["low"], factor * estimate["high"]],
                [row, row],
                color=SOFT,
                lw=4,
                solid_capstyle="butt",
            )
            axis.plot(
                [factor * v for v in estimate["by_seed"]],
                [row] * len(estimate["by_seed"]),
                "|",
                color=INK,
                ms=8,
            )
            axis.plot(factor * estimate["estimate"], row, "o", color=MODEL, ms=6, clip_on=False)
        axis.set_yticks(range(len(names)), names if place % across == 0 else [""] * len(names))
        axis.set_ylim(len(names) - 0.4, -0.6)
        if factor == 100:
            _from_zero(axis.set_xlim, (axis.get_xlim()[1] / 1.08,), 100)
        high = axis.get_xlim()[1]
        for row, name in enumerate(names):
            if measure in ("CP", "phrase_profile"):
                ends = study["predicted"].get(name) or ()
                _diamonds(axis, ends, row, fits=1.6 * high, edge=high)
        axis.set_xlabel("nats per token" if factor == 1 else "%")
        axis.set_title("\n".join(textwrap.wrap(panels[measure], 28)), color=TEXT, fontsize=10)
    for axis in axes.flat[len(present) :]:
        axis.axis("off")
    figure.tight_layout(h_pad=1.2)
    return _svg(figure)


def habits(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the figures of replies: a panel each, a row for each variant, people as a line with
    their interval.
    """
    if not results:
        return ""
    names = list(next(iter(results.values()))["variants"])
    across = 4
    down = -(-len(results) // across)
    figure, axes = _axes(2.5 * across + 1.2, down * (0.26 * len(names) + 1.15), across, down)
    for place, (axis, of) in enumerate(zip(axes.flat, results.values(), strict=False)):
        factor, most = (100, 100) if of["unit"] == "%" else (1, math.inf)
        human, drawn = of["human"], []
        if human["value"] is not None:
            alone = human["low"] is None
            _span(axis, dict.fromkeys(human, human["value"]) if alone else human, "value", factor)
            drawn += [factor * (human[end] or 0) for end in ("value", "high")]
        for row, name in enumerate(names):
            estimate = of["variants"][name]
            if estimate["value"] is None:
                axis.text(
                    0.5, row, "–", transform=axis.get_yaxis_transform(), ha="center", va="center"
                )
                continue
            if (
                estimate["low"] is not None and human["value"] is not None
            ):  # the interval of the difference, where it stands
                ends = [
                    min(most, max(0, factor * (human["value"] + estimate[end])))
                    for end in ("low", "high")
                ]
                axis.plot(ends, [row, row], color=SOFT, lw=4, solid_capstyle="butt")
                drawn += ends
            drawn.append(factor * estimate["value"])
            axis.plot(drawn[-1], row, "o", color=MODEL, ms=5, clip_on=False)
        _from_zero(axis.set_xlim, drawn, most)
        axis.set_yticks(range(len(names)), names if place % across == 0 else [""] * len(names))
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_title(
            "\n".join(textwrap.wrap(of["title"], 28)) + (", %" if factor == 100 else ""),
            color=TEXT,
            fontsize=9,
        )
        axis.tick_params(labelsize=8)
    for axis in axes.flat[len(results) :]:
        axis.axis("off")
    figure.tight_layout(h_pad=1.2)
    return _svg(figure)


def leakage(summary: Mapping[str, Any]) -> str:
    """Return Cramer's V between the value set in a row's dimension and what is read in each
    column's.
    """
    rows, columns = summary["dimensions"], summary["read"]
    cells = {(row["set"], row["read"]): row for row in summary["matrix"]}
    values = np.asarray(
        [[cells[r, c].get("v", np.nan) for c in columns] for r in rows], dtype=float
    )
    if np.isnan(values).all():
        return ""
    figure, axes = _axes(0.85 * len(columns) + 1.6, 0.42 * len(rows) + 1.2)
    axis = axes[0][0]

    def strength(y: int, x: int) -> str:
        cell = cells[rows[y], columns[x]]
        return number(cell.get("v")) + ("*" if cell.get("p_adjusted", 1) <= ALPHA else "")

    _heat(axis, values / max(0.3, float(np.nanmax(values))), strength)
    for y, r in enumerate(rows):
        if r in columns:
            axis.add_patch(_frame(columns.index(r), y))
    axis.set_xticks(range(len(columns)), columns, rotation=35, ha="right")
    axis.set_yticks(range(len(rows)), rows)
    axis.set_xlabel("read in the replies")
    axis.set_ylabel("set in z")
    return _svg(figure)


def _frame(x: int, y: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor=HUMAN, lw=1.6)


def set_and_read(table: Mapping[str, Mapping[str, int]]) -> str:
    """Return which value was set (rows) and which was read (columns), in shares of a row."""
    rows = list(table)
    columns = [
        *rows,
        *sorted({v for of in table.values() for v in of if v and v not in table})[:4],
        "",
    ]
    figure, axes = _axes(0.75 * len(columns) + 1.8, 0.36 * len(rows) + 1.1)
    axis = axes[0][0]
    shares = np.asarray(
        [[of.get(c, 0) / max(1, sum(of.values())) for c in columns] for of in table.values()]
    )
    _heat(axis, shares, lambda y, x: f"{100 * shares[y, x]:.0f}" if shares[y, x] > 0 else "")
    # Values are text: what stands between two dollar signs is no formula.
    turned: dict[str, Any] = {"rotation": 35, "ha": "right", "parse_math": False}
    axis.set_xticks(range(len(columns)), [c or "null" for c in columns], **turned)
    axis.set_yticks(range(len(rows)), rows, parse_math=False)
    axis.set_xlabel("read, % of the row")
    axis.set_ylabel("set")
    return _svg(figure, values=True)


def asked_rates(rates: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the rate in replies for each rate asked for, a line between the value hidden and the
    value shown.
    """
    if not rates:
        return ""
    figure, axes = _axes(3.2 * len(rates) + 0.6, 3.0, len(rates))
    for axis, (metric, ends) in zip(axes[0], rates.items(), strict=True):
        hidden, shown = ends["hidden"], ends["shown"]
        axis.plot([0, 100], [0, 100], color=INK, lw=1, ls=":", label="as asked")
        axis.fill_between(
            [0, 100],
            [100 * hidden["low"], 100 * shown["low"]],
            [100 * hidden["high"], 100 * shown["high"]],
            color=SOFT,
            alpha=0.3,
            lw=0,
        )
        axis.plot(
            [0, 100],
            [100 * hidden["rate"], 100 * shown["rate"]],
            "o-",
            color=MODEL,
            ms=4,
            clip_on=False,
            label="in replies",
        )
        axis.set_ylim(0, min(100, max(30, 110 * shown["high"], 110 * hidden["high"])))
        axis.set_xlabel("shown in z, % of replies")
        axis.set_title(metric, color=INK, fontsize=10)
    axes[0][0].set_ylabel("in replies, %")
    axes[0][0].legend(frameon=False, fontsize=8)
    return _svg(figure)


def prior(z_prior: Prior, space: LatentSpace) -> str:
    """Return observed and null replies per dimension, and each one's most frequent values."""
    names = list(space.names)
    figure, axes = _axes(10, 0.42 * len(names) + 0.9, 2)
    left, right = axes[0]
    shares = [100 * z_prior[name].rate for name in names]
    left.barh(names, shares, color=MODEL, height=0.6)
    left.barh(
        names, [100 - share for share in shares], left=shares, color=INK, alpha=0.15, height=0.6
    )
    for row, share in enumerate(shares):
        left.text(share + 1, row, f"{share:.1f} %", va="center", fontsize=8)
    left.invert_yaxis()
    left.set_xlim(0, 100)
    left.set_xlabel("% of training replies with a value (r); the rest null")
    for row, name in enumerate(names):
        start = 0.0
        for (value, n), depth in zip(z_prior[name].ordered, DEPTHS, strict=False):
            share = 100 * n / z_prior[name].observed
            right.barh(row, share, left=start, color=MODEL, alpha=depth, height=0.6)
            if share > 1.6 * cell_len(value) + 2:
                right.text(
                    start + share / 2,
                    row,
                    value,
                    ha="center",
                    va="center",
                    fontsize=7,
                    color=TEXT,
                    parse_math=False,
                )
            start += share
        right.barh(row, 100 - start, left=start, color=INK, alpha=0.15, height=0.6)
    right.set_yticks([])
    right.invert_yaxis()
    right.set_xlim(0, 100)
    right.set_xlabel("prior p(z): the five most frequent values, % of observed")
    with _any_script():
        figure.tight_layout()
    return _svg(figure, values=True)


def confusion(audit: Mapping[str, Any]) -> str:
    """Return the confusion matrices of an audit's closed dimensions, rows of one hundred percent;
    null is its own value.
    """
    matrices = {
        name: d["confusion"] for name, d in audit["dimensions"].items() if d.get("confusion")
    }
    if not matrices:
        return ""
    rows = "labelled" if audit["kind"] == "labels" else audit["encoder"]
    columns = "read" if audit["kind"] == "labels" else audit["other"]
    labels = {
        name: sorted({*m, *(c for row in m.values() for c in row)}) for name, m in matrices.items()
    }
    size = [0.42 * len(labels[name]) + 1.9 for name in matrices]
    figure, axes = _axes(sum(size), max(size), len(matrices))
    for axis, (name, matrix) in zip(axes[0], matrices.items(), strict=True):
        names = labels[name]
        counts = np.asarray(
            [[matrix.get(a, {}).get(b, 0) for b in names] for a in names], dtype=float
        )
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        _heat(axis, shares, _counts(counts), 7)
        axis.set_aspect("equal")
        axis.set_xticks(range(len(names)), names, rotation=60, ha="right")
        axis.set_yticks(range(len(names)), names)
        axis.set_title(name)
        axis.set_xlabel(columns)
        axis.set_ylabel(rows)
    return _svg(figure)


def _counts(counts: Any) -> Callable[[int, int], str]:
    return lambda y, x: f"{counts[y, x]:.0f}" if counts[y, x] else ""


def missingness(analysis: Mapping[str, Any]) -> str:
    """Return the null rates of each dimension in the fifths of reply length and of the dialogue."""
    names = list(analysis["missingness"])
    figure, axes = _axes(9.0, 0.36 * len(names) + 1.2, 2)
    for axis, (key, title) in zip(
        axes[0],
        (("by_length", "by length of the reply"), ("by_position", "by place in the dialogue")),
        strict=True,
    ):
        rates = np.asarray([analysis["missingness"][name][key] for name in names], dtype=float)
        _heat(axis, rates, _percents(rates), 7)
        axis.set_title(f"null, %, {title}", fontsize=10)
        axis.set_xticks(range(rates.shape[1]), ["first", *[""] * (rates.shape[1] - 2), "last"])
        axis.set_yticks(range(len(names)), names if axis is axes[0][0] else [""] * len(names))
    return _svg(figure)


def _percents(shares: Any) -> Callable[[int, int], str]:
    return lambda y, x: f"{100 * shares[y, x]:.0f}" if np.isfinite(shares[y, x]) else ""


def association(analysis: Mapping[str, Any], space: LatentSpace) -> str:
    """Return Cramer's V of every two dimensions; axes are ruled off, and what is beyond chance is
    ringed.
    """
    names = list(space.names)
    matrix = np.full((len(names), len(names)), np.nan)
    ringed = []
    for row in analysis["orthogonality"]["pairs"]:
        if "v" in row:
            i, j = sorted((names.index(row["a"]), names.index(row["b"])))
            matrix[j, i] = row["v"]
            if row["p_holm"] < 0.05:
                ringed.append((i, j))
    figure, axes = _axes(5.6, 4.8)
    axis = axes[0][0]
    _heat(axis, matrix, lambda y, x: number(matrix[y, x]) if np.isfinite(matrix[y, x]) else "")
    for i, j in ringed:
        axis.plot(i, j, "o", markersize=24, markerfacecolor="none", markeredgecolor=HUMAN)
    for edge, (first, second) in enumerate(
        zip(space.dimensions, space.dimensions[1:], strict=False)
    ):
        if first.axis != second.axis:
            axis.axhline(edge + 0.5, color=INK, lw=0.8)
            axis.axvline(edge + 0.5, color=INK, lw=0.8)
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axis.set_yticks(range(len(names)), names)
    return _svg(figure)


def drift(analysis: Mapping[str, Any]) -> str:
    """Return the shares of the most frequent labels of each closed dimension over the fifths of a
    dialogue.
    """
    by_dimension = analysis["drift"]
    if not by_dimension:
        return ""
    across = min(len(by_dimension), 3)
    down = -(-len(by_dimension) // across)
    figure, axes = _axes(3.6 * across, 3.2 * down, across, down)
    for axis, (name, d) in zip(axes.flat, by_dimension.items(), strict=False):
        shares = np.asarray(d["shares"])
        for line, k in enumerate(np.argsort(-shares.mean(0))[:LINES]):
            axis.plot(
                range(1, len(shares) + 1),
                100 * shares[:, k],
                color=COURSES[line],
                linestyle=DASHES[line],
                label=d["labels"][k],
            )
        axis.set_title(
            f"{name}\nn = {d['n']:,}, distance {d['distance']:.2f}, p = {d['p']:.3f}", fontsize=8
        )
        axis.set_xlabel("fifth of the dialogue")
        axis.legend(fontsize=7, frameon=False, ncols=2)
        _from_zero(axis.set_ylim, (axis.get_ylim()[1] / 1.08,), 100)
    for row in axes:
        row[0].set_ylabel("share, %")
    for axis in axes.flat[len(by_dimension) :]:
        axis.axis("off")
    figure.tight_layout(h_pad=1.2)
    return _svg(figure)


def likeness(found: Mapping[str, Any]) -> str:
    """Return how often a person's own reply is more like them than a variant's, by variant, beside
    other people's.
    """
    if not found["variants"]:
        return ""
    names = list(found["variants"])
    figure, axes = _axes(6.0, 0.38 * len(names) + 0.9)
    axis = axes[0][0]
    if others := found["told"].get("1"):
        _span(axis, others, "value", 100)
    axis.axvline(50, color=INK, lw=1, ls=":")
    for y, row in enumerate(found["variants"].values()):
        axis.plot([100 * row["low"], 100 * row["high"]], [y, y], color=MODEL, lw=2)
        axis.plot([100 * row["value"]], [y], "o", color=MODEL, ms=6)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlim(min(45, *(100 * row["low"] for row in found["variants"].values())), 100)
    axis.set_xlabel("own reply is more like the person, % (band: than other people's)")
    return _svg(figure)


def verbatim_runs(probes: Mapping[str, Any]) -> str:
    """Return how many replies share a run of at least so many words with a training reply: the
    variant's and people's.
    """
    figure, axes = _axes(7.2, 2.8)
    axis = axes[0, 0]
    verbatim = probes["verbatim"]
    longest = (
        max(verbatim["variant"]["longest"], verbatim["people"]["longest"], verbatim["run"]) + 1
    )
    at = np.arange(1, longest + 1)
    for name, label, colour in (("people", "people", HUMAN), ("variant", probes["variant"], MODEL)):
        runs = np.array(verbatim[name]["runs"] or [0])
        axis.step(
            at,
            [100 * float(np.mean(runs >= n)) for n in at],
            where="mid",
            color=colour,
            label=label,
        )
    axis.axvline(verbatim["run"], color=INK, lw=1, ls=":")
    axis.set_xlabel("words in a row, at least")
    axis.set_ylabel("% of replies")
    axis.set_ylim(0, 101)
    axis.legend(frameon=False)
    return _svg(figure)


def exposures(probes: Mapping[str, Any]) -> str:
    """Return the exposure of each canary by how often it stood in the training data."""
    figure, axes = _axes(7.2, 2.8)
    axis = axes[0, 0]
    times = sorted({canary["times"] for canary in probes["canaries"]})
    for canary in probes["canaries"]:
        axis.plot(times.index(canary["times"]), canary["exposure"], "o", color=MODEL, alpha=0.7)
    axis.axhline(probes["chance"], color=INK, lw=1, ls=":", label="chance")
    axis.axhline(
        np.log2(probes["secrets"]), color=HUMAN, lw=1, label=f"first of {probes['secrets']}"
    )
    axis.set_xticks(range(len(times)), [f"{n} x" for n in times])
    axis.set_xlim(-0.5, len(times) - 0.5)
    axis.set_xlabel("times in the training data")
    axis.set_ylabel("exposure, bits")
    axis.legend(frameon=False, loc="center left")
    return _svg(figure)
