"""Settings as they are hashed into a stage's key.

A finished run must stay valid when a setting is renamed or dropped, so renamed fields keep here the
names and places that they had when keys were first made.
"""

from __future__ import annotations

from typing import Any

from vvae.corpus.pairs import PairsConfig
from vvae.decoder.conditions import told_at_test
from vvae.decoder.model import DecoderConfig
from vvae.decoder.train import CPU_TOKENS, TrainConfig
from vvae.decoder.variants import Variant
from vvae.latent.sampling import SamplingConfig
from vvae.metrics.human_chat import BenchConfig

__all__ = [
    "bench_key",
    "contexts_key",
    "decoder_key",
    "sampling_key",
    "test_z_key",
    "train_key",
    "variant_key",
]

_OLD_SCOPES = {"turn": "pair", "pair": "people"}


def _scope(draw_per: str | None) -> str | None:
    return _OLD_SCOPES.get(draw_per, draw_per) if draw_per else None


def sampling_key(sampling: SamplingConfig) -> dict[str, Any]:
    """Return the settings of sampling; `drop` where it is used, as it came later."""
    key = {"scope": _scope(sampling.draw_per), "s": sampling.s}
    return key | ({"drop": sampling.drop} if sampling.drop else {})


def decoder_key(decoder: DecoderConfig) -> dict[str, Any]:
    """Return the settings of the decoder on which what it learns and writes depends."""
    return decoder.model_dump(mode="json", exclude={"shard"})


def train_key(train: TrainConfig) -> dict[str, Any]:
    """Return the settings of training; the budget had a number where it now may have none."""
    settings = train.model_dump(mode="json", exclude={"tracker"})
    return {**settings, "token_budget": train.token_budget or CPU_TOKENS}


def bench_key(bench: BenchConfig) -> dict[str, Any]:
    """Return the settings of the benchmark, with two keys that it had."""
    settings = bench.model_dump(mode="json", exclude={"z"} if bench.z == "profile" else None)
    read_replies = settings.pop("read_replies")
    return {
        **settings,
        "dialogbench": None,
        "dialogbench_items": None,
        "read_replies": read_replies,
    }


def contexts_key(bench: BenchConfig, pairs: PairsConfig) -> dict[str, Any]:
    """Return what chooses the held-out replies that are asked, where it is not as it was when keys
    were made without it.
    """
    return {
        **bench.model_dump(include={"per_speaker", "known"}, exclude_defaults=True),
        **pairs.model_dump(
            include={"min_train_dialogues", "min_heldout_replies"}, exclude_defaults=True
        ),
    }


def test_z_key(variant: Variant, bench: BenchConfig) -> dict[str, Any]:
    """Return which z a variant is shown at test time, where it is not what all once were."""
    told = told_at_test(variant, bench.z)
    return {"z": told} if told != "profile" and variant.shows_slots else {}


def variant_key(variant: str | Variant, *, whole: bool = False) -> Any:
    """Return what makes a variant this one.

    Args:
        whole: with the settings that are at their defaults; without, a key that is added to
            variants later changes no older one.
    """
    if isinstance(variant, str):
        return variant
    settings = variant.model_dump(mode="json", exclude_defaults=not whole)
    renamed: dict[str, Any] = {}
    for name, value in settings.items():
        if name == "draw_per":
            renamed["scope"] = _scope(value)
        else:
            renamed[name] = value
        if name == "name" and (whole or not variant.trained):
            renamed["trained"] = variant.trained
    if variant.candidates == 1:
        renamed.pop("candidates", None)  # later than runs that are to stay as they are
    if variant.endpoint and not whole:
        renamed["endpoint"] = variant.endpoint.answer_settings()
    return renamed
