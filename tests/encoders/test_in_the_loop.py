"""Of several replies written, the first that shows what is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from vvae.core.dialogue import Dialogue, Message, Pair, Turn
from vvae.core.random import index_below
from vvae.decoder.model import Decoder
from vvae.encoders import in_the_loop
from vvae.encoders.in_the_loop import Accepted, Judge, Task, write_accepted
from vvae.encoders.rules.encoder import RulesConfig, RulesEncoder
from vvae.inference.engine import Completion, GenerationConfig, Request
from vvae.latent.readers import reader
from vvae.latent.space import load_space
from vvae.latent.steering import Demand

SPACE = load_space()
WORDS = ("fine :)", "no", "what do you mean?", "haha sure 😂", "ok then.")
DIALOGUE = Dialogue("d", (Turn(0, "ben", (Message("hi"),)), Turn(1, "ana", (Message("?"),))))
CONFIG = GenerationConfig(max_new_tokens=8)


class Dice:
    """An engine whose replies are drawn evenly from a few, by the key of the request."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def complete(
        self,
        requests: Sequence[Request],
        config: GenerationConfig,
        *,
        seed: int,
        progress: object = None,
    ) -> list[Completion]:
        self.keys += [request.key for request in requests]
        draws = (index_below(len(WORDS), "dice", seed, request.key) for request in requests)
        return [Completion(WORDS[draw], "stop", 3) for draw in draws]


def pair(number: int) -> Pair:
    return Pair(f"p{number}", "d", 1, 0, "ana", ("ben",), "heldout", "")


def judge() -> Judge:
    def encoder() -> RulesEncoder:
        raise AssertionError("words and form need no encoder")

    return Judge(encoder, SPACE)


def accepted(
    demands: Mapping[str, Demand], n: int, candidates: int, engine: Dice | None = None
) -> list[Accepted]:
    tasks = [Task(Request(f"r{at}", (1, 2)), pair(at), demands) for at in range(n)]
    return write_accepted(
        engine or Dice(),
        tasks,
        judge(),
        {"d": DIALOGUE},
        CONFIG,
        candidates=candidates,
        seed=1,
    )


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [("emoji", ":)", True), ("emoji", "😂", False), ("ending", "question mark", True)],
)
def test_a_reply_that_is_taken_shows_what_is_asked_and_each_such_reply_is_as_likely(
    name: str, value: str, shown: bool
) -> None:
    shows = reader(SPACE.by_name[name].reader).shows
    fitting = {word for word in WORDS if shows(value, word) == shown}
    assert fitting
    found = accepted({name: Demand(value, shown)}, 600, 32)
    met = [one for one in found if one.met]
    assert len(met) / 600 >= 1 - (1 - len(fitting) / len(WORDS)) ** 32 - 0.01
    texts = [one.completion.text for one in met]
    assert set(texts) == fitting
    for word in fitting:
        share = texts.count(word) / len(texts)
        assert share == pytest.approx(1 / len(fitting), abs=0.07), "a draw given the demand"
    mean = sum(one.number + 1 for one in met) / len(met)
    assert mean == pytest.approx(len(WORDS) / len(fitting), rel=0.15), "1 / P(met) in the mean"


def test_where_none_meets_all_the_earliest_of_the_best_is_taken() -> None:
    demands = {"emoji": Demand("😂", True), "catchphrase": Demand("what do you mean", True)}
    for one in accepted(demands, 40, 16):
        assert len(one.met) == 1, "no reply has both"
        assert one.written == 16
        assert one.number < 16
    impossible = {"emoji": Demand("🦊", True)}
    for one in accepted(impossible, 10, 8):
        assert (one.met, one.number, one.written) == (frozenset(), 0, 8)


def test_the_first_candidate_is_the_reply_as_it_is_without_and_few_are_in_vain() -> None:
    engine = Dice()
    plain = accepted({}, 50, 16, engine)
    assert engine.keys == [f"r{at}" for at in range(50)], "nothing asked, nothing further written"
    assert {one.number for one in plain} == {0}
    engine = Dice()
    found = accepted({"emoji": Demand(":)", False)}, 50, 16, engine)
    assert len(engine.keys) <= 50 * 1.7, "of many replies one candidate is written at first"
    kept = [one.completion for one, other in zip(found, plain, strict=True) if one.number == 0]
    assert kept == [
        other.completion for one, other in zip(found, plain, strict=True) if one.number == 0
    ]


def test_how_many_are_written_at_once_changes_no_reply(
    tiny_decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = tiny_decoder.prompter.tokens("how are you")
    labels = list(SPACE.by_name["length"].labels or {})
    texts = [
        tiny_decoder.engine.complete([Request(f"x{at}", prompt)], CONFIG, seed=1)[0].text
        for at in range(12)
    ]
    read = [next(v for v in labels if reader("length").shows(v, text)) for text in texts]
    demands = {"length": Demand(min(set(read), key=read.count), True)}
    tasks = [Task(Request(f"r{at}", prompt), pair(at), demands) for at in range(6)]

    def written() -> list[Accepted]:
        return [
            write_accepted(
                tiny_decoder.engine,
                [task],
                judge(),
                {"d": DIALOGUE},
                CONFIG,
                candidates=16,
                seed=1,
            )[0]
            for task in tasks
        ]

    by_four = [one._replace(written=0) for one in written()]
    monkeypatch.setattr(in_the_loop, "FIRST_ROUND", 1)
    assert [one._replace(written=0) for one in written()] == by_four


def test_what_only_an_encoder_can_read_is_read_by_it(corpus: list[Dialogue]) -> None:
    train = [
        Pair(f"{d.id}#{t.id}", d.id, t.id, 0, t.speaker, (), "train", t.text)
        for d in corpus[:10]
        for t in d.turns[1:]
    ]
    encoder = RulesEncoder.fit(train, SPACE, RulesConfig())
    texts = ["thank you so much, i really appreciate it", "i am so sad and lonely today", ""]
    read = [
        next(iter(encoder.encode([Pair("x", "d", 1, 0, "ana", (), "heldout", text)], {})))
        for text in texts
    ]
    tones = [encoding.persona.value("tone") for encoding in read]
    assert tones[0] is not None
    assert tones[1] not in (None, tones[0])
    demands = {"tone": Demand(tones[0], True), "emoji": Demand("😂", False)}
    candidates = [(Pair("p", "d", 1, 0, "ana", (), "heldout", text), demands) for text in texts]
    met = Judge(lambda: encoder, SPACE).met(candidates, {"d": DIALOGUE})
    assert met == [{"tone", "emoji"}, {"emoji"}, set()], "an empty reply meets nothing"


def test_a_value_that_is_words_is_put_into_a_reply_where_the_model_can_be_seen(
    tiny_decoder: Decoder,
) -> None:
    prompt = tiny_decoder.prompter.tokens("how are you")
    both = {"catchphrase": Demand("oh my gosh", True), "emoji": Demand("😂", True)}
    asked: list[dict[str, Demand]] = [
        {"catchphrase": Demand("oh my gosh", True)},
        {"emoji": Demand("😂", True), "catchphrase": Demand("oh my gosh", False)},
        {"emoji": Demand(":D", True)},
        both,
        {"emoji": Demand("😂", False)},
    ]
    tasks = [
        Task(Request(f"r{at}", prompt), pair(at), demands)
        for at, demands in enumerate(asked)
        for _ in range(3)
    ]

    def written(several: list[Task]) -> list[Accepted]:
        return write_accepted(
            tiny_decoder.engine,
            several,
            judge(),
            {"d": DIALOGUE},
            GenerationConfig(max_new_tokens=12),
            candidates=16,
            seed=1,
        )

    found = written(tasks)
    for task, one in zip(tasks, found, strict=True):
        if task.demands != both:  # the second may stand before the first, which is then gone
            assert one.met == set(task.demands)
        for name, demand in task.demands.items():
            shows = reader(SPACE.by_name[name].reader).shows(demand.value, one.completion.text)
            assert shows == (demand.shown if name in one.met else not demand.shown)
        assert one.placed <= {n for n, demand in task.demands.items() if demand.shown}
    assert all(one.placed and one.written == 5 for one in found[:3]), "four tried, one put"
    assert not any(one.placed for one in found[-3:])
    assert [written([task])[0] for task in tasks[:4]] == found[:4], "alone as beside others"
