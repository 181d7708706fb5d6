from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vvae.core.dialogue import Dialogue, Message, Turn, context
from vvae.core.errors import DataError
from vvae.core.text import estimated_tokens
from vvae.corpus.pairs import (
    PairsConfig,
    benchmark_pairs,
    eligible_speakers,
    learned_pairs,
    pairs_with_account,
    side,
    windows,
)


def dialogue(name: str, texts: list[str], speakers: str = "ab") -> Dialogue:
    turns = (Turn(i, speakers[i % len(speakers)], (Message(text),)) for i, text in enumerate(texts))
    return Dialogue(name, tuple(turns))


@given(st.lists(st.text("abc 你好", max_size=200), min_size=1, max_size=40), st.integers(32, 300))
def test_windows_partition_a_dialogue_and_keep_to_the_budget(texts: list[str], budget: int) -> None:
    chat = dialogue("d", texts)
    starts = windows(chat, budget)
    assert list(starts) == [turn.id for turn in chat.turns]
    for start in set(starts.values()):
        inside = [turn for turn in chat.turns if starts[turn.id] == start]
        assert inside[0].id == start
        assert len(inside) <= 2 or sum(estimated_tokens(turn.text) for turn in inside) <= budget


def test_context_starts_at_the_window_and_ends_before_the_reply() -> None:
    chat = dialogue("d", ["x" * 100] * 12)
    pairs, left_out = pairs_with_account(
        [chat], PairsConfig(window_tokens=120, heldout=0.01), seed=0
    )
    starts = windows(chat, 120)
    for pair in pairs:
        turns = context(chat, pair)
        assert turns
        assert [turn.id for turn in turns] == [
            i for i in range(pair.turn) if starts[i] == starts[pair.turn]
        ]
    assert left_out == {"no context (first turn of a window)": len(set(starts.values()))}
    assert len(pairs) + left_out.total() == len(chat.turns), "no turn is lost uncounted"


def test_a_side_depends_on_nothing_but_seed_and_dialogue() -> None:
    sides = {f"d{i}": side(f"d{i}", 0.3, seed=5) for i in range(2000)}
    assert sides == {name: side(name, 0.3, seed=5) for name in reversed(sides)}
    assert 0.26 < sum(s == "heldout" for s in sides.values()) / 2000 < 0.34
    assert sides != {name: side(name, 0.3, seed=6) for name in sides}


def test_the_cap_keeps_a_keyed_choice_of_training_pairs(corpus: list[Dialogue]) -> None:
    everything, _ = pairs_with_account(corpus, PairsConfig(), seed=0)
    capped, left_out = pairs_with_account(corpus, PairsConfig(max_train_replies=10), seed=0)
    counts = {
        s: sum(p.speaker == s and p.split == "train" for p in capped)
        for s in ("ana", "ben", "cleo", "dan")
    }
    assert set(counts.values()) == {10}
    assert left_out["over the speaker's cap"] == len(everything) - len(capped)
    reordered, _ = pairs_with_account(corpus[::-1], PairsConfig(max_train_replies=10), seed=0)
    assert {p.pair_id for p in capped} == {p.pair_id for p in reordered}


def test_a_smaller_benchmark_is_part_of_a_larger_one(corpus: list[Dialogue]) -> None:
    pairs, _ = pairs_with_account(corpus, PairsConfig(), seed=0)
    speakers = eligible_speakers(pairs, PairsConfig(min_heldout_replies=5))
    small = benchmark_pairs(pairs, speakers, total=8, per_speaker=4, seed=1)
    large = benchmark_pairs(pairs, speakers, total=14, per_speaker=4, seed=1)
    assert small == large[:8]
    assert all(pair.split == "heldout" for pair in large)
    assert {pair.speaker for pair in small} == set(speakers)


def test_only_chosen_speakers_are_learnt_and_all_are_compared_with(corpus: list[Dialogue]) -> None:
    config = PairsConfig(speakers=("ana",), min_train_dialogues=1, min_heldout_replies=1)
    pairs, _ = pairs_with_account(corpus, config, seed=0)
    assert {p.speaker for p in pairs} == {"ana", "ben", "cleo", "dan"}
    assert {p.speaker for p in learned_pairs(pairs, config)} == {"ana"}
    assert eligible_speakers(pairs, config) == ["ana"]
    with pytest.raises(DataError, match="no replies of 'zoe'"):
        learned_pairs(pairs, PairsConfig(speakers=("ana", "zoe")))


def test_only_those_who_can_be_benchmarked_are_learnt(corpus: list[Dialogue]) -> None:
    many = PairsConfig(min_train_dialogues=1, min_heldout_replies=1)
    pairs, _ = pairs_with_account(corpus, many, seed=0)
    held = Counter(p.speaker for p in pairs if p.split == "heldout")
    most = max(held.values())
    config = many.model_copy(update={"speakers": "benchmarked", "min_heldout_replies": most})
    able = {speaker for speaker, number in held.items() if number == most}
    assert len(able) < len(held)
    assert {p.speaker for p in learned_pairs(pairs, config)} == able
    assert set(eligible_speakers(pairs, config)) == able
    with pytest.raises(DataError, match="min_heldout_replies"):
        learned_pairs(pairs, config.model_copy(update={"min_heldout_replies": most + 1}))


def test_too_small_a_corpus_says_how_near_it_comes() -> None:
    pairs, _ = pairs_with_account(
        [dialogue("d1", ["hi"] * 8), dialogue("d2", ["hi"] * 8)], PairsConfig(heldout=0.01), seed=0
    )
    with pytest.raises(DataError, match=r"best: 2 and 0.*min_train_dialogues"):
        eligible_speakers(pairs, PairsConfig())


def test_no_usable_pair_is_an_error() -> None:
    with pytest.raises(DataError, match="no usable training pair"):
        pairs_with_account([dialogue("d1", ["hi"])] * 0, PairsConfig(), seed=0)
    with pytest.raises(DataError, match="one speaker"):
        pairs_with_account([dialogue("d1", ["hi", "ho"], speakers="a")], PairsConfig(), seed=0)


def test_a_burst_is_one_reply_with_a_line_per_message() -> None:
    burst = Turn(1, "b", (Message("so"), Message("  "), Message("tired\nof it")))
    pairs, _ = pairs_with_account(
        [Dialogue("d", (Turn(0, "a", (Message("hi"),)), burst))], PairsConfig(heldout=0.01), seed=0
    )
    assert pairs[0].response == "so\ntired of it"
    assert (pairs[0].pair_id, pairs[0].listener) == ("d#1", "a")
