"""What a person says of the values that the encoder read: accepted, corrected, or no evidence; kept
in the run.

`review.json` maps pair ids to dimensions to verdicts: it is what one knows of the encoder. It
changes nothing by itself; `corrections` puts it into effect.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from vvae.core.dialogue import Pair, context
from vvae.core.errors import ConfigError, DataError
from vvae.core.files import locked, write_json
from vvae.core.random import shuffled
from vvae.latent.persona import Persona
from vvae.latent.readers import reader
from vvae.pipeline.artifacts import VERDICTS
from vvae.pipeline.run import Run

__all__ = ["Review", "Verdict"]

Verdict = Literal["accepted", "corrected", "null"]
SHOWN_BEFORE = 3
"""Turns of context shown."""


class Review:
    """The values read in a run's replies, in a keyed order, and what was said of them.

    Raises:
        DataError: the run is not encoded.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._path = run.path(VERDICTS)
        if not run.path("encodings.parquet").is_file():
            raise DataError(
                "the run is not encoded", where=str(run.folder), fix="run 'vvae encode CONFIG'"
            )
        self._verdicts = self._kept()
        self._readings = run.readings
        # What rules read without error is nothing to judge.
        self._judged = {d.name for d in run.space.dimensions if not reader(d.reader).exact}
        pairs = [
            pair
            for pair in run.valid_pairs
            if any(name in self._judged for name, _ in self._readings.get(pair.pair_id, Persona()))
        ]
        order = shuffled(pairs, "review", run.config.seed, name=[pair.pair_id for pair in pairs])
        self._pairs: Mapping[str, Pair] = {pair.pair_id: pair for pair in order}

    def _kept(self) -> dict[str, dict[str, Any]]:
        try:
            verdicts: dict[str, dict[str, Any]] = json.loads(self._path.read_text("utf-8"))
        except OSError:
            return {}
        except ValueError:
            raise DataError("not JSON", where=str(self._path), fix="move it away") from None
        return verdicts

    def items(
        self, speaker: str | None, start: int | None, number: int
    ) -> tuple[list[dict[str, Any]], int, int]:
        """Return replies with at least one value (reply, what came before, values with evidence),
        the place of the first of them, and how many there are.

        Args:
            start: the place of the first; None: the first of which nothing was said yet.
        """
        pairs = [
            pair for pair in self._pairs.values() if speaker is None or pair.speaker == speaker
        ]
        if start is None:
            unsaid = (at for at, pair in enumerate(pairs) if pair.pair_id not in self._verdicts)
            start = next(unsaid, 0)
        return [self._item(pair) for pair in pairs[start : start + number]], start, len(pairs)

    def _item(self, pair: Pair) -> dict[str, Any]:
        before = context(self.run.dialogues[pair.dialogue], pair)[-SHOWN_BEFORE:]
        values = {
            name: {"value": slot.value, "evidence": slot.evidence, "confidence": slot.confidence}
            for name, slot in self._readings[pair.pair_id]
            if name in self._judged
        }
        return {
            "pair": pair.pair_id,
            "speaker": pair.speaker,
            "before": [{"speaker": turn.speaker, "text": turn.text} for turn in before],
            "reply": pair.response,
            "values": values,
            "said": self._verdicts.get(pair.pair_id, {}),
        }

    def say(self, pair: str, dimension: str, verdict: Verdict | None, value: str | None) -> None:
        """Write down what is said of a dimension of a reply; None takes it back. What others have
        written since stays.

        Raises:
            ConfigError: there is no such reply or dimension, or the value is none of its labels.
        """
        if pair not in self._pairs:
            raise ConfigError("no such reply", where="pair")
        if dimension not in self.run.space.by_name:
            raise ConfigError("no such dimension", where="dimension")
        if verdict == "corrected":
            self.run.space.check(dimension, value or "", where="value")
        entry = {"verdict": verdict} | ({"value": value} if verdict == "corrected" else {})
        with locked(self._path):
            verdicts = self._kept()
            own = {n: said for n, said in verdicts.get(pair, {}).items() if n != dimension}
            verdicts[pair] = own | ({dimension: entry} if verdict else {})
            verdicts = {name: of_pair for name, of_pair in verdicts.items() if of_pair}
            write_json(self._path, verdicts)
        self._verdicts = verdicts

    def counts(self) -> dict[str, dict[str, int]]:
        """Return dimension -> how many values were accepted, corrected and taken back."""
        result: dict[str, Counter[str]] = {}
        for own in self._verdicts.values():
            for name, entry in own.items():
                result.setdefault(name, Counter())[entry["verdict"]] += 1
        names: Sequence[str] = self.run.space.names
        return {name: dict(result[name]) for name in names if name in result}
