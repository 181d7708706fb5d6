"""Chats to encodings, prior and profiles."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vvae.config import DataConfig
from vvae.core.errors import ConfigError
from vvae.core.files import digest, write_text
from vvae.core.random import shuffled
from vvae.corpus.forgetting import without
from vvae.corpus.forgotten import Forgotten
from vvae.corpus.formats import Imported, load
from vvae.corpus.importing import DIALOGUES
from vvae.corpus.pairs import eligible_speakers, learnt, make_pairs
from vvae.corpus.tables import read_dialogues, write_dialogues, write_pairs
from vvae.encoders.base import fit_encoder
from vvae.encoders.llm.encoder import LLMConfig, LLMEncoder, Plan, chosen_pairs
from vvae.encoders.ray import ShardReader, encode_on_ray, merged, unanswered, write_shards
from vvae.inference.endpoint.settings import Price
from vvae.latent.prior import count
from vvae.latent.profile import build_profiles
from vvae.latent.tables import write_encodings, write_profiles
from vvae.pipeline.run import Run

__all__ = [
    "count_prior",
    "encode_pairs",
    "import_dialogues",
    "plan_encoding",
    "profile_speakers",
    "split_pairs",
]


def import_dialogues(run: Run) -> None:
    """The chats, as dialogues."""
    data = run.config.data
    with run.reporter.task("reading dialogues"):
        imported = _imported(data)
    dialogues = imported.dialogues
    if gone := Forgotten(run.folder):
        names = {name for d in dialogues for name in d.speakers if name in gone}
        for name in names:
            dialogues = [without(name, d) for d in dialogues]
        dialogues = [d for d in dialogues if len(d.speakers) > 1]
    if data.limit is not None and data.limit < len(dialogues):
        kept = set(shuffled([d.id for d in dialogues], "limit", run.config.seed)[: data.limit])
        dialogues = [d for d in dialogues if d.id in kept]
    write_dialogues(run.path("dialogues.parquet"), dialogues)
    found = {
        "dialogues": len(imported.dialogues),
        "used": len(dialogues),
        "malformed": dict(imported.malformed),
    }
    write_text(run.path("import.json"), json.dumps(found, indent=1) + "\n")
    run.forget_read("dialogues")
    left = "; ".join(f"{n} malformed: {reason}" for reason, n in imported.malformed.items())
    run.reporter.say(f"{len(dialogues):,} dialogues" + (f" ({left})" if left else ""))


def _imported(data: DataConfig) -> Imported:
    """Dialogues of a folder that `vvae import` wrote, or of another source."""
    if (brought := Path(data.path) / DIALOGUES).is_file() and data.format == "auto":
        return Imported(read_dialogues(brought), Counter())
    return load(data.path, format=data.format, malformed_limit=data.malformed_limit)


def split_pairs(run: Run) -> None:
    """Pairs with their sides and windows; too small a corpus stops here."""
    pairs, left_out = make_pairs(run.dialogues.values(), run.config.pairs, seed=run.config.seed)
    eligible = eligible_speakers(pairs, run.config.pairs)
    write_pairs(run.path("pairs.parquet"), pairs)
    run.forget_read("pairs")
    train_side = sum(pair.split == "train" for pair in pairs)
    left = "; ".join(f"{n:,} {reason}" for reason, n in left_out.items())
    run.reporter.say(
        f"{train_side:,} training and {len(pairs) - train_side:,} held-out pairs, {len(eligible)} "
        "speakers to "
        f"benchmark" + (f" (left out: {left})" if left else "")
    )


def encode_pairs(run: Run) -> None:
    """Fits the encoder on the training side and reads z in every reply."""
    config = run.config.encoder
    with run.reporter.task("fitting the encoder") as tick:
        encoder = fit_encoder(config, run.pairs, run.topics, run.space, run.ledger, progress=tick)
    pairs = run.pairs
    if isinstance(encoder, LLMEncoder):
        run.reporter.say(
            f"{encoder.config.model} at {', '.join(encoder.config.base_url)}: {encoder.form}"
        )
        pairs = chosen_pairs(run.pairs, encoder.config, seed=run.config.seed)
    target = run.path("encodings.parquet")
    if run.shards:
        folder = run.path("shards").absolute()
        if isinstance(
            config, LLMConfig
        ):  # a shard knows only what it spent itself, and only its own errors
            part = None if config.max_cost is None else config.max_cost / run.shards
            config = config.model_copy(update={"max_cost": part, "error_limit": 1.0})
        reader = ShardReader(folder, encoder.state(), config, run.space)
        write_shards(folder, pairs, run.dialogues, run.shards)
        with run.reporter.task("encoding shards on Ray") as tick:
            found = encode_on_ray(reader, run.shards, progress=tick)
        if isinstance(encoder, LLMEncoder):
            encoder.check_errors(unanswered(found["pairs"]), len(pairs), found["pairs"])
        write_encodings(target, merged(folder, pairs, run.shards), run.space)
    else:
        with run.reporter.task("encoding replies") as tick:
            encodings = encoder.encode(pairs, run.dialogues, progress=tick)
            ended = write_encodings(target, encodings, run.space)
        found = {
            "encoder": encoder.id,
            "pairs": dict(ended),
            "not_believed": dict(encoder.nulled),
            **encoder.accounts(),
        }
    write_text(run.path("encoder.json"), encoder.state())
    write_text(run.path("encode.json"), json.dumps(found, ensure_ascii=False, indent=1) + "\n")
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
        return encoder.plan(
            chosen_pairs(run.pairs, config, seed=run.config.seed), run.dialogues
        ), config.price


def _told(found: Mapping[str, Any]) -> Iterator[str]:
    """What a person wants to know of an encoding that had its troubles."""
    for title, name in (
        ("replies", "pairs"),
        ("not believed, made null", "not_believed"),
        ("calls", "attempts"),
    ):
        counts: Mapping[str, int] = found.get(name, {})
        if set(counts) - {"ok"}:
            most = sorted(counts.items(), key=lambda item: -item[1])
            yield f"{title}: " + "; ".join(f"{n:,} {reason}" for reason, n in most)
    if "prompt_tokens" in found:
        cost = f", cost {found['cost']:.4f}" if found["cost"] is not None else ""
        yield (
            f"{found['prompt_tokens']:,} prompt and {found['completion_tokens']:,} completion "
            f"tokens{cost}"
        )


def count_prior(run: Run) -> None:
    """Counts the prior over the training replies that were read."""
    encoder = json.loads(run.path("encode.json").read_text("utf-8"))["encoder"]
    ids = [pair.pair_id for pair in learnt(run.encoded, run.config.pairs) if pair.split == "train"]
    personas = (run.personas[pair_id] for pair_id in ids)
    prior = count(personas, run.space, encoder=encoder, corpus=digest(run.path("pairs.parquet")))
    write_text(run.path("prior.json"), prior.to_json())
    run.forget_read("prior", "own_priors", "_imputed")


def profile_speakers(run: Run) -> None:
    """The speakers' profiles."""
    write_profiles(
        run.path("profiles.parquet"), build_profiles(run.encoded, run.personas, run.space)
    )
    run.forget_read("profiles", "speakers", "_benchmark")
