"""The decoder p(x|c,z): a causal language model with a LoRA adapter, and its loss.

    -log p(x|c) <= E_q[-log p(x|c,z)] + KL(q || p)

q is fixed, so the KL term is constant in the decoder's parameters and training is the
reconstruction term alone: cross-entropy on the tokens of the reply and its end of turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vvae.core.dialogue import Dialogue, Pair
from vvae.core.errors import DataError
from vvae.decoder import adapters
from vvae.decoder.adapters import LoraConfig
from vvae.decoder.ahead import on_device
from vvae.decoder.phrases import DecoderEngine
from vvae.decoder.trees import Node, Tree, TreeBatch, batches, collate
from vvae.inference.models import SMOLLM2, hub_name
from vvae.inference.prompts import PersonaLine, trunk
from vvae.inference.tokenizer import Prompter

if TYPE_CHECKING:
    import torch

    from vvae.decoder.speaker_vectors import SpeakerVectors

__all__ = ["Branch", "Decoder", "DecoderConfig", "Inputs", "LoraConfig", "grouped", "per_token"]

EVALUATION_TOKENS = {"cpu": 2048}
"""Tokens at once without gradients, by device: a CPU gains nothing from more, a GPU does."""


class DecoderConfig(BaseModel):
    """A set of options that say which model speaks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        SMOLLM2, description="smollm2-135m, a hub id or a local folder (transformers layout)"
    )
    lora: LoraConfig = Field(default_factory=LoraConfig)
    quantize: Literal["nf4"] | None = Field(
        None, description="nf4: the frozen weights in 4 bits (QLoRA), on a GPU"
    )
    shard: bool = Field(
        False,
        description="the frozen weights spread over several processes (FSDP2), for training only",
    )
    precision: str = Field(
        "auto", pattern="^(auto|bf16|fp32)$", description="bf16 where the processor has it"
    )

    @model_validator(mode="after")
    def _whole_if_quantized(self) -> DecoderConfig:
        if self.shard and self.quantize:
            raise ValueError("quantize needs the weights whole: leave out shard")
        return self


@dataclass(frozen=True)
class Branch:
    """A way to ask for the reply of a pair: a persona line under a name."""

    name: str
    line: PersonaLine


class Inputs(NamedTuple):
    """A batch of trees as the model takes it: N tokens, S of them supervised, on its device."""

    batch: TreeBatch
    ids: torch.Tensor
    """(N,)"""
    positions: torch.Tensor
    """(N,)"""
    sources: torch.Tensor
    """(S,) the token each supervised token is predicted from."""
    targets: torch.Tensor
    """(S,)"""
    plan: Any
    """What the attention kernel needs of the batch."""


class Decoder:
    """A loaded model with its prompter, and at most one adapter at a time."""

    def __init__(
        self, model: Any, prompter: Prompter, config: DecoderConfig, *, bf16: bool
    ) -> None:
        self.model, self.prompter, self.config, self.bf16 = model, prompter, config, bf16
        self._vectors: SpeakerVectors | None = None
        from vvae.decoder.kernels import attention

        self.attention, self.slower_because = attention.choose(self.device, model.config)
        """The kernel in use, and why it is not the device's fastest, if it is not."""

    # --- text to tokens ---

    @property
    def engine(self) -> DecoderEngine:
        """Return an engine that generates with the model as it stands."""
        return DecoderEngine(self)

    def tree(
        self, dialogue: Dialogue, pairs: Sequence[Pair], branches: Mapping[str, Sequence[Branch]]
    ) -> Tree:
        """Return the prefix tree of one speaker's pairs in one window.

        Args:
            branches: pair id -> the ways to ask for its reply; each is a branch with key
                ``pair_id|name``.

        Raises:
            DataError: the tree is longer than the model can see.
        """
        first = pairs[0]
        turns = [
            turn for turn in dialogue.turns if first.window <= turn.id <= max(p.turn for p in pairs)
        ]
        prefix = trunk(self.prompter.frame, turns, first.speaker, named=len(dialogue.speakers) > 2)
        segments = [self.prompter.tokens(segment) for segment in prefix.segments]
        ends = [0]
        for segment in segments:
            ends.append(ends[-1] + len(segment))
        last = max(prefix.cuts[pair.turn] for pair in pairs)
        nodes = [Node("", tuple(token for segment in segments[:last] for token in segment))]
        for pair in pairs:
            reply = self.prompter.tokens(self.prompter.frame.reply(pair.response))
            for branch in branches[pair.pair_id]:
                header = self.prompter.header(branch.line)
                key = f"{pair.pair_id}|{branch.name}"
                nodes.append(
                    Node(key, (*header, *reply), 0, ends[prefix.cuts[pair.turn]], len(reply))
                )
        tree = Tree(tuple(nodes))
        longest = max(node.cut + len(node.tokens) for node in nodes)
        if longest > self.context_length:
            raise DataError(
                f"a context of {longest} tokens; the model sees {self.context_length}",
                where=f"dialogue {dialogue.id}",
                fix="lower pairs.window_tokens",
            )
        return tree

    @property
    def context_length(self) -> int:
        """Return the number of tokens the model was made for; beyond a sliding window a tree would
        not be exact.
        """
        config = self.model.config
        limits = (
            getattr(config, "max_position_embeddings", None),
            getattr(config, "sliding_window", None),
        )
        return min((int(n) for n in limits if n), default=1 << 20)

    # --- tokens to loss ---

    def inputs(self, trees: Sequence[Tree]) -> Inputs:
        """Return a batch of trees as the model takes it; a thread may make it ahead of its use."""
        batch = collate(trees)
        # Not of the first parameters: those may be learnt ones, in fp32.
        dtype = self.causal.get_output_embeddings().weight.dtype
        plan = self.attention.plan(batch, self.device, dtype)
        ids, positions, sources, targets = (
            on_device(array, self.device)
            for array in (batch.ids, batch.positions, batch.sources, batch.targets)
        )
        return Inputs(batch, ids, positions, sources, targets, plan)

    def hidden(self, inputs: Inputs) -> torch.Tensor:
        """Return the last hidden states where supervised tokens are predicted from, shape (S,
        width).
        """
        import torch

        from vvae.decoder.kernels.attention import Planned

        causal = self.causal
        with self._autocast():
            states = getattr(causal, causal.base_model_prefix)(
                input_ids=inputs.ids[None],
                # Four dimensions say "made already": the library then makes no mask of its own.
                attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=self.device),
                position_ids=inputs.positions[None],
                use_cache=False,
                planned=Planned(self.attention, inputs.plan),
            ).last_hidden_state
        return cast("torch.Tensor", states[0, inputs.sources])

    def logits(self, inputs: Inputs) -> torch.Tensor:
        """Return logits at the supervised positions only, shape (S, vocabulary), in fp32."""
        return self._scores(self.hidden(inputs))

    def logits_in_parts(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        """Yield the rows of `logits` in order, a few at a time, so that any batch fits the
        memory.
        """
        from vvae.decoder.kernels.lm_head import rows_at_once

        hidden, rows = self.hidden(inputs), rows_at_once(self.device)
        for start in range(0, len(hidden), rows):
            yield self._scores(hidden[start : start + rows])

    def _scores(self, hidden: torch.Tensor) -> torch.Tensor:
        import torch
        from torch.nn.functional import linear

        from vvae.decoder.kernels.lm_head import capped

        head = self.causal.get_output_embeddings()
        if torch.is_grad_enabled():
            with self._autocast():
                scores = head(hidden).float()
        else:  # a measurement: as in `HeadLoss`
            bias = None if head.bias is None else head.bias.float()
            with torch.autocast(self.device.type, enabled=False):
                scores = linear(hidden.float(), head.weight.float(), bias)
        return capped(scores, self._logit_cap)

    def token_losses(self, inputs: Inputs) -> torch.Tensor:
        """Return the cross-entropy of each supervised token, shape (S,), in nats."""
        from torch.nn.functional import cross_entropy

        from vvae.decoder.kernels.lm_head import HeadLoss

        head = self.causal.get_output_embeddings()
        if head.bias is not None:
            return cross_entropy(self.logits(inputs), inputs.targets, reduction="none")
        hidden = self.hidden(inputs)
        losses = HeadLoss.apply(hidden, head.weight, inputs.targets, self._logit_cap)  # type: ignore[no-untyped-call]
        return cast("torch.Tensor", losses)

    @property
    def _logit_cap(self) -> float | None:
        return getattr(self.causal.config, "final_logit_softcapping", None)

    @property
    def evaluation_tokens(self) -> int:
        """Return how many tokens are computed at once where no gradient is wanted."""
        return EVALUATION_TOKENS.get(self.device.type, 16_384)

    def losses(
        self, trees: Sequence[Tree], *, budget: int | None = None
    ) -> dict[str, tuple[float, int]]:
        """Return by node key (summed cross-entropy in nats, number of tokens), no gradients.

        Args:
            budget: tokens at once; `evaluation_tokens` by default.
        """
        import torch

        result: dict[str, tuple[float, int]] = {}
        with self.evaluating():
            for group in batches(trees, budget or self.evaluation_tokens):
                inputs = self.inputs(group)
                batch, losses = inputs.batch, self.token_losses(inputs).double().cpu()
                owners = torch.from_numpy(batch.owners)
                totals = torch.zeros(len(batch.keys), dtype=torch.float64).index_add(
                    0, owners, losses
                )
                counts = torch.bincount(owners, minlength=len(batch.keys))
                result |= {
                    k: (float(t), int(n))
                    for k, t, n in zip(batch.keys, totals, counts, strict=True)
                }
        return result

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Switch dropout and gradients off for the length of the block."""
        import torch

        was = self.model.training
        self.model.eval()
        try:
            # Weights gathered in inference mode could not be used in training.
            with torch.no_grad() if self.config.shard else torch.inference_mode():
                yield
        finally:
            self.model.train(was)

    @property
    def causal(self) -> Any:
        """Return the language model itself, with the adapter's layers in place if it has one."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def parameters(self) -> int:
        """Return the number of parameters of the base model."""
        learnt = (
            {id(p) for p in self._vectors.parameters(recurse=False)} if self._vectors else set()
        )
        named = self.causal.named_parameters()
        return sum(p.numel() for name, p in named if "lora_" not in name and id(p) not in learnt)

    @property
    def device(self) -> Any:
        """Return the device that the model is on."""
        return self.causal.device

    def _autocast(self) -> Any:
        import torch

        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    # --- adapters ---

    def add_adapter(self, seed: int, speakers: Sequence[str] = ()) -> None:
        """Put a fresh adapter on all linear layers, by a seed; it replaces the one there is.

        Args:
            speakers: also a vector for each of these (`prompts.SpeakerVector`).
        """
        self.model = adapters.fresh(
            self._bare(),
            self.config.lora,
            seed=seed,
            base_name=hub_name(self.config.model),
            bf16=self.bf16,
        )
        if speakers:
            from vvae.decoder.speaker_vectors import SpeakerVectors

            self._give(SpeakerVectors(self.causal.get_input_embeddings(), speakers))

    def load_adapter(self, folder: Path, *, trainable: bool = False) -> None:
        """Load a saved adapter; it replaces the one there is.

        Raises:
            ModelError: the folder holds no adapter in safetensors.
        """
        self.model = adapters.load(self._bare(), folder, trainable=trainable, bf16=self.bf16)
        from vvae.decoder.speaker_vectors import SpeakerVectors

        if vectors := SpeakerVectors.load(self.causal.get_input_embeddings(), folder):
            self._give(vectors)
            vectors.common.requires_grad = vectors.own.requires_grad = trainable

    def load_adapters(self, folders: Mapping[str, Path]) -> Callable[[str], None]:
        """Load several saved adapters over one base; return what puts one of them in use, by its
        name.

        Raises:
            ModelError: a folder holds no adapter in safetensors.
        """
        self.model, switch = adapters.load_several(self._bare(), folders, bf16=self.bf16)
        return switch

    def save_adapter(self, folder: Path) -> None:
        """Save the adapter in PEFT's layout, and the speakers' vectors beside it."""
        adapters.save(self.model, folder)
        if self._vectors:
            self._vectors.save(folder)

    def drop_adapter(self) -> None:
        """Return to the base model alone."""
        self.model = self._bare()

    def _give(self, vectors: SpeakerVectors) -> None:
        self._vectors, self.prompter.speaker_id = vectors, vectors.id_of
        self.causal.set_input_embeddings(vectors)

    def _bare(self) -> Any:
        bare = adapters.bare(self.model)
        if self._vectors:
            bare.set_input_embeddings(self._vectors.base)
            self._vectors = self.prompter.speaker_id = None
        return bare


def grouped(pairs: Iterable[Pair]) -> dict[tuple[str, int, str], list[Pair]]:
    """Return pairs by (dialogue, window, speaker), the units that share a trunk, in order of first
    appearance.
    """
    groups: dict[tuple[str, int, str], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((pair.dialogue, pair.window, pair.speaker), []).append(pair)
    return groups


def per_token(losses: Iterable[tuple[float, int]]) -> float:
    """Return the mean loss of a token, in nats, from (summed cross-entropy, tokens)."""
    nats, tokens = map(sum, zip(*losses, strict=True))
    return nats / tokens
