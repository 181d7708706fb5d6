from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
import torch

from vvae.core.errors import ConfigError
from vvae.decoder.model import Decoder
from vvae.inference.engine import Contrast, GenerationConfig, Request
from vvae.inference.transformers import TransformersEngine, draw
from vvae.serving.http.streaming import BatchedEngine


def requests(decoder: Decoder) -> list[Request]:
    texts = [
        "hi there",
        "a much longer prompt, with several words in it",
        "ok",
        "what did you do at school today",
    ]
    return [Request(f"r{i}", decoder.prompter.tokens(text)) for i, text in enumerate(texts)]


def test_a_reply_does_not_depend_on_its_company(tiny_decoder: Decoder) -> None:
    engine = tiny_decoder.engine
    config = GenerationConfig(max_new_tokens=12, batch_tokens=60)
    asked = requests(tiny_decoder)
    together = engine.complete(asked, config, seed=3)
    assert engine.complete(asked[::-1], config, seed=3)[::-1] == together
    assert [engine.complete([one], config, seed=3)[0] for one in asked] == together
    assert engine.complete(asked, config, seed=4) != together


def test_replies_that_come_and_go_are_those_written_alone(
    tiny_decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vvae.inference.transformers.SPARE_COLUMNS", 3)
    stops = range(4000)  # random weights hardly ever say one certain token
    engine = TransformersEngine(tiny_decoder.model, tiny_decoder.prompter.tokenizer, stops)
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 60, 40)
    asked = [
        Request(f"r{i}", tuple(rng.integers(5, 400, n).tolist())) for i, n in enumerate(lengths)
    ]
    config = GenerationConfig(max_new_tokens=25, batch_tokens=500, temperature=1.5)
    told: list[int] = []
    together = engine.complete(
        asked, config, seed=3, progress=lambda done, total: told.append(done)
    )
    assert {c.finish_reason for c in together} == {"stop", "length"}
    assert len({c.tokens for c in together}) > 5
    assert told == sorted(told)
    assert told[-1] == len(asked)
    assert [engine.complete([one], config, seed=3)[0] for one in asked] == together


def test_a_batch_takes_longer_prompts_later_with_settings_of_their_own_and_lets_go(
    tiny_decoder: Decoder,
) -> None:
    stops = range(4000)
    engine = TransformersEngine(tiny_decoder.model.eval(), tiny_decoder.prompter.tokenizer, stops)
    rng = np.random.default_rng(1)
    asked = [
        Request(f"r{i}", tuple(rng.integers(5, 400, 4 + 7 * (i % 9)).tolist())) for i in range(30)
    ]
    settings = [
        GenerationConfig(
            max_new_tokens=5 + i % 20, temperature=(0, 0.7, 1.5)[i % 3], top_p=(1, 0.8)[i % 2]
        )
        for i in range(30)
    ]
    batch, done = engine.batch(4, 100), dict[int, str]()
    added = 0
    while added < len(asked) or batch.busy:
        if added < len(asked) and rng.random() < 0.4:
            batch.add(added, asked[added], settings[added], seed=3)
            added += 1
        for wrote in batch.step():
            if wrote.name == 7:
                batch.drop(7)
            elif wrote.finish_reason:
                done[wrote.name] = engine.text(wrote.tokens).strip()
    alone = {
        i: engine.complete([asked[i]], settings[i], seed=3)[0].text for i in range(30) if i != 7
    }
    assert done == alone


def test_candidates_of_one_prompt_are_those_written_alone(tiny_decoder: Decoder) -> None:
    engine, config = tiny_decoder.engine, GenerationConfig(max_new_tokens=12)
    prompts = [request.prompt for request in requests(tiny_decoder)[:2]]
    asked = [Request(f"{at % 2}|{at}", prompts[at % 2]) for at in range(8)]
    together = engine.complete(asked, config, seed=3)
    assert [engine.complete([one], config, seed=3)[0] for one in asked] == together
    assert len({one.text for one in together}) > 4, "each is a draw of its own"


def test_a_trunk_that_is_shared_is_read_once_and_changes_no_reply(
    tiny_decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trunks of several lengths, rests of several lengths, contrasts among them, rows to spare or
    not.
    """
    rng = np.random.default_rng(2)
    trunks = [tuple(rng.integers(5, 400, n).tolist()) for n in (31, 12, 57)]
    asked = []
    for number in range(24):
        trunk = trunks[number % 3]
        rests = [tuple(rng.integers(5, 400, rng.integers(1, 9)).tolist()) for _ in range(2)]
        contrasts = (Contrast(trunk + rests[1], 1.5),) if number % 4 == 0 else ()
        asked.append(Request(f"r{number}", trunk + rests[0], contrasts, len(trunk)))
    engine = tiny_decoder.engine
    read = tiny_decoder.model.forward
    tokens: list[int] = []

    def counted(*given: Any, **settings: Any) -> Any:
        tokens.append(settings["input_ids"].numel())
        return read(*given, **settings)

    alone = [Request(one.key, one.prompt, one.contrasts) for one in asked]
    config = GenerationConfig(max_new_tokens=8, temperature=1.2)
    monkeypatch.setattr(tiny_decoder.model, "forward", counted)
    for few in (120, 10_000):
        of_batch = config.model_copy(update={"batch_tokens": few})
        tokens.clear()
        together = engine.complete(asked, of_batch, seed=3)
        shared = sum(tokens)
        tokens.clear()
        assert [engine.complete([one], config, seed=3)[0] for one in alone] == together
    assert shared < sum(tokens) / 2


@pytest.mark.parametrize("weights", [(1.5,), (0.5, -1.0)])
def test_a_reply_is_pushed_away_from_its_contrasts(
    tiny_decoder: Decoder, weights: tuple[float, ...]
) -> None:
    own, *others = [request.prompt for request in requests(tiny_decoder)]
    contrasts = tuple(
        Contrast(prompt, weight) for prompt, weight in zip(others, weights, strict=False)
    )
    greedy = GenerationConfig(max_new_tokens=10, temperature=0)
    request = Request("r", own, contrasts)

    def logits(prompt: tuple[int, ...]) -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = tiny_decoder.model(torch.tensor([prompt])).logits[0, -1].float()
            return found

    tiny_decoder.model.eval()
    written: tuple[int, ...] = ()
    for _ in range(10):
        plain = logits(own + written)
        pushed = plain + sum(
            one.weight * (plain - logits(one.prompt + written)) for one in contrasts
        )
        written += (int(pushed.argmax()),)
        if written[-1] in tiny_decoder.prompter.stops:
            written = written[:-1]
            break
    engine = tiny_decoder.engine
    alone = engine.complete([request], greedy, seed=0)[0]
    assert alone.text == engine.text(written).strip()
    assert alone.text != engine.complete([Request("r", own)], greedy, seed=0)[0].text
    warm = GenerationConfig(max_new_tokens=12, batch_tokens=120)
    company = [Request(f"r{at}", own, contrasts if at % 2 else ()) for at in range(6)]
    together = engine.complete(company, warm, seed=2)
    assert [engine.complete([one], warm, seed=2)[0] for one in company] == together


def test_strengths_that_find_no_place_are_refused_and_others_are_written(
    tiny_decoder: Decoder,
) -> None:
    prompt = requests(tiny_decoder)[0].prompt
    config = GenerationConfig(max_new_tokens=6)
    engine = BatchedEngine(tiny_decoder.engine, ["one"], lambda _: None, slots=2, context=256)
    tiny_decoder.model.eval()

    async def written(request: Request) -> str:
        return "".join(
            [piece.text async for piece in engine.stream(request, "one", config, seed=5)]
        )

    three = Request("three", prompt, (Contrast(prompt, 1.0),) * 2)
    two = Request("two", prompt, (Contrast(prompt[:-1], 1.0),))

    async def both() -> tuple[str, str | BaseException]:
        fine, refused = await asyncio.gather(written(two), written(three), return_exceptions=True)
        return str(fine), refused

    fine, refused = asyncio.run(both())
    assert isinstance(refused, ConfigError)
    assert "take 3 places" in str(refused)
    assert fine.strip() == tiny_decoder.engine.complete([two], config, seed=5)[0].text


def test_greedy_is_what_transformers_generates(tiny_decoder: Decoder) -> None:
    engine = tiny_decoder.engine
    for one, ours in zip(
        requests(tiny_decoder),
        engine.complete(
            requests(tiny_decoder), GenerationConfig(temperature=0, max_new_tokens=10), seed=0
        ),
        strict=True,
    ):
        ids = torch.tensor([one.prompt])
        output = tiny_decoder.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=10,
            pad_token_id=2,
        )
        theirs = tiny_decoder.prompter.tokenizer.decode(
            output[0, ids.shape[1] :], skip_special_tokens=True
        ).strip()
        assert ours.text == theirs


def test_keyed_noise_draws_from_the_models_distribution() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).repeat(20_000, 1)
    tokens = draw(logits, [GenerationConfig()] * 20_000, [(key, 0) for key in range(20_000)])
    expected = logits[0].softmax(-1)
    for token in range(4):
        assert abs(float((tokens == token).float().mean()) - float(expected[token])) < 0.012


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).repeat(3000, 1)
    tokens = draw(logits, [GenerationConfig(top_p=0.7)] * 3000, [(key, 0) for key in range(3000)])
    assert set(tokens.tolist()) == {0, 1}


def test_a_reply_that_does_not_end_says_so(tiny_decoder: Decoder) -> None:
    engine = tiny_decoder.engine
    (completion,) = engine.complete(
        requests(tiny_decoder)[:1], GenerationConfig(max_new_tokens=3), seed=0
    )
    assert (completion.finish_reason, completion.tokens) == ("length", 3)


def test_pieces_of_replies_written_together_are_each_the_reply_written_alone(
    tiny_decoder: Decoder,
) -> None:
    asked, config = requests(tiny_decoder), GenerationConfig(max_new_tokens=12)
    tiny_decoder.model.eval()
    engine = BatchedEngine(tiny_decoder.engine, ["one"], lambda _: None, slots=2, context=256)

    async def written(request: Request) -> str:
        return "".join(
            [piece.text async for piece in engine.stream(request, "one", config, seed=5)]
        )

    async def together() -> list[str]:
        return await asyncio.gather(*(written(request) for request in asked))

    alone = tiny_decoder.engine.complete(asked, config, seed=5)
    assert [text.strip() for text in asyncio.run(together())] == [
        completion.text for completion in alone
    ]


def test_a_reply_that_nobody_waits_for_is_dropped_and_the_others_go_on(
    tiny_decoder: Decoder,
) -> None:
    asked, config = requests(tiny_decoder), GenerationConfig(max_new_tokens=40, temperature=2)
    engine = BatchedEngine(tiny_decoder.engine, ["one"], lambda _: None, slots=4, context=256)
    tiny_decoder.model.eval()

    async def written(request: Request) -> str:
        return "".join(
            [piece.text async for piece in engine.stream(request, "one", config, seed=5)]
        )

    async def together() -> list[str | BaseException]:
        tasks = [asyncio.create_task(written(request)) for request in asked]
        async for piece in engine.stream(Request("other", asked[0].prompt), "one", config, seed=5):
            if piece.text:
                tasks[0].cancel()  # the first row: the last one takes its place
                break
        return await asyncio.gather(*tasks, return_exceptions=True)

    async def all_of_it() -> list[str | BaseException]:
        async with asyncio.timeout(60):
            return await together()

    first, *others = asyncio.run(all_of_it())
    assert isinstance(first, asyncio.CancelledError)
    alone = tiny_decoder.engine.complete(asked, config, seed=5)[1:]
    assert [str(text).strip() for text in others] == [completion.text for completion in alone]


def test_an_engine_that_fails_tells_each_who_waits(tiny_decoder: Decoder) -> None:
    asked, config = requests(tiny_decoder), GenerationConfig(max_new_tokens=12)
    switch = tiny_decoder.model.set_adapter
    engine = BatchedEngine(tiny_decoder.engine, ["nobody"], switch, slots=1, context=256)

    async def written(request: Request) -> list[str]:
        return [piece.text async for piece in engine.stream(request, "nobody", config, seed=5)]

    async def together() -> list[list[str] | BaseException]:
        async with asyncio.timeout(60):
            return await asyncio.gather(
                *(written(request) for request in asked), return_exceptions=True
            )

    async def twice() -> list[list[str] | BaseException]:
        return [*await together(), *await together()]

    assert [type(found) for found in asyncio.run(twice())] == [ValueError] * 2 * len(asked)
