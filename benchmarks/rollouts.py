"""Two personas talk to each other: do draws that are shared make a person more consistent?

    python -m benchmarks.rollouts RUN --dialogues 40 --turns 10 --out docs/figures

A trained variant writes both sides of conversations that begin with two turns of held-out ones.
Nulls are drawn once for each speaker, pair or turn, as the scope of each dimension says, or anew in
each turn. The run's encoder reads z in what was written. Counted is how often a value read in a
reply is another than the one that was last read in a reply of the same speaker there.
People's own held-out conversations are read in the same way.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from vvae.core.console import ConsoleReporter
from vvae.core.dialogue import Dialogue, Pair, Turn
from vvae.core.files import write_json
from vvae.core.random import shuffled
from vvae.decoder.variants import DEFAULT_VARIANT
from vvae.latent.persona import Persona
from vvae.latent.steering import Knob, Steering, steer
from vvae.pipeline.run import Run
from vvae.serving.session import reply_request, turn_of

OPENING = 2


def rollouts(run: Run, steering: Steering, number: int, turns: int) -> list[Dialogue]:
    """Conversations whose first turns are people's and whose others a variant wrote."""
    variant = run.trained_variant(DEFAULT_VARIANT)
    conditions, decoder = run.conditions(variant), run.with_adapter(variant)
    held = {pair.dialogue for pair in run.pairs if pair.split == "heldout"}
    known = set(run.learned_profiles)
    able = [
        run.dialogues[name]
        for name in sorted(held)
        if set(run.dialogues[name].speakers) <= known and len(run.dialogues[name].speakers) == 2
    ]
    started = shuffled(able, "rollouts", run.config.seed, name=[d.id for d in able])[:number]
    said: dict[str, list[Turn]] = {d.id: list(d.turns[:OPENING]) for d in started}
    for step in range(turns):
        requests = []
        for dialogue in started:
            so_far = said[dialogue.id]
            speaker = next(s for s in dialogue.speakers if s != so_far[-1].speaker)
            steered = steer(
                steering,
                run.space,
                run.prior,
                run.profiles[speaker],
                conversation=dialogue.id,
                turn=len(so_far),
                seed=run.config.seed,
                listener=so_far[-1].speaker,
            )
            pair = Pair(dialogue.id, dialogue.id, 0, 0, speaker, (), "heldout", "")
            requests.append(
                reply_request(
                    decoder.prompter,
                    so_far,
                    speaker,
                    conditions.line(pair, speaker, steered.persona),
                    window_tokens=run.config.pairs.window_tokens,
                    key=f"{dialogue.id}#{step}",
                )
            )
        written = decoder.engine.complete(requests, run.generation, seed=run.config.seed)
        for dialogue, one in zip(started, written, strict=True):
            so_far = said[dialogue.id]
            speaker = next(s for s in dialogue.speakers if s != so_far[-1].speaker)
            so_far.append(turn_of(len(so_far), speaker, one.text or "..."))
    return [Dialogue(name, tuple(of)) for name, of in said.items()]


def read(run: Run, dialogues: Iterable[Dialogue]) -> dict[str, list[tuple[str, Persona]]]:
    """Dialogue -> (speaker, z read) of each turn after the opening."""
    by_id = {d.id: d for d in dialogues}
    pairs = [
        Pair(f"{d.id}#{t.id}", d.id, t.id, d.turns[0].id, t.speaker, (), "heldout", t.text)
        for d in by_id.values()
        for t in d.turns[OPENING:]
    ]
    result: dict[str, list[tuple[str, Persona]]] = defaultdict(list)
    for pair, encoding in zip(pairs, run.encoder.encode(pairs, by_id), strict=True):
        result[pair.dialogue].append((pair.speaker, encoding.persona))
    return result


def contradictions(
    found: Mapping[str, list[tuple[str, Persona]]], names: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Dimension -> how often a value is another than the one last read in the same speaker's
    replies; the error is over dialogues.
    """
    result = {}
    for name in names:
        tallies = []
        for of in found.values():
            changed = both = 0
            last: dict[str, str] = {}
            for speaker, persona in of:
                if (value := persona.value(name)) is None:
                    continue
                if speaker in last:
                    both += 1
                    changed += value != last[speaker]
                last[speaker] = value
            if both:
                tallies.append((changed, both))
        changed, both = (
            (sum(column) for column in zip(*tallies, strict=True)) if tallies else (0, 0)
        )
        if both < 20:
            continue
        share = changed / both
        spread = sum((c - share * b) ** 2 for c, b in tallies)
        result[name] = {
            "changed": round(share, 4),
            "error": round(math.sqrt(spread) / both, 4),
            "n": both,
        }
    return result


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--dialogues", type=int, default=40)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    run = Run.open(args.run, reporter=ConsoleReporter(Console(stderr=True)))
    names = run.space.names
    anew = Steering(knobs={name: Knob("sample") for name in names})
    found: dict[str, Any] = {"dialogues": args.dialogues, "turns": args.turns}
    for label, steering in (("by scope", Steering()), ("in each turn", anew)):
        with run.reporter.task(f"talking: draws {label}"):
            talked = rollouts(run, steering, args.dialogues, args.turns)
        found[label] = contradictions(read(run, talked), names)
    held = {pair.dialogue for pair in run.pairs if pair.split == "heldout"}
    people = [
        Dialogue(d.id, d.turns[: OPENING + args.turns])
        for name in shuffled(sorted(held), "rollouts people", run.config.seed)[:400]
        if len((d := run.dialogues[name]).turns) >= OPENING + args.turns
    ]
    found["people"] = contradictions(read(run, people), names)
    write_json(args.out / "rollouts.json", found)
    for name in names:
        cells = {
            label: of[name]
            for label in ("by scope", "in each turn", "people")
            if name in (of := found[label])
        }
        print(name, cells)


if __name__ == "__main__":
    main()
