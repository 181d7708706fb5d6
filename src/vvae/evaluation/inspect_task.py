"""HumanChatBench in Inspect AI (https://inspect.aisi.org.uk): a task, and this project's adapters
as models.

    inspect eval vvae/human_chat_bench -T run=RUN --model openai/gpt-4o-mini
    inspect eval vvae/human_chat_bench -T run=RUN --model "vvae/SP+FT" -M run=RUN
    inspect view

The run needs profiles (`vvae train`, or any later stage); its held-out contexts are the samples.
Rates are means of speakers' own rates, beside people's in all held-out replies of the same
speakers.
"""

import asyncio
import math
import threading
from collections import defaultdict
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    modelapi,
)
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, metric, scorer
from inspect_ai.solver import TaskState, generate

from vvae.core.dialogue import Pair, context
from vvae.core.errors import ConfigError, choose_from
from vvae.decoder.variants import PRESETS, Variant
from vvae.inference.engine import GenerationConfig
from vvae.inference.prompts import chat_messages
from vvae.metrics.bootstrap import Hit, rate, tabulate
from vvae.metrics.metric import metrics_of, scored, shows
from vvae.metrics.text import asks, laughs, spoken_length
from vvae.pipeline.run import Run

__all__ = ["human_chat_bench"]

RATES = tuple(metric.name for metric in metrics_of("value"))
FIGURES = (*RATES, "question", "laughter", "words")
ROLES = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}


@task
def human_chat_bench(run: str, replies: int = 100, persona: str = "zero-shot") -> Task:
    """Return the task that asks whether a model's habits are as frequent as people's.

    Args:
        run: a run folder with profiles.
        replies: held-out contexts.
        persona: how it is put: a prompted variant (zero-shot, zero-shot-rarely, few-shot,
            retrieval), or none.
    """
    opened = Run.open(run)
    if persona != "none" and (persona not in PRESETS or PRESETS[persona].trained):
        fix = choose_from(persona, [*(v.name for v in PRESETS.values() if not v.trained), "none"])
        raise ConfigError(f"unknown prompt {persona!r}", where="-T persona", fix=fix)
    variant = (
        PRESETS[persona] if persona != "none" else Variant(name="none", z="none", prompt="plain")
    )
    people = _people(opened)
    pairs = opened.benchmarked(replies)
    samples = [_sample(opened, variant, pair, people) for pair in pairs]
    temperature = opened.config.generate.temperature
    return Task(
        dataset=MemoryDataset(samples, name=opened.folder.name),
        solver=generate(),
        scorer=habits(),
        config=GenerateConfig(temperature=temperature, max_tokens=256),
    )


def _figures(values: dict[str, str], text: str) -> dict[str, float]:
    """What a reply shows; nan for a habit whose value the speaker does not have."""
    rates = {m: float(shows(m, values[m], text)) if m in values else math.nan for m in RATES}
    return rates | {
        "question": float(asks(text)),
        "laughter": float(laughs(text)),
        "words": spoken_length([text]),
    }


def _values(run: Run, speaker: str) -> dict[str, str]:
    persona = run.profiles[speaker].persona()
    dimensions = scored(run.space)
    return {m: v for m, d in dimensions.items() if (v := persona.value(d.name)) is not None}


def _people(run: Run) -> dict[str, float]:
    """The same figures of all held-out replies of the benchmarked speakers."""
    speakers = frozenset(run.speakers)
    hits: dict[str, list[Hit]] = defaultdict(list)
    for pair in run.valid_pairs:
        if pair.split == "heldout" and pair.speaker in speakers:
            for name, value in _figures(_values(run, pair.speaker), pair.response).items():
                if value == value:
                    hits[name].append(Hit(pair.speaker, pair.dialogue, value))
    return {name: round(rate(tabulate(of_figure)), 4) for name, of_figure in hits.items()}


def _sample(run: Run, variant: Variant, pair: Pair, people: dict[str, float]) -> Sample:
    dialogue = run.dialogues[pair.dialogue]
    block = run.conditions(variant).test_line(pair, pair.speaker)
    chat = chat_messages(
        context(dialogue, pair),
        pair.speaker,
        block if isinstance(block, str) else None,
        named=len(dialogue.speakers) > 2,
    )
    messages: list[ChatMessage] = [ROLES[m["role"]](content=m["content"]) for m in chat]
    messages[-1].metadata = {"pair_id": pair.pair_id}
    known = {"speaker": pair.speaker, "values": _values(run, pair.speaker), "people": people}
    return Sample(id=pair.pair_id, input=messages, target=pair.response, metadata=known)


# --- scoring --------------------------------------------------------------------------------------


def _by_speaker(scores: list[SampleScore]) -> list[float]:
    """Each speaker's own mean; replies for which a figure says nothing are left out."""
    own: dict[str, list[float]] = defaultdict(list)
    for sample in scores:
        value = sample.score.as_float()
        if not math.isnan(value):
            own[str((sample.sample_metadata or {}).get("speaker"))].append(value)
    return [sum(values) / len(values) for values in own.values()]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _people_of(scores: list[SampleScore], figure: str) -> float:
    known = (scores[0].sample_metadata or {}).get("people", {}) if scores else {}
    return float(known.get(figure, math.nan))


@metric(name="rate")
def model_rate() -> Metric:
    """Return the metric that is the mean of the speakers' own means."""

    def rate_of(scores: list[SampleScore]) -> float:
        return _mean(_by_speaker(scores))

    return rate_of


@metric(name="people")
def people_rate(figure: str) -> Metric:
    """Return the metric that is people's own value of a figure, to compare with."""

    def people(scores: list[SampleScore]) -> float:
        return _people_of(scores, figure)

    return people


@metric(name="deviation")
def deviation(figure: str) -> Metric:
    """Return the metric that is the model's value less people's: above 0 is too often."""

    def difference(scores: list[SampleScore]) -> float:
        return _mean(_by_speaker(scores)) - _people_of(scores, figure)

    return difference


@metric(name="stderr")
def standard_error() -> Metric:
    """Return the metric that is the standard error of the model's rate, over speakers."""

    def error(scores: list[SampleScore]) -> float:
        means = _by_speaker(scores)
        n, centre = len(means), _mean(means)
        return math.sqrt(sum((m - centre) ** 2 for m in means) / (n - 1) / n) if n > 1 else math.nan

    return error


@scorer(
    metrics={f: [model_rate(), people_rate(f), deviation(f), standard_error()] for f in FIGURES}
)
def habits() -> Scorer:
    """Return the scorer of what a reply shows of CP, EC and HM, whether it asks, laughs, and how
    long it is.
    """

    async def score(state: TaskState, target: Target) -> Score:
        text = state.output.completion
        return Score(
            value=_figures(state.metadata["values"], text),
            answer=text,
            explanation=f"people: {target.text}",
        )

    return score


# --- this project's adapters ----------------------------------------------------------------------


@modelapi(name="vvae")
def vvae() -> type[ModelAPI]:
    """Return an adapter of a run as a model: ``vvae/VARIANT`` with ``-M run=RUN``."""
    return _Adapter


class _Adapter(ModelAPI):
    """Writes the reply of a sample as the benchmark does: under the speaker's profile, z last,
    keyed noise.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008
        run: str = "",
        **_: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        if not run:
            raise ConfigError(
                "which run?", where=f"vvae/{model_name}", fix="give its folder: -M run=RUN"
            )
        self._run = Run.open(run)
        own = (v for v in self._run.variants if not v.endpoint)
        self._variant = next((v for v in own if v.name == model_name), None)
        if self._variant is None:
            fix = choose_from(model_name, (v.name for v in self._run.variants if not v.endpoint))
            raise ConfigError(f"no variant {model_name!r}", where=run, fix=fix)
        self._pairs = {pair.pair_id: pair for pair in self._run.valid_pairs}
        self._decoder, self._lock = self._run.with_adapter(self._variant), threading.Lock()

    async def generate(
        self, input: list[ChatMessage], tools: Any, tool_choice: Any, config: GenerateConfig
    ) -> ModelOutput:
        """Return the reply to a sample of `human_chat_bench`."""
        pair = self._pairs.get(str((input[-1].metadata or {}).get("pair_id")))
        if pair is None:
            raise ConfigError(
                "this model answers the samples of vvae/human_chat_bench only",
                where=self.model_name,
            )
        text, stopped = await asyncio.to_thread(self._reply, pair, config)
        return ModelOutput.from_content(
            self.model_name, text, "stop" if stopped == "stop" else "max_tokens"
        )

    def _reply(self, pair: Pair, config: GenerateConfig) -> tuple[str, str]:
        assert self._variant is not None
        temperature = 1.0 if config.temperature is None else config.temperature
        top_p = 1.0 if config.top_p is None else config.top_p
        settings = GenerationConfig(
            temperature=temperature, top_p=top_p, max_new_tokens=config.max_tokens or 256
        )
        block = self._run.conditions(self._variant).test_line(pair, pair.speaker)
        request = self._decoder.prompter.request(
            self._run.dialogues[pair.dialogue], pair, block, key=f"{pair.pair_id}|{pair.speaker}"
        )
        with self._lock:
            (completion,) = self._decoder.engine.complete(
                [request], settings, seed=self._run.config.seed
            )
        return completion.text, completion.finish_reason

    def max_connections(self) -> int:
        """A few wait: one model writes one reply at a time."""
        return 4
