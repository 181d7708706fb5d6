"""What variants write and how likely people's replies are under them, scored."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from vvae.config import RunConfig
from vvae.core.dialogue import Pair, context
from vvae.core.errors import DataError, EndpointError
from vvae.core.files import write_json, write_text
from vvae.core.random import bits64, uniform
from vvae.core.reporting import Progress
from vvae.decoder.model import Branch, Decoder
from vvae.decoder.variants import Variant
from vvae.encoders.in_the_loop import Judge, Task, write_accepted
from vvae.inference.endpoint.client import Prompt, completions
from vvae.inference.engine import Completion, Engine, GenerationConfig, Request
from vvae.inference.prompts import PROMPT_VERSION, chat_messages
from vvae.latent.space import Dimension
from vvae.latent.steering import Demand
from vvae.latent.tables import read_encodings, write_encodings
from vvae.metrics import habits, human_chat, teacher_forcing
from vvae.metrics.latent_analysis import kl_to_prior
from vvae.metrics.metric import WrittenReply, scored
from vvae.metrics.results import Results
from vvae.metrics.tables import LIKELIHOODS, Likelihood, Reply, read_replies, write_replies
from vvae.pipeline.keys import bench_key, decoder_key, sampling_key, test_z_key, variant_key
from vvae.pipeline.run import Run
from vvae.pipeline.stage import Stage
from vvae.pipeline.stages.corpus import READ, encoder_settings

__all__ = ["likelihoods_of", "replies_of", "stages"]

DRAWS = 4
"""Draws of the nulls beside z read from a reply, for a tighter bound."""
MISSED = "missing"
"""How a reply ended that an endpoint never gave."""
MISSING = 0.01
"""Largest share of an endpoint's replies that may be missing."""
BENCHED = {"replies", "per_speaker", "swapped", "losses", "forced", "known"}
"""The settings of the benchmark on which replies and losses depend."""


def stages(run: Run) -> list[Stage]:
    """Return the stages from replies to the report."""
    config, space = run.config, run.space.to_dict()
    measured = {
        "decoder": decoder_key(config.decoder),
        "space": space,
        "bench": config.bench.model_dump(include=BENCHED),
        "pairs": config.pairs,
        "seed": config.seed,
        "prompts": PROMPT_VERSION,
    }
    result: list[Stage] = []
    for variant in run.variants:
        replies = f"replies/{variant.name}.parquet"
        result.append(
            Stage(
                f"replies {variant.name}",
                group="replies",
                inputs=_inputs(variant),
                outputs=(replies,),
                settings={
                    "variant": variant_key(variant),
                    "generate": config.generate,
                    **measured,
                    **test_z_key(variant, config.bench),
                },
                work=partial(write_variant_replies, variant=variant),
            )
        )
        if reads_replies(config):
            result.append(
                Stage(
                    f"readings {variant.name}",
                    group="replies",
                    inputs=("dialogues.parquet", "pairs.parquet", "encoder.json", replies),
                    outputs=(f"readings/{variant.name}.parquet",),
                    settings=encoder_settings(run),
                    work=partial(read_variant_replies, variant=variant),
                )
            )
    for variant in run.variants:
        if not variant.endpoint:  # an endpoint tells no likelihoods
            result.append(
                Stage(
                    f"losses {variant.name}",
                    group="losses",
                    inputs=_inputs(variant),
                    outputs=(f"losses/{variant.name}.parquet",),
                    settings={
                        "variant": variant_key(variant),
                        "sampling": sampling_key(config.sampling),
                        "shown": 3,  # which z, and how many draws; raised with them
                        **measured,
                    },
                    work=partial(measure_losses, variant=variant),
                )
            )
        if _tells_phrases(run, variant):
            result.append(
                Stage(
                    f"phrases {variant.name}",
                    group="losses",
                    inputs=(*_inputs(variant), f"replies/{variant.name}.parquet"),
                    outputs=(f"phrases/{variant.name}.parquet",),
                    settings={
                        "variant": variant_key(variant),
                        "counted": 2,  # as far as the phrase is said; raised with it
                        **measured,
                    },
                    work=partial(measure_phrases, variant=variant),
                )
            )
    outputs = tuple(output for stage in result for output in stage.outputs)
    bench = Stage(
        "bench",
        group="bench",
        inputs=(*READ, *outputs),
        outputs=("results.json",),
        settings={
            "variants": [variant_key(v, whole=True) for v in config.variants],
            "sampling": sampling_key(config.sampling),
            "bench": bench_key(config.bench),
            "pairs": config.pairs,
            "space": space,
            "notice": config.notice,
            "seed": config.seed,
        },
        work=score_replies,
    )
    report = Stage(
        "report",
        group="report",
        inputs=(*READ, *outputs, "results.json", "audit"),
        outputs=("report.html",),
        settings={"notice": config.notice},
        work=draw_report,
    )
    return [*result, bench, report]


def _inputs(variant: Variant) -> tuple[str, ...]:
    return (*READ, f"adapters/{variant.name}") if variant.trained else READ


def reads_replies(config: RunConfig) -> bool:
    """Return whether z is read in the replies written: by default where that calls no model."""
    chosen = config.bench.read_replies
    return not config.encoder.calls_a_model if chosen is None else chosen


# --- replies --------------------------------------------------------------------------------------


def write_variant_replies(run: Run, variant: Variant) -> None:
    """Write a variant's replies to the benchmark's contexts, under own and swapped profiles."""
    config, conditions = run.config, run.conditions(variant)
    pairs = run.benchmarked(config.bench.replies)
    if not pairs:
        fix = "raise pairs.heldout, or pairs.min_heldout_replies where it is 0"
        raise DataError("nobody has a held-out reply to be written anew", fix=fix)
    under: list[tuple[Pair, str]] = [(pair, pair.speaker) for pair in pairs]
    if variant.shows_persona:
        swapped = ((pair, swapped_speaker(run, pair)) for pair in pairs[: config.bench.swapped])
        under += [(pair, other) for pair, other in swapped if other]
    write = _ask_endpoint if variant.endpoint else _generate
    replies = [
        Reply(
            variant.name,
            pair.pair_id,
            config.seed,
            whose,
            conditions.test_persona(pair, whose) if variant.shows_slots else None,
            completion.text,
            completion.finish_reason,
        )
        for (pair, whose), completion in zip(under, write(run, variant, under), strict=True)
        if completion is not None
    ]
    write_replies(run.path(f"replies/{variant.name}.parquet"), replies, run.space)


def swapped_speaker(run: Run, pair: Pair) -> str | None:
    """Return a speaker with another catchphrase, whose profile is swapped in; None without one."""
    dimension = _phrase_dimension(run)
    if dimension is None:
        return None
    return human_chat.swapped_profile(pair, run.speakers, run.profiles, dimension.name)


def _generate(
    run: Run, variant: Variant, under: Sequence[tuple[Pair, str]]
) -> Sequence[Completion | None]:
    """Return replies to (pair, whose profile) by the decoder."""
    decoder, conditions = run.with_adapter(variant), run.conditions(variant)
    requests = [
        decoder.prompter.request(
            run.dialogues[pair.dialogue],
            pair,
            conditions.test_line(pair, whose),
            key=f"{pair.pair_id}|{whose}",
        )
        for pair, whose in under
    ]
    return _written(run, variant, decoder.engine, requests, under, run.generation)


def _written(
    run: Run,
    variant: Variant,
    engine: Engine,
    requests: Sequence[Request],
    under: Sequence[tuple[Pair, str]],
    generation: GenerationConfig,
) -> list[Completion]:
    """The replies, each the first of a variant's candidates that meets what is asked of it."""
    tasks = [
        Task(request, pair, _habits(run, variant, pair, whose))
        for request, (pair, whose) in zip(requests, under, strict=True)
    ]
    with run.reporter.task(f"writing replies: {variant.name}") as tick:
        accepted = write_accepted(
            engine,
            tasks,
            Judge(lambda: run.single_encoder, run.space),
            run.dialogues,
            generation,
            candidates=variant.candidates,
            seed=run.config.seed + variant.seed,
            progress=tick,
        )
    return [one.completion for one in accepted]


def _habits(run: Run, variant: Variant, pair: Pair, whose: str) -> dict[str, Demand]:
    """What a reply must show of the profile's habits, or not: a draw for each, so that it stands in
    as large a share of the replies as of the speaker's own in training.
    """
    demands: dict[str, Demand] = {}
    own = run.corpus.speaker_priors.get(whose) if variant.candidates > 1 else None
    if own is None:
        return demands
    for dimension in scored(run.space).values():
        counted, value = own[dimension.name], run.profiles[whose].persona().value(dimension.name)
        if value is not None:
            rate = counted.counts.get(value, 0) / max(1, counted.observed + counted.nulls)
            draw = uniform("habit", run.config.seed, dimension.name, pair.pair_id, whose)
            demands[dimension.name] = Demand(value, draw < rate)
    return demands


def _ask_endpoint(
    run: Run, variant: Variant, under: Sequence[tuple[Pair, str]]
) -> Sequence[Completion | None]:
    """Return replies to (pair, whose profile) by an endpoint; None where there is no answer.

    Each call and answer is in the ledger.

    Raises:
        EndpointError: too many calls have no answer.
    """
    generate, conditions, prompts = run.config.generate, run.conditions(variant), []
    for pair, whose in under:
        dialogue, line = run.dialogues[pair.dialogue], conditions.test_line(pair, whose)
        messages = chat_messages(
            context(dialogue, pair),
            pair.speaker,
            line if isinstance(line, str) else None,
            named=len(dialogue.speakers) > 2,
        )
        seed = bits64("endpoint reply", run.config.seed + variant.seed, pair.pair_id, whose) % 2**31
        form = {"temperature": generate.temperature, "top_p": generate.top_p, "seed": seed}
        prompts.append(Prompt(messages, form, route=pair.dialogue))
    engine = _EndpointEngine(run, variant, prompts)
    requests = [Request(str(place), (place,)) for place in range(len(prompts))]
    written = _written(run, variant, engine, requests, under, generate)
    missing = engine.missing
    if missing:
        reasons = ", ".join(f"{n:,} {outcome}" for outcome, n in missing.items())
        if missing.total() > MISSING * engine.asked:
            raise EndpointError(
                f"{missing.total():,} of {engine.asked:,} replies have no answer ({reasons})",
                fix="run the same command again; what is answered is kept",
            )
        run.reporter.say(f"{variant.name}: left out without an answer: {reasons}")
    return [None if one.finish_reason == MISSED else one for one in written]


class _EndpointEngine:
    """An endpoint's model as an engine; a request holds the place of its chat for token ids."""

    def __init__(self, run: Run, variant: Variant, prompts: Sequence[Prompt]) -> None:
        assert variant.endpoint is not None
        self._config, self._ledger, self._prompts = variant.endpoint, run.ledger, prompts
        self.missing, self.asked = Counter[str](), 0

    def complete(
        self,
        requests: Sequence[Request],
        config: GenerationConfig,
        *,
        seed: int,
        progress: Progress | None = None,
    ) -> list[Completion]:
        """Return the answers in order; one that is missing is empty, and says so."""
        prompts = [self._prompt(request) for request in requests]
        answers, missing = completions(self._config, prompts, self._ledger, progress=progress)
        self.missing += missing
        self.asked += len(prompts)
        return [
            Completion("", MISSED, 0)
            if answer is None
            else Completion(
                (answer.content or "").strip(), answer.finish or "stop", answer.completion_tokens
            )
            for answer in answers
        ]

    def _prompt(self, request: Request) -> Prompt:
        """Its chat; a further candidate of a reply has another seed."""
        (place,) = request.prompt
        prompt = self._prompts[place]
        if request.key == str(place):
            return prompt
        seed = bits64("candidate", prompt.form["seed"], request.key) % 2**31
        return prompt._replace(form={**prompt.form, "seed": seed})


def read_variant_replies(run: Run, variant: Variant) -> None:
    """Read z in one variant's replies under the own profile, as in people's."""
    pairs = [replace(reply.pair, response=reply.text) for reply in replies_of(run, variant)]
    with run.reporter.task(f"reading replies: {variant.name}") as tick:
        encodings = run.encoder.encode(pairs, run.dialogues, progress=tick)
        write_encodings(run.path(f"readings/{variant.name}.parquet"), encodings, run.space)


def replies_of(run: Run, variant: Variant) -> list[WrittenReply]:
    """Return a variant's replies under the own profile, with what was read in them."""
    path = run.path(f"readings/{variant.name}.parquet")
    encodings = read_encodings(path) if path.exists() else []
    read = {e.pair_id: e.persona for e in encodings if e.status == "ok"}
    replies = read_replies(run.path(f"replies/{variant.name}.parquet"))
    with_pairs = (
        WrittenReply(run.corpus.by_id[r.pair_id], r.profile, r.reply, read.get(r.pair_id))
        for r in replies
    )
    return [reply for reply in with_pairs if reply.profile == reply.pair.speaker]


# --- likelihoods ----------------------------------------------------------------------------------


def measure_losses(run: Run, variant: Variant) -> None:
    """Measure the likelihood of human replies, and of catchphrases in them, under one variant."""
    decoder, conditions = run.with_adapter(variant), run.conditions(variant)
    pairs = run.benchmarked(run.config.bench.losses)
    branches: dict[str, list[Branch]] = {}
    for pair in pairs:
        branches[pair.pair_id] = [
            Branch("posterior", conditions.training_line(pair, 0)),
            Branch("none", None),
            *(Branch(name, line) for name, line in conditions.test_lines(pair).items()),
        ]
        for draw in range(1, DRAWS if variant.samples else 1):
            line = conditions.training_line(pair, draw)
            branches[pair.pair_id].append(Branch(f"posterior {draw}", line))
        if other := swapped_speaker(run, pair):
            line = conditions.test_line(pair, other, "profile")
            branches[pair.pair_id].append(Branch("swapped", line))
    with run.reporter.task(f"likelihood of human replies: {variant.name}") as tick:
        losses = teacher_forcing.reply_losses(
            decoder, run.dialogues, pairs, branches, progress=tick
        )
    rows = [Likelihood(*_parted(key), nats, tokens) for key, (nats, tokens) in losses.items()]
    phrases = _phrases(run, variant, decoder)
    rows += [Likelihood(*_parted(key), phrase=p) for key, p in phrases.items()]
    LIKELIHOODS.write(run.path(f"losses/{variant.name}.parquet"), rows)


def _parted(key: str) -> tuple[str, str]:
    """Return pair id and name of a branch's key."""
    pair_id, _, name = key.rpartition("|")
    return pair_id, name


def _phrases(run: Run, variant: Variant, decoder: Decoder) -> dict[str, float]:
    """Return the probability of the own catchphrase: under the own profile, under what is known of
    it, and under a swapped one.
    """
    bench, dimension = run.config.bench, _phrase_dimension(run)
    if dimension is None:
        return {}
    conditions = run.conditions(variant)
    branches: dict[str, list[tuple[Branch, str]]] = {}
    chosen: list[Pair] = []
    for pair in run.benchmarked(max(bench.replies, bench.losses, bench.forced)):
        if len(chosen) >= bench.forced:
            break
        phrase = run.profiles[pair.speaker].persona().value(dimension.name)
        other = swapped_speaker(run, pair)
        if phrase is None or other is None:
            continue
        chosen.append(pair)
        lines = {
            "profile": conditions.test_line(pair, pair.speaker, "profile"),
            "known": conditions.test_line(pair, pair.speaker, "known"),
            "swapped": conditions.test_line(pair, other, "profile"),
        }
        branches[pair.pair_id] = [(Branch(name, line), phrase) for name, line in lines.items()]
    with run.reporter.task(f"probability of catchphrases: {variant.name}") as tick:
        return teacher_forcing.phrase_probability(
            decoder, run.dialogues, chosen, branches, progress=tick
        )


def measure_phrases(run: Run, variant: Variant) -> None:
    """Measure how often a variant says the own catchphrase in the replies that it wrote."""
    dimension = _phrase_dimension(run)
    assert dimension is not None
    decoder, conditions = run.with_adapter(variant), run.conditions(variant)
    written, blank = [], []
    for reply in replies_of(run, variant):
        pair, text = reply.pair, reply.text
        phrase = run.profiles[reply.profile].persona().value(dimension.name)
        if phrase is not None and not text.strip():
            blank.append(pair.pair_id)
        elif phrase is not None:
            line = conditions.test_line(pair, reply.profile)
            written.append((replace(pair, response=text), line, phrase))
    with run.reporter.task(f"catchphrases in its replies: {variant.name}") as tick:
        found = teacher_forcing.said_in_own(decoder, run.dialogues, written, progress=tick)
    found |= dict.fromkeys(blank, 0.0)
    rows = [Likelihood(pair_id, "written", phrase=times) for pair_id, times in found.items()]
    LIKELIHOODS.write(run.path(f"phrases/{variant.name}.parquet"), rows)


def _phrase_dimension(run: Run) -> Dimension | None:
    """Return the dimension of catchphrases; None in a space without."""
    return scored(run.space).get("CP")


def likelihoods_of(run: Run, variant: Variant, *, wrote: bool = True) -> list[Likelihood]:
    """Return the likelihoods that were measured under a variant.

    Args:
        wrote: with those of the replies that it wrote.
    """
    folders = [] if variant.endpoint else ["losses"]
    folders += ["phrases"] if wrote and _tells_phrases(run, variant) else []
    files = (run.path(f"{folder}/{variant.name}.parquet") for folder in folders)
    return [row for file in files for row in LIKELIHOODS.read(file)]


def _tells_phrases(run: Run, variant: Variant) -> bool:
    """Return whether a variant's replies are plain draws from a decoder at hand: only then its
    probabilities say how often it says a phrase.
    """
    generate = run.config.generate
    plain = variant.candidates == 1 and generate.temperature == 1 and generate.top_p == 1
    return plain and not variant.endpoint and _phrase_dimension(run) is not None


# --- scores ---------------------------------------------------------------------------------------


def _all_replies(run: Run) -> list[Reply]:
    return [r for v in run.variants for r in read_replies(run.path(f"replies/{v.name}.parquet"))]


def score_replies(run: Run) -> None:
    """Write results.json."""
    replies, bench = _all_replies(run), run.config.bench
    if not replies:
        raise DataError("no replies to score", where=str(run.folder), fix="run the stages before")
    with run.reporter.task("scoring"):
        conditions = {v.name: run.conditions(v) for v in run.variants}
        results = human_chat.score(
            run.corpus,
            run.speakers,
            conditions,
            replies,
            bench,
            seed=run.config.seed,
            learned=run.learned_profiles,
        )
        results.habits = habits.compare(
            run.corpus,
            run.speakers,
            {v.name: replies_of(run, v) for v in run.variants},
            resamples=bench.resamples,
            seed=run.config.seed,
        )
    likelihoods = {v.name: likelihoods_of(run, v) for v in run.variants}
    for name, rows in likelihoods.items():
        teacher_forcing.add_summary(results.variants[name], rows)
    human_chat.compare_phrases(
        results, run.corpus, run.speakers, likelihoods, bench, seed=run.config.seed
    )
    held = run.benchmarked(bench.losses)
    posteriors = [run.posteriors[pair.pair_id] for pair in held]
    results.kl = kl_to_prior(posteriors, run.prior, run.space)["nats"]
    for v in run.variants:
        if v.samples and results.kl is not None:
            of_variant = results.variants[v.name]
            of_variant.bound = teacher_forcing.bound(likelihoods[v.name], results.kl)
    results.timings = run.timings
    results.notice = run.config.notice
    write_json(run.path("results.json"), results)


def draw_report(run: Run) -> None:
    """Write report.html."""
    from vvae.report.pages import build_report

    with run.reporter.task("drawing the report"):
        page = build_report(
            Results.model_validate_json(run.path("results.json").read_text("utf-8")),
            run.corpus,
            _all_replies(run),
            run.config,
            [
                json.loads(path.read_text("utf-8"))
                for path in sorted(run.path("audit").glob("*.json"))
            ],
        )
    write_text(run.path("report.html"), page)
