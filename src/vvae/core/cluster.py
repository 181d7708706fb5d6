"""The Ray cluster of RAY_ADDRESS, or one of this machine's cores."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vvae.core.errors import EndpointError, ModelError

__all__ = ["on_cluster"]


@contextmanager
def on_cluster() -> Iterator[Any]:
    """Yield ray, joined to a cluster for the length of the block.

    Raises:
        ModelError: ray is not installed.
        EndpointError: there is no cluster at RAY_ADDRESS.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report its use to its makers
    try:
        import ray
    except ImportError:
        raise ModelError("ray is not installed", fix="pip install 'vvae[scale]'") from None
    own = not ray.is_initialized()
    if own:
        address, quiet = os.environ.get("RAY_ADDRESS"), logging.ERROR
        try:
            ray.init(
                address=address, include_dashboard=False, log_to_driver=False, logging_level=quiet
            )
        except (ConnectionError, ValueError) as error:
            fix = "check RAY_ADDRESS, or unset it to use this machine"
            raise EndpointError(
                "no Ray cluster", where=address or "this machine", fix=fix
            ) from error
    try:
        yield ray
    finally:
        if own:
            ray.shutdown()
