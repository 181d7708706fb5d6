"""The place of a phrase in a reply, against a plain forward pass for each place."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import pytest
import torch

from vvae.core.dialogue import Dialogue, Message, Pair, Turn
from vvae.decoder.model import Decoder
from vvae.decoder.phrases import Odds, cut_weights
from vvae.inference.engine import GenerationConfig, Request

CHAT = Dialogue("d", (Turn(0, "ben", (Message("hi there"),)), Turn(1, "ana", (Message("?"),))))
PAIR = Pair("d#1", "d", 1, 0, "ana", ("ben",), "heldout", "?")
REPLIES = ["well I ate\nsome soup", "no"]
DRAWS = 400


def request_of(decoder: Decoder) -> Request:
    return decoder.prompter.request(CHAT, PAIR, "[persona] catchphrase: oh my")


def log_p(decoder: Decoder, prompt: tuple[int, ...], tokens: tuple[int, ...]) -> torch.Tensor:
    """(tokens + 1, vocabulary) log probabilities of what comes next, from the prompt's end on."""
    with torch.inference_mode():
        logits = decoder.model(input_ids=torch.tensor([[*prompt, *tokens]])).logits[0]
    rows: torch.Tensor = logits.log_softmax(-1)[len(prompt) - 1 :]
    return rows


def cut_odds(decoder: Decoder, phrase: str) -> dict[str, float]:
    """Text up to the phrase -> p / P(it is not said from there on), for each place."""
    prompter, prompt = decoder.prompter, request_of(decoder).prompt
    pieces = prompter.tokenizer.batch_decode([[i] for i in range(len(prompter.tokenizer))])
    ends = torch.tensor([not piece[:1].isalnum() for piece in pieces])
    found: dict[str, float] = defaultdict(float)
    for said_already in REPLIES:
        reply, unsaid = prompter.tokens(prompter.frame.reply(said_already)), 1.0
        for place in reversed(range(len(reply))):
            tried: list[tuple[str, float]] = []
            before = prompter.tokenizer.decode(list(reply[:place]))
            opens = not before or before.endswith("\n")
            if not opens and pieces[reply[place]][:1].isalnum():
                continue
            for spelling in (phrase, phrase.capitalize()):
                tokens = prompter.tokens(spelling if opens else f" {spelling}")
                rows = log_p(decoder, prompt, (*reply[:place], *tokens))
                said = sum(float(rows[place + i, token]) for i, token in enumerate(tokens))
                text = prompter.tokenizer.decode([*reply[:place], *tokens])
                tried.append((text, math.exp(said)))
                unsaid -= unsaid * math.exp(said + float(rows[-1, ends].logsumexp(0)))
            for text, p in tried:
                found[text] += p / unsaid
    return found


def test_a_phrase_is_put_where_the_model_would_say_it_as_often_as_it_would(
    tiny_decoder: Decoder,
) -> None:
    odds = cut_odds(tiny_decoder, "oh my")
    total = sum(odds.values())
    put: Counter[str] = Counter()
    engine = tiny_decoder.engine
    for number in range(DRAWS):
        tokens = engine.place(
            request_of(tiny_decoder), REPLIES, "oh my", draw=(number + 0.5) / DRAWS
        )
        put[tiny_decoder.prompter.tokenizer.decode(list(tokens))] += 1
    assert set(put) <= set(odds)
    for text, p in odds.items():
        assert put[text] / DRAWS == pytest.approx(p / total, abs=1.5 / DRAWS)
    assert any(text.startswith("no") for text in put), "also behind the last word of a reply"


def test_of_replies_without_a_word_those_are_cut_that_would_have_had_it() -> None:
    """A reply begins with a or b, evenly, and goes on with the word in 0.9 and 0.1 of them: of the
    replies that have it nine in ten begin with a, of those that lack it one.
    """
    said, lacking = {"a": 0.9, "b": 0.1}, ["a", *"b" * 9]
    weights = cut_weights(
        [(number, 1) for number in range(10)], [Odds(said[first], 1.0) for first in lacking]
    )
    assert weights[0] / sum(weights) == pytest.approx(0.9)
    # A word that may be said in two places, or with a capital: first here, else there.
    (small, capital, later) = cut_weights(
        [(0, 1), (0, 1), (0, 2)], [Odds(0.3, 1.0), Odds(0.2, 1.0), Odds(0.4, 0.5)]
    )
    assert later == pytest.approx(0.4 / (1 - 0.2)), "before it is seen whether the word ends"
    assert small == pytest.approx(0.3 / ((1 - 0.5) * (1 - 0.2)))
    assert capital / small == pytest.approx(2 / 3)


def test_what_a_reply_begins_with_is_part_of_it_and_what_follows_depends_on_it(
    tiny_decoder: Decoder,
) -> None:
    engine, config = tiny_decoder.engine, GenerationConfig(max_new_tokens=9)
    opening = tiny_decoder.prompter.tokens("well oh my")
    plain = request_of(tiny_decoder)
    opened = Request(plain.key, plain.prompt, trunk=plain.trunk, opening=opening)
    alone = engine.complete([opened], config, seed=3)[0]
    assert alone.text.startswith("well oh my")
    assert alone.tokens <= 9, "the bound is on the whole reply"
    beside = [Request(f"other{number}", plain.prompt) for number in range(3)]
    together = engine.complete([*beside, opened], config, seed=3)
    assert together[-1] == alone
    longer = Request(plain.key, (*plain.prompt, *opening))
    rest = engine.complete([longer], config, seed=3)[0]
    assert not rest.text.startswith("well"), "a prompt is not part of the reply"
    short = engine.complete([opened], GenerationConfig(max_new_tokens=2), seed=3)[0]
    assert short.text.startswith("well oh my"), "what is there already is never cut off"
