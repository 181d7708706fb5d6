"""The variants compared: what each is trained on and what it is shown at test time.

    zero-shot         base model, the profile in a plain instruction
    zero-shot-rarely  the same, told to use the traits as rarely as a person would
    few-shot          base model, the instruction and k training replies of the same speaker
    FT                fine-tuned on (c, x), no persona
    P+FT              fine-tuned with the extracted z, nulls left out
    SP+FT             fine-tuned with the extracted z, nulls sampled (with probability s)
    retrieval         few-shot, with the k training replies to the most similar messages
    unstructured      fine-tuned with a description of the speaker in free text
    continuous        fine-tuned with a learned vector per speaker, in place of words

A variant may also fill its nulls from elsewhere than the prior, share draws more widely, see only
some dimensions, or
be trained with another seed: what the studies vary.

At test time every variant that takes a persona is shown the same one: the speaker's profile, its
nulls drawn from the prior.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vvae.core.dialogue import Pair
from vvae.core.errors import ConfigError
from vvae.core.random import index_below, shuffled, uniform
from vvae.inference.endpoint.settings import EndpointConfig
from vvae.inference.prompts import (
    Block,
    Voice,
    description_block,
    few_shot_block,
    persona_block,
    prompted_block,
)
from vvae.latent.persona import Persona, Slot
from vvae.latent.prior import DimensionPrior, DrawScope, Prior, SamplingConfig, fill, scope_id
from vvae.latent.space import LatentSpace

__all__ = [
    "FEW_SHOT_EXAMPLES",
    "PRESETS",
    "Fill",
    "Misreading",
    "Variant",
    "examples_of",
    "imputed",
    "misread",
    "resolve",
    "shown_block",
    "training_persona",
]

Fill = Literal["prior", "speaker", "frequent", "noise"]
TRAINED_PROMPTS = ("persona", "description", "voice")


class Misreading(BaseModel):
    """Errors put into the values read, as an encoder might make them.

    other: another value, drawn from the prior; null: the value is missed; near: the label most like
        it (of closed dimensions; values of open ones are left).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["other", "null", "near"]
    rate: float = Field(ge=0, le=1, description="share of the values that are misread")


class Variant(BaseModel):
    """One row of the comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[\w+@.\-]+$")
    trained: bool = True
    z: Literal["none", "observed", "sampled"] = Field(
        "sampled", description="which z a trained variant is shown in training"
    )
    prompt: Literal[
        "persona", "description", "voice", "plain", "rarely", "few-shot", "retrieval"
    ] = Field(
        "persona",
        description="how a persona is put: z in words, or a description or a vector of the speaker",
    )
    s: float | dict[str, float] | None = Field(
        None, description="sampling probability; null: sampling.s of the config"
    )
    fill: Fill = Field("prior", description="what nulls are filled from in training")
    scope: DrawScope | None = Field(
        None, description="what shares a draw; null: sampling.scope of the config"
    )
    error: Misreading | None = Field(None, description="errors put into z in training")
    dimensions: tuple[str, ...] | None = Field(
        None, description="the only dimensions it is shown; null: all"
    )
    endpoint: EndpointConfig | None = Field(
        None, description="who writes a prompted variant; null: the base model"
    )
    seed: int = Field(
        0,
        ge=0,
        description="another one: other training pairs, order, draws, first weights, contexts",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Variant:
        if self.name == "human" or set(self.name) == {"."}:
            raise ValueError(f"a variant cannot be called {self.name!r}")
        if self.trained != (self.prompt in TRAINED_PROMPTS):
            raise ValueError(
                f"trained variants use the prompts {', '.join(TRAINED_PROMPTS)}, the others do not"
            )
        if self.trained and self.endpoint:
            raise ValueError("an endpoint's model is prompted, not trained")
        return self

    @property
    def shows_slots(self) -> bool:
        """Whether it is shown z."""
        return self.z != "none" and self.prompt not in ("description", "voice")

    @property
    def shows_persona(self) -> bool:
        """Whether what it is shown depends on whose persona it is."""
        return self.z != "none"

    def sampling(self, default: SamplingConfig) -> SamplingConfig:
        """How its nulls are filled: the config's way where it says nothing itself."""
        own = {name: value for name in ("s", "scope") if (value := getattr(self, name)) is not None}
        return default.model_copy(update=own)


PRESETS: Mapping[str, Variant] = {
    v.name: v
    for v in (
        Variant(name="zero-shot", trained=False, prompt="plain"),
        Variant(name="zero-shot-rarely", trained=False, prompt="rarely"),
        Variant(name="few-shot", trained=False, prompt="few-shot"),
        Variant(name="FT", z="none"),
        Variant(name="P+FT", z="observed"),
        Variant(name="SP+FT", z="sampled"),
        Variant(name="retrieval", trained=False, prompt="retrieval"),
        Variant(name="unstructured", prompt="description"),
        Variant(name="continuous", prompt="voice"),
    )
}

FEW_SHOT_EXAMPLES = 4


def resolve(named: Sequence[str | Variant]) -> tuple[Variant, ...]:
    """Variants from a config's list of preset names and definitions.

    Raises:
        ConfigError: a name is unknown or stands twice.
    """
    variants: list[Variant] = []
    for entry in named:
        if isinstance(entry, str) and entry not in PRESETS:
            fix = f"choose from {', '.join(PRESETS)}, or define it with name, z and s"
            raise ConfigError(f"unknown variant {entry!r}", where="variants", fix=fix)
        variant = PRESETS[entry] if isinstance(entry, str) else entry
        if variant.name in {v.name for v in variants}:
            raise ConfigError(
                f"variant {variant.name!r} stands twice", where="variants", fix="names are unique"
            )
        variants.append(variant)
    return tuple(variants)


def training_persona(
    variant: Variant,
    pair: Pair,
    read: Persona,
    values: Mapping[str, DimensionPrior],
    sampling: SamplingConfig,
    *,
    seed: int,
    draw: int,
) -> Persona | None:
    """z as a trained variant sees it beside the pair's reply; each pass over the data is a new
    draw.

    Args:
        read: z as the encoder read it.
        values: dimension -> what its nulls are drawn from (`imputed`).
        seed: of the run; the variant's own is added.
    """
    if variant.z == "none":
        return None
    if variant.z == "sampled":
        chosen = variant.sampling(sampling)
        scope = scope_id(pair, chosen.scope)
        for name, counted in values.items():
            s = chosen.probability(name)
            read = fill(read, counted, name, scope, seed=seed + variant.seed, s=s, draw=draw)
    return read


def misread(
    persona: Persona,
    error: Misreading,
    prior: Prior,
    near: Mapping[str, Mapping[str, str]],
    *,
    pair: str,
    seed: int,
) -> Persona:
    """z with errors, the same for a pair in every pass; a larger rate misreads what a smaller one
    does, and more.

    Args:
        near: closed dimension -> label -> the one most like it.
    """
    slots: dict[str, Slot] = {}
    for name, slot in persona:
        value: str | None = slot.value
        if uniform("misread", seed, name, pair) < error.rate:
            match error.kind:
                case "null":
                    value = None
                case "near":
                    value = near.get(name, {}).get(slot.value, slot.value)
                case "other":
                    counts = {v: n for v, n in prior[name].counts.items() if v != slot.value}
                    value = (
                        DimensionPrior(counts, 0).draw("misread as", seed, name, pair) or slot.value
                    )
        if value is not None:
            slots[name] = slot if value == slot.value else Slot(value, "observed")
    return Persona(slots)


def imputed(fill: Fill, prior: Prior, own: Prior | None) -> Mapping[str, DimensionPrior]:
    """What the nulls of each dimension are drawn from.

        prior     the prior
        speaker   the speaker's own values (`own`); the prior's where the speaker has none
        frequent  the prior's most frequent value
        noise     words of all the priors, as many as the prior's value has, that mean nothing here

    Noise is as long as a value and can be told from one: it disturbs, and stands for no missing
    value.
    """
    match fill:
        case "speaker" if own is not None:
            return {
                name: own[name] if own[name].counts else counted
                for name, counted in prior.dimensions.items()
            }
        case "frequent":
            return {
                name: DimensionPrior(dict(p.ordered[:1]), p.nulls)
                for name, p in prior.dimensions.items()
            }
        case "noise":
            words = sorted(
                {
                    word
                    for p in prior.dimensions.values()
                    for value in p.counts
                    for word in value.split()
                }
            )
            return {
                name: _noise(name, counted, words) for name, counted in prior.dimensions.items()
            }
        case _:
            return prior.dimensions


def _noise(name: str, counted: DimensionPrior, words: Sequence[str]) -> DimensionPrior:
    counts: Counter[str] = Counter()
    for value, n in counted.ordered:
        places = range(len(value.split()))
        counts[
            " ".join(
                words[index_below(len(words), "noise", name, value, place)] for place in places
            )
        ] += n
    return DimensionPrior(dict(counts), counted.nulls)


def shown_block(
    variant: Variant,
    speaker: str,
    persona: Persona | None,
    space: LatentSpace,
    *,
    examples: Sequence[str] = (),
    description: str | None = None,
) -> Block:
    """The z block of a variant for a persona; None where it is shown none.

    Args:
        speaker: whose persona it is.
        examples: replies of that speaker, for the prompts that show some.
        description: of that speaker.
    """
    if persona is None or not variant.shows_persona:
        return None
    if variant.dimensions is not None:
        persona = persona.within(variant.dimensions)
    match variant.prompt:
        case "voice":
            return Voice(speaker)
        case "description":
            return description_block(description) if description else None
        case "plain" | "rarely":
            return prompted_block(persona, space, rarely=variant.prompt == "rarely")
        case "few-shot" | "retrieval":
            return few_shot_block(persona, space, examples)
        case _:
            return persona_block(persona, space)


def examples_of(
    speaker: str, pairs: Sequence[Pair], *, seed: int, number: int = FEW_SHOT_EXAMPLES
) -> list[str]:
    """Training replies of a speaker, a keyed choice; a smaller number of them is a part of a larger
    one.
    """
    own = [pair for pair in pairs if pair.speaker == speaker and pair.split == "train"]
    chosen = shuffled(own, "few-shot", seed, name=[pair.pair_id for pair in own])[:number]
    return [pair.response for pair in chosen]
