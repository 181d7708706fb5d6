"""From dialogues to pairs (c, x): sides, windows and who can be benchmarked.

A dialogue's side is a hash of (seed, dialogue id). A long dialogue is cut once, at turn boundaries,
into windows by a token budget; a reply's context starts at its window's start, everywhere (a
sliding window would give every reply another prefix, and nothing could be shared).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from vvae.core.dialogue import Dialogue, Pair, Turn
from vvae.core.errors import DataError, choose_from
from vvae.core.random import shuffled, uniform
from vvae.core.text import estimated_tokens

__all__ = [
    "PairsConfig",
    "Split",
    "benchmark_pairs",
    "eligible_speakers",
    "learned_pairs",
    "learned_speakers",
    "make_pairs",
    "pairs_with_account",
    "side",
    "windows",
]

Split = Literal["train", "heldout"]


class PairsConfig(BaseModel):
    """A set of options that say how dialogues become pairs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    heldout: float = Field(
        0.3, gt=0, lt=1, description="share of dialogues held out for the benchmark"
    )
    window_tokens: int = Field(384, ge=32, description="budget of a window, in estimated tokens")
    speakers: tuple[str, ...] | Literal["benchmarked"] | None = Field(
        None,
        description="learn only these speakers, or only those who can be benchmarked; all when "
        "null",
    )
    min_train_dialogues: int = Field(
        4, ge=1, description="a speaker is benchmarked with at least this many"
    )
    min_heldout_replies: int = Field(
        20,
        ge=0,
        description="and at least this many held-out replies; 0 for a corpus that is only analysed",
    )
    max_train_replies: int = Field(1500, ge=1, description="cap on one speaker's training pairs")


def side(dialogue: str, heldout: float, seed: int) -> Split:
    """Return the side of a dialogue, a pure function of (seed, dialogue id)."""
    return "heldout" if uniform("split", seed, dialogue) < heldout else "train"


def windows(dialogue: Dialogue, budget: int) -> dict[int, int]:
    """Return, for each turn id, the id of the first turn of its window.

    A window holds turns while their estimated tokens fit the budget, and at least two turns, so a
    turn longer than the budget still has a context.
    """
    starts: dict[int, int] = {}
    start, tokens, count = 0, 0, 0
    for turn in dialogue.turns:
        cost = estimated_tokens(turn.text)
        if count >= 2 and tokens + cost > budget:
            tokens, count = 0, 0
        if count == 0:
            start = turn.id
        starts[turn.id] = start
        tokens, count = tokens + cost, count + 1
    return starts


def make_pairs(
    dialogues: Iterable[Dialogue], config: PairsConfig | None = None, *, seed: int = 0
) -> list[Pair]:
    """Return the training and held-out pairs (c, x) of dialogues, in dialogue order.

    Args:
        config: windows, split and caps; the defaults where there is none.
        seed: of the split.

    Raises:
        DataError: a dialogue has one speaker, or no pair is left.

    Example:
        >>> from vvae.core.dialogue import Message, Turn
        >>> turns = (Turn(0, "ana", (Message("hi"),)), Turn(1, "ben", (Message("yo"),)))
        >>> [(p.speaker, p.response, p.listeners) for p in make_pairs([Dialogue("d", turns)])]
        [('ben', 'yo', ('ana',))]
    """
    return pairs_with_account(dialogues, config or PairsConfig(), seed=seed)[0]


def pairs_with_account(
    dialogues: Iterable[Dialogue], config: PairsConfig, *, seed: int
) -> tuple[list[Pair], Counter[str]]:
    """Return all usable pairs, in dialogue order, and how many turns were left out under each
    reason.

    A turn is left out when nobody else spoke before it in its window, when it is empty, or when its
    speaker is over the cap (`max_train_replies`, a keyed choice). Listeners are those who spoke
    before it in its window; in a group, those of them whom it answers, where it says so: by a
    reply to their message, by @ and a name, or by a name at its beginning.

    Raises:
        DataError: a dialogue has one speaker, or no pair is left.
    """
    pairs: list[Pair] = []
    left_out: Counter[str] = Counter()
    for dialogue in dialogues:
        if len(dialogue.speakers) < 2:
            raise DataError(
                "a dialogue has only one speaker",
                where=f"dialogue {dialogue.id}",
                fix="give two or more",
            )
        split = side(dialogue.id, config.heldout, seed)
        starts = windows(dialogue, config.window_tokens)
        heard: dict[int, list[str]] = defaultdict(list)
        authors = {m.id: turn.speaker for turn in dialogue.turns for m in turn.messages if m.id}
        for turn in dialogue.turns:
            window = starts[turn.id]
            listeners = tuple(dict.fromkeys(s for s in heard[window] if s != turn.speaker))
            if len(listeners) > 1:
                listeners = _addressed(turn, listeners, authors) or listeners
            heard[window].append(turn.speaker)
            if not turn.text or not listeners:
                left_out["no context (first turn of a window)" if turn.text else "empty"] += 1
                continue
            pair_id = f"{dialogue.id}#{turn.id}"
            pairs.append(
                Pair(
                    pair_id, dialogue.id, turn.id, window, turn.speaker, listeners, split, turn.text
                )
            )
    kept = _capped(pairs, config.max_train_replies, seed)
    left_out["over the speaker's cap"] += len(pairs) - len(kept)
    if not any(pair.split == "train" for pair in kept):
        reasons = (
            ", ".join(f"{reason}: {n}" for reason, n in left_out.items() if n) or "no dialogues"
        )
        raise DataError(
            f"no usable training pair ({reasons})",
            fix="give more dialogues, or change 'pairs' in the config",
        )
    return kept, +left_out


def _addressed(turn: Turn, listeners: Sequence[str], authors: Mapping[str, str]) -> tuple[str, ...]:
    """Those of the listeners whom a turn answers, as far as it says so."""
    text = turn.text.casefold()
    found = {authors.get(m.reply_to) for m in turn.messages if m.reply_to}
    for name in listeners:
        folded = name.casefold()
        first = text[len(folded) : len(folded) + 1]
        if f"@{folded}" in text or (text.startswith(folded) and first in (",", ":", "，", "：")):
            found.add(name)
    return tuple(name for name in listeners if name in found)


def learned_pairs(pairs: Sequence[Pair], config: PairsConfig) -> list[Pair]:
    """Return the pairs of the speakers to be learnt. All others still serve as what a habit is
    measured against.

    Raises:
        DataError: a speaker to be learnt has no pair, or nobody can be benchmarked who should be.
    """
    if config.speakers is None:
        return list(pairs)
    speakers = learned_speakers(pairs, config)
    chosen = [pair for pair in pairs if pair.speaker in speakers]
    if missing := sorted(set(speakers) - {pair.speaker for pair in chosen}):
        there = sorted({pair.speaker for pair in pairs})
        fix = choose_from(missing[0], there, shown=5)
        raise DataError(f"no replies of {missing[0]!r}", where="pairs.speakers", fix=fix)
    return chosen


def learned_speakers(pairs: Sequence[Pair], config: PairsConfig) -> list[str]:
    """Return the names of the speakers to be learnt, without asking whether they have replies.

    Raises:
        DataError: nobody can be benchmarked, and only those are to be learnt.
    """
    if config.speakers is None:
        return sorted({pair.speaker for pair in pairs})
    if config.speakers == "benchmarked":
        return _eligible(pairs, config)
    return list(config.speakers)


def _capped(pairs: Sequence[Pair], cap: int, seed: int) -> list[Pair]:
    by_speaker: dict[str, list[str]] = defaultdict(list)
    for pair in pairs:
        if pair.split == "train":
            by_speaker[pair.speaker].append(pair.pair_id)
    dropped = {
        pair_id
        for ids in by_speaker.values()
        if len(ids) > cap
        for pair_id in shuffled(ids, "cap", seed)[cap:]
    }
    return [pair for pair in pairs if pair.pair_id not in dropped]


def eligible_speakers(pairs: Sequence[Pair], config: PairsConfig) -> list[str]:
    """Return the speakers who can be benchmarked, by name.

    Raises:
        DataError: nobody has enough dialogues, with how near the best one comes.
    """
    return _eligible(
        pairs if config.speakers == "benchmarked" else learned_pairs(pairs, config), config
    )


def _eligible(pairs: Iterable[Pair], config: PairsConfig) -> list[str]:
    dialogues: dict[str, set[str]] = defaultdict(set)
    replies: Counter[str] = Counter()
    for pair in pairs:
        if pair.split == "train":
            dialogues[pair.speaker].add(pair.dialogue)
        else:
            replies[pair.speaker] += 1
    need = config.min_train_dialogues, config.min_heldout_replies
    speakers = sorted(
        s for s in dialogues if len(dialogues[s]) >= need[0] and replies[s] >= need[1]
    )
    if not speakers:
        best = max(dialogues, key=lambda s: (len(dialogues[s]), replies[s]), default=None)
        best_counts = f"{len(dialogues[best])} and {replies[best]}" if best else "none"
        raise DataError(
            f"no speaker has {need[0]} training dialogues and {need[1]} held-out replies (best: "
            f"{best_counts})",
            fix="give more dialogues per speaker, or lower pairs.min_train_dialogues "
            "/ pairs.min_heldout_replies",
        )
    return speakers


def benchmark_pairs(
    pairs: Iterable[Pair], speakers: Sequence[str], *, total: int, per_speaker: int, seed: int
) -> list[Pair]:
    """Return the held-out pairs to reply to: speakers take turns until `total`, at most
    `per_speaker` each.

    The choice is keyed by pair, so a larger total contains a smaller one.
    """
    by_speaker: Mapping[str, list[Pair]] = {speaker: [] for speaker in speakers}
    for pair in pairs:
        if pair.split == "heldout" and pair.speaker in by_speaker:
            by_speaker[pair.speaker].append(pair)
    queues = [
        shuffled(replies, "bench", seed, name=[p.pair_id for p in replies])[:per_speaker]
        for replies in (by_speaker[s] for s in shuffled(speakers, "bench", seed))
    ]
    rounds = (queue[i] for i in range(per_speaker) for queue in queues if i < len(queue))
    return [pair for pair, _ in zip(rounds, range(total), strict=False)]
