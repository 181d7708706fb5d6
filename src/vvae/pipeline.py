"""The stages in order, each from files to files in one run folder, resumable.

    dialogues ▶ pairs ▶ encode ▶ prior ▶ profiles ▶ train, replies, losses (each variant) ▶ bench ▶ report

A stage writes its outputs whole and then a marker with the hash of its inputs' content and of its config. A second run
skips what is done and redoes what changed; a training stage that was stopped goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vvae import records
from vvae.bench import forced, human_chat
from vvae.config import RunConfig
from vvae.decoder import Alternative, Decoder, load_decoder
from vvae.dialogue import Dialogue, Pair
from vvae.encoder.rules import RULES_VERSION, RulesEncoder
from vvae.engine import GenerationConfig, TransformersEngine
from vvae.errors import DataError
from vvae.importers import load
from vvae.keyed_random import shuffled
from vvae.pairs import benchmark_pairs, eligible_speakers, make_pairs
from vvae.persona import LatentSpace, Persona, load_space
from vvae.prior import Prior, count
from vvae.profile import Profile, build_profiles, completed
from vvae.prompt import PROMPT_VERSION
from vvae.train import Window, plan, train
from vvae.variants import Variant, examples_of, shown_block, training_persona

__all__ = ["STAGES", "Reporter", "Run", "Silent", "run_stages"]

Ticker = Callable[..., None]
"""Called with (done, total) and perhaps a loss."""


class Reporter(Protocol):
    """Where progress goes."""

    def task(self, title: str) -> AbstractContextManager[Ticker]:
        """A piece of long work; the ticker is called as it goes on."""
        ...

    def say(self, text: str) -> None:
        """One line."""
        ...


class Silent:
    """A reporter that says nothing."""

    @contextmanager
    def task(self, title: str) -> Iterator[Ticker]:
        """Ignores progress."""
        yield lambda *_: None

    def say(self, text: str) -> None:
        """Ignores the line."""


class Run:
    """A run folder and what is read from it, each file once."""

    def __init__(self, config: RunConfig, *, reporter: Reporter | None = None) -> None:
        self.config, self.folder, self.reporter = config, Path(config.run), reporter or Silent()
        self.variants = config.resolved_variants
        self.space: LatentSpace = load_space(config.space)

    def path(self, name: str) -> Path:
        """A file of the run."""
        return self.folder / name

    @cached_property
    def dialogues(self) -> dict[str, Dialogue]:
        """Dialogues by id."""
        return {d.id: d for d in records.read_dialogues(self.path("dialogues.parquet"))}

    @cached_property
    def pairs(self) -> list[Pair]:
        """All pairs, in dialogue order."""
        return records.read_pairs(self.path("pairs.parquet"))

    @cached_property
    def personas(self) -> dict[str, Persona]:
        """Pair id -> z read from the reply."""
        return {e.pair_id: e.persona for e in records.read_encodings(self.path("encodings.parquet"))}

    @cached_property
    def prior(self) -> Prior:
        """The prior."""
        return Prior.from_json(self.path("prior.json").read_text("utf-8"), where=str(self.path("prior.json")))

    @cached_property
    def profiles(self) -> dict[str, Profile]:
        """Profiles by speaker."""
        return records.read_profiles(self.path("profiles.parquet"))

    @cached_property
    def speakers(self) -> list[str]:
        """The speakers who can be benchmarked."""
        return eligible_speakers(self.pairs, self.config.pairs)

    @cached_property
    def benched(self) -> list[Pair]:
        """The held-out pairs that are replied to; a smaller measure takes the first of them."""
        bench = self.config.bench
        wanted = max(bench.replies, bench.losses, bench.forced)
        return benchmark_pairs(
            self.pairs, self.speakers, total=wanted, per_speaker=bench.per_speaker, seed=self.config.seed
        )

    @cached_property
    def decoder(self) -> Decoder:
        """The base model, loaded when first used; stages change its adapter."""
        with self.reporter.task(f"loading {self.config.decoder.model}"):
            return load_decoder(self.config.decoder)

    @cached_property
    def generation(self) -> GenerationConfig:
        """Generation that can reach human length: max_new_tokens is the 99th percentile of training replies."""
        chosen = self.config.generate
        if chosen.max_new_tokens is not None:
            return chosen
        sample = [p for p in self.pairs if p.split == "train"][:: max(1, len(self.pairs) // 4000)]
        lengths = [len(self.decoder.tokens(pair.response)) for pair in sample]
        return chosen.model_copy(update={"max_new_tokens": math.ceil(np.percentile(lengths, 99)) + 1})

    def forget_read(self, *names: str) -> None:
        """Drops what was read, after a stage has rewritten it."""
        for name in names:
            self.__dict__.pop(name, None)

    # --- z shown at test time ---

    def test_persona(self, pair: Pair, speaker: str) -> Persona:
        """The persona of a speaker's profile for a pair, complete."""
        return completed(self.profiles[speaker], pair, self.prior, self.space, seed=self.config.seed)

    def test_block(self, variant: Variant, pair: Pair, speaker: str) -> str | None:
        """The z block of a variant at test time."""
        examples = self._examples(speaker) if variant.prompt == "few-shot" else ()
        return shown_block(variant, self.test_persona(pair, speaker), self.space, examples)

    def _examples(self, speaker: str) -> Sequence[str]:
        known = self.__dict__.setdefault("_few_shot", {})
        if speaker not in known:
            known[speaker] = examples_of(speaker, self.pairs, seed=self.config.seed)
        return list(known[speaker])

    def training_block(self, variant: Variant, pair: Pair, draw: int) -> str | None:
        """The z block a variant is trained with for a pair; also its posterior z at test time."""
        persona = training_persona(
            variant,
            pair,
            self.personas[pair.pair_id],
            self.prior,
            self.space,
            self.config.sampling,
            seed=self.config.seed,
            draw=draw,
        )
        examples = self._examples(pair.speaker) if variant.prompt == "few-shot" else ()
        return shown_block(variant, persona, self.space, examples)

    def with_adapter(self, variant: Variant) -> Decoder:
        """The decoder as a variant uses it."""
        if variant.trained:
            self.decoder.load_adapter(self.path(f"adapters/{variant.name}"))
        else:
            self.decoder.drop_adapter()
        return self.decoder


@dataclass(frozen=True)
class Stage:
    """A stage: what it reads, what its result depends on, what it writes, and how."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    settings: Any
    work: Callable[[Run], None]
    group: str
    """The command it belongs to."""
    resumes: bool = False
    """Whether unfinished outputs of the same inputs and settings are used."""


STAGES = ("dialogues", "pairs", "encode", "prior", "profiles", "train", "replies", "losses", "bench", "report")
"""The groups of stages in order; a command runs all up to its own."""


def stages_of(run: Run) -> list[Stage]:
    """The stages of a run, in order."""
    c = run.config
    seed = c.seed
    space = run.space.to_dict()
    corpus = ("dialogues.parquet", "pairs.parquet")
    read = (*corpus, "encodings.parquet", "prior.json", "profiles.parquet")
    source = {} if c.data.path == "byu" else {"file": _digest(Path(c.data.path))}
    stages = [
        Stage("dialogues", (), ("dialogues.parquet", "import.json"), [c.data, source, seed], _dialogues, "dialogues"),
        Stage("pairs", ("dialogues.parquet",), ("pairs.parquet",), [c.pairs, seed], _pairs, "pairs"),
        Stage(
            "encode",
            corpus,
            ("encodings.parquet", "encoder.json"),
            [c.encoder, space, RULES_VERSION],
            _encode,
            "encode",
        ),
        Stage("prior", ("pairs.parquet", "encodings.parquet"), ("prior.json",), [], _prior, "prior"),
        Stage(
            "profiles", ("pairs.parquet", "encodings.parquet"), ("profiles.parquet",), [space], _profiles, "profiles"
        ),
    ]
    for v in run.variants:
        if v.trained:
            settings = [v, c.train, c.decoder, c.sampling, seed, PROMPT_VERSION]
            work = _bind(_train, v)
            stages.append(
                Stage(f"train {v.name}", read, (f"adapters/{v.name}",), settings, work, "train", resumes=True)
            )
    tested = [c.decoder, c.bench.model_dump(exclude={"resamples"}), c.pairs, seed, PROMPT_VERSION]
    for v in run.variants:
        inputs = (*read, f"adapters/{v.name}") if v.trained else read
        output = f"replies/{v.name}.parquet"
        stages.append(
            Stage(f"replies {v.name}", inputs, (output,), [v, c.generate, *tested], _bind(_replies, v), "replies")
        )
    for v in run.variants:
        inputs = (*read, f"adapters/{v.name}") if v.trained else read
        output = f"losses/{v.name}.json"
        stages.append(
            Stage(f"losses {v.name}", inputs, (output,), [v, c.sampling, *tested], _bind(_losses, v), "losses")
        )
    made = (*(f"replies/{v.name}.parquet" for v in run.variants), *(f"losses/{v.name}.json" for v in run.variants))
    settings = [c.variants, c.sampling, c.bench, c.pairs, space, c.notice, seed]
    stages.append(Stage("bench", (*read, *made), ("results.json",), settings, _bench, "bench"))
    stages.append(Stage("report", (*read, *made, "results.json"), ("report.html",), [c.notice], _report, "report"))
    return stages


def _bind(work: Callable[[Run, Variant], None], variant: Variant) -> Callable[[Run], None]:
    return lambda run: work(run, variant)


def run_stages(run: Run, *, until: str = "report") -> None:
    """Runs all stages up to a group, skipping what is done.

    Raises:
        VVAEError: whatever a stage raises; finished stages stay.
    """
    wanted = set(STAGES[: STAGES.index(until) + 1])
    run.folder.mkdir(parents=True, exist_ok=True)
    for torn in [*run.folder.rglob(".*.part"), *run.folder.rglob(".part")]:
        _remove(torn)  # left by a run that was killed while it wrote
    records.write_text(run.path("config.yaml"), run.config.to_yaml())
    for stage in stages_of(run):
        if stage.group not in wanted:
            continue
        key = _key(run, stage)
        marker = run.path(f".stages/{stage.name.replace(' ', '-')}.json")
        state = _state(marker)
        if state.get("done") and state.get("key") == key and all(run.path(o).exists() for o in stage.outputs):
            continue
        if not (stage.resumes and state.get("key") == key):
            for output in stage.outputs:
                _remove(run.path(output))
        before = float(state.get("seconds", 0.0)) if state.get("key") == key else 0.0
        records.write_text(marker, json.dumps({"key": key, "done": False, "seconds": before}))
        started = time.monotonic()
        try:
            stage.work(run)
        except BaseException:
            spent = round(before + time.monotonic() - started, 1)
            records.write_text(marker, json.dumps({"key": key, "done": False, "seconds": spent}))
            raise
        spent = round(before + time.monotonic() - started, 1)
        records.write_text(marker, json.dumps({"key": key, "done": True, "seconds": spent}))


def _state(marker: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(marker.read_text("utf-8")))
    except (OSError, ValueError):
        return {}


def _key(run: Run, stage: Stage) -> str:
    """A hash of the content of a stage's inputs and of its settings."""
    content = {name: _digest(run.path(name)) for name in stage.inputs}
    settings = json.dumps(stage.settings, default=lambda model: model.model_dump(mode="json"), sort_keys=True)
    return blake2b(json.dumps([stage.name, content, settings]).encode(), digest_size=16).hexdigest()


def _digest(path: Path) -> str:
    """Hash of a file, or of all files under a folder; empty where there is none."""
    digest = blake2b(digest_size=16)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if file.is_file():
            with file.open("rb") as opened:
                while block := opened.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# --- the stages -------------------------------------------------------------------------------------------------------


def _dialogues(run: Run) -> None:
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


def _pairs(run: Run) -> None:
    pairs, left_out = make_pairs(run.dialogues.values(), run.config.pairs, seed=run.config.seed)
    eligible = eligible_speakers(pairs, run.config.pairs)
    records.write_pairs(run.path("pairs.parquet"), pairs)
    run.forget_read("pairs", "speakers", "benched")
    train_side = sum(pair.split == "train" for pair in pairs)
    left = "; ".join(f"{n:,} {reason}" for reason, n in left_out.items())
    run.reporter.say(
        f"{train_side:,} training and {len(pairs) - train_side:,} held-out pairs, {len(eligible)} speakers to "
        f"benchmark" + (f" (left out: {left})" if left else "")
    )


def _encode(run: Run) -> None:
    topics = {d.id: prompt for d in run.dialogues.values() if (prompt := d.get("prompt"))}
    with run.reporter.task("fitting the encoder") as tick:
        encoder = RulesEncoder.fit(run.pairs, topics, run.space, run.config.encoder, progress=tick)
    with run.reporter.task("encoding replies") as tick:
        encodings = encoder.encode(run.pairs, progress=tick)
    records.write_encodings(run.path("encodings.parquet"), encodings, run.space)
    records.write_text(run.path("encoder.json"), encoder.state())
    run.forget_read("personas")


def _prior(run: Run) -> None:
    state = json.loads(run.path("encoder.json").read_text("utf-8"))
    encoder = RulesEncoder.from_state(json.dumps(state)).id
    ids = [pair.pair_id for pair in run.pairs if pair.split == "train"]
    personas = (run.personas[pair_id] for pair_id in ids)
    prior = count(personas, run.space, encoder=encoder, corpus=_digest(run.path("pairs.parquet")))
    records.write_text(run.path("prior.json"), prior.to_json())
    run.forget_read("prior")


def _profiles(run: Run) -> None:
    records.write_profiles(run.path("profiles.parquet"), build_profiles(run.pairs, run.personas, run.space))
    run.forget_read("profiles")


def _train(run: Run, variant: Variant) -> None:
    config = run.config
    steps = plan(run.pairs, config.train, seed=config.seed)

    def build(window: Window, draw: int) -> Any:
        asked = {p.pair_id: [Alternative("", run.training_block(variant, p, draw))] for p in window}
        return run.decoder.tree(run.dialogues[window[0].dialogue], window, asked)

    description = {
        "variant": variant.model_dump(mode="json"),
        "space": run.space.to_dict(),
        "prompt_version": PROMPT_VERSION,
        "prior": _digest(run.path("prior.json")),
        "decoder": config.decoder.model_dump(mode="json"),
        "train": config.train.model_dump(mode="json"),
        "sampling": config.sampling.model_dump(mode="json"),
        "seed": config.seed,
    }
    decoder = run.decoder
    folder = run.path(f"adapters/{variant.name}")
    with run.reporter.task(f"training {variant.name}") as tick:
        train(decoder, steps, build, config.train, folder, seed=config.seed, description=description, progress=tick)


def _replies(run: Run, variant: Variant) -> None:
    config, space = run.config, run.space
    wanted = run.benched[: config.bench.replies]
    dimension = next((d.name for d in space.read_by("catchphrase")), None)
    asked: list[tuple[Pair, str]] = [(pair, pair.speaker) for pair in wanted]
    if dimension and variant.z != "none":
        for pair in wanted[: config.bench.swapped]:
            other = human_chat.swapped_profile(pair, run.speakers, run.profiles, dimension)
            asked += [(pair, other)] if other else []
    decoder = run.with_adapter(variant)
    requests = [
        decoder.request(run.dialogues[p.dialogue], p, run.test_block(variant, p, whose), key=f"{p.pair_id}|{whose}")
        for p, whose in asked
    ]
    engine = TransformersEngine(decoder.model, decoder.tokenizer, decoder.stops, bf16=decoder.bf16)
    with run.reporter.task(f"writing replies: {variant.name}") as tick:
        completions = engine.complete(requests, run.generation, seed=config.seed, progress=tick)
    persona = variant.z != "none"
    replies = [
        records.Reply(
            variant.name,
            p.pair_id,
            config.seed,
            whose,
            run.test_persona(p, whose) if persona else None,
            c.text,
            c.finish_reason,
        )
        for (p, whose), c in zip(asked, completions, strict=True)
    ]
    records.write_replies(run.path(f"replies/{variant.name}.parquet"), replies, space)


def _losses(run: Run, variant: Variant) -> None:
    config = run.config
    decoder = run.with_adapter(variant)
    dimension = next((d.name for d in run.space.read_by("catchphrase")), None)
    pairs = run.benched[: config.bench.losses]
    others = {p.pair_id: _other(run, p, dimension) for p in pairs}
    asked = {
        p.pair_id: [
            Alternative("posterior", run.training_block(variant, p, 0)),
            Alternative("profile", run.test_block(variant, p, p.speaker)),
            Alternative("swapped", run.test_block(variant, p, others[p.pair_id] or p.speaker)),
            Alternative("none", None),
        ]
        for p in pairs
    }
    with run.reporter.task(f"likelihood of human replies: {variant.name}") as tick:
        losses = forced.reply_losses(decoder, run.dialogues, pairs, asked, progress=tick)
    found: dict[str, Any] = {"loss_n": len(pairs)}
    for name in ("posterior", "profile", "swapped", "none"):
        of_name = [losses[f"{p.pair_id}|{name}"] for p in pairs]
        found[f"loss_{name}_z"] = round(sum(nats for nats, _ in of_name) / sum(n for _, n in of_name), 4)
    if dimension:
        found["forced"] = _forced(run, variant, decoder, dimension)
    records.write_text(run.path(f"losses/{variant.name}.json"), json.dumps(found, indent=1) + "\n")


def _other(run: Run, pair: Pair, dimension: str | None) -> str | None:
    return human_chat.swapped_profile(pair, run.speakers, run.profiles, dimension) if dimension else None


def _forced(run: Run, variant: Variant, decoder: Decoder, dimension: str) -> dict[str, Any] | None:
    """Probability of the speaker's own catchphrase under the own and under a swapped profile."""
    asked: dict[str, list[tuple[Alternative, str]]] = {}
    chosen: list[Pair] = []
    for pair in run.benched:
        phrase = run.profiles[pair.speaker].persona().value(dimension)
        other = _other(run, pair, dimension)
        if phrase is None or other is None or len(chosen) >= run.config.bench.forced:
            continue
        chosen.append(pair)
        blocks = {"true": run.test_block(variant, pair, pair.speaker), "swapped": run.test_block(variant, pair, other)}
        asked[pair.pair_id] = [(Alternative(name, block), phrase) for name, block in blocks.items()]
    if not chosen:
        return None
    with run.reporter.task(f"probability of catchphrases: {variant.name}") as tick:
        found = forced.phrase_probability(decoder, run.dialogues, chosen, asked, progress=tick)
    means = {n: round(float(np.mean([found[f"{p.pair_id}|{n}"] for p in chosen])), 4) for n in ("true", "swapped")}
    return {**means, "n": len(chosen)}


def _corpus(run: Run) -> human_chat.Corpus:
    return human_chat.Corpus(run.pairs, run.speakers, run.profiles, run.prior, run.space, run.config.sampling)


def _read_replies(run: Run) -> list[records.Reply]:
    return [r for v in run.variants for r in records.read_replies(run.path(f"replies/{v.name}.parquet"))]


def _bench(run: Run) -> None:
    replies = _read_replies(run)
    if not replies:
        raise DataError("no replies to score", where=str(run.folder), fix="run the stages before")
    with run.reporter.task("scoring"):
        results = human_chat.score(_corpus(run), run.variants, replies, run.config.bench, seed=run.config.seed)
    for variant in run.variants:
        losses: Mapping[str, Any] = json.loads(run.path(f"losses/{variant.name}.json").read_text("utf-8"))
        results["variants"][variant.name] |= losses
    results["timings"] = timings(run)
    results["notice"] = run.config.notice
    records.write_text(run.path("results.json"), json.dumps(results, ensure_ascii=False, indent=1) + "\n")


def timings(run: Run) -> dict[str, float]:
    """Seconds each finished stage took, over all its starts."""
    found = {}
    for stage in stages_of(run):
        state = _state(run.path(f".stages/{stage.name.replace(' ', '-')}.json"))
        if state.get("done"):
            found[stage.name] = float(state["seconds"])
    return found


def _report(run: Run) -> None:
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
        )
    records.write_text(run.path("report.html"), page)
