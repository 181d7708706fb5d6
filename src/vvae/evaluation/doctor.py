"""Before any model runs: can these chats carry a persona, what will be measurable, and what will it
take on this machine?

Chats are read, cut into pairs and read by the default encoder, all in a folder that is removed;
nothing is trained. Times are estimates from how fast this machine multiplies matrices
(docs/chats.md says how near they come).
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from vvae.config import RunConfig, load_config
from vvae.core.dialogue import Dialogue, Pair
from vvae.core.errors import DataError
from vvae.core.random import shuffled
from vvae.core.reporting import Reporter, Silent
from vvae.core.text import emoji_spans, estimated_tokens
from vvae.corpus.cleaning import language_of
from vvae.corpus.formats import HAVE_DIALOGUES, find
from vvae.corpus.importing import DIALOGUES, SUMMARY, Intake, bring_in, speakers_to_learn
from vvae.corpus.pairs import eligible_speakers, learned_pairs, pairs_with_account
from vvae.decoder.model import grouped
from vvae.decoder.train import CPU_TOKENS
from vvae.decoder.variants import Variant
from vvae.encoders.base import Encoder
from vvae.encoders.rules.encoder import RulesConfig
from vvae.inference.models import SMOLLM2, source_of
from vvae.latent.persona import Persona
from vvae.latent.prior import Prior, count
from vvae.latent.profile import Profile, build_profiles
from vvae.latent.sampling import predicted_rate
from vvae.metrics.claims import LEAST_REPLIES
from vvae.metrics.metric import scored
from vvae.pipeline.run import Run
from vvae.pipeline.stages.corpus import import_dialogues

__all__ = ["examine", "half_width", "machine", "work"]

MOST_READ = 10_000
"""Replies the encoder reads here; a keyed choice of them."""
SAMPLED_DIALOGUES = 500
FEWEST, RARE = 200, 0.01
Z_FRAME, SLOT_TOKENS, REPLY_FRAME = 9, 7, 8
"""Tokens of a z block without its slots, of a slot, and of what stands around a reply."""
OBSERVED_SLOTS = 0.15
"""Share of the slots that a reply gives evidence of (BYU: 1.1 of nine in the posteriors)."""
SIGHTINGS = 250
"""Training replies with a catchphrase after which P+FT says the one it is shown as often as people:
140 to 240 with steps of 4 to 16 replies (docs/training.md, "How much training"). SP+FT needs more.
"""
TRAIN_SHARE, WRITE_SHARE, READ_SHARE = 0.36, 0.22, 0.30
"""Of the peak of matrix products, what training, generation and likelihoods reach
(docs/measurements.md, speed).
"""
SMALL_MODEL = 134_515_008
"""Parameters of SmolLM2-135M."""
RUNTIME_BYTES = 3_200_000_000
"""What libraries, corpus and encoder take beside the model."""


CorpusCounts = TypedDict(
    "CorpusCounts",
    {
        "dialogues": int,
        "turns": int,
        "messages": int,
        "speakers": int,
        "turns_a_dialogue": float,
        "from": str | None,
        "to": str | None,
        "languages": dict[str, float],
        "emoji_rate": float,
    },
)
"""How large the chats are, when they were written, and the shares of their five languages."""


class PairCounts(TypedDict):
    """Training and held-out pairs, and what was left out, by reason."""

    train: int
    heldout: int
    left_out: dict[str, int]


class DimensionRates(TypedDict):
    """How often a dimension is read, and how often SP+FT should show it at convergence."""

    r: float
    predicted: float


class SpeakerRow(TypedDict):
    """A speaker's pairs and the first value of each dimension of the profile."""

    name: str
    train: int
    heldout: int
    train_dialogues: int
    profile: dict[str, str]


class MetricPower(TypedDict):
    """How well a metric will be known with these chats."""

    dimension: str
    speakers: int
    replies: int
    known_to_points: float
    measurable: bool


class Machine(TypedDict):
    """What the run would be made on; gflops and gpu are None where torch is not installed."""

    cores: int | None
    memory_gb: float
    gpu: str | None
    gflops: int | None


class Reading(TypedDict):
    """How much training it takes until a decoder reads the catchphrase in z (docs/training.md)."""

    sightings: int
    """Training replies in which it must be seen."""
    pairs: int | None
    """Training pairs in which that many are; None where it was never read."""
    planned: int
    """Training pairs that the config will use, all passes."""
    minutes: int | None
    """Of training one variant on so many pairs here."""


class Work(TypedDict):
    """What the run will take: None where it cannot be told."""

    parameters: int | None
    seconds: dict[str, int] | None
    """Stage -> seconds; ``all`` is their sum."""
    memory_gb: float | None


class Diagnosis(TypedDict):
    """What can be said of chats before training; what follows `advice` is missing where there are
    no pairs.
    """

    corpus: CorpusCounts
    problems: list[str]
    advice: list[str]
    pairs: NotRequired[PairCounts]
    dimensions: NotRequired[dict[str, DimensionRates]]
    speakers: NotRequired[list[SpeakerRow]]
    benchmarked: NotRequired[int]
    metrics: NotRequired[dict[str, MetricPower]]
    machine: NotRequired[Machine]
    work: NotRequired[Work]
    reading: NotRequired[Reading]


def examine(path: Path, *, reporter: Reporter | None = None) -> Diagnosis:
    """Return what can be said of chats before training.

    Args:
        path: a folder of `vvae import`, a config, a run, JSONL of dialogues, or an export.

    Raises:
        DataError: the chats cannot be read at all; what is merely too small is said in the result.
    """
    with tempfile.TemporaryDirectory(prefix="vvae-doctor-") as scratch:
        config = _config(path, Path(scratch))
        run = Run(
            config.model_copy(update={"run": f"{scratch}/run"}), reporter=reporter or Silent()
        )
        import_dialogues(run)
        return _examined(run)


def _config(path: Path, scratch: Path) -> RunConfig:
    """The config of a run on a path."""
    if path.is_dir() and (path / "config.yaml").is_file():
        return load_config(path / "config.yaml")
    if path.suffix in (".yaml", ".yml"):
        return load_config(path)
    if str(path) == "byu":
        return RunConfig()
    if not (path / SUMMARY).is_file():
        files = find(path)
        if path.is_dir() or any(file.format not in (*HAVE_DIALOGUES, None) for file in files):
            bring_in(files, scratch / "chats", Intake())
            path = scratch / "chats"
    base = RunConfig.model_validate({"data": {"path": str(path)}})
    speakers = speakers_to_learn(path)
    if speakers is None or not (path / DIALOGUES).is_file():
        return base
    pairs = base.pairs.model_copy(update={"speakers": speakers})
    return base.model_copy(update={"pairs": pairs})


def _examined(run: Run) -> Diagnosis:
    dialogues = list(run.dialogues.values())
    report: Diagnosis = {"corpus": _corpus(dialogues), "problems": [], "advice": []}
    config = run.config
    try:
        pairs, left_out = pairs_with_account(dialogues, config.pairs, seed=config.seed)
        mine = learned_pairs(pairs, config.pairs)
    except DataError as error:
        report["problems"].append(error.what)
        report["advice"].append(
            "give more conversations: a persona is learnt from replies to somebody else"
        )
        return report
    report["pairs"] = {
        "train": sum(p.split == "train" for p in mine),
        "heldout": sum(p.split == "heldout" for p in mine),
        "left_out": dict(left_out),
    }
    encoder, personas, sample = _read(run, mine)
    prior = count(
        (personas[p.pair_id] for p in sample if p.split == "train"),
        run.space,
        encoder=encoder.id,
        corpus="",
    )
    profiles = build_profiles(sample, personas, run.space)
    report["dimensions"] = {
        name: {
            "r": round(prior[name].rate, 4),
            "predicted": round(
                predicted_rate(prior[name].rate, config.sampling.probability(name)), 4
            ),
        }
        for name in run.space.names
    }
    report["speakers"] = _speakers(mine, profiles)
    able: list[str] = []
    try:
        able = eligible_speakers(mine, config.pairs)
    except DataError as error:
        report["problems"].append(error.what)
        report["advice"].append(error.fix)
    report["benchmarked"] = len(able)
    report["metrics"] = _metrics(run, mine, able, profiles, personas, prior)
    report["machine"] = machine()
    report["work"] = work(run, mine, report["machine"]["gflops"])
    if reading := _reading(run, prior, report["work"], report["pairs"]["train"]):
        report["reading"] = reading
    report["advice"] += _advice(report, config)
    return report


def _reading(run: Run, prior: Prior, work: Work, there: int) -> Reading | None:
    named = run.space.read_by("catchphrase")
    trained = [variant for variant in run.variants if variant.trained and variant.shows_slots]
    if not named or not trained:
        return None
    r, train = prior[named[0].name].rate, run.config.train
    pairs = round(SIGHTINGS / r) if r else None
    planned = min(train.pairs, there) * train.passes
    minutes = None
    if pairs and work["seconds"]:
        seconds = work["seconds"][f"train {trained[0].name}"]
        minutes = max(1, round(seconds / 60 * pairs / planned))
    return {"sightings": SIGHTINGS, "pairs": pairs, "planned": planned, "minutes": minutes}


def _corpus(dialogues: Sequence[Dialogue]) -> CorpusCounts:
    turns = [turn for dialogue in dialogues for turn in dialogue.turns]
    times = sorted(m.time for turn in turns for m in turn.messages if m.time)
    sample = shuffled(dialogues, "doctor", name=[d.id for d in dialogues])[:SAMPLED_DIALOGUES]
    languages = Counter(language_of(dialogue) or "unknown" for dialogue in sample)
    texts = [turn.text for dialogue in sample for turn in dialogue.turns]
    return {
        "dialogues": len(dialogues),
        "turns": len(turns),
        "messages": sum(len(turn.messages) for turn in turns),
        "speakers": len({turn.speaker for turn in turns}),
        "turns_a_dialogue": round(len(turns) / max(len(dialogues), 1), 1),
        "from": times[0] if times else None,
        "to": times[-1] if times else None,
        "languages": {name: round(n / len(sample), 3) for name, n in languages.most_common(5)},
        "emoji_rate": round(sum(bool(emoji_spans(text)) for text in texts) / max(len(texts), 1), 4),
    }


def _read(run: Run, pairs: Sequence[Pair]) -> tuple[Encoder, dict[str, Persona], list[Pair]]:
    """The default encoder's reading of a keyed choice of the pairs."""
    chosen = set(shuffled([p.pair_id for p in pairs], "doctor", run.config.seed)[:MOST_READ])
    sample = [pair for pair in pairs if pair.pair_id in chosen]
    settings = run.config.encoder
    if settings.calls_a_model:
        settings = RulesConfig()
    with run.reporter.task("reading replies with the default encoder") as tick:
        encoder = settings.fit(sample, run.space, topics=run.topics, ledger=run.ledger)
        personas = {
            e.pair_id: e.persona for e in encoder.encode(sample, run.dialogues, progress=tick)
        }
    return encoder, personas, sample


def _speakers(pairs: Sequence[Pair], profiles: Mapping[str, Profile]) -> list[SpeakerRow]:
    rows: dict[str, SpeakerRow] = {}
    dialogues: dict[str, set[str]] = {}
    for pair in pairs:
        row = rows.setdefault(
            pair.speaker,
            {"name": pair.speaker, "train": 0, "heldout": 0, "train_dialogues": 0, "profile": {}},
        )
        if pair.split == "heldout":
            row["heldout"] += 1
        else:
            row["train"] += 1
            dialogues.setdefault(pair.speaker, set()).add(pair.dialogue)
    for name, row in rows.items():
        row["train_dialogues"] = len(dialogues.get(name, ()))
        values = profiles[name].values if name in profiles else {}
        row["profile"] = {
            dimension: ranked[0].value for dimension, ranked in values.items() if ranked
        }
    return sorted(rows.values(), key=lambda row: (-row["train"] - row["heldout"], row["name"]))


def half_width(rate: float, n: int) -> float:
    """Return about how well a rate of n replies will be known: half of its 95 % interval, in
    points.

    >>> round(half_width(0.1, 100), 1)
    5.9
    """
    return 100 * 1.96 * math.sqrt(max(rate * (1 - rate), 0.01) / n) if n else 100.0


def _metrics(
    run: Run,
    pairs: Sequence[Pair],
    able: Sequence[str],
    profiles: Mapping[str, Profile],
    personas: Mapping[str, Persona],
    prior: Prior,
) -> dict[str, MetricPower]:
    result: dict[str, MetricPower] = {}
    for metric, dimension in scored(run.space).items():
        known = [s for s in able if s in profiles and profiles[s].persona()[dimension.name]]
        held = Counter(p.speaker for p in pairs if p.split == "heldout" and p.speaker in known)
        n = sum(min(number, run.config.bench.per_speaker) for number in held.values())
        n = min(n, run.config.bench.replies)
        result[metric] = {
            "dimension": dimension.name,
            "speakers": len(known),
            "replies": n,
            "known_to_points": round(half_width(prior[dimension.name].rate, n), 1),
            "measurable": n >= LEAST_REPLIES,
        }
    return result


# --- time and memory ------------------------------------------------------------------------------


def machine() -> Machine:
    """Return cores, memory, and the peak of matrix products, measured for a moment where torch is
    installed.
    """
    pages = (
        os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    )
    result: Machine = {
        "cores": os.cpu_count(),
        "memory_gb": round(pages / 1e9, 1),
        "gpu": None,
        "gflops": None,
    }
    try:
        import torch
    except ImportError:
        return result
    gpu = torch.cuda.is_available()
    result["gpu"] = torch.cuda.get_device_name() if gpu else None
    rates = [
        _gflops(torch, "cuda" if gpu else "cpu", dtype) for dtype in (torch.float32, torch.bfloat16)
    ]
    result["gflops"] = round(max(rates))
    return result


def _gflops(torch: Any, device: str, dtype: Any) -> float:
    a, b = (
        torch.ones(1024, 1536, dtype=dtype, device=device),
        torch.ones(1536, 1024, dtype=dtype, device=device),
    )
    times = 0
    a @ b
    started = time.perf_counter()
    while (spent := time.perf_counter() - started) < 0.4:
        a @ b
        times += 1
        if device == "cuda":
            torch.cuda.synchronize()
    return float(2e-9 * 1024 * 1536 * 1024 * times / spent)


def parameters(model: str) -> int | None:
    """Return how many parameters a model has, from its folder; None where that cannot be told
    without loading it.
    """
    if model == SMOLLM2:
        return SMALL_MODEL
    folder = Path(source_of(model))
    if not folder.is_dir():
        return None
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return size // 2 if size else None


def work(run: Run, pairs: Sequence[Pair], gflops: float | None) -> Work:
    """Return seconds and memory of the run's stages on this machine; None where they cannot be
    told.
    """
    config, size = run.config, parameters(run.config.decoder.model)
    if size is None or not gflops:
        return {"parameters": size, "seconds": None, "memory_gb": None}
    heldout = [pair for pair in pairs if pair.split == "heldout"]
    replies = min(config.bench.replies, len(heldout)) + min(config.bench.swapped, len(heldout))
    seconds: dict[str, float] = {}
    for variant in run.variants:
        if variant.trained:
            tokens = _training_tokens(run, variant, pairs)
            seconds[f"train {variant.name}"] = 4 * size * tokens / (TRAIN_SHARE * gflops * 1e9)
    context = _context_tokens(run, heldout)
    seconds["replies"] = (
        len(run.variants) * replies * 2 * size * (context + 30) / (WRITE_SHARE * gflops * 1e9)
    )
    losses = min(config.bench.losses, len(heldout)) + min(config.bench.forced, len(heldout))
    losses += replies if "CP" in scored(run.space) else 0  # phrases, in what was written
    branch = _block(len(run.space.names)) + REPLY_FRAME + 20
    seconds["likelihoods"] = (
        len(run.variants) * losses * 2 * size * (context + 4 * branch) / (READ_SHARE * gflops * 1e9)
    )
    rounded = {name: round(value) for name, value in seconds.items()}
    width = 2 if config.decoder.precision != "fp32" else 4
    memory = (
        size * width * 1.5
        + RUNTIME_BYTES
        + (config.train.token_budget or CPU_TOKENS) * math.sqrt(size) * 60
    )
    return {
        "parameters": size,
        "seconds": {**rounded, "all": sum(rounded.values())},
        "memory_gb": round(memory / 1e9, 1),
    }


def _training_tokens(run: Run, variant: Variant, pairs: Sequence[Pair]) -> float:
    """Tokens of the prefix trees a variant is trained on."""
    windows = list(grouped(pair for pair in pairs if pair.split == "train").values())
    if not windows:
        return 0
    z = _z_tokens(run, variant)
    tokens, replies = 0.0, 0
    for window in windows[:500]:
        turns = {turn.id: turn for turn in run.dialogues[window[0].dialogue].turns}
        trunk = sum(
            estimated_tokens(turns[i].text)
            for i in turns
            if window[0].window <= i < window[-1].turn
        )
        tokens += trunk + sum(estimated_tokens(pair.response) + z + REPLY_FRAME for pair in window)
        replies += len(window)
    number = min(run.config.train.pairs, sum(map(len, windows))) * run.config.train.passes
    return tokens / replies * number


def _z_tokens(run: Run, variant: Variant) -> float:
    """Tokens of the z block of a training reply, on average."""
    if not variant.shows_slots:
        return 0
    shown = len(variant.dimensions or run.space.names)
    return _block(shown if variant.z == "sampled" else OBSERVED_SLOTS * shown)


def _block(slots: float) -> float:
    """Tokens of a z block of so many slots."""
    return Z_FRAME + SLOT_TOKENS * slots


def _context_tokens(run: Run, pairs: Sequence[Pair]) -> float:
    """Tokens before a reply, on average."""
    some = pairs[:: max(1, len(pairs) // 200)]
    total = 0.0
    for pair in some:
        turns = run.dialogues[pair.dialogue].turns
        total += sum(
            estimated_tokens(t.text) for t in turns if pair.window <= t.id < pair.turn
        ) + _block(len(run.space.names))
    return total / max(len(some), 1)


def _advice(report: Mapping[str, Any], config: RunConfig) -> list[str]:
    advice: list[str] = []
    train, target = report["pairs"]["train"], config.train.pairs
    if train < target:
        advice.append(
            f"{train:,} training replies, {target:,} asked for: raise train.passes, or bring more "
            "chats"
        )
    reading = report.get("reading")
    if reading and reading["pairs"] and reading["planned"] < reading["pairs"]:
        advice.append(
            f"z is hardly read after {reading['planned']:,} training replies, about "
            f"{reading['pairs']:,} are needed: raise train.pairs or train.passes"
        )
    if train < FEWEST:
        advice.append(
            f"under {FEWEST} training replies little is learnt; prompting a large model needs none"
        )
    more = config.bench.per_speaker * report["benchmarked"]
    if report["benchmarked"] and more < min(config.bench.replies, report["pairs"]["heldout"]):
        held = report["pairs"]["heldout"]
        advice.append(
            f"bench.per_speaker allows {more:,} of {held:,} held-out replies: with few people, "
            "raise it"
        )
    small = [name for name, row in report["metrics"].items() if not row["measurable"]]
    if small:
        named = ", ".join(small)
        advice.append(
            f"{named}: under {LEAST_REPLIES} held-out replies of people with that trait decide "
            "nothing"
        )
    if config.pairs.speakers is None and len(report["speakers"]) > 1:
        advice.append(
            "everybody is learnt; to learn one person, set pairs.speakers (vvae import --learn "
            "does)"
        )
    language = next(iter(report["corpus"]["languages"]), None)
    if language not in ("en", "zh", None, "unknown"):
        advice.append(
            f"mostly {language!r}: word lists are English and Chinese; encoder.kind: llm reads "
            "others"
        )
    if report["corpus"]["emoji_rate"] < RARE:
        advice.append("hardly any emoji: EC will say little")
    needed, there = report["work"]["memory_gb"], report["machine"]["memory_gb"]
    if needed and there and needed > there:
        advice.append(
            "more memory than this machine has: lower train.token_budget, or take a smaller model"
        )
    return advice
