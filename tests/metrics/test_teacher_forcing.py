"""The phrase probability against a plain forward pass for each place, without trees."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from vvae.core.dialogue import Dialogue, Message, Pair, Turn
from vvae.decoder.model import Branch, Decoder
from vvae.inference.engine import GenerationConfig
from vvae.metrics.tables import Likelihood
from vvae.metrics.teacher_forcing import bound, phrase_probability, reply_losses, said_in_own

CHAT = Dialogue(
    "d",
    (
        Turn(0, "ben", (Message("hi there"),)),
        Turn(1, "ana", (Message("well I ate"), Message("some soup"))),
    ),
)
PAIR = Pair("d#1", "d", 1, 0, "ana", ("ben",), "heldout", CHAT.turns[1].text)
BLOCK = "[persona] catchphrase: oh my"


def test_it_equals_one_forward_pass_for_each_place(tiny_decoder: Decoder) -> None:
    asked = {"d#1": [(Branch("z", BLOCK), "oh my")]}
    found = phrase_probability(tiny_decoder, {"d": CHAT}, [PAIR], asked)["d#1|z"]
    prompt = tiny_decoder.prompter.request(CHAT, PAIR, BLOCK).prompt
    reply = tiny_decoder.prompter.tokens(tiny_decoder.prompter.frame.reply(PAIR.response))
    pieces = tiny_decoder.prompter.tokenizer.batch_decode(
        [[i] for i in range(len(tiny_decoder.prompter.tokenizer))]
    )
    boundary = torch.tensor([not piece[:1].isalnum() for piece in pieces])
    stays_silent = 1.0
    for place in range(len(reply)):
        before = tiny_decoder.prompter.tokenizer.decode(list(reply[:place]))
        opens = place == 0 or before.endswith("\n")
        starts_word = opens or not pieces[reply[place]][:1].isalnum()
        if not starts_word:
            continue
        hazard = 0.0
        for spelling in ("oh my", "Oh my"):
            phrase = tiny_decoder.prompter.tokens(spelling if opens else f" {spelling}")
            ids = torch.tensor([[*prompt, *reply[:place], *phrase]])
            with torch.inference_mode():
                logprobs = tiny_decoder.model(input_ids=ids).logits[0].log_softmax(-1)
            start = ids.shape[1] - len(phrase)
            said = sum(float(logprobs[start - 1 + i, token]) for i, token in enumerate(phrase))
            hazard += math.exp(said + float(logprobs[-1, boundary].logsumexp(0)))
        stays_silent *= 1 - hazard
    assert found == pytest.approx(1 - stays_silent, rel=1e-4)


def test_in_a_script_without_spaces_a_phrase_can_stand_anywhere(tiny_decoder: Decoder) -> None:
    chat = Dialogue(
        "d", (Turn(0, "ben", (Message("你好"),)), Turn(1, "ana", (Message("今天吃什么"),)))
    )
    pair = Pair("d#1", "d", 1, 0, "ana", ("ben",), "heldout", "今天吃什么")
    asked = {"d#1": [(Branch("z", None), "真的假的")]}
    found = phrase_probability(tiny_decoder, {"d": chat}, [pair], asked)["d#1|z"]
    prompt = tiny_decoder.prompter.request(chat, pair, None).prompt
    reply, phrase = (
        tiny_decoder.prompter.tokens(tiny_decoder.prompter.frame.reply(pair.response)),
        tiny_decoder.prompter.tokens("真的假的"),
    )
    silent = 1.0
    for place in range(len(reply)):
        ids = torch.tensor([[*prompt, *reply[:place], *phrase]])
        with torch.inference_mode():
            logprobs = tiny_decoder.model(input_ids=ids).logits[0].log_softmax(-1)
        start = ids.shape[1] - len(phrase)
        silent *= 1 - math.exp(
            sum(float(logprobs[start - 1 + i, token]) for i, token in enumerate(phrase))
        )
    assert found == pytest.approx(1 - silent, rel=1e-4, abs=1e-30)


def test_the_loss_of_a_reply_is_its_cross_entropy(tiny_decoder: Decoder) -> None:
    asked = {"d#1": [Branch("z", BLOCK), Branch("none", None)]}
    losses = reply_losses(tiny_decoder, {"d": CHAT}, [PAIR], asked)
    for alternative in asked["d#1"]:
        prompt = tiny_decoder.prompter.request(CHAT, PAIR, alternative.line).prompt
        reply = tiny_decoder.prompter.tokens(tiny_decoder.prompter.frame.reply(PAIR.response))
        ids = torch.tensor([[*prompt, *reply]])
        with torch.inference_mode():
            logits = tiny_decoder.model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
        expected = torch.nn.functional.cross_entropy(logits, torch.tensor(reply), reduction="sum")
        loss, count = losses[f"d#1|{alternative.name}"]
        assert loss == pytest.approx(float(expected), rel=1e-5)
        assert count == len(reply)
    assert reply[-1] in tiny_decoder.prompter.stops, "the end of the turn is learnt"


def test_replies_measured_together_are_as_likely_as_alone(tiny_decoder: Decoder) -> None:
    words = ["well I ate\nsome soup", "no", "oh my that is far too long for me to read now"]
    chats, pairs = {}, []
    for number, text in enumerate(words):
        turns = (Turn(0, "ben", (Message(f"hi there {number}"),)), Turn(1, "ana", (Message(text),)))
        chats[f"d{number}"] = Dialogue(f"d{number}", turns)
        pairs.append(Pair(f"d{number}#1", f"d{number}", 1, 0, "ana", ("ben",), "heldout", text))
    ways = {p.pair_id: [Branch("z", BLOCK), Branch("none", None)] for p in pairs}
    phrases = {
        name: [(way, phrase) for way, phrase in zip(of, ("oh my", "真的假的"), strict=True)]
        for name, of in ways.items()
    }
    alone: dict[str, float] = {}
    for pair in pairs:
        alone |= phrase_probability(tiny_decoder, chats, [pair], phrases)
    assert phrase_probability(tiny_decoder, chats, pairs, phrases) == pytest.approx(alone, rel=1e-4)
    losses = {
        key: row
        for pair in pairs
        for key, row in reply_losses(tiny_decoder, chats, [pair], ways).items()
    }
    together = reply_losses(tiny_decoder, chats, pairs, ways)
    assert list(together) == list(losses)
    for key, (nats, tokens) in losses.items():
        assert together[key][0] == pytest.approx(nats, rel=1e-5)
        assert together[key][1] == tokens


@pytest.mark.parametrize(("phrase", "bias"), [("a", 8.0), ("a a", 9.0)])
def test_over_its_own_replies_a_decoder_says_a_phrase_as_often_as_is_counted(
    tiny_decoder: Decoder, phrase: str, bias: float
) -> None:
    """The mean is the share of replies that have it, and it varies less, also where a reply says
    it many times, or may begin it inside of it. The model has no habits: one is put into its head.
    """
    head = tiny_decoder.causal.get_output_embeddings()
    biased = torch.nn.Linear(head.in_features, head.out_features)
    biased.weight = head.weight
    (token,) = tiny_decoder.prompter.tokens(" a")
    torch.nn.init.zeros_(biased.bias)
    with torch.no_grad():
        biased.bias[token] = bias
    tiny_decoder.causal.set_output_embeddings(biased)
    engine = tiny_decoder.engine
    requests = [
        tiny_decoder.prompter.request(CHAT, PAIR, BLOCK, key=str(number)) for number in range(150)
    ]
    config = GenerationConfig(max_new_tokens=16)
    replies = [one.text for one in engine.complete(requests, config, seed=0)]
    written = [
        (replace(PAIR, pair_id=f"d#{number}", response=text), BLOCK, phrase)
        for number, text in enumerate(replies)
        if text.strip()
    ]
    found = said_in_own(tiny_decoder, {"d": CHAT}, written)
    said = np.array([found[pair.pair_id] for pair, _, _ in written])
    alone = re.compile(rf"(?<!\w){phrase}(?!\w)", re.IGNORECASE)
    times = [len(alone.findall(pair.response)) for pair, _, _ in written]
    assert max(times) > 1, "said again in some, which adds nothing"
    counted = np.array([float(number > 0) for number in times])
    assert 0.1 < counted.mean() < 0.9
    error = (counted - said).std() / np.sqrt(len(counted))
    assert said.mean() == pytest.approx(counted.mean(), abs=3 * error)
    assert said.std() < counted.std()


def test_a_phrase_that_opens_a_reply_counts_and_what_follows_it_does_not(
    tiny_decoder: Decoder,
) -> None:
    replies = ("a", "a! and a, a, a", "b")
    written = [
        (replace(PAIR, pair_id=f"d#{number}", response=text), BLOCK, "a")
        for number, text in enumerate(replies)
    ]
    at_once, again, never = said_in_own(tiny_decoder, {"d": CHAT}, written).values()
    assert 0 < at_once < never, "there is one place more before the end of a reply without it"
    assert again == pytest.approx(at_once, rel=1e-4)


def test_a_bound_is_tighter_with_more_draws_and_right_by_hand() -> None:
    rows = [
        Likelihood("a", "posterior", nats=10.0, tokens=5),
        Likelihood("a", "posterior 1", nats=12.0, tokens=5),
        Likelihood("a", "profile", nats=1.0, tokens=5),
        Likelihood("b", "posterior", nats=4.0, tokens=2),
        Likelihood("b", "posterior 1", nats=4.0, tokens=2),
    ]
    found = bound(rows, kl=1.5)
    assert found is not None
    assert found.elbo == pytest.approx(1.5 + (11 + 4) / 2)
    mixed = 10 + math.log(2) - math.log(1 + math.exp(-2))
    assert found.iwae == pytest.approx(1.5 + (mixed + 4) / 2, abs=1e-4)
    assert (found.draws, found.n) == (2, 2)
    assert bound([], kl=1.0) is None
