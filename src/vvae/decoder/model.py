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
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from vvae.core.dialogue import Dialogue, Pair
from vvae.core.errors import DataError, ModelError
from vvae.decoder.trees import Batch, Node, Tree, collate
from vvae.inference.models import SMOLLM2, hub_name, quiet
from vvae.inference.prompts import Block, Voice, trunk
from vvae.inference.tokenizer import Prompter
from vvae.inference.transformers import TransformersEngine

if TYPE_CHECKING:
    import torch

    from vvae.decoder.speaker_vectors import Voices

__all__ = ["Alternative", "Decoder", "DecoderConfig", "LoraConfig", "grouped", "per_token"]


class LoraConfig(BaseModel):
    """The adapter (the paper gives none of these)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    r: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)


class DecoderConfig(BaseModel):
    """Which model speaks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        SMOLLM2, description="smollm2-135m, a hub id or a local folder (transformers layout)"
    )
    lora: LoraConfig = Field(default_factory=LoraConfig)
    quantize: Literal["nf4"] | None = Field(
        None, description="nf4: the frozen weights in 4 bits (QLoRA), on a GPU"
    )
    precision: str = Field(
        "auto", pattern="^(auto|bf16|fp32)$", description="bf16 where the processor has it"
    )


@dataclass(frozen=True)
class Alternative:
    """One way to ask for the reply of a pair: a z block (None for none) under a name."""

    name: str
    block: Block


class Decoder(Prompter):
    """A loaded model with its tokenizer and template, and at most one adapter at a time."""

    def __init__(
        self, model: Any, prompter: Prompter, config: DecoderConfig, *, bf16: bool
    ) -> None:
        super().__init__(prompter.tokenizer, prompter.frame, config.model)
        self.model, self.config, self.bf16 = model, config, bf16
        self._voices: Voices | None = None

    # --- text to tokens ---

    @property
    def engine(self) -> TransformersEngine:
        """Generation with the model as it stands."""
        return TransformersEngine(self.model, self.tokenizer, self.stops, bf16=self.bf16)

    def header(self, block: Block) -> tuple[int, ...]:
        """Token ids between the last user content and the reply."""
        voices = self._voices
        if not isinstance(block, Voice) or voices is None:
            return super().header(block)
        before, after = self.frame.around_voice
        return (*self.tokens(before), voices.id_of(block.speaker), *self.tokens(after))

    def tree(
        self, dialogue: Dialogue, pairs: Sequence[Pair], asked: Mapping[str, Sequence[Alternative]]
    ) -> Tree:
        """The prefix tree of one speaker's pairs in one window.

        Args:
            asked: pair id -> the ways to ask for its reply; each is a branch with key
                ``pair_id|name``.

        Raises:
            DataError: the tree is longer than the model can see.
        """
        first = pairs[0]
        turns = [
            turn for turn in dialogue.turns if first.window <= turn.id <= max(p.turn for p in pairs)
        ]
        seen = trunk(self.frame, turns, first.speaker, named=len(dialogue.speakers) > 2)
        segments = [self.tokens(segment) for segment in seen.segments]
        ends = [0]
        for segment in segments:
            ends.append(ends[-1] + len(segment))
        last = max(seen.cuts[pair.turn] for pair in pairs)
        nodes = [Node("", tuple(token for segment in segments[:last] for token in segment))]
        for pair in pairs:
            reply = self.tokens(self.frame.reply(pair.response))
            for one in asked[pair.pair_id]:
                header = self.header(one.block)
                key = f"{pair.pair_id}|{one.name}"
                nodes.append(
                    Node(key, (*header, *reply), 0, ends[seen.cuts[pair.turn]], len(reply))
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
        """Tokens the model was made for; beyond a sliding window a tree would not be exact."""
        config = self.model.config
        seen = (
            getattr(config, "max_position_embeddings", None),
            getattr(config, "sliding_window", None),
        )
        return min((int(n) for n in seen if n), default=1 << 20)

    # --- tokens to loss ---

    def hidden(self, batch: Batch) -> torch.Tensor:
        """Last hidden states where supervised tokens are predicted from, shape (S, width)."""
        import torch

        from vvae.decoder.kernels.attention import Sight

        device, causal = self.device, self.causal
        ids, positions, sources = (
            torch.from_numpy(a).to(device) for a in (batch.ids, batch.positions, batch.sources)
        )
        dtype = (
            causal.get_output_embeddings().weight.dtype
        )  # the first parameters may be learnt ones, in fp32
        sight = {"sight": Sight.of(batch, dtype)} if self.blockwise else {}
        with self._autocast():
            states = getattr(causal, causal.base_model_prefix)(
                input_ids=ids[None],
                attention_mask=torch.from_numpy(batch.visible).to(device)[None, None],
                position_ids=positions[None],
                use_cache=False,
                **sight,
            ).last_hidden_state
        return cast("torch.Tensor", states[0, sources])

    def logits(self, batch: Batch) -> torch.Tensor:
        """Logits at the supervised positions only, shape (S, vocabulary), in fp32."""
        from vvae.decoder.kernels.lm_head import capped

        with self._autocast():
            scores = self.causal.get_output_embeddings()(self.hidden(batch)).float()
        return capped(scores, self._logit_cap)

    def token_losses(self, batch: Batch) -> torch.Tensor:
        """Cross-entropy of each supervised token, shape (S,), in nats."""
        import torch

        from vvae.decoder.kernels.lm_head import HeadLoss

        head = self.causal.get_output_embeddings()
        targets = torch.from_numpy(batch.targets).to(self.device)
        if head.bias is not None:
            return torch.nn.functional.cross_entropy(self.logits(batch), targets, reduction="none")
        losses = HeadLoss.apply(self.hidden(batch), head.weight, targets, self._logit_cap)  # type: ignore[no-untyped-call]
        return cast("torch.Tensor", losses)

    @property
    def _logit_cap(self) -> float | None:
        return getattr(self.causal.config, "final_logit_softcapping", None)

    @property
    def blockwise(self) -> bool:
        """Whether attention is computed block by block; elsewhere than on a CPU the library's
        kernels are faster.
        """
        from vvae.decoder.kernels import attention

        return bool(
            self.device.type == "cpu" and self.causal.config._attn_implementation == attention.NAME
        )

    def batches(self, trees: Iterable[Tree], budget: int) -> Iterator[list[Tree]]:
        """Trees in order, in groups of at most `budget` tokens (one tree at the least)."""
        group: list[Tree] = []
        for tree in trees:
            if group and sum(map(len, group)) + len(tree) > budget:
                yield group
                group = []
            group.append(tree)
        if group:
            yield group

    def losses(self, trees: Sequence[Tree], *, budget: int = 2048) -> dict[str, tuple[float, int]]:
        """Node key -> (summed cross-entropy in nats, number of tokens), without gradients."""
        import torch

        result: dict[str, tuple[float, int]] = {}
        with self.evaluating():
            for group in self.batches(trees, budget):
                batch = collate(group)
                losses = self.token_losses(batch).double().cpu()
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
        """Dropout off and no gradients, for the length of the block."""
        import torch

        was = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            self.model.train(was)

    @property
    def causal(self) -> Any:
        """The language model itself, with the adapter's layers in place where there is one."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def parameters(self) -> int:
        """Parameters of the base model."""
        learnt = {id(p) for p in self._voices.parameters(recurse=False)} if self._voices else set()
        named = self.causal.named_parameters()
        return sum(p.numel() for name, p in named if "lora_" not in name and id(p) not in learnt)

    @property
    def device(self) -> Any:
        """Where the model lives."""
        return self.causal.device

    def _autocast(self) -> Any:
        import torch

        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    # --- adapters ---

    def add_adapter(self, seed: int, speakers: Sequence[str] = ()) -> None:
        """A fresh adapter on all linear layers, initialised from the seed; replaces the one there
        is.

        Args:
            speakers: also a vector for each of these (`prompt.Voice`).
        """
        import peft
        import torch

        base = self._bare()
        torch.manual_seed(seed)
        lora = self.config.lora
        settings = peft.LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        with quiet():
            self.model = self._adapted(peft.get_peft_model(base, settings))
        self.model.peft_config["default"].base_model_name_or_path = hub_name(self.config.model)
        if speakers:
            from vvae.decoder.speaker_vectors import Voices

            self._give(Voices(self.causal.get_input_embeddings(), speakers))

    def load_adapter(self, folder: Path, *, trainable: bool = False) -> None:
        """A saved adapter; replaces the one there is.

        Raises:
            ModelError: the folder holds no adapter in safetensors.
        """
        import peft

        _check_saved(folder)
        with quiet():
            self.model = self._adapted(
                peft.PeftModel.from_pretrained(self._bare(), str(folder), is_trainable=trainable)
            )
        from vvae.decoder.speaker_vectors import Voices

        if voices := Voices.load(self.causal.get_input_embeddings(), folder):
            self._give(voices)
            voices.common.requires_grad = voices.own.requires_grad = trainable

    def load_adapters(self, folders: Mapping[str, Path]) -> Callable[[str], None]:
        """Several saved adapters over one base; returns what puts one of them in use, by its name.

        Raises:
            ModelError: a folder holds no adapter in safetensors.
        """
        import peft

        for folder in folders.values():
            _check_saved(folder)
        inner = {
            name: f"adapter{number}" for number, name in enumerate(folders)
        }  # PEFT takes no dots
        model: Any = self._bare()
        with quiet():
            for number, (name, folder) in enumerate(folders.items()):
                if number:
                    model.load_adapter(str(folder), adapter_name=inner[name])
                else:
                    model = peft.PeftModel.from_pretrained(
                        model, str(folder), adapter_name=inner[name]
                    )
        self.model = self._adapted(model)
        return lambda name: self.model.set_adapter(inner[name])

    def save_adapter(self, folder: Path) -> None:
        """Saves the adapter in PEFT's layout, as safetensors; it holds no embeddings, so no hub is
        asked about them.
        """
        self.model.save_pretrained(
            str(folder), safe_serialization=True, save_embedding_layers=False
        )
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
        if self._voices:
            self._voices.save(folder)

    def _give(self, voices: Voices) -> None:
        self._voices = voices
        self.causal.set_input_embeddings(voices)

    def _adapted(self, model: Any) -> Any:
        """PEFT casts each layer's input to the adapter's fp32, and autocast casts it back: two
        copies for nothing.
        """
        from peft.tuners.tuners_utils import BaseTunerLayer

        from vvae.decoder.kernels.lora import fuse

        for module in model.modules():
            if isinstance(module, BaseTunerLayer):
                module.cast_input_dtype_enabled = not self.bf16
        fuse(model)
        return model

    def drop_adapter(self) -> None:
        """The base model alone."""
        self.model = self._bare()

    def _bare(self) -> Any:
        bare = self.model.unload() if hasattr(self.model, "unload") else self.model
        if self._voices:
            bare.set_input_embeddings(self._voices.base)
            self._voices = None
        return bare


def _check_saved(folder: Path) -> None:
    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(
            "no adapter in safetensors here", where=str(folder), fix="train the variant first"
        )


def grouped(pairs: Iterable[Pair]) -> dict[tuple[str, int, str], list[Pair]]:
    """Pairs by (dialogue, window, speaker), the units that share a trunk, in order of first
    appearance.
    """
    groups: dict[tuple[str, int, str], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((pair.dialogue, pair.window, pair.speaker), []).append(pair)
    return groups


def per_token(losses: Iterable[tuple[float, int]]) -> float:
    """Mean loss of a token, in nats, from (summed cross-entropy, tokens)."""
    nats, tokens = map(sum, zip(*losses, strict=True))
    return nats / tokens
