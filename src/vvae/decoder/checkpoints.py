"""Checkpoints of a training that can be killed at any time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vvae.core.files import atomic_path, write_text
from vvae.decoder import distributed
from vvae.decoder.model import Decoder

__all__ = ["Checkpoint", "Checkpoints"]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as it is on disk: where a training was."""

    folder: Path
    log: tuple[float, ...]
    validation: tuple[float, ...]
    moments: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Checkpoint:
        """Return the checkpoint of a folder, or raise OSError, ValueError, KeyError or
        SafetensorError where a file of it is missing or damaged.
        """
        from safetensors.torch import load_file

        load_file(folder / "adapter_model.safetensors")
        state = json.loads((folder / "state.json").read_text("utf-8"))
        moments = load_file(folder / "optimizer.safetensors")
        return cls(folder, tuple(state["log"]), tuple(state["validation"]), moments)

    def restore(self, optimizer: Any, weights: Sequence[Any]) -> None:
        """Give the optimizer its moments back."""
        import torch

        for number, weight in enumerate(weights):
            optimizer.state[weight] = {
                "step": torch.tensor(float(len(self.log))),
                "exp_avg": self.moments[f"{number}.exp_avg"].to(weight.device),
                "exp_avg_sq": self.moments[f"{number}.exp_avg_sq"].to(weight.device),
            }


class Checkpoints:
    """A folder of the checkpoints of one adapter: each is complete when it has its name; the last
    two are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _complete(self) -> Iterator[Path]:
        yield from sorted(
            self._folder.glob("step-*"), key=lambda path: int(path.name.split("-")[1])
        )

    def open(self, say: Callable[[str], None]) -> Checkpoint | None:
        """Return the last one that can be read, the same for all processes."""
        distributed.barrier()
        last = self._latest(say) if distributed.is_first() else None
        distributed.barrier()
        return last if distributed.is_first() else self._latest(say)

    def _latest(self, say: Callable[[str], None]) -> Checkpoint | None:
        """The last one that can be read; those that cannot are named and removed."""
        from safetensors import SafetensorError

        for folder in reversed(list(self._complete())):
            try:
                return Checkpoint.read(folder)
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                say(
                    f"{folder}: damaged checkpoint ({' '.join(str(error).split())[:100]}); the "
                    "one before it is used"
                )
                shutil.rmtree(folder)
        return None

    @property
    def best(self) -> Path:
        """Return the folder of the adapter with the lowest validation loss so far."""
        return self._folder / "best"

    def keep_best(self, decoder: Decoder) -> None:
        """Save the adapter as it is: it has the lowest validation loss."""
        if distributed.is_first():
            self.best.mkdir(parents=True, exist_ok=True)
            decoder.save_adapter(self.best)

    def save(
        self,
        decoder: Decoder,
        optimizer: Any,
        weights: Sequence[Any],
        log: Sequence[float],
        validation: Sequence[float],
    ) -> None:
        """Write a checkpoint and remove the one before the last."""
        if not distributed.is_first():
            return
        from safetensors.torch import save_file

        partial = self._folder / ".part"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        decoder.save_adapter(partial)
        moments = {
            f"{number}.{name}": optimizer.state[weight][name].contiguous()
            for number, weight in enumerate(weights)
            for name in ("exp_avg", "exp_avg_sq")
        }
        with atomic_path(partial / "optimizer.safetensors") as path:
            save_file(moments, path)
        write_text(
            partial / "state.json", json.dumps({"log": list(log), "validation": list(validation)})
        )
        partial.rename(self._folder / f"step-{len(log)}")
        for old in list(self._complete())[:-2]:
            shutil.rmtree(old)

    def clear(self) -> None:
        """Remove all of them."""
        if distributed.is_first():
            shutil.rmtree(self._folder, ignore_errors=True)
