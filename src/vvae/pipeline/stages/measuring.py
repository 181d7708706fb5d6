"""What variants write and how likely people's replies are under them, scored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vvae.core.dialogue import Pair, context
from vvae.core.errors import DataError, EndpointError
from vvae.core.files import write_text
from vvae.core.random import bits64
from vvae.decoder.model import Alternative, Decoder
from vvae.decoder.variants import Variant
from vvae.inference.endpoint.client import Prompt, completions
from vvae.inference.engine import Completion
from vvae.inference.prompts import chat_messages
from vvae.latent.persona import Persona
from vvae.latent.tables import read_encodings, write_encodings
from vvae.metrics import dialogbench, habits, human_chat
from vvae.metrics import teacher_forcing as forced
from vvae.metrics.habits import Said
from vvae.metrics.latent_analysis import kl_to_prior
from vvae.metrics.tables import (
    Likelihood,
    Reply,
    read_answered,
    read_likelihoods,
    read_replies,
    write_answered,
    write_likelihoods,
    write_replies,
)
from vvae.pipeline.run import Run

__all__ = [
    "answer_dialogbench",
    "corpus_of",
    "draw_report",
    "measure_losses",
    "read_variant_replies",
    "readings_of",
    "said_by",
    "score_replies",
    "write_variant_replies",
]

MISSING = 0.01
"""Largest share of an endpoint's replies that may be missing."""


def write_variant_replies(run: Run, variant: Variant) -> None:
    """One variant's replies to the benchmark's contexts,
    under the own and under swapped profiles.
    """
    config, space = run.config, run.space
    wanted = run.benched(variant, config.bench.replies)
    dimension = next((d.name for d in space.read_by("catchphrase")), None)
    asked: list[tuple[Pair, str]] = [(pair, pair.speaker) for pair in wanted]
    if dimension and variant.shows_persona:
        for pair in wanted[: config.bench.swapped]:
            other = human_chat.swapped_profile(pair, run.speakers, run.profiles, dimension)
            asked += [(pair, other)] if other else []
    completions = (_asked_endpoint if variant.endpoint else _generated)(run, variant, asked)
    replies = [
        Reply(
            variant.name,
            p.pair_id,
            config.seed,
            whose,
            run.test_persona(p, whose) if variant.shows_slots else None,
            c.text,
            c.finish_reason,
        )
        for (p, whose), c in zip(asked, completions, strict=True)
        if c is not None
    ]
    write_replies(run.path(f"replies/{variant.name}.parquet"), replies, space)


def _generated(
    run: Run, variant: Variant, asked: Sequence[tuple[Pair, str]]
) -> Sequence[Completion | None]:
    """Replies to (pair, whose profile) by the decoder."""
    decoder = run.with_adapter(variant)
    requests = [
        decoder.request(
            run.dialogues[p.dialogue],
            p,
            run.test_block(variant, p, whose),
            key=f"{p.pair_id}|{whose}",
        )
        for p, whose in asked
    ]
    with run.reporter.task(f"writing replies: {variant.name}") as tick:
        return decoder.engine.complete(
            requests, run.generation, seed=run.config.seed, progress=tick
        )


def _asked_endpoint(
    run: Run, variant: Variant, asked: Sequence[tuple[Pair, str]]
) -> Sequence[Completion | None]:
    """Replies to (pair, whose profile) by an endpoint, each call and answer in the ledger; None
    where there is none.

    Raises:
        EndpointError: too many calls have no answer.
    """
    assert variant.endpoint is not None
    generate, prompts = run.config.generate, []
    for pair, whose in asked:
        dialogue, block = run.dialogues[pair.dialogue], run.test_block(variant, pair, whose)
        messages = chat_messages(
            context(dialogue, pair),
            pair.speaker,
            block if isinstance(block, str) else None,
            named=len(dialogue.speakers) > 2,
        )
        seed = bits64("endpoint reply", run.config.seed, pair.pair_id, whose) % 2**31
        form = {"temperature": generate.temperature, "top_p": generate.top_p, "seed": seed}
        prompts.append(Prompt(messages, form, route=pair.dialogue))
    with run.reporter.task(f"writing replies: {variant.name}") as tick:
        answers, missing = completions(variant.endpoint, prompts, run.ledger, progress=tick)
    if missing:
        reasons = ", ".join(f"{n:,} {outcome}" for outcome, n in missing.items())
        if missing.total() > MISSING * len(asked):
            fix = "run the same command again; what is answered is kept"
            raise EndpointError(
                f"{missing.total():,} of {len(asked):,} replies have no answer ({reasons})", fix=fix
            )
        run.reporter.say(f"{variant.name}: left out without an answer: {reasons}")
    return [
        None
        if a is None
        else Completion((a.content or "").strip(), a.finish or "stop", a.completion_tokens)
        for a in answers
    ]


def read_variant_replies(run: Run, variant: Variant) -> None:
    """z in one variant's replies under the own profile, as the encoder reads it in people's."""
    said = said_by(run, variant)
    pairs = [replace(one.pair, response=one.text) for one in said]
    with run.reporter.task(f"reading replies: {variant.name}") as tick:
        encodings = run.encoder.encode(pairs, run.dialogues, progress=tick)
        write_encodings(run.path(f"readings/{variant.name}.parquet"), encodings, run.space)


def said_by(run: Run, variant: Variant) -> list[Said]:
    """A variant's replies under the own profile."""
    by_id = {pair.pair_id: pair for pair in run.encoded}
    replies = read_replies(run.path(f"replies/{variant.name}.parquet"))
    said = (Said(by_id[r.pair_id], r.profile, r.reply) for r in replies)
    return [one for one in said if one.profile == one.pair.speaker]


def readings_of(run: Run, variant: Variant) -> dict[str, Persona]:
    """Pair id -> z read in a variant's replies; none where they were not read."""
    path = run.path(f"readings/{variant.name}.parquet")
    return (
        {e.pair_id: e.persona for e in read_encodings(path) if e.status == "ok"}
        if path.exists()
        else {}
    )


def measure_losses(run: Run, variant: Variant) -> None:
    """Likelihood of human replies, and of catchphrases in them, under one variant."""
    config = run.config
    decoder = run.with_adapter(variant)
    dimension = next((d.name for d in run.space.read_by("catchphrase")), None)
    pairs = run.benched(variant, config.bench.losses)
    asked: dict[str, list[Alternative]] = {}
    for pair in pairs:
        asked[pair.pair_id] = [
            Alternative("posterior", run.training_block(variant, pair, 0)),
            Alternative("profile", run.test_block(variant, pair, pair.speaker)),
            Alternative("none", None),
        ]
        if other := _other(run, pair, dimension):
            asked[pair.pair_id].append(Alternative("swapped", run.test_block(variant, pair, other)))
    with run.reporter.task(f"likelihood of human replies: {variant.name}") as tick:
        losses = forced.reply_losses(decoder, run.dialogues, pairs, asked, progress=tick)
    rows = [Likelihood(*_parted(key), nats, tokens) for key, (nats, tokens) in losses.items()]
    if dimension:
        phrases = _phrases(run, variant, decoder, dimension)
        rows += [Likelihood(*_parted(key), phrase=p) for key, p in phrases.items()]
    write_likelihoods(run.path(f"losses/{variant.name}.parquet"), rows)


def answer_dialogbench(run: Run, variant: Variant) -> None:
    """A variant's answers to DialogBench's questions, without a persona."""
    bench = run.config.bench
    items = dialogbench.read_items(
        Path(bench.dialogbench or ""), limit=bench.dialogbench_items, seed=run.config.seed
    )
    with run.reporter.task(f"DialogBench: {variant.name}") as tick:
        if variant.endpoint:
            rows = dialogbench.answer_with_endpoint(
                variant.endpoint, items, run.ledger, progress=tick
            )
        else:
            rows = dialogbench.answer_with(run.with_adapter(variant), items, "chat", progress=tick)
    write_answered(run.path(f"dialogbench/{variant.name}.parquet"), rows)


def _parted(key: str) -> tuple[str, str]:
    """Pair id and name of a branch's key."""
    pair_id, _, name = key.rpartition("|")
    return pair_id, name


def _other(run: Run, pair: Pair, dimension: str | None) -> str | None:
    return (
        human_chat.swapped_profile(pair, run.speakers, run.profiles, dimension)
        if dimension
        else None
    )


def _phrases(run: Run, variant: Variant, decoder: Decoder, dimension: str) -> dict[str, float]:
    """Probability of the speaker's own catchphrase under the own and under a swapped profile."""
    bench = run.config.bench
    asked: dict[str, list[tuple[Alternative, str]]] = {}
    chosen: list[Pair] = []
    for pair in run.benched(variant, max(bench.replies, bench.losses, bench.forced)):
        phrase = run.profiles[pair.speaker].persona().value(dimension)
        other = _other(run, pair, dimension)
        if phrase is None or other is None or len(chosen) >= bench.forced:
            continue
        chosen.append(pair)
        shown = {"profile": pair.speaker, "swapped": other}
        blocks = {name: run.test_block(variant, pair, whose) for name, whose in shown.items()}
        asked[pair.pair_id] = [(Alternative(name, block), phrase) for name, block in blocks.items()]
    with run.reporter.task(f"probability of catchphrases: {variant.name}") as tick:
        return forced.phrase_probability(decoder, run.dialogues, chosen, asked, progress=tick)


def corpus_of(run: Run) -> human_chat.Corpus:
    """What the benchmark compares with."""
    return human_chat.Corpus(
        run.encoded,
        run.speakers,
        run.profiles,
        run.personas,
        run.prior,
        run.space,
        run.config.sampling,
        run.imputed,
    )


def _read_replies(run: Run) -> list[Reply]:
    return [r for v in run.variants for r in read_replies(run.path(f"replies/{v.name}.parquet"))]


def score_replies(run: Run) -> None:
    """results.json."""
    replies = _read_replies(run)
    if not replies:
        raise DataError("no replies to score", where=str(run.folder), fix="run the stages before")
    with run.reporter.task("scoring"):
        results = human_chat.score(
            corpus_of(run), run.variants, replies, run.config.bench, seed=run.config.seed
        )
        written = {v.name: said_by(run, v) for v in run.variants}
        results["habits"] = habits.compare(
            run.encoded,
            run.speakers,
            run.personas,
            run.space,
            written,
            {v.name: z for v in run.variants if (z := readings_of(run, v))},
            resamples=run.config.bench.resamples,
            seed=run.config.seed,
        )
    for variant in run.variants:
        path = run.path(f"losses/{variant.name}.parquet")
        rows = [] if variant.endpoint else read_likelihoods(path)
        results["variants"][variant.name] |= forced.summary(rows)
        if run.config.bench.dialogbench:
            answered = read_answered(run.path(f"dialogbench/{variant.name}.parquet"))
            results["variants"][variant.name]["dialogbench"] = dialogbench.scores(answered)
    held = [
        run.personas[pair.pair_id] for pair in run.benched(run.variants[0], run.config.bench.losses)
    ]
    results["kl"] = kl_to_prior(held, run.prior, run.space)["nats"]
    results["timings"] = run.timings
    results["notice"] = run.config.notice
    write_text(run.path("results.json"), json.dumps(results, ensure_ascii=False, indent=1) + "\n")


def draw_report(run: Run) -> None:
    """report.html."""
    from vvae.report.pages import build_report

    with run.reporter.task("drawing the report"):
        page = build_report(
            json.loads(run.path("results.json").read_text("utf-8")),
            run.prior,
            run.space,
            {p.pair_id: p for p in run.pairs},
            run.dialogues,
            _read_replies(run),
            run.config,
            [
                json.loads(path.read_text("utf-8"))
                for path in sorted(run.path("audit").glob("*.json"))
            ],
        )
    write_text(run.path("report.html"), page)
