"""Chats to encodings, prior and profiles."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vvae.core.dialogue import Dialogue, Pair
from vvae.core.files import digest, write_json, write_text
from vvae.core.random import shuffled
from vvae.corpus.forgetting import without
from vvae.corpus.forgotten import Forgotten
from vvae.corpus.importing import DIALOGUES
from vvae.corpus.loading import load_with_account
from vvae.corpus.pairs import eligible_speakers, learned_pairs, pairs_with_account
from vvae.corpus.tables import PAIRS, write_dialogues
from vvae.encoders.base import Encoder
from vvae.encoders.llm.encoder import Plan
from vvae.encoders.ray import ShardReader, encode_on_ray, merged, unanswered, write_shards
from vvae.latent.prior import count
from vvae.latent.profile import build_profiles
from vvae.latent.tables import write_encodings, write_profiles
from vvae.pipeline.run import Run
from vvae.pipeline.stage import Stage

__all__ = ["READ", "encoder_settings", "import_dialogues", "plan_encoding", "stages"]

READ = (
    "dialogues.parquet",
    "pairs.parquet",
    "encodings.parquet",
    "prior.json",
    "profiles.parquet",
)
"""What these stages make, and all later ones read."""


def stages(run: Run, *, shards: int | None = None) -> list[Stage]:
    """Return the stages from chats to profiles."""
    config, space = run.config, run.space.to_dict()
    from_import = Path(config.data.path) / DIALOGUES
    file = from_import if from_import.is_file() else Path(config.data.path)
    encoded = ("pairs.parquet", "encodings.parquet")
    return [
        Stage(
            "dialogues",
            group="dialogues",
            inputs=(),
            outputs=("dialogues.parquet", "import.json"),
            settings={
                "data": config.data.model_dump(exclude={"consent"}),
                "source": {} if config.data.path == "byu" else {"file": digest(file)},
                "seed": config.seed,
            },
            work=import_dialogues,
        ),
        Stage(
            "pairs",
            group="pairs",
            inputs=("dialogues.parquet",),
            outputs=("pairs.parquet",),
            settings={"pairs": config.pairs, "seed": config.seed},
            work=split_pairs,
        ),
        Stage(
            "encode",
            group="encode",
            inputs=("dialogues.parquet", "pairs.parquet"),
            outputs=("encodings.parquet", "encoder.json", "encode.json"),
            settings=encoder_settings(run) | _read_settings(run),
            work=partial(encode_pairs, shards=shards),
        ),
        Stage(
            "prior",
            group="prior",
            inputs=encoded,
            outputs=("prior.json",),
            settings={"pairs": config.pairs},
            work=count_prior,
        ),
        Stage(
            "profiles",
            group="profiles",
            inputs=encoded,
            outputs=("profiles.parquet",),
            settings={"space": space},
            work=profile_speakers,
        ),
    ]


def encoder_settings(run: Run) -> dict[str, Any]:
    """Return what the encoder's readings depend on."""
    return {str(place): value for place, value in enumerate(run.config.encoder.key(run.space))}


def _read_pairs(run: Run) -> Sequence[Pair]:
    """The pairs that are read: all, or only those who can be benchmarked. Of the others the encoder
    knows the words, against which a habit is measured.
    """
    pairs, config = run.pairs, run.config.pairs
    return learned_pairs(pairs, config) if config.speakers == "benchmarked" else pairs


def _read_settings(run: Run) -> dict[str, Any]:
    return {"pairs": run.config.pairs} if run.config.pairs.speakers == "benchmarked" else {}


def import_dialogues(run: Run) -> None:
    """Write the chats as dialogues, and import.json."""
    data = run.config.data
    with run.reporter.task("reading dialogues"):
        imported = load_with_account(
            data.path, format=data.format, malformed_limit=data.malformed_limit
        )
    gone = Forgotten(run.folder)
    names = {n for d in imported.dialogues for n in d.speakers if n in gone} if gone else set()
    ids: set[str] | None = None
    if data.limit is not None and data.limit < len(imported.dialogues):
        present = [d.id for d in _remaining(imported.dialogues, names)]
        ids = set(shuffled(present, "limit", run.config.seed)[: data.limit])
    used = 0

    def counted() -> Iterator[Dialogue]:
        nonlocal used
        for dialogue in _remaining(imported.dialogues, names):
            if ids is None or dialogue.id in ids:
                used += 1
                yield dialogue

    write_dialogues(run.path("dialogues.parquet"), counted())
    account = {
        "dialogues": len(imported.dialogues),
        "used": used,
        "malformed": dict(imported.malformed),
    }
    write_json(run.path("import.json"), account)
    malformed = "; ".join(f"{n} malformed: {reason}" for reason, n in imported.malformed.items())
    run.reporter.say(f"{used:,} dialogues" + (f" ({malformed})" if malformed else ""))


def _remaining(dialogues: Iterable[Dialogue], gone: Collection[str]) -> Iterator[Dialogue]:
    """Dialogues without those who were taken out; with fewer than two people left, not at all."""
    for dialogue in dialogues:
        for name in gone:
            dialogue = without(name, dialogue)
        if len(dialogue.speakers) > 1:
            yield dialogue


def split_pairs(run: Run) -> None:
    """Write pairs with their sides and windows; too small a corpus stops here."""
    pairs, left_out = pairs_with_account(
        run.dialogues.values(), run.config.pairs, seed=run.config.seed
    )
    eligible = eligible_speakers(pairs, run.config.pairs)
    PAIRS.write(run.path("pairs.parquet"), pairs)
    train = sum(pair.split == "train" for pair in pairs)
    reasons = "; ".join(f"{n:,} {reason}" for reason, n in left_out.items())
    run.reporter.say(
        f"{train:,} training and {len(pairs) - train:,} held-out pairs, {len(eligible)} speakers "
        "to benchmark" + (f" (left out: {reasons})" if reasons else "")
    )


def encode_pairs(run: Run, shards: int | None = None) -> None:
    """Fit the encoder on the training split and read z in every reply."""
    settings, seed = run.config.encoder, run.config.seed
    with run.reporter.task("fitting the encoder") as tick:
        encoder = settings.fit(
            run.pairs, run.space, topics=run.topics, ledger=run.ledger, progress=tick
        )
    if about := encoder.about():
        run.reporter.say(about)
    pairs = settings.subset(_read_pairs(run), seed=seed)
    if shards:
        account = _encode_shards(run, encoder, pairs, shards)
    else:
        with run.reporter.task("encoding replies") as tick:
            encodings = encoder.encode(pairs, run.dialogues, progress=tick)
            ended = write_encodings(run.path("encodings.parquet"), encodings, run.space)
        account = {
            "encoder": encoder.id,
            "pairs": dict(ended),
            "not_believed": dict(encoder.rejected),
            **encoder.accounts(),
        }
    write_text(run.path("encoder.json"), encoder.state())
    write_json(run.path("encode.json"), account)
    for line in _account(account):
        run.reporter.say(line)


def _encode_shards(
    run: Run, encoder: Encoder, pairs: Sequence[Pair], shards: int
) -> dict[str, Any]:
    folder = run.path("shards").absolute()
    settings = run.config.encoder.for_shard(shards)
    reader = ShardReader(folder, encoder.state(), settings, run.space)
    write_shards(folder, pairs, run.dialogues, shards)
    with run.reporter.task("encoding shards on Ray") as tick:
        account = encode_on_ray(reader, shards, progress=tick)
    encoder.check_errors(unanswered(account["pairs"]), len(pairs), account["pairs"])
    write_encodings(run.path("encodings.parquet"), merged(folder, pairs, shards), run.space)
    return account


def plan_encoding(run: Run) -> Plan:
    """Return what encoding would take of a language model, without a call.

    Raises:
        ConfigError: the encoder of the run is none.
    """
    with run.reporter.task("counting tokens"):
        return run.config.encoder.plan(
            _read_pairs(run),
            run.space,
            topics=run.topics,
            dialogues=run.dialogues,
            ledger=run.ledger,
            seed=run.config.seed,
        )


def _account(account: Mapping[str, Any]) -> Iterator[str]:
    """What a person wants to know of an encoding that had its troubles."""
    for title, name in (
        ("replies", "pairs"),
        ("not accepted, made null", "not_believed"),
        ("calls", "attempts"),
    ):
        counts: Mapping[str, int] = account.get(name, {})
        if set(counts) - {"ok"}:
            most = sorted(counts.items(), key=lambda item: -item[1])
            yield f"{title}: " + "; ".join(f"{n:,} {reason}" for reason, n in most)
    if "prompt_tokens" in account:
        cost = f", cost {account['cost']:.4f}" if account["cost"] is not None else ""
        yield (
            f"{account['prompt_tokens']:,} prompt and {account['completion_tokens']:,} completion "
            f"tokens{cost}"
        )


def count_prior(run: Run) -> None:
    """Write the prior, counted over the training replies that were read."""
    encoder = json.loads(run.path("encode.json").read_text("utf-8"))["encoder"]
    pairs = learned_pairs(run.valid_pairs, run.config.pairs)
    ids = [pair.pair_id for pair in pairs if pair.split == "train"]
    personas = (run.posteriors[pair_id] for pair_id in ids)
    prior = count(personas, run.space, encoder=encoder, corpus=digest(run.path("pairs.parquet")))
    write_text(run.path("prior.json"), prior.to_json())


def profile_speakers(run: Run) -> None:
    """Write the speakers' profiles."""
    write_profiles(
        run.path("profiles.parquet"), build_profiles(run.valid_pairs, run.posteriors, run.space)
    )
