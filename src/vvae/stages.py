"""What each stage does: records in, records out. Order, skipping and resuming are the pipeline's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from vvae import records
from vvae.analysis import analyze, kl_to_prior
from vvae.audit.labels import read_labelled
from vvae.audit.scores import against_labels, agreement
from vvae.bench import dialogbench, forced, habits, human_chat
from vvae.bench.habits import Said
from vvae.decoder import Alternative, Decoder, grouped, per_token
from vvae.dialogue import Pair, context
from vvae.encoder.choice import Encoder, fit_encoder
from vvae.encoder.llm import LLMConfig, LLMEncoder, Plan, chosen_pairs
from vvae.endpoint.client import Prompt, completions
from vvae.endpoint.settings import Price
from vvae.engine import Completion, GenerationConfig, Request
from vvae.errors import ConfigError, DataError, EndpointError
from vvae.export import adapter_to_gguf, merge, modelfile
from vvae.importers import load
from vvae.keyed_random import bits64, shuffled
from vvae.pairs import eligible_speakers, learnt, make_pairs
from vvae.persona import Persona
from vvae.population import populations
from vvae.pretrained import gguf_of, hub_name
from vvae.prior import count
from vvae.profile import build_profiles
from vvae.prompt import PROMPT_VERSION, chat_messages, description_request
from vvae.prompter import load_prompter
from vvae.run import Run
from vvae.scale import ShardReader, encode_on_ray, merged, unanswered, write_shards
from vvae.train import plan, planned, train
from vvae.variants import Variant

__all__ = [
    "analyze_z",
    "answer_dialogbench",
    "audit_agreement",
    "audit_labels",
    "corpus_of",
    "count_prior",
    "describe_speakers",
    "draw_report",
    "encode_pairs",
    "export_adapter",
    "import_dialogues",
    "measure_losses",
    "plan_encoding",
    "profile_speakers",
    "read_variant_replies",
    "readings_of",
    "said_by",
    "score_replies",
    "split_pairs",
    "train_variant",
    "write_variant_replies",
]

MISSING = 0.01
"""Largest share of an endpoint's replies that may be missing."""
DESCRIBED_REPLIES, DESCRIPTION_TOKENS = 12, 80
"""Training replies a description is made from, and its length at the most."""


def import_dialogues(run: Run) -> None:
    """The chats, as dialogues."""
    data = run.config.data
    with run.reporter.task("reading dialogues"):
        imported = load(data.path, format=data.format, malformed_limit=data.malformed_limit)
    dialogues = imported.dialogues
    if data.limit is not None and data.limit < len(dialogues):
        kept = set(shuffled([d.id for d in dialogues], "limit", run.config.seed)[: data.limit])
        dialogues = [d for d in dialogues if d.id in kept]
    records.write_dialogues(run.path("dialogues.parquet"), dialogues)
    found = {"dialogues": len(imported.dialogues), "used": len(dialogues), "malformed": dict(imported.malformed)}
    records.write_text(run.path("import.json"), json.dumps(found, indent=1) + "\n")
    run.forget_read("dialogues")
    left = "; ".join(f"{n} malformed: {reason}" for reason, n in imported.malformed.items())
    run.reporter.say(f"{len(dialogues):,} dialogues" + (f" ({left})" if left else ""))


def split_pairs(run: Run) -> None:
    """Pairs with their sides and windows; too small a corpus stops here."""
    pairs, left_out = make_pairs(run.dialogues.values(), run.config.pairs, seed=run.config.seed)
    eligible = eligible_speakers(pairs, run.config.pairs)
    records.write_pairs(run.path("pairs.parquet"), pairs)
    run.forget_read("pairs")
    train_side = sum(pair.split == "train" for pair in pairs)
    left = "; ".join(f"{n:,} {reason}" for reason, n in left_out.items())
    run.reporter.say(
        f"{train_side:,} training and {len(pairs) - train_side:,} held-out pairs, {len(eligible)} speakers to "
        f"benchmark" + (f" (left out: {left})" if left else "")
    )


def encode_pairs(run: Run) -> None:
    """Fits the encoder on the training side and reads z in every reply."""
    config = run.config.encoder
    with run.reporter.task("fitting the encoder") as tick:
        encoder = fit_encoder(config, run.pairs, run.topics, run.space, run.ledger, progress=tick)
    pairs = run.pairs
    if isinstance(encoder, LLMEncoder):
        run.reporter.say(f"{encoder.config.model} at {', '.join(encoder.config.base_url)}: {encoder.form}")
        pairs = chosen_pairs(run.pairs, encoder.config, seed=run.config.seed)
    target = run.path("encodings.parquet")
    if run.shards:
        folder = run.path("shards").absolute()
        if isinstance(config, LLMConfig):  # a shard knows only what it spent itself, and only its own errors
            part = None if config.max_cost is None else config.max_cost / run.shards
            config = config.model_copy(update={"max_cost": part, "error_limit": 1.0})
        reader = ShardReader(folder, encoder.state(), config, run.space)
        write_shards(folder, pairs, run.dialogues, run.shards)
        with run.reporter.task("encoding shards on Ray") as tick:
            found = encode_on_ray(reader, run.shards, progress=tick)
        if isinstance(encoder, LLMEncoder):
            encoder.check_errors(unanswered(found["pairs"]), len(pairs), found["pairs"])
        records.write_encodings(target, merged(folder, pairs, run.shards), run.space)
    else:
        with run.reporter.task("encoding replies") as tick:
            encodings = encoder.encode(pairs, run.dialogues, progress=tick)
            ended = records.write_encodings(target, encodings, run.space)
        found = {
            "encoder": encoder.id,
            "pairs": dict(ended),
            "not_believed": dict(encoder.nulled),
            **encoder.accounts(),
        }
    records.write_text(run.path("encoder.json"), encoder.state())
    records.write_text(run.path("encode.json"), json.dumps(found, ensure_ascii=False, indent=1) + "\n")
    run.forget_read("personas", "encoded")
    for line in _told(found):
        run.reporter.say(line)


def plan_encoding(run: Run) -> tuple[Plan, Price | None]:
    """What encoding would take of a language model, without a call, and the price of tokens.

    Raises:
        ConfigError: the encoder of the run is none.
    """
    config = run.config.encoder
    if not isinstance(config, LLMConfig):
        fix = "just run it: labelling functions call nothing"
        raise ConfigError("the encoder is no language model", where="--dry-run", fix=fix)
    encoder = LLMEncoder.fit(run.pairs, run.topics, run.space, config, run.ledger)
    with run.reporter.task("counting tokens"):
        return encoder.plan(chosen_pairs(run.pairs, config, seed=run.config.seed), run.dialogues), config.price


def _told(found: Mapping[str, Any]) -> Iterator[str]:
    """What a person wants to know of an encoding that had its troubles."""
    for title, name in (("replies", "pairs"), ("not believed, made null", "not_believed"), ("calls", "attempts")):
        counts: Mapping[str, int] = found.get(name, {})
        if set(counts) - {"ok"}:
            most = sorted(counts.items(), key=lambda item: -item[1])
            yield f"{title}: " + "; ".join(f"{n:,} {reason}" for reason, n in most)
    if "prompt_tokens" in found:
        cost = f", cost {found['cost']:.4f}" if found["cost"] is not None else ""
        yield f"{found['prompt_tokens']:,} prompt and {found['completion_tokens']:,} completion tokens{cost}"


def count_prior(run: Run) -> None:
    """Counts the prior over the training replies that were read."""
    encoder = json.loads(run.path("encode.json").read_text("utf-8"))["encoder"]
    ids = [pair.pair_id for pair in learnt(run.encoded, run.config.pairs) if pair.split == "train"]
    personas = (run.personas[pair_id] for pair_id in ids)
    prior = count(personas, run.space, encoder=encoder, corpus=records.digest(run.path("pairs.parquet")))
    records.write_text(run.path("prior.json"), prior.to_json())
    run.forget_read("prior", "own_priors", "_imputed")


def profile_speakers(run: Run) -> None:
    """The speakers' profiles."""
    records.write_profiles(run.path("profiles.parquet"), build_profiles(run.encoded, run.personas, run.space))
    run.forget_read("profiles", "speakers", "_benchmark")


def describe_speakers(run: Run, variant: Variant) -> None:
    """Descriptions in free text of the speakers a variant meets; its base model writes them."""
    config, prompter = run.config, run.decoder
    steps = plan(learnt(run.encoded, config.pairs), config.train, seed=config.seed + variant.seed)
    described = sorted({*run.speakers, *(pair.speaker for pair in planned(steps))})
    shown = {s: run.examples(s, DESCRIBED_REPLIES) for s in described}
    asked = [
        Request(s, prompter.tokens(description_request(prompter.frame, replies)))
        for s, replies in shown.items()
        if replies
    ]
    settings = GenerationConfig(temperature=0, max_new_tokens=DESCRIPTION_TOKENS)
    prompter.drop_adapter()
    with run.reporter.task(f"describing speakers: {variant.name}") as tick:
        written = prompter.engine.complete(asked, settings, seed=config.seed, progress=tick)
    found = {request.key: " ".join(c.text.split()) for request, c in zip(asked, written, strict=True)}
    records.write_text(run.path(f"descriptions/{variant.name}.json"), json.dumps(found, ensure_ascii=False, indent=1))


def train_variant(run: Run, variant: Variant) -> None:
    """The adapter of one variant."""
    config = run.config
    seed = config.seed + variant.seed
    steps = plan(learnt(run.encoded, config.pairs), config.train, seed=seed)
    description = {
        "variant": variant.model_dump(mode="json"),
        "space": run.space.to_dict(),
        "prompt_version": PROMPT_VERSION,
        "prior": records.digest(run.path("prior.json")),
        "decoder": config.decoder.model_dump(mode="json"),
        "train": config.train.model_dump(mode="json"),
        "sampling": config.sampling.model_dump(mode="json"),
        "seed": seed,
    }
    build = partial(run.training_tree, variant)
    folder = run.path(f"adapters/{variant.name}")
    validate = None
    if config.train.patience:
        if sum(v.trained for v in run.variants) > 1:
            fix = "leave out train.patience, or train one variant"
            raise ConfigError("variants that stop early cannot be compared", where="train.patience", fix=fix)
        validate = _validation(run, variant)
    with run.reporter.task(f"training {variant.name}") as tick:
        train(
            run.decoder,
            steps,
            build,
            config.train,
            folder,
            seed=seed,
            description=description,
            speakers=sorted({pair.speaker for pair in planned(steps)}) if variant.prompt == "voice" else (),
            progress=tick,
            say=run.reporter.say,
            validate=validate,
        )


def _validation(run: Run, variant: Variant) -> Callable[[], float]:
    """What measures the loss per token on held-out pairs, with z as in training; the same pairs and draws each time."""
    held = [pair for pair in learnt(run.encoded, run.config.pairs) if pair.split == "heldout"]
    ids = [pair.pair_id for pair in held]
    chosen = shuffled(held, "validation", run.config.seed, name=ids)[: run.config.train.validation_pairs]
    trees = [run.training_tree(variant, window, 0) for window in grouped(chosen).values()]
    return lambda: per_token(run.decoder.losses(trees, budget=run.config.train.token_budget).values())


def export_adapter(run: Run, variant: Variant, *, gguf: bool, merged: bool, base: str | None = None) -> list[Path]:
    """A trained adapter as other software wants it, under `export/`; returns what was written.

    Args:
        base: what the Modelfile starts from; the small model's own file or the base's name by default.
    """
    model, adapter = run.config.decoder.model, run.path(f"adapters/{variant.name}")
    folder = run.path(f"export/{variant.name}")
    written = []
    if gguf:
        with run.reporter.task("writing a GGUF adapter"):
            adapter_to_gguf(adapter, model, folder / "adapter.gguf")
        # Labels only: what else the prior counts are people's own words.
        labels = [f"{d.name}: {next(iter(d.labels))}" for d in run.space.dimensions if d.labels]
        example = f"[persona] {'; '.join(labels)}"
        modelfile(base or str(gguf_of(model) or hub_name(model)), load_prompter(model).frame, example, folder)
        written += [folder / "adapter.gguf", folder / "Modelfile"]
    if merged:
        decoder = run.with_adapter(variant)
        with run.reporter.task("merging the adapter into its base"):
            merge(decoder, folder / "merged")
        written.append(folder / "merged")
    return written


def analyze_z(run: Run, groups: Mapping[str, str] | None = None) -> dict[str, Any]:
    """analysis.json and analysis.html of an encoded run.

    Args:
        groups: speaker -> one of two groups, to be compared.
    """
    from vvae.report import build_analysis

    train = [pair for pair in learnt(run.encoded, run.config.pairs) if pair.split == "train"]
    with run.reporter.task("analysing z"):
        found = analyze(train, run.personas, run.dialogues, run.prior, run.space, seed=run.config.seed)
    if groups:
        with run.reporter.task("comparing groups"):
            written = {v.name: said_by(run, v) for v in run.variants if run.path(f"replies/{v.name}.parquet").exists()}
            found["populations"] = populations(
                run.encoded, run.personas, run.space, groups, written, seed=run.config.seed
            )
    records.write_text(run.path("analysis.json"), json.dumps(found, ensure_ascii=False, indent=1) + "\n")
    records.write_text(run.path("analysis.html"), build_analysis(found, run.space, run.folder.name))
    return found


def audit_labels(run: Run, mapping: Path, *, fit: bool) -> dict[str, Any]:
    """Scores an encoder against labelled data.

    Args:
        fit: fit the encoder of the config on that data (its labels are not looked at), in place of the run's own.
    """
    labelled = read_labelled(mapping, run.space, window_tokens=run.config.pairs.window_tokens)
    config = run.config.encoder
    if fit:
        with run.reporter.task("fitting the encoder") as tick:
            encoder: Encoder = fit_encoder(config, labelled.pairs, {}, run.space, run.ledger, progress=tick)
    else:
        encoder = run.encoder
    with run.reporter.task(f"reading {labelled.name}") as tick:
        encodings = list(encoder.encode(labelled.pairs, labelled.dialogues, progress=tick))
    personas = {e.pair_id: e.persona for e in encodings if e.status == "ok"}
    dialogue_of = {pair.pair_id: pair.dialogue for pair in labelled.pairs}
    return {
        "kind": "labels",
        "name": labelled.name,
        "encoder": encoder.id,
        "utterances": len(labelled.pairs),
        "unread": len(labelled.pairs) - len(personas),
        "left_out": dict(labelled.left_out),
        "dimensions": against_labels(personas, labelled.gold, run.space, dialogue_of, seed=run.config.seed),
    }


def audit_agreement(run: Run, other: Run) -> dict[str, Any]:
    """Scores two runs' encoders against each other, on the replies that both read.

    Raises:
        DataError: they share none.
    """
    if not set(run.personas) & set(other.personas):
        fix = "give two runs on the same chats"
        raise DataError("the runs share no reply", where=f"{run.folder}, {other.folder}", fix=fix)
    dialogue_of = {pair.pair_id: pair.dialogue for pair in run.pairs}
    return {
        "kind": "agreement",
        "name": f"{run.folder.name} and {other.folder.name}",
        "encoder": run.encoder.id,
        "other": other.encoder.id,
        "dimensions": agreement(run.personas, other.personas, run.space, dialogue_of, seed=run.config.seed),
    }


def write_variant_replies(run: Run, variant: Variant) -> None:
    """One variant's replies to the benchmark's contexts, under the own and under swapped profiles."""
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
        records.Reply(
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
    records.write_replies(run.path(f"replies/{variant.name}.parquet"), replies, space)


def _generated(run: Run, variant: Variant, asked: Sequence[tuple[Pair, str]]) -> Sequence[Completion | None]:
    """Replies to (pair, whose profile) by the decoder."""
    decoder = run.with_adapter(variant)
    requests = [
        decoder.request(run.dialogues[p.dialogue], p, run.test_block(variant, p, whose), key=f"{p.pair_id}|{whose}")
        for p, whose in asked
    ]
    with run.reporter.task(f"writing replies: {variant.name}") as tick:
        return decoder.engine.complete(requests, run.generation, seed=run.config.seed, progress=tick)


def _asked_endpoint(run: Run, variant: Variant, asked: Sequence[tuple[Pair, str]]) -> Sequence[Completion | None]:
    """Replies to (pair, whose profile) by an endpoint, each call and answer in the ledger; None where there is none.

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
            raise EndpointError(f"{missing.total():,} of {len(asked):,} replies have no answer ({reasons})", fix=fix)
        run.reporter.say(f"{variant.name}: left out without an answer: {reasons}")
    return [
        None if a is None else Completion((a.content or "").strip(), a.finish or "stop", a.completion_tokens)
        for a in answers
    ]


def read_variant_replies(run: Run, variant: Variant) -> None:
    """z in one variant's replies under the own profile, as the encoder reads it in people's."""
    said = said_by(run, variant)
    pairs = [replace(one.pair, response=one.text) for one in said]
    with run.reporter.task(f"reading replies: {variant.name}") as tick:
        encodings = run.encoder.encode(pairs, run.dialogues, progress=tick)
        records.write_encodings(run.path(f"readings/{variant.name}.parquet"), encodings, run.space)


def said_by(run: Run, variant: Variant) -> list[Said]:
    """A variant's replies under the own profile."""
    by_id = {pair.pair_id: pair for pair in run.encoded}
    replies = records.read_replies(run.path(f"replies/{variant.name}.parquet"))
    said = (Said(by_id[r.pair_id], r.profile, r.reply) for r in replies)
    return [one for one in said if one.profile == one.pair.speaker]


def readings_of(run: Run, variant: Variant) -> dict[str, Persona]:
    """Pair id -> z read in a variant's replies; none where they were not read."""
    path = run.path(f"readings/{variant.name}.parquet")
    return {e.pair_id: e.persona for e in records.read_encodings(path) if e.status == "ok"} if path.exists() else {}


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
    rows = [records.Likelihood(*_parted(key), nats, tokens) for key, (nats, tokens) in losses.items()]
    if dimension:
        phrases = _phrases(run, variant, decoder, dimension)
        rows += [records.Likelihood(*_parted(key), phrase=p) for key, p in phrases.items()]
    records.write_likelihoods(run.path(f"losses/{variant.name}.parquet"), rows)


def answer_dialogbench(run: Run, variant: Variant) -> None:
    """A variant's answers to DialogBench's questions, without a persona."""
    bench = run.config.bench
    items = dialogbench.read_items(Path(bench.dialogbench or ""), limit=bench.dialogbench_items, seed=run.config.seed)
    with run.reporter.task(f"DialogBench: {variant.name}") as tick:
        if variant.endpoint:
            rows = dialogbench.answer_with_endpoint(variant.endpoint, items, run.ledger, progress=tick)
        else:
            rows = dialogbench.answer_with(run.with_adapter(variant), items, "chat", progress=tick)
    records.write_answered(run.path(f"dialogbench/{variant.name}.parquet"), rows)


def _parted(key: str) -> tuple[str, str]:
    """Pair id and name of a branch's key."""
    pair_id, _, name = key.rpartition("|")
    return pair_id, name


def _other(run: Run, pair: Pair, dimension: str | None) -> str | None:
    return human_chat.swapped_profile(pair, run.speakers, run.profiles, dimension) if dimension else None


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


def _read_replies(run: Run) -> list[records.Reply]:
    return [r for v in run.variants for r in records.read_replies(run.path(f"replies/{v.name}.parquet"))]


def score_replies(run: Run) -> None:
    """results.json."""
    replies = _read_replies(run)
    if not replies:
        raise DataError("no replies to score", where=str(run.folder), fix="run the stages before")
    with run.reporter.task("scoring"):
        results = human_chat.score(corpus_of(run), run.variants, replies, run.config.bench, seed=run.config.seed)
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
        rows = [] if variant.endpoint else records.read_likelihoods(path)
        results["variants"][variant.name] |= forced.summary(rows)
        if run.config.bench.dialogbench:
            answered = records.read_answered(run.path(f"dialogbench/{variant.name}.parquet"))
            results["variants"][variant.name]["dialogbench"] = dialogbench.scores(answered)
    held = [run.personas[pair.pair_id] for pair in run.benched(run.variants[0], run.config.bench.losses)]
    results["kl"] = kl_to_prior(held, run.prior, run.space)["nats"]
    results["timings"] = run.timings
    results["notice"] = run.config.notice
    records.write_text(run.path("results.json"), json.dumps(results, ensure_ascii=False, indent=1) + "\n")


def draw_report(run: Run) -> None:
    """report.html."""
    from vvae.report import build_report

    with run.reporter.task("drawing the report"):
        page = build_report(
            json.loads(run.path("results.json").read_text("utf-8")),
            run.prior,
            run.space,
            {p.pair_id: p for p in run.pairs},
            run.dialogues,
            _read_replies(run),
            run.config,
            [json.loads(path.read_text("utf-8")) for path in sorted(run.path("audit").glob("*.json"))],
        )
    records.write_text(run.path("report.html"), page)
