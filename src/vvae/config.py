"""The config of a run: each stage's own small config, gathered, read from YAML and checked where it
is built.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vvae.core.errors import ConfigError, choose_from
from vvae.core.yaml import bounded_text, parse_yaml
from vvae.corpus.consent import CONSENT
from vvae.corpus.formats import HAVE_DIALOGUES
from vvae.corpus.pairs import PairsConfig
from vvae.decoder.model import DecoderConfig
from vvae.decoder.train import TrainConfig
from vvae.decoder.variants import PRESETS, Variant, resolve
from vvae.encoders.llm.encoder import LLMConfig
from vvae.encoders.registry import EncoderConfig
from vvae.encoders.rules.encoder import RulesConfig
from vvae.inference.engine import GenerationConfig
from vvae.latent.sampling import SamplingConfig
from vvae.latent.space import LatentSpace
from vvae.metrics.human_chat import BenchConfig

__all__ = ["DataConfig", "RunConfig", "commented", "config_template", "load_config"]


OF_ONE_PERSON = 1600
"""Replies on which one person's adapter is trained: the most that were tried, each helped its loss
(docs/findings.md, How much chat does a person need?).
"""


class DataConfig(BaseModel):
    """Where the chats are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(
        "byu", description="byu (the installed corpus), a folder of 'vvae import', or a JSONL file"
    )
    format: str = Field("auto", pattern=f"^(auto|byu|{'|'.join(HAVE_DIALOGUES)})$")
    limit: int | None = Field(
        None, ge=1, description="use only this many dialogues, a keyed choice"
    )
    malformed_limit: float = Field(
        0.01, ge=0, le=1, description="largest share of malformed records let pass"
    )
    consent: str | None = Field(
        None, description="who agreed to what; consent.yaml in the folder where there is one"
    )

    @property
    def consent_file(self) -> Path | None:
        """The consent file, where there is one."""
        beside = Path(self.path) / CONSENT
        return Path(self.consent) if self.consent else beside if beside.is_file() else None


class RunConfig(BaseModel):
    """A whole run: every key of a config file, with its default.

    Example:
        >>> config = RunConfig.model_validate({"data": {"path": "chats"}, "variants": ["SP+FT"]})
        >>> config.train.pairs, config.sampling.draw_per
        (600, 'turn')
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str = Field("runs/run", description="the folder everything is written to")
    seed: int = Field(0, ge=0, description="of every draw; the same inputs give the same outputs")
    data: DataConfig = Field(default_factory=DataConfig)
    pairs: PairsConfig = Field(default_factory=PairsConfig)
    space: str = Field(
        "paper+form",
        description="latent space: paper (the nine), paper+form, or a YAML file",
    )
    encoder: EncoderConfig = Field(default_factory=RulesConfig)
    sampling: SamplingConfig = Field(default_factory=SamplingConfig)
    decoder: DecoderConfig = Field(default_factory=DecoderConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    variants: tuple[str | Variant, ...] = Field(
        ("zero-shot", "few-shot", "FT", "P+FT", "SP+FT"),
        description=f"of {', '.join(PRESETS)}; or your own, {{name: mine, z: sampled, s: 0.5}}",
    )
    generate: GenerationConfig = Field(default_factory=GenerationConfig)
    bench: BenchConfig = Field(default_factory=BenchConfig)
    notice: str | None = Field(
        None, description="a sentence the report and the results table carry"
    )

    @model_validator(mode="after")
    def _spread_weights_only_train(self) -> RunConfig:
        described = [v for v in self._variants_given() if v.prompt == "description"]
        if self.decoder.shard and described:
            raise ValueError(
                f"decoder.shard is for training alone, and {described[0].name} has its base model "
                "write descriptions first: leave one of them out"
            )
        return self

    def _variants_given(self) -> list[Variant]:
        """Return the variants whose names are known; an unknown one is refused elsewhere."""
        named = (PRESETS.get(v) if isinstance(v, str) else v for v in self.variants)
        return [variant for variant in named if variant is not None]

    @property
    def resolved_variants(self) -> tuple[Variant, ...]:
        """The variants in order."""
        return resolve(self.variants)

    def check_dimensions(self, space: LatentSpace) -> None:
        """Check that every dimension named here is one of a latent space.

        Raises:
            ConfigError: one is not.
        """
        variants = self.resolved_variants
        s_of = [("sampling.s", self.sampling.s)]
        s_of += [(f"variants: {v.name}.s", v.s) for v in variants if v.s is not None]
        named = [(where, name) for where, s in s_of if isinstance(s, dict) for name in s]
        for variant in variants:
            where = f"variants: {variant.name}.dimensions"
            named += [(where, name) for name in variant.dimensions or ()]
        named += [("bench.known", name) for name in self.bench.known]
        for where, name in named:
            if name not in space.by_name:
                fix = choose_from(name, space.names)
                raise ConfigError(f"unknown dimension {name!r}", where=where, fix=fix)

    def to_yaml(self) -> str:
        """The whole config as resolved."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def commented(config: BaseModel, *, indent: int = 0) -> str:
    """Return a config as YAML, each key with its description as a comment.

    >>> print(commented(DataConfig(path="chats")).splitlines()[0])
    path: chats  # byu (the installed corpus), a folder of 'vvae import', or a JSONL file
    """
    lines = []
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            lines.append(f"{' ' * indent}{name}:")
            lines.append(commented(value, indent=indent + 2))
            continue
        plain = config.model_dump(mode="json", include={name})[name]
        text = json.dumps(plain, ensure_ascii=False) if not isinstance(plain, str) else plain
        if isinstance(plain, str) and yaml.safe_load(plain) != plain:
            text = json.dumps(plain, ensure_ascii=False)
        comment = f"  # {field.description}" if field.description else ""
        lines.append(f"{' ' * indent}{name}: {text}{comment}")
    return "\n".join(lines)


def config_template(data: str, run: str, speakers: tuple[str, ...] | None) -> str:
    """Return what `vvae init` writes: every key, its default and what it means; for one person who
    is to be learnt, more of their replies.
    """
    config = RunConfig(run=run, data=DataConfig(path=data), pairs=PairsConfig(speakers=speakers))
    if speakers and len(speakers) == 1:
        more = config.train.model_copy(update={"pairs": OF_ONE_PERSON})
        config = config.model_copy(update={"train": more})
    llm = LLMConfig.model_validate({"kind": "llm"})
    example = "\n".join(f"#   {line}" for line in commented(llm).splitlines())
    return (
        "# A run of vvae. Every key may be left out; what stands here are the defaults, but for "
        "run and data, and where one person is learnt, train.pairs.\n"
        f"{commented(config)}\n\n"
        "# A language model as encoder, in place of the above (docs/encoders.md). "
        "Try: vvae encode CONFIG --dry-run\n"
        f"# encoder:\n{example}\n"
    )


def load_config(path: Path) -> RunConfig:
    """Return the config of a file.

    Raises:
        ConfigError: the file is missing or a key is wrong; the message names file, line and key.

    Example:
        >>> load_config(Path("no.yaml"))
        Traceback (most recent call last):
        vvae.core.errors.ConfigError: no.yaml: cannot be read — make one with 'vvae init'
    """
    fix = "make one with 'vvae init'"
    text = bounded_text(path, fix)
    data = parse_yaml(text, str(path), fix)
    if not isinstance(data, dict):
        raise ConfigError("the config is not a mapping of keys", where=str(path), fix=fix)
    try:
        config = RunConfig.model_validate(data)
    except ValidationError as error:
        # A union reports each alternative it tried; the one of the value's own type was meant.
        first = max(error.errors(), key=lambda e: (not e["type"].endswith("_type"), len(e["loc"])))
        keys = [
            part for part in first["loc"] if isinstance(part, int) or not str(part)[:1].isupper()
        ]
        name = ".".join(str(key) for key in keys if key not in ("str", "float"))
        raise ConfigError(
            _reason(first),
            where=f"{path}:{_line(text, keys)}: {name}",
            fix="the keys are listed by 'vvae init'",
        ) from None
    resolve(config.variants)
    return config


def _reason(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown key"
    if error["type"] == "value_error":  # says itself what is wrong, and may be about a secret
        return str(error["ctx"]["error"])
    return f"{error['msg']} (found: {_shown(error['input'])})"[:300]


def _shown(value: object) -> str:
    """A value of a config as an error shows it: what is large is not written out to be cut."""
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'keys'}, {len(value):,} long"
    return repr(value[:100] if isinstance(value, str) else value)


def _line(text: str, keys: list[Any]) -> int:
    """The line (from 1) of the deepest key of the path that stands in the file."""
    node = yaml.compose(text)
    line = 1
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            entry = next(((k, v) for k, v in node.value if k.value == key), None)
            if entry is None:
                break
            line, node = entry[0].start_mark.line + 1, entry[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
        else:
            break
    return line
