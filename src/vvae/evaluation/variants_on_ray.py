"""A study's variants and seeds as Ray tasks: none needs another.

All share the run folder, on a file system that every worker sees, and the folder that the study is
run from. What they need in common is made
before: chats, encodings, prior, profiles. A task trains one variant with one seed, lets it write
and measures it, as a process alone would; one whose worker dies is started again and goes on from
its last checkpoint. A task takes a GPU where the cluster has any, else a core.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from vvae.config import RunConfig
from vvae.core.cluster import on_cluster
from vvae.core.errors import UserError, VVAEError
from vvae.core.reporting import Progress
from vvae.decoder.variants import Variant
from vvae.pipeline.run import Run
from vvae.pipeline.runner import make, stages_of

__all__ = ["make_on_ray"]

GROUPS = ("profiles", "train", "replies", "losses")
RETRIES = 3
"""Times that a task whose worker died is started again."""


def make_on_ray(
    config: RunConfig,
    variants: Sequence[Variant],
    silent: Collection[str],
    *,
    progress: Progress | None = None,
) -> None:
    """Make what a study measures of variants, each in a task of its own.

    Args:
        variants: as the run folder holds them, their seeds in their names.
        silent: stages that are left out.

    Raises:
        ModelError: ray is not installed.
        EndpointError: there is no cluster at RAY_ADDRESS.
        UserError: a task failed; the others are finished first.
    """
    with on_cluster() as ray:
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
        remote = ray.remote(num_gpus=gpus, num_cpus=1, max_retries=RETRIES)(_made)
        settings, here = config.model_dump_json(), str(Path.cwd())
        waiting = [
            remote.remote(settings, variant.model_dump_json(), sorted(silent), here)
            for variant in variants
        ]
        failed: list[str] = []
        while waiting:
            (done,), waiting = ray.wait(waiting, num_returns=1)
            try:
                said = ray.get(done)
            except ray.exceptions.RayError as error:  # a worker or node that died, out of memory
                said = f"a task ended with {type(error).__name__}"
            failed += [said] if said else []
            if progress:
                progress(len(variants) - len(waiting), len(variants))
        if failed:
            fix = "run the same command again; what is done is kept"
            raise UserError(failed[0], where=f"{len(failed)} of {len(variants)} tasks", fix=fix)


def _made(config: str, variant: str, silent: Sequence[str], folder: str) -> str:
    """Makes one variant's files; returns what went wrong, since Ray keeps no exception whole.

    It works in the folder of who asked, so that names of files mean the same, and are the same in
    the keys of what is made.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        return f"a worker does not see {folder}: {error.strerror}"
    settings = RunConfig.model_validate_json(config)
    own = settings.model_copy(update={"variants": (Variant.model_validate_json(variant),)})
    try:
        run = Run(own)
        make(run, (s for s in stages_of(run) if s.group in GROUPS and s.name not in silent))
    except VVAEError as error:
        return str(error)
    return ""
