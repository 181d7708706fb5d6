"""The latent space: z = (z_1 .. z_K), a product of named dimensions on a few axes.

It is read from a YAML file that users edit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vvae.core.errors import ConfigError, choose_from
from vvae.core.yaml import read_yaml
from vvae.latent import readers

__all__ = ["Dimension", "LatentSpace", "Scope", "Signs", "load_space"]

Scope = Literal["speaker", "pair", "dialogue", "turn"]
"""To what a value belongs, and what shares a draw of it: a speaker, a pair of people (speaker and
listener), a speaker's part of a dialogue, or one turn.
"""
RESERVED = frozenset({"pair_id", "status", "reason", "encoder"})
"""The other columns of the table in which personas are stored."""


LONGEST_VALUE = 400
"""Characters of a value: a trait is named in a few words."""


class Signs(BaseModel):
    """A label's signs: sentences to compare replies with, and words that say it by themselves.

    `heard` names the labels of the dimension's head that stand for it; its own name by default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    examples: tuple[str, ...]
    cues: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()


class Dimension(BaseModel):
    """A dimension of z.

    `labels` maps each label of a closed dimension to its `Signs`, or in short to example sentences;
    an open dimension has none. `min_score` takes the place of the encoder's own, where sentences of
    a label say more of other things. `head` names a trained head of the default encoder, which
    reads the labels that it has learnt in place of their example sentences, in the last `turns` of
    the conversation, the reply among them. `draws` says whose distribution a value that nobody sets
    is drawn from: everyone's, which is the prior, or the speaker's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    axis: str = ""
    scope: Scope
    reader: str
    description: str
    labels: dict[str, Signs] | None = None
    min_score: float | None = None
    head: str | None = None
    turns: int = Field(1, ge=1, le=8)
    draws: Literal["everyone", "speaker"] = "everyone"

    @cached_property
    def cues(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Return the labels that have cues, with them."""
        return tuple(
            (label, signs.cues) for label, signs in (self.labels or {}).items() if signs.cues
        )

    @field_validator("labels", mode="before")
    @classmethod
    def _short_form(cls, labels: object) -> object:
        if not isinstance(labels, dict):
            return labels
        return {
            k: {"examples": signs} if isinstance(signs, list | tuple) else signs
            for k, signs in labels.items()
        }

    @field_validator("labels")
    @classmethod
    def _labels_have_examples(cls, labels: dict[str, Signs] | None) -> dict[str, Signs] | None:
        for label, signs in (labels or {}).items():
            if not signs.examples:
                raise ValueError(f"label {label!r} has no example sentence")
        return labels

    @field_validator("reader")
    @classmethod
    def _reader_is_known(cls, name: str) -> str:
        if name not in readers.known():
            raise ValueError(f"no reader {name!r}: choose from {', '.join(readers.known())}")
        return name

    def model_post_init(self, _: object) -> None:
        """Check that a dimension that is read by meaning has labels."""
        if readers.reader(self.reader).read is None and not self.labels:
            raise ValueError(f"reader {self.reader!r} needs labels with example sentences")


@dataclass(frozen=True)
class LatentSpace:
    """A latent space: the dimensions of z in their order."""

    name: str
    dimensions: tuple[Dimension, ...]

    @classmethod
    def load(cls, path: str | Path = "paper+form") -> LatentSpace:
        """Return the space of a YAML file, or the one that comes with the package.

        Raises:
            ConfigError: the file is missing or cannot be used.

        Example:
            >>> LatentSpace.load().names[:3]
            ('catchphrase', 'emoji', 'tone')
        """
        return load_space(path)

    @cached_property
    def by_name(self) -> Mapping[str, Dimension]:
        """Return the dimensions by name, in order."""
        return {dimension.name: dimension for dimension in self.dimensions}

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the dimensions, in order."""
        return tuple(self.by_name)

    @property
    def axes(self) -> tuple[str, ...]:
        """Return the axes, in order."""
        return tuple(dict.fromkeys(d.axis for d in self.dimensions))

    def read_by(self, reader: str) -> tuple[Dimension, ...]:
        """Return the dimensions that a labelling function reads."""
        return tuple(d for d in self.dimensions if d.reader == reader)

    def check(self, dimension: str, value: str, *, where: str = "") -> None:
        """Raise ConfigError if the dimension is unknown, or closed and without this label."""
        definition = self.by_name.get(dimension)
        if definition is None:
            fix = choose_from(dimension, self.names)
            raise ConfigError(f"unknown dimension {dimension!r}", where=where, fix=fix)
        if len(value) > LONGEST_VALUE:
            what = f"a value of {len(value):,} characters; it may have {LONGEST_VALUE}"
            raise ConfigError(what, where=where, fix="name the trait in a few words")
        if definition.labels is not None and value not in definition.labels:
            fix = choose_from(value, definition.labels)
            raise ConfigError(
                f"unknown label {value!r} of dimension {dimension!r}", where=where, fix=fix
            )
        if not value.strip():
            raise ConfigError(
                f"empty value for dimension {dimension!r}", where=where, fix="leave it out for null"
            )

    def to_dict(self) -> dict[str, object]:
        """Return the space as plain data, the inverse of `from_dict`."""
        axes: dict[str, dict[str, object]] = {}
        for d in self.dimensions:
            body = d.model_dump(mode="json", exclude={"name", "axis"}, exclude_none=True)
            axes.setdefault(d.axis, {})[d.name] = body
        return {"name": self.name, "axes": axes}

    @classmethod
    def from_dict(cls, data: object, *, where: str = "latent space") -> LatentSpace:
        """Return the space of plain data.

        Raises:
            ConfigError: with the path of the key that is wrong.
        """
        if not isinstance(data, dict) or not isinstance(data.get("axes"), dict) or not data["axes"]:
            raise ConfigError("no axes", where=where, fix="give 'axes: {axis: {dimension: {...}}}'")
        if unknown := set(data) - {"name", "axes"}:
            raise ConfigError(
                f"unknown key {sorted(unknown)[0]!r}", where=where, fix="use 'name' and 'axes'"
            )
        dimensions: list[Dimension] = []
        for axis, members in data["axes"].items():
            if not isinstance(members, dict):
                raise ConfigError(
                    "an axis maps dimension names to their settings", where=f"{where}: axes.{axis}"
                )
            for name, body in members.items():
                dimensions.append(
                    _dimension(str(axis), str(name), body, f"{where}: axes.{axis}.{name}")
                )
        names = [d.name for d in dimensions]
        if twice := {n for n in names if names.count(n) > 1}:
            raise ConfigError(
                f"dimension {sorted(twice)[0]!r} stands twice", where=where, fix="names are unique"
            )
        if reserved := RESERVED & set(names):
            raise ConfigError(
                f"a dimension cannot be called {sorted(reserved)[0]!r}",
                where=where,
                fix="rename it",
            )
        if not dimensions:
            raise ConfigError("no dimensions", where=where, fix="give at least one")
        return cls(str(data.get("name", "custom")), tuple(dimensions))


def _dimension(axis: str, name: str, body: object, where: str) -> Dimension:
    if not isinstance(body, dict):
        raise ConfigError(
            "a dimension is a mapping with scope, reader and description", where=where
        )
    try:
        return Dimension(**{**body, "name": name, "axis": axis})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            first["msg"], where=f"{where}.{key}".rstrip("."), fix="see docs/latent-space.md"
        ) from None
    except TypeError as error:
        raise ConfigError(str(error), where=where) from None


SHIPPED: Mapping[str, tuple[str, ...]] = {
    "default": ("paper",),  # what it was called while there was no other
    "paper": ("paper",),
    "paper+form": ("paper", "form"),
}
"""Name -> the files of the package whose axes it has."""


def load_space(path: str | Path = "paper+form") -> LatentSpace:
    """Return the latent space of a YAML file, or one that comes with the package: ``paper``, the
    nine dimensions of the paper; ``paper+form``, which has the axis of form too and is used where
    nothing is said.

    Raises:
        ConfigError: the file is missing or cannot be used.

    Example:
        >>> load_space("paper+form").axes[-1]
        'form'
    """
    if (files := SHIPPED.get(str(path))) is not None:
        folder = resources.files("vvae.latent").joinpath("spaces")
        parts = [yaml.safe_load(folder.joinpath(f"{f}.yaml").read_text("utf-8")) for f in files]
        axes = {axis: members for part in parts for axis, members in part["axes"].items()}
        name = "+".join(part["name"] for part in parts)
        return LatentSpace.from_dict({"name": name, "axes": axes}, where=str(path))
    data = read_yaml(Path(path), f"give a latent space as YAML, or one of {', '.join(SHIPPED)}")
    return LatentSpace.from_dict(data, where=str(path))
