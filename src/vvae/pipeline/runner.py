"""The stages in order, each from files to files in one run folder, resumable.

    dialogues ▶ pairs ▶ encode ▶ prior ▶ profiles
        ▶ train, replies, readings, losses (each variant) ▶ bench ▶ report

A stage writes its outputs whole and then a marker with the hash of its inputs' content and of its
settings. A second run skips what is done and redoes what changed; a training stage that was stopped
goes on from its last checkpoint.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from vvae.config import RunConfig
from vvae.core.files import digest, write_text
from vvae.corpus.importing import DIALOGUES
from vvae.decoder import distributed as workers
from vvae.decoder.variants import Variant
from vvae.encoders.llm.encoder import LLMConfig
from vvae.encoders.llm.question import QUESTION_VERSION
from vvae.encoders.rules.encoder import RULES_VERSION, RulesConfig
from vvae.inference.prompts import PROMPT_VERSION
from vvae.pipeline.run import Run
from vvae.pipeline.stages import corpus, measuring, training

__all__ = ["STAGES", "Stage", "make", "run_stages", "stages_of"]


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


BENCHED = {"replies", "per_speaker", "swapped", "losses", "forced", "known"}
"""The settings of the benchmark on which replies and losses depend."""
STAGES = (
    "dialogues",
    "pairs",
    "encode",
    "prior",
    "profiles",
    "train",
    "replies",
    "losses",
    "bench",
    "report",
)
"""The groups of stages in order; a command runs all up to its own."""


def stages_of(run: Run) -> list[Stage]:
    """The stages of a run, in order."""
    c = run.config
    seed = c.seed
    space = run.space.to_dict()
    chats = ("dialogues.parquet", "pairs.parquet")
    read = (*chats, "encodings.parquet", "prior.json", "profiles.parquet")
    brought = Path(c.data.path) / DIALOGUES
    file = brought if brought.is_file() else Path(c.data.path)
    source = {} if c.data.path == "byu" else {"file": digest(file)}
    read_as = [_reading(c.encoder), space, RULES_VERSION, QUESTION_VERSION]
    found = [
        Stage(
            "dialogues",
            (),
            ("dialogues.parquet", "import.json"),
            [c.data.model_dump(exclude={"consent"}), source, seed],
            corpus.import_dialogues,
            "dialogues",
        ),
        Stage(
            "pairs",
            ("dialogues.parquet",),
            ("pairs.parquet",),
            [c.pairs, seed],
            corpus.split_pairs,
            "pairs",
        ),
        Stage(
            "encode",
            chats,
            ("encodings.parquet", "encoder.json", "encode.json"),
            read_as,
            corpus.encode_pairs,
            "encode",
        ),
        Stage(
            "prior",
            ("pairs.parquet", "encodings.parquet"),
            ("prior.json",),
            [c.pairs],
            corpus.count_prior,
            "prior",
        ),
        Stage(
            "profiles",
            ("pairs.parquet", "encodings.parquet"),
            ("profiles.parquet",),
            [space],
            corpus.profile_speakers,
            "profiles",
        ),
    ]
    described = [v for v in run.variants if v.prompt == "description"]
    for v in described:
        settings = [
            v.seed,
            c.train.pairs,
            c.decoder,
            c.pairs,
            c.bench.model_dump(include={"known"}),
            seed,
            PROMPT_VERSION,
        ]
        target = f"descriptions/{v.name}.json"
        work = _bind(training.describe_speakers, v)
        found.append(Stage(f"describe {v.name}", read, (target,), settings, work, "profiles"))
    for v in run.variants:
        if v.trained:
            settings = [
                _said(v),
                c.train.model_dump(exclude={"tracker"}),
                c.decoder,
                c.pairs,
                c.sampling,
                space,
                seed,
                PROMPT_VERSION,
            ]
            work = _bind(training.train_variant, v)
            seen = (*read, f"descriptions/{v.name}.json") if v in described else read
            found.append(
                Stage(
                    f"train {v.name}",
                    seen,
                    (f"adapters/{v.name}",),
                    settings,
                    work,
                    "train",
                    resumes=True,
                )
            )
    tested = [c.decoder, space, c.bench.model_dump(include=BENCHED), c.pairs, seed, PROMPT_VERSION]
    made: list[str] = []
    for group, own, measure in (
        ("replies", c.generate, measuring.write_variant_replies),
        ("losses", c.sampling, measuring.measure_losses),
    ):
        for v in run.variants:
            if group == "losses" and v.endpoint:
                continue  # an endpoint tells no likelihoods
            inputs = (*read, f"adapters/{v.name}") if v.trained else read
            made.append(f"{group}/{v.name}.parquet")
            work = _bind(measure, v)
            found.append(
                Stage(
                    f"{group} {v.name}", inputs, (made[-1],), [_said(v), own, *tested], work, group
                )
            )
            if group == "replies" and reads_replies(c):
                given = (*chats, "encoder.json", made[-1])
                made.append(f"readings/{v.name}.parquet")
                work = _bind(measuring.read_variant_replies, v)
                found.append(Stage(f"readings {v.name}", given, (made[-1],), read_as, work, group))
    for v in run.variants if c.bench.dialogbench else ():
        asked = [
            _said(v),
            digest(Path(c.bench.dialogbench or "")),
            c.bench.dialogbench_items,
            c.decoder,
            seed,
        ]
        made.append(f"dialogbench/{v.name}.parquet")
        weights = (f"adapters/{v.name}",) if v.trained else ()
        work = _bind(measuring.answer_dialogbench, v)
        found.append(Stage(f"dialogbench {v.name}", weights, (made[-1],), asked, work, "losses"))
    settings = [c.variants, c.sampling, c.bench, c.pairs, space, c.notice, seed]
    found.append(
        Stage(
            "bench", (*read, *made), ("results.json",), settings, measuring.score_replies, "bench"
        )
    )
    found.append(
        Stage(
            "report",
            (*read, *made, "results.json", "audit"),
            ("report.html",),
            [c.notice],
            measuring.draw_report,
            "report",
        )
    )
    return found


def _reading(config: RulesConfig | LLMConfig) -> Any:
    """What encodings depend on: not how fast or for how much money they are got."""
    return (
        {**config.asked(), "limit": config.limit, "sample": config.sample}
        if isinstance(config, LLMConfig)
        else config
    )


def reads_replies(config: RunConfig) -> bool:
    """Whether z is read in the replies written."""
    chosen = config.bench.read_replies
    return not isinstance(config.encoder, LLMConfig) if chosen is None else chosen


def _said(variant: Variant) -> Any:
    """What makes a variant this one: a key that is added later changes no older one."""
    said = variant.model_dump(mode="json", exclude_defaults=True)
    return {**said, "endpoint": variant.endpoint.asked()} if variant.endpoint else said


def _bind(work: Callable[[Run, Variant], None], variant: Variant) -> Callable[[Run], None]:
    return lambda run: work(run, variant)


def run_stages(
    run: Run, *, until: str = "report", skip: Collection[str] = (), config: RunConfig | None = None
) -> None:
    """Runs all stages up to a group, skipping what is done.

    Where several processes came together, all of them train; everything else is done by the first.

    Args:
        skip: names of stages that are left out.
        config: what config.yaml shall say; the run's own by default.

    Raises:
        VVAEError: whatever a stage raises; finished stages stay.
    """
    wanted = set(STAGES[: STAGES.index(until) + 1])
    if workers.first():
        run.folder.mkdir(parents=True, exist_ok=True)
        for torn in [*run.folder.rglob(".*.part"), *run.folder.rglob(".part")]:
            _remove(torn)  # left by a run that was killed while it wrote
        write_text(run.path("config.yaml"), (config or run.config).to_yaml())
    make(
        run, [stage for stage in stages_of(run) if stage.group in wanted and stage.name not in skip]
    )


def make(run: Run, asked: Sequence[Stage]) -> None:
    """Makes stages in order, skipping what is done.

    Raises:
        VVAEError: whatever a stage raises; finished stages stay.
    """
    for stage in asked:
        workers.wait()  # the stage before is written
        key = _key(run, stage)
        marker = run.marker(stage.name)
        state = _state(marker)
        workers.wait()  # all have read the same state
        if (
            state.get("done")
            and state.get("key") == key
            and all(run.path(o).exists() for o in stage.outputs)
        ):
            continue
        if not workers.first():
            if stage.group == "train":
                stage.work(run)
            continue
        if not (stage.resumes and state.get("key") == key):
            for output in stage.outputs:
                _remove(run.path(output))
        before = float(state.get("seconds", 0.0)) if state.get("key") == key else 0.0
        write_text(marker, json.dumps({"key": key, "done": False, "seconds": before}))
        started = time.monotonic()
        try:
            stage.work(run)
        except BaseException:
            spent = round(before + time.monotonic() - started, 1)
            write_text(marker, json.dumps({"key": key, "done": False, "seconds": spent}))
            raise
        spent = round(before + time.monotonic() - started, 1)
        write_text(marker, json.dumps({"key": key, "done": True, "seconds": spent}))
        _hand_back_memory()


def _hand_back_memory() -> None:
    """Returns freed memory to the system: glibc keeps what a stage used, and the next stage's need
    comes on top.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _state(marker: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(marker.read_text("utf-8")))
    except (OSError, ValueError):
        return {}


def _key(run: Run, stage: Stage) -> str:
    """A hash of the content of a stage's inputs and of its settings."""
    content = {name: digest(run.path(name)) for name in stage.inputs}
    settings = json.dumps(stage.settings, default=lambda model: model.model_dump(mode="json"))
    return blake2b(json.dumps([stage.name, content, settings]).encode(), digest_size=16).hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
