"""q(z|x,c) by a frozen language model behind an OpenAI-compatible endpoint: the encoder the paper
means.

It works in two passes. The first sees to it that every call has an answer in the ledger: windows
are shared out among `concurrency` workers, each asks for the replies of a window in their order.
The second is a pure function of pairs and
ledger: it reads each answer, validates and grounds it. So a stopped run goes on where it was, and
what it writes does not depend on when which answer came.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from vvae.core.dialogue import Dialogue, Pair
from vvae.core.errors import ConfigError, DataError, EndpointError
from vvae.core.files import to_json
from vvae.core.random import shuffled
from vvae.core.reporting import Progress
from vvae.core.text import estimated_tokens
from vvae.encoders.base import EncoderSettings, readable
from vvae.encoders.llm.answer import CUT_OFF, read_answer
from vvae.encoders.llm.question import (
    QUESTION_VERSION,
    Conversation,
    Structure,
    asked,
    instructions,
    schema,
)
from vvae.encoders.rules.catchphrase import Catchphrase, CatchphraseConfig, lists_from, mine
from vvae.inference.endpoint.client import (
    Call,
    Endpoint,
    Refused,
    ask_all,
    key,
    may_try_again,
    wire,
)
from vvae.inference.endpoint.ledger import Answer, Ledger
from vvae.inference.endpoint.settings import HOW, EndpointConfig, is_loopback
from vvae.latent.persona import Persona
from vvae.latent.space import LatentSpace
from vvae.latent.tables import Encoding

__all__ = ["LLMConfig", "LLMEncoder", "Plan"]

STRUCTURES: tuple[Structure, ...] = ("schema", "json", "text")
FORMATS = {"schema": "JSON schema", "json": "JSON mode", "text": "plain text with a parser"}
_PROBE = Pair("probe", "probe", 1, 0, "b", ("a",), "train", "Thank you so much, you are too kind!")


class LLMConfig(EndpointConfig, EncoderSettings):
    """A set of options: the endpoint, and how much of the corpus it reads.

    Example:
        >>> config = LLMConfig(kind="llm", base_url=("http://127.0.0.1:8080/v1",), model="qwen")
        >>> config.concurrency
        16
    """

    kind: Literal["llm"]
    catchphrase: CatchphraseConfig = Field(default_factory=CatchphraseConfig)
    limit: int | None = Field(None, ge=1, description="read only the first so many pairs")
    sample: int | None = Field(None, ge=1, description="read only so many pairs, a keyed choice")
    error_limit: float = Field(
        0.01, ge=0, le=1, description="largest share of calls without an answer let pass"
    )

    def answer_settings(self) -> dict[str, Any]:
        """Return what the readings depend on: not how fast, how patiently, or for how much money
        they are got.
        """
        return self.model_dump(mode="json", exclude=HOW | {"limit", "sample", "error_limit"})

    @property
    def calls_a_model(self) -> bool:
        """Return whether reading costs calls: it does."""
        return True

    @property
    def beyond(self) -> tuple[str, ...]:
        """Return the endpoints that are not on this machine."""
        return tuple(u for u in self.base_url if not is_loopback(urlsplit(u).hostname or ""))

    def key(self, space: LatentSpace) -> list[Any]:
        """Return what is asked, of how many pairs, the space and the question's version."""
        settings = {**self.answer_settings(), "limit": self.limit, "sample": self.sample}
        # The number was the other encoder's version, when both stood in every key; it stays, so
        # that what was paid for then need not be asked again.
        return [settings, space.to_dict(), 2, QUESTION_VERSION]

    def fit(
        self,
        pairs: Sequence[Pair],
        space: LatentSpace,
        *,
        topics: Mapping[str, str],
        ledger: Path,
        progress: Progress | None = None,
    ) -> LLMEncoder:
        """Return the encoder with the strictest form of answers that the endpoint keeps to."""
        return LLMEncoder.fit(pairs, space, self, topics=topics, ledger=ledger).probe()

    def load(self, state: str, *, ledger: Path, where: str = "encoder.json") -> LLMEncoder:
        """Return the encoder of a state that was made with these settings."""
        return LLMEncoder.from_state(state, self, ledger, where=where)

    def subset(self, pairs: Sequence[Pair], *, seed: int) -> list[Pair]:
        """Return a deterministic random subset of `sample` pairs, the first `limit` of them."""
        selection = list(pairs)
        if self.sample is not None:
            ids = shuffled([pair.pair_id for pair in pairs], "encoder sample", seed)
            sampled_ids = set(ids[: self.sample])
            selection = [pair for pair in pairs if pair.pair_id in sampled_ids]
        return selection[: self.limit]

    def limited(self, settings: Mapping[str, Any]) -> Self:
        """Return these settings with other limits."""
        try:
            return type(self).model_validate({**self.model_dump(), **settings})
        except ValidationError as error:
            raise ConfigError(
                error.errors()[0]["msg"], where="encoder", fix="give it in the config"
            ) from None

    def for_shard(self, shards: int) -> Self:
        """Return the settings of a shard, which knows only its own spending and its own errors."""
        part = None if self.max_cost is None else self.max_cost / shards
        return self.model_copy(update={"max_cost": part, "error_limit": 1.0})

    def plan(
        self,
        pairs: Sequence[Pair],
        space: LatentSpace,
        *,
        topics: Mapping[str, str],
        dialogues: Mapping[str, Dialogue],
        ledger: Path,
        seed: int,
    ) -> Plan:
        """Return calls and tokens by estimate; no call is made."""
        encoder = LLMEncoder.fit(pairs, space, self, topics=topics, ledger=ledger)
        return encoder.plan(self.subset(pairs, seed=seed), dialogues)


class Plan(NamedTuple):
    """An estimate of what reading some pairs takes: calls, those already answered, tokens."""

    calls: int
    known: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None = None
    """None where the config has no price."""


class LLMEncoder:
    """A language model behind an OpenAI-compatible endpoint as encoder q(z|x,c).

    Its state says everything but the answers, which are in the ledger.

    Example:
        >>> import vvae
        >>> config = vvae.LLMConfig(kind="llm", model="qwen")  # doctest: +SKIP
        >>> encoder = vvae.LLMEncoder.fit(  # doctest: +SKIP
        ...     pairs, space, config, ledger=Path("ledger.sqlite")
        ... ).probe()
        >>> encodings = list(encoder.encode(pairs, dialogues))  # doctest: +SKIP
    """

    def __init__(
        self,
        space: LatentSpace,
        config: LLMConfig,
        lists: Mapping[str, tuple[Catchphrase, ...]],
        structure: Structure,
        ledger: Path,
    ) -> None:
        self.space, self.config, self.lists, self.structure, self.ledger = (
            space,
            config,
            lists,
            structure,
            ledger,
        )
        self._phrases = {speaker: [c.phrase for c in phrases] for speaker, phrases in lists.items()}
        self._around = _around(space, structure, config)
        digest = blake2b(self.state().encode(), digest_size=6).hexdigest()
        self.id = f"llm-v{QUESTION_VERSION}-{config.model}-{digest}"
        self.keeps_answers = True
        """Whether the ledger keeps what the model answered, so that nothing is asked twice."""
        self.rejected: Counter[str] = Counter()
        """Values that were not accepted, by dimension and reason, in what was read last."""

    @classmethod
    def fit(
        cls,
        pairs: Sequence[Pair],
        space: LatentSpace,
        config: LLMConfig,
        *,
        ledger: Path,
        topics: Mapping[str, str] | None = None,
    ) -> LLMEncoder:
        """Return an encoder that has mined catchphrases on the training pairs among `pairs`.

        It takes for granted that the endpoint keeps to a JSON schema, until `probe`.

        Args:
            ledger: where calls and answers are kept.
            topics: dialogue id -> what it was about: a habit must not be the echo of one topic.
        """
        topics = topics or {}
        train = [pair for pair in pairs if pair.split == "train"]
        lists = mine(train, topics, config.catchphrase) if space.read_by("catchphrase") else {}
        return cls(space, config, lists, "schema", ledger)

    def probe(self) -> LLMEncoder:
        """Return this encoder with the strictest structure that the endpoint keeps to.

        Raises:
            EndpointError: the endpoint does not answer.
        """
        return asyncio.run(self._probe())

    async def _probe(self) -> LLMEncoder:
        refused = Refused("none")
        with Ledger(self.ledger) as ledger:
            async with Endpoint(self.config, ledger) as endpoint:
                for structure in STRUCTURES:
                    candidate = LLMEncoder(
                        self.space, self.config, self.lists, structure, self.ledger
                    )
                    result = await endpoint.ask(next(candidate._calls([_PROBE], {}))[1])
                    if isinstance(result, Refused):
                        refused = result
                        if may_try_again(result.outcome):  # it says nothing of the form
                            break
                    elif structure == "text" or _holds(result, self.space, structure):
                        return candidate
        fix = "start it, or change encoder.base_url; then run the same command again"
        raise EndpointError(
            f"no answer ({refused.outcome})", where=self.config.base_url[0], fix=fix
        )

    # --- the two passes ---

    def encode(
        self,
        pairs: Sequence[Pair],
        dialogues: Mapping[str, Dialogue],
        *,
        progress: Progress | None = None,
    ) -> Iterator[Encoding]:
        """Return an iterator over z of each pair, in order, read one by one from the ledger after
        every call was made.

        Raises:
            EndpointError: the endpoint is of no use, the budget is spent, or too many calls have no
                answer.
        """
        missing = self._ask_all(pairs, dialogues, progress)
        self.check_errors(missing.total(), len(pairs), missing)
        return self._read_all(pairs, dialogues)

    def check_errors(self, missing: int, total: int, outcomes: Mapping[str, int]) -> None:
        """Raise EndpointError where too many calls have no answer.

        Args:
            outcomes: how they ended.
        """
        if missing > self.config.error_limit * total:
            reasons = ", ".join(
                f"{outcome}: {n:,}" for outcome, n in outcomes.items() if outcome != "ok"
            )
            fix = (
                "run the same command again (what is answered is kept), or raise "
                "encoder.error_limit"
            )
            raise EndpointError(
                f"{missing:,} of {total:,} replies have no answer ({reasons})", fix=fix
            )

    def _ask_all(
        self, pairs: Sequence[Pair], dialogues: Mapping[str, Dialogue], progress: Progress | None
    ) -> Counter[str]:
        """Makes every call that has no answer yet; how those ended that got none."""
        missing: Counter[str] = Counter()
        done = 0

        def heard(_: int, result: Answer | Refused) -> None:
            nonlocal done
            if isinstance(result, Refused):
                missing[result.outcome] += 1
            done += 1
            if progress:
                progress(done, len(pairs))

        windows = (
            (
                Call(n, data, pair.dialogue)
                for n, (pair, data) in enumerate(self._calls(list(group), dialogues))
            )
            for _, group in groupby(pairs, key=_window)
        )
        asyncio.run(ask_all(self.config, self.ledger, windows, heard))
        return missing

    def _read_all(
        self, pairs: Sequence[Pair], dialogues: Mapping[str, Dialogue]
    ) -> Iterator[Encoding]:
        self.rejected.clear()
        names = set[str]()  # a question that two pairs ask is answered once
        with Ledger(self.ledger) as ledger:
            try:
                for pair, data in self._calls(pairs, dialogues):
                    names.add(name := key(self.config.address(pair.dialogue), data))
                    yield self._read(pair, name, ledger)
            finally:
                if not self.keeps_answers:
                    ledger.forget(names)

    def _read(self, pair: Pair, name: str, ledger: Ledger) -> Encoding:
        answer = ledger.answer(name)
        if answer is None:
            return Encoding(
                pair.pair_id, self.id, Persona(), "error", ledger.last_outcome(name) or "not asked"
            )
        phrases = self._phrases.get(pair.speaker, ())
        reading = read_answer(
            answer.content, answer.finish, pair.response, self.space, self.structure, phrases
        )
        self.rejected.update(f"{dimension}: {reason}" for dimension, reason in reading.rejected)
        status: Literal["ok", "invalid"] = "invalid" if reading.invalid else "ok"
        return Encoding(pair.pair_id, self.id, reading.persona, status, reading.invalid)

    def _calls(
        self, pairs: Sequence[Pair], dialogues: Mapping[str, Dialogue]
    ) -> Iterator[tuple[Pair, bytes]]:
        """Each pair with the body of its call."""
        for (dialogue, start), group in groupby(pairs, key=_window):
            own = [readable(pair) for pair in group]
            turns = dialogues[dialogue].turns if dialogue in dialogues else ()
            first, last = (
                bisect_left(turns, turn, key=attrgetter("id")) for turn in (start, own[-1].turn)
            )
            conversation = Conversation(turns[first:last])
            for pair in own:
                question = conversation.question(pair, self._phrases.get(pair.speaker, ()))
                yield (
                    pair,
                    self._around[0]
                    + json.dumps(question, ensure_ascii=False).encode()
                    + self._around[1],
                )

    # --- before and after ---

    def plan(self, pairs: Sequence[Pair], dialogues: Mapping[str, Dialogue]) -> Plan:
        """Return what `encode` would do: calls not answered yet and tokens, by estimate; no call is
        made.
        """
        calls = known = prompt = 0
        with Ledger(self.ledger) as ledger:
            for pair, data in self._calls(pairs, dialogues):
                if ledger.answer(key(self.config.address(pair.dialogue), data)) is not None:
                    known += 1
                    continue
                calls += 1
                messages = json.loads(data)["messages"]
                prompt += sum(estimated_tokens(message["content"]) for message in messages)
        empty = json.dumps(dict.fromkeys(self.space.names), separators=(",", ":"))
        completion, price = calls * estimated_tokens(empty), self.config.price
        cost = price.of(prompt, completion) if price else None
        return Plan(calls, known, prompt, completion, cost)

    def accounts(self) -> dict[str, Any]:
        """Return what was spent at this endpoint and model, and all attempts by how they ended;
        earlier runs are included.
        """
        with Ledger(self.ledger) as ledger:
            spent, outcomes = ledger.spent(self.config.account), ledger.outcomes()
        price = self.config.price
        cost = price.of(spent.prompt_tokens, spent.completion_tokens) if price else None
        tokens = {
            "prompt_tokens": spent.prompt_tokens,
            "completion_tokens": spent.completion_tokens,
        }
        return {"attempts": dict(outcomes), **tokens, "cost": cost}

    def about(self) -> str:
        """Return model, endpoint and the response format in use."""
        return (
            f"{self.config.model} at {', '.join(self.config.base_url)}: "
            f"answers held by {FORMATS[self.structure]}"
        )

    def state(self) -> str:
        """Return everything needed to ask and read again in the same way, as JSON."""
        body = {
            "kind": "llm",
            "question": QUESTION_VERSION,
            "structure": self.structure,
            "config": self.config.answer_settings(),
            "space": self.space.to_dict(),
            "catchphrases": {
                speaker: [list(c) for c in phrases]
                for speaker, phrases in sorted(self.lists.items())
            },
        }
        return to_json(body)

    @classmethod
    def from_state(
        cls, text: str, config: LLMConfig, ledger: Path, *, where: str = "encoder.json"
    ) -> LLMEncoder:
        """Return the encoder whose `state` a text is.

        Args:
            config: the run's; the readings depend on nothing in it that the state does not say.

        Raises:
            DataError: the text is no state of this version, or of another config.
        """
        try:
            data: dict[str, Any] = json.loads(text)
            if data["question"] != QUESTION_VERSION:
                raise ValueError(f"question version {data['question']}, this is {QUESTION_VERSION}")
            if data["config"] != config.answer_settings():
                raise ValueError("made with another config")
            space = LatentSpace.from_dict(data["space"], where=where)
            return cls(space, config, lists_from(data["catchphrases"]), data["structure"], ledger)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"not an encoder state ({error})", where=where, fix="run 'vvae encode' again"
            ) from None


def _window(pair: Pair) -> tuple[str, int]:
    return pair.dialogue, pair.window


def _around(
    space: LatentSpace, structure: Structure, config: EndpointConfig
) -> tuple[bytes, bytes]:
    """The body of a call before and after the user's message, which alone differs between calls."""
    gap = "\0"
    messages = (
        {"role": "system", "content": instructions(space, structure)},
        {"role": "user", "content": gap},
    )
    head, tail = wire(config.body(messages, _form(space, structure))).split(
        json.dumps(gap).encode()
    )
    return head, tail


def _form(space: LatentSpace, structure: Structure) -> dict[str, Any]:
    """The request fields that hold an answer's form."""
    if structure == "schema":
        form = {"name": "traits", "strict": True, "schema": schema(space)}
        return {"response_format": {"type": "json_schema", "json_schema": form}}
    return {"response_format": {"type": "json_object"}} if structure == "json" else {}


def _holds(answer: Answer, space: LatentSpace, structure: Structure) -> bool:
    """Whether an answer to the probe is of the form that was asked for; if it was cut off, whether
    it began so.
    """
    reading = read_answer(answer.content, answer.finish, _PROBE.response, space, structure, ())
    if reading.invalid == CUT_OFF:
        return (answer.content or "").lstrip().startswith("{")
    if reading.invalid:
        return False
    if structure != "schema":
        return True
    with suppress(ValueError):
        values = json.loads(answer.content or "")
        dimensions = asked(space)
        return set(values) == {d.name for d in dimensions} and all(
            value is None or (isinstance(value, str) and (d.labels is None or value in d.labels))
            for d in dimensions
            for value in [values[d.name]]
        )
    return False
