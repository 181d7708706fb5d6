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
some dimensions, or be trained with another seed: what the studies vary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vvae.core.errors import ConfigError, choose_from
from vvae.inference.endpoint.settings import EndpointConfig
from vvae.latent.limits import MOST_CANDIDATES
from vvae.latent.sampling import FillFrom, Misreading, SamplingConfig, old_scope
from vvae.latent.space import Scope

__all__ = ["DEFAULT_VARIANT", "PRESETS", "Variant", "resolve"]

DEFAULT_VARIANT = "SP+FT"
"""The paper's own: what chats, serves and exports where nothing else is said."""
PromptKind = Literal["persona", "description", "voice", "plain", "rarely", "few-shot", "retrieval"]
TRAINED_PROMPTS = ("persona", "description", "voice")


class Variant(BaseModel):
    """A row of the comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[\w+@.\-]+$")
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
    fill: FillFrom = Field("prior", description="what nulls are filled from in training")
    draw_per: Scope | None = Field(
        None, description="what shares a draw; null: sampling.draw_per of the config"
    )
    drop: float | None = Field(
        None, ge=0, lt=1, description="share of z left out; null: sampling.drop of the config"
    )
    error: Misreading | None = Field(None, description="errors put into z in training")
    dimensions: tuple[str, ...] | None = Field(
        None, description="the only dimensions it is shown; null: all"
    )
    endpoint: EndpointConfig | None = Field(
        None, description="who writes a prompted variant; null: the base model"
    )
    candidates: int = Field(
        1,
        ge=1,
        le=MOST_CANDIDATES,
        description="replies written to a message at the most, of which the first is taken that "
        "shows the profile's habits, or does not, as often as the speaker does",
    )
    seed: int = Field(
        0,
        ge=0,
        description="another one: other training pairs, order, draws and first weights",
    )

    @model_validator(mode="before")
    @classmethod
    def _old_keys(cls, data: Any) -> Any:
        """Read `trained`, which follows from the prompt, and `scope`, now `draw_per`."""
        if isinstance(data, dict) and "trained" in data:
            data = dict(data)
            follows = data.get("prompt", "persona") in TRAINED_PROMPTS
            if data.pop("trained") != follows:
                names = ", ".join(TRAINED_PROMPTS)
                raise ValueError(f"trained variants use the prompts {names}, the others do not")
        return (
            old_scope(data)
            if not isinstance(data, dict) or data.get("scope")
            else {name: value for name, value in data.items() if name != "scope"}
        )

    @model_validator(mode="after")
    def _consistent(self) -> Variant:
        if self.name == "human" or set(self.name) == {"."}:
            raise ValueError(f"a variant cannot be called {self.name!r}")
        if self.trained and self.endpoint:
            raise ValueError("an endpoint's model is prompted, not trained")
        return self

    @property
    def trained(self) -> bool:
        """Return whether it has an adapter of its own; otherwise the base model is prompted."""
        return self.prompt in TRAINED_PROMPTS

    @property
    def talks_untrained(self) -> bool:
        """Return whether one can talk to it without training: the base model is told who it is."""
        return self.prompt in ("plain", "rarely", "few-shot") and self.endpoint is None

    @property
    def shows_slots(self) -> bool:
        """Return whether it is shown z, value by value."""
        return self.z != "none" and self.prompt not in ("description", "voice")

    @property
    def shows_persona(self) -> bool:
        """Return whether what it is shown depends on whose persona it is."""
        return self.z != "none"

    @property
    def samples(self) -> bool:
        """Return whether it is trained on z with nulls filled by draws."""
        return self.trained and self.z == "sampled" and self.shows_slots

    def sampling(self, default: SamplingConfig) -> SamplingConfig:
        """Return how its nulls are filled: the config's way where it says nothing itself."""
        own = {
            name: value
            for name in ("s", "draw_per", "drop")
            if (value := getattr(self, name)) is not None
        }
        return default.model_copy(update=own)


PRESETS: Mapping[str, Variant] = {
    v.name: v
    for v in (
        Variant(name="zero-shot", prompt="plain"),
        Variant(name="zero-shot-rarely", prompt="rarely"),
        Variant(name="few-shot", prompt="few-shot"),
        Variant(name="FT", z="none"),
        Variant(name="P+FT", z="observed"),
        Variant(name=DEFAULT_VARIANT, z="sampled"),
        Variant(name="retrieval", prompt="retrieval"),
        Variant(name="unstructured", prompt="description"),
        Variant(name="continuous", prompt="voice"),
    )
}


def resolve(named: Sequence[str | Variant]) -> tuple[Variant, ...]:
    """Return the variants of a config's list of preset names and definitions.

    Raises:
        ConfigError: a name is unknown or stands twice.
    """
    variants: list[Variant] = []
    for entry in named:
        if isinstance(entry, str) and entry not in PRESETS:
            fix = f"{choose_from(entry, PRESETS)}, or define it with name, z and s"
            raise ConfigError(f"unknown variant {entry!r}", where="variants", fix=fix)
        variant = PRESETS[entry] if isinstance(entry, str) else entry
        if variant.name in {v.name for v in variants}:
            raise ConfigError(
                f"variant {variant.name!r} stands twice", where="variants", fix="names are unique"
            )
        variants.append(variant)
    return tuple(variants)
