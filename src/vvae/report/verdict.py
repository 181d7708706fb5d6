"""What a page says in words before it shows figures: never more than its intervals say."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vvae.metrics.association import FEW
from vvae.metrics.claims import ALPHA, LEAST_REPLIES
from vvae.metrics.likeness import LikenessResult
from vvae.metrics.metric import MEASURABLE, get
from vvae.report.numbers import number, percent, points, spread

__all__ = [
    "Verdict",
    "against_people",
    "beside_people",
    "of_analysis",
    "of_control",
    "of_likeness",
    "of_memorisation",
    "of_nulls",
    "of_positive_control",
    "of_report",
    "of_run_likeness",
    "of_study",
    "used_share",
]

Next = tuple[str, str]
ABOVE, BELOW, ALIKE = (
    "says it more often than people",
    "says it more rarely than people",
    "cannot be told from people",
)


SAID = {
    ABOVE: "More often than people",
    BELOW: "More rarely than people",
    ALIKE: "Not to be told from people",
}


@dataclass(frozen=True)
class Verdict:
    """The words at the top of a page."""

    measured: str
    found: Sequence[str]
    missing: Sequence[str]
    next: Sequence[Next]
    """Why, and the command."""


# --- a run ----------------------------------------------------------------------------------------


def of_report(
    results: Mapping[str, Any], speakers: int, replies: int, run: str, trained: Sequence[str]
) -> Verdict:
    """Return the verdict on a run's results.

    Args:
        speakers: whose replies were written anew.
        replies: asked of each variant, `bench.replies`.
        trained: variants with an adapter that takes z.
    """
    variants = results["variants"]
    written = {v["n"] for v in variants.values()}
    each = f"{max(written):,} replies by each" if len(written) == 1 else _numbers(variants)
    measured = (
        f"{len(variants)} {_plural('variant', len(variants))} ({', '.join(variants)}) wrote "
        f"held-out replies of {speakers} {_plural('speaker', speakers)} anew, {each}; people's own "
        "replies are the yardstick."
    )
    rates = {name: of for name, of in results["human"].items() if _is_rate(of)}
    rated = [name for name, of in rates.items() if of["measurable"]]
    found = list(_nearer(results)) if "CP" in rated else []
    missing = [
        f"{_title(name)}: people show it {of['positives']} "
        f"{'time' if of['positives'] == 1 else 'times'} in {of['replies']:,} replies of "
        f"{of['speakers']} {_plural('speaker', of['speakers'])}; {MEASURABLE} times are needed to "
        "compare with."
        for name, of in rates.items()
        if not of["measurable"]
    ]
    few = 0
    for name in rated:
        decided, undecided = _rates_in_words(results, name)
        found += decided
        missing += undecided
        few += len(undecided)
    return Verdict(
        measured,
        found or ["Nothing that holds beyond chance can be said about how often habits are shown."],
        missing,
        list(_after_a_run(run, replies, trained, few=few, rare=len(rated) < len(rates))),
    )


def _title(metric: str) -> str:
    return f"{get(metric).title.capitalize()} ({metric})"


def _is_rate(of: Any) -> bool:
    return isinstance(of, Mapping) and "measurable" in of


def _numbers(variants: Mapping[str, Any]) -> str:
    return ", ".join(f"{v['n']:,} by {name}" for name, v in variants.items())


def _plural(noun: str, n: int) -> str:
    return noun if n == 1 else f"{noun}s"


def _nearer(results: Mapping[str, Any]) -> Iterator[str]:
    """Say which of two variants comes nearer to people's rate of catchphrases."""
    for key, way in (("primary", "By counting"), ("primary_forced", "By probability")):
        of = results.get(key)
        if not of or of["low"] is None or _smallest(results, key) < LEAST_REPLIES:
            continue
        ends = f"their distances differ by {points(of['difference'])} points, {spread(of)}"
        if of["low"] <= 0 <= of["high"]:
            yield (
                f"{way}, it is undecided whether SP+FT or P+FT comes nearer to people's "
                f"catchphrases ({ends}; below zero, SP+FT is nearer)."
            )
        else:
            near, far = ("SP+FT", "P+FT") if of["high"] < 0 else ("P+FT", "SP+FT")
            yield f"{way}, {near} comes nearer to people's catchphrases than {far} ({ends})."


def _smallest(results: Mapping[str, Any], key: str) -> int:
    measure = "CP" if key == "primary" else "forced"
    pair = (results["variants"].get(name, {}).get(measure) for name in ("SP+FT", "P+FT"))
    return min(of["n"] if of else 0 for of in pair)


def _rates_in_words(results: Mapping[str, Any], metric: str) -> tuple[list[str], list[str]]:
    """Return what is said of a rate, and for which variants it is not."""
    said: dict[str, list[str]] = {verdict: [] for verdict in SAID}
    few: dict[int, list[str]] = {}
    for name, variant in results["variants"].items():
        counted, phrase = variant.get(metric), variant.get("forced") if metric == "CP" else None
        if not counted or counted["rate"] is None or counted["low"] is None:
            continue
        probable = _people(phrase) if phrase and phrase["n"] >= LEAST_REPLIES else None
        if counted["n"] < LEAST_REPLIES:
            few.setdefault(counted["n"], []).append(name)
            continue
        verdict = against_people(probable, counted) if probable else _alone(counted)
        said[verdict].append(f"{name} ({percent(counted['rate'])}, {spread(counted)} points)")
    title = _title(metric)
    people = f"{title}: people {percent(results['human'][metric]['rate'])} of replies"
    words = [f"{SAID[verdict]}: {'; '.join(names)}" for verdict, names in said.items() if names]
    return (
        [f"{people}. {'. '.join(words)}."] if words else [],
        [
            f"{title} of {', '.join(names)}: {n} replies are too few, {LEAST_REPLIES} are needed."
            for n, names in few.items()
        ],
    )


def _alone(counted: Mapping[str, float | None]) -> str:
    low, high = counted["low"] or 0, counted["high"] or 0
    return ABOVE if low > 0 else BELOW if high < 0 else ALIKE


def _after_a_run(
    run: str, replies: int, trained: Sequence[str], *, few: int, rare: bool
) -> Iterator[Next]:
    run = shlex.quote(run)
    if few:
        yield (
            f"For an answer with intervals that say something, set bench.replies (now {replies:,}) "
            "higher in the config and run it again:",
            f"vvae run {run}/config.yaml",
        )
    if rare:
        yield (
            "People's habits are too rare in these chats; more chats of the same people are "
            "needed. How many replies there are:",
            f"vvae doctor {run}",
        )
    for name in sorted(trained, key=lambda name: name != "SP+FT")[:1]:
        option = "" if name == "SP+FT" else f" --variant {shlex.quote(name)}"
        yield "See whether z moves the replies:", f"vvae control {run}{option}"
        yield (
            "See what the adapter has kept of people's words, before anybody else gets it:",
            f"vvae privacy {run}{option}",
        )


def beside_people(results: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
    """Return (variant, verdict, what it rests on) of each variant whose catchphrase was measured
    both by its probability and by counting; none where people show too few.
    """
    found: list[tuple[str, str, list[str]]] = []
    if not results["human"].get("CP", {}).get("measurable"):
        return found
    for name, variant in results["variants"].items():
        phrase, counted = variant.get("forced"), variant.get("CP")
        if not phrase or not counted or not (by_probability := _people(phrase)):
            continue
        verdict = against_people(by_probability, counted)
        if phrase["read"]["low"] > 0:
            verdict += "; reads it from the profile"
        by_count = {"value": counted["deviation"], **{e: counted[e] for e in ("low", "high")}}
        basis = [
            f"by probability {_beside(phrase['profile'], by_probability, phrase['n'])}",
            f"counted {_beside(counted['rate'], by_count, counted['n'])}",
        ]
        found.append((name, verdict, basis))
    return found


def _people(phrase: Mapping[str, Any]) -> dict[str, float] | None:
    """The deviation from people by probability, in points."""
    people = phrase.get("people")
    return people and {end: 100 * people[end] for end in ("value", "low", "high")}


def against_people(
    by_probability: Mapping[str, float | None], by_count: Mapping[str, float | None]
) -> str:
    """Return in words what the intervals of two deviations from people say together.

    The probability follows people's words and is the lower of the two, so it may say that a variant
    is above people, but not alone that it is below.
    """
    above = [m["low"] is not None and m["low"] > 0 for m in (by_probability, by_count)]
    below = [m["high"] is not None and m["high"] < 0 for m in (by_probability, by_count)]
    if any(above) and not any(below):
        return ABOVE
    if all(below):
        return BELOW
    return ALIKE


def _beside(rate: float, deviation: Mapping[str, float | None], n: int) -> str:
    if deviation["low"] is None:
        return f"{percent(rate)}, n\u00a0=\u00a0{n}"
    beside = f"{points(deviation['value'])} points ({spread(deviation)})"
    return f"{percent(rate)}, {beside}, n\u00a0=\u00a0{n}"


# --- the other pages ------------------------------------------------------------------------------


def of_control(summary: Mapping[str, Any], run: str) -> Verdict:
    """Return the verdict on what setting z does."""
    own = [row for row in summary["matrix"] if row["set"] == row["read"]]
    tested = [row for row in own if "v" in row]
    moved = [row for row in tested if row["p_adjusted"] <= ALPHA]
    still = [row["set"] for row in tested if row["p_adjusted"] > ALPHA]
    others = [row for row in summary["matrix"] if row["set"] != row["read"] and "v" in row]
    leaks = sorted(
        (row for row in others if row["p_adjusted"] <= ALPHA), key=lambda row: -float(row["v"])
    )
    found = []
    if moved:
        strengths = ", ".join(f"{row['set']} (V {number(row['v'])})" for row in moved)
        found.append(f"Setting it moves what is read in the replies: {strengths}.")
    if still:
        found.append(f"No effect of setting it could be shown: {', '.join(still)}.")
    if leaks:
        most = leaks[0]
        found.append(
            f"Something else moved too in {len(leaks)} of {len(others)} cases, most when "
            f"{most['set']} was set and {most['read']} read (V {number(most['v'])})."
        )
    for metric, ends in summary["rates"].items():
        shown, hidden = ends["shown"], ends["hidden"]
        if min(shown["n"], hidden["n"]) < FEW:
            continue
        apart = shown["low"] > hidden["high"] or shown["high"] < hidden["low"]
        found.append(
            f"{metric}: the value stands in {percent(shown['rate'])} of replies when z shows it "
            f"and in {percent(hidden['rate'])} when it hides it; the 95 % intervals "
            f"{'do not overlap' if apart else 'overlap'}."
        )
    few = {row["set"]: row["n"] for row in own if "v" not in row and row["n"] < FEW}
    same = [row["set"] for row in own if "v" not in row and row["n"] >= FEW]
    missing: list[str] = []
    next_: list[Next] = []
    if few:
        contexts = max(16, *(_contexts(summary, name) for name in few))
        asked = ", ".join(f"{name} ({n} replies)" for name, n in few.items())
        missing.append(
            f"Too little asked: {asked}; {FEW} replies of a dimension are needed. "
            f"--contexts {contexts}"
        )
        option = f"--variant {shlex.quote(summary['variant'])} --contexts {contexts}"
        next_.append(("Ask in more contexts:", f"vvae control {shlex.quote(run)} {option}"))
    if same:
        missing.append(
            f"The encoder read the same in nearly all replies, whatever was set: {', '.join(same)}."
        )
    next_.append(
        ("Hear it yourself, knob by knob:", f"vvae serve {shlex.quote(run)}"),
    )
    return Verdict(
        f"{sum(row['n'] for row in own):,} replies by {summary['variant']}: each of several values "
        f"of {len(own)} {_plural('dimension', len(own))} set in {summary['contexts']} contexts.",
        found or ["Nothing can be said yet about whether z controls the replies."],
        missing,
        next_,
    )


def _contexts(summary: Mapping[str, Any], name: str) -> int:
    """In how many contexts a dimension has to be set for replies enough."""
    return -(-FEW // len(summary["confusion"][name]))


def of_analysis(analysis: Mapping[str, Any], run: str) -> Verdict:
    """Return the verdict on whether z is what the method assumes."""
    prior, nulls = analysis["prior"], analysis["missingness"]
    pairs, kept = analysis["orthogonality"]["pairs"], analysis["consistency"]
    dominated = [name for name, d in prior.items() if d.get("dominated")]
    guessed = [n for n, d in nulls.items() if d["p"] is not None and d["p"] <= ALPHA]
    tied = [f"{r['a']} and {r['b']}" for r in pairs if "v" in r and r["p_holm"] <= ALPHA]
    lasting = [
        name
        for name, d in kept.items()
        if None not in (d["low"], d["chance"]) and d["low"] > d["chance"]
    ]
    found = [
        f"{words}: {', '.join(names)}."
        for words, names in (
            ("One value has more than half of those observed, so draws mostly give it", dominated),
            (
                "Nulls are not missing completely at random; they can be told from the reply",
                guessed,
            ),
            ("Not independent of each other", tied),
            ("A speaker shows the same value in other dialogues more often than chance", lasting),
        )
        if names
    ]
    never = [name for name, d in prior.items() if not d["observed"]]
    untested = [name for name, d in nulls.items() if d["auc"] is None and name not in never]
    apart = sum("v" not in row for row in pairs)
    missing = []
    if never:
        missing.append(f"Never observed in these replies: {', '.join(never)}.")
    if untested:
        missing.append(
            f"Whether nulls are missing completely at random: too few replies with or without a "
            f"value in {', '.join(untested)}."
        )
    if apart:
        missing.append(
            f"Independence of {apart} of {len(pairs)} couples of dimensions: fewer than {FEW} "
            "replies show both, or one of them does not vary."
        )
    return Verdict(
        f"{analysis['replies']:,} training replies, as {analysis['encoder']} read them, in "
        f"{len(prior)} dimensions; nothing here is about a model's replies.",
        found or ["Nothing that speaks against what the method assumes could be shown."],
        missing,
        [("See whether a trained adapter follows z:", f"vvae control {shlex.quote(run)}")],
    )


def of_study(study: Mapping[str, Any]) -> Verdict:
    """Return the verdict on a study's claims."""
    claims = study["claims"]
    found = []
    for verdict in ("holds", "does not hold", "undecided"):
        said = [_claim(r) for r in claims if r["verdict"] == verdict and "why" not in r]
        if said:
            found.append(f"{verdict.capitalize()}: {'; '.join(said)}.")
    open_ = [row for row in claims if row["verdict"] == "undecided"]
    never = [row for row in claims if row["verdict"] == "cannot be decided here"]
    name = shlex.quote(study["folder"].partition("@")[0])
    next_ = [("See whether it is so in other chats, too:", f"vvae study {name} CONFIG")]
    if open_:
        next_ = [
            (
                "For the undecided claims, copy the study's file, set more replies or seeds, and "
                "run that:",
                "vvae study MORE.yaml CONFIG",
            )
        ]
    seeds, variants = study["seeds"], len(study["variants"])
    return Verdict(
        f"{len(claims)} {_plural('claim', len(claims))} about {variants} "
        f"{_plural('variant', variants)} ({', '.join(study['variants'])}), {seeds} "
        f"{_plural('seed', seeds)} each.",
        found or ["No claim could be decided."],
        [f"{row['claim']}: {row['why']}." for row in (*open_, *never) if "why" in row],
        next_,
    )


def _claim(row: Mapping[str, Any]) -> str:
    digits = 3 if row["unit"] == "nats" else 1
    value, low, high = (
        number(row[key], digits, signed=True) for key in ("estimate", "low", "high")
    )
    return f"{row['claim']} ({value} {row['unit']}, {low} … {high})"


def of_memorisation(probes: Mapping[str, Any], run: str) -> Verdict:
    """Return the verdict on what an adapter has kept."""
    verbatim, member = probes["verbatim"], probes["membership"]
    option = f"{shlex.quote(run)} --variant {shlex.quote(probes['variant'])}"
    found = [f"{warning[0].upper()}{warning[1:]}." for warning in probes["warnings"]]
    next_: Next = ("Talk to it:", f"vvae chat {shlex.quote(run)}")
    if found:
        next_ = (
            "Give the adapter to nobody who may not read the chats. Train with fewer passes or a "
            "lower learning rate, and probe again:",
            f"vvae privacy {option}",
        )
    secrets = f"; {len(probes['canaries'])} planted secrets" if probes["canaries"] else ""
    return Verdict(
        f"{verbatim['variant']['n']:,} replies by {probes['variant']} beside "
        f"{verbatim['people']['n']:,} by people; {member['n'][0]:,} training replies beside "
        f"{member['n'][1]:,} held-out ones{secrets}.",
        found or ["Nothing is past its threshold. That is no proof that nothing can be got out."],
        []
        if probes["canaries"]
        else ["Whether planted secrets can be got out: none were planted (--canaries 0)."],
        [next_],
    )


# --- the positive control -------------------------------------------------------------------------

ODDS, SURE = 5 / 3, 0.95
"""How far the odds of a cell may be from those it must come to, and what stands for always."""


def of_positive_control(cells: Mapping[str, Any], model: str) -> Verdict:
    """Return the verdict on the cells of a positive control."""
    found: list[str] = []
    short: list[str] = []
    for name, cell in cells.items():
        p, expected, marginal = cell["points"][-1]["p"], cell["expected"], cell["marginal"]
        if _comes_to(p, expected):
            continue
        where = f"{name}: {percent(p)}, and it must be {percent(expected)}"
        if min(marginal, expected) <= p <= max(marginal, expected):
            found.append(f"{where}; it is on the way there from {percent(marginal)}.")
        else:
            short.append(name)
            found.append(f"{where}.")
    there = len(cells) - len(found)
    said = (
        f"{there} of {len(cells)} cells come to where they must: {percent(SURE)} or more for "
        "always, the odds within a factor of 5/3 otherwise."
    )
    if short:
        next_: Next = (
            f"{', '.join(short)} did not come to where they must. Train longer or at another rate "
            "before anything is concluded from a study with this config (train.learning_rate):",
            "vvae study positive-control CONFIG",
        )
    else:
        next_ = (
            "z is read where it tells, about as often as it tells. See how many sightings it took, "
            "and how many a study has:",
            "vvae doctor CONFIG",
        )
    replies = [cell["points"][-1]["pairs"] for cell in cells.values()]
    measured = (
        f"{len(cells)} synthetic corpora with {model}, {min(replies):,} to {max(replies):,} "
        "training replies each."
    )
    return Verdict(measured, [said, *found], [], [next_])


def _comes_to(p: float, expected: float) -> bool:
    """Whether a probability is near another one, as odds; training never stands quite still."""
    if expected > SURE:
        return p >= SURE
    ratio = (p / max(1e-9, 1 - p)) / (expected / (1 - expected))
    return 1 / ODDS <= ratio <= ODDS


def used_share(dimension: Mapping[str, Any]) -> float | None:
    """Return how much of the nats that a value takes to say a model gets back from it: its worth to
    the model over the entropy of the values.
    """
    used, h = dimension["used"]["value"], dimension["entropy"]
    return used / h if used is not None and h else None


def of_nulls(dimensions: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return in words, for each labelled dimension, whether nulls depend on the value itself."""
    said = []
    for name, scores in dimensions.items():
        if not (nulls := scores.get("nulls")):
            continue
        v, p, read = nulls["v"], nulls["p"], nulls["read"]
        least, most = (end(read, key=lambda label: read[label]) for end in (min, max))
        ends = f"{least} is read in {percent(read[least])}, {most} in {percent(read[most])}"
        distance = f"the values read are {percent(nulls['distance'])} off the right ones"
        said.append(
            f"{name}: nulls depend on the value itself (not missing at random), among replies of "
            f"about the same length: {ends}; V {v:.2f}, p {p:.3f}; {distance}."
            if p <= ALPHA
            else f"{name}: nulls are not found to depend on the value itself (V {v:.2f}, p "
            f"{p:.3f}; {ends})."
        )
    return said


EVEN = 0.5
"""Share of comparisons where two cannot be told apart."""


def of_run_likeness(found: Mapping[str, Any], run: str) -> Verdict:
    """Return the verdict on how like its speakers a run's variants write."""
    told, variants, folder = found["told"], found["variants"], shlex.quote(run)
    sizes = [
        f"{'one' if size == '1' else size} at a time with an AUC of {row['value']:.2f} "
        f"({row['low']:.2f} … {row['high']:.2f})"
        for size, row in told.items()
    ]
    said = [f"People's own held-out replies are told from others' {', '.join(sizes)}."]
    others = told.get("1")
    if not others or others["low"] <= EVEN:
        said = ["People here cannot be told apart by single replies: nothing is said of variants."]
    elif variants:
        nearest = min(variants, key=lambda name: abs(variants[name]["value"] - EVEN))
        row = variants[nearest]
        said.append(
            f"Nearest to the people is {nearest}: their own reply is more like them in "
            f"{percent(row['value'])} of comparisons ({percent(row['low'])} … "
            f"{percent(row['high'])}); against other people's replies {percent(others['value'])}."
        )
        like = [name for name, row in variants.items() if row["high"] < others["low"]]
        said.append(
            f"More like the person than other people are: {', '.join(like)}."
            if like
            else "No variant is more like the person than other people are, beyond chance."
        )
        if too := [name for name, row in variants.items() if row["high"] < EVEN]:
            said.append(
                f"More like the person than the person is, as who says a habit in every reply: "
                f"{', '.join(too)}."
            )
    missing = [] if variants else ["Any variant: none has written replies."]
    next_: Next = (
        ("Hold any text against one person's replies:", f"vvae score {folder} FILE --speaker NAME")
        if variants
        else ("Let the variants write:", f"vvae run {folder}/config.yaml")
    )
    speakers = max((row["speakers"] for row in told.values()), default=0)
    return Verdict(
        f"{len(variants)} variants, {speakers} speakers with replies enough.",
        said,
        missing,
        [next_],
    )


def of_likeness(found: LikenessResult) -> list[str]:
    """Return in words how like a person's own replies some replies are: first what that is worth,
    and nothing further where people cannot be told apart.
    """
    worth = found.worth
    told = (
        f"{found.speaker}'s own replies are told from others' with an AUC of {worth.auc:.2f} "
        f"({worth.low:.2f} … {worth.high:.2f}; bodies of {worth.replies}, {worth.own} of theirs, "
        f"{worth.others:,} of others)."
    )
    if not worth.tells:
        return [told, "That may be chance, so nothing is said of these replies."]
    shares = f"{percent(found.among_own)} of their own"
    others = f"{percent(found.among_others)} of others' replies"
    said = f"{found.replies} replies: more like {found.speaker} than {shares} and {others}"
    return [told, f"{said} ({found.score:+.3f} nats a trigram)."]
