"""Do preferences make one person's adapter more like them? DPO on what they said themselves.

    python -m benchmarks.preferences RUN --people 2 --replies 400

RUN is the folder of `benchmarks.likeness_curve`. From the adapter trained on N replies of a person
training goes on over the same replies, each against another one under the same trunk. For an own
reply x and the other x', with the adapter it starts from as p0, the loss is

    -log sigmoid(BETA ((log p(x | c) - log p0(x | c)) - (log p(x' | c) - log p0(x' | c))))

(Rafailov et al. 2023, https://arxiv.org/abs/2305.18290, equation 7). x' is one of two things:

    others      what somebody else said elsewhere, in about as many words
    written     what the adapter itself writes to the same message

Each is measured as the curve measures: rows with these ways are appended to its file.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.likeness_curve import Curve, filled, near_in_length
from vvae.core.dialogue import Pair
from vvae.decoder.model import Branch
from vvae.decoder.train import CPU_TOKENS, Step, TrainConfig, plan, planned, rate_at
from vvae.decoder.trees import Tree, batches
from vvae.pipeline.run import Run

BETA, RATE = 0.1, 2e-4
AGAINST = ("others", "written")


def other_replies(curve: Curve, speaker: str, own: Sequence[Pair]) -> dict[str, str]:
    """Pair id -> what somebody else said elsewhere, as near as can be in words."""
    others = [p for s, of in curve.training.items() if s != speaker for p in of]
    return {pair.pair_id: near_in_length(pair, others)[0].response for pair in own}


def written_replies(run: Run, own: Sequence[Pair]) -> dict[str, str]:
    """Pair id -> what the adapter in use writes to the message."""
    requests = [
        run.decoder.prompter.request(run.dialogues[pair.dialogue], pair, None) for pair in own
    ]
    written = run.decoder.engine.complete(requests, run.generation, seed=run.config.seed)
    return {
        pair.pair_id: one.text
        for pair, one in zip(own, written, strict=True)
        if one.text and one.text != pair.response
    }


def preferred(run: Run, steps: Sequence[Step], rejected: Mapping[str, str], folder: Path) -> None:
    """Train the adapter in use on, each own reply against its other one, and save it.

    Args:
        rejected: pair id -> the other reply; pairs without one are left out.
    """
    import torch
    from torch.nn.functional import logsigmoid

    decoder, config = run.decoder, TrainConfig(learning_rate=RATE)

    def trees(step: Step) -> list[Tree]:
        result = []
        for window in step.windows:
            own = [pair for pair in window if pair.pair_id in rejected]
            if not own:
                continue
            both = [
                replace(pair, response=text, pair_id=f"{pair.pair_id}#{way}")
                for pair in own
                for way, text in (("own", pair.response), ("other", rejected[pair.pair_id]))
            ]
            nothing = {pair.pair_id: [Branch("0", None)] for pair in both}
            result.append(decoder.tree(run.dialogues[own[0].dialogue], both, nothing))
        return result

    of_steps = [trees(step) for step in steps]
    before = decoder.losses([tree for group in of_steps for tree in group])
    weights = [p for p in decoder.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.0)
    decoder.model.train()
    with run.reporter.task("preferences") as tick:
        for index, group in enumerate(of_steps):
            torch.manual_seed(index)
            number = sum(len(tree.nodes) // 2 for tree in group)
            total = 0.0
            for part in batches(group, CPU_TOKENS):
                inputs = decoder.inputs(part)
                keys = list(inputs.batch.keys)
                owners = torch.from_numpy(inputs.batch.owners).to(decoder.device)
                nats = torch.zeros(len(keys), device=decoder.device).index_add(
                    0, owners, decoder.token_losses(inputs)
                )
                gained = nats.new_tensor([before[key][0] for key in keys]) - nats
                mine = [at for at, key in enumerate(keys) if key.endswith("#own|0")]
                theirs = [keys.index(keys[at].replace("#own|", "#other|")) for at in mine]
                loss = -logsigmoid(BETA * (gained[mine] - gained[theirs])).sum() / number
                loss.backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
            torch.nn.utils.clip_grad_norm_(weights, config.max_grad_norm)
            for parameters in optimizer.param_groups:
                parameters["lr"] = rate_at(index, len(of_steps), config)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            tick(index + 1, len(of_steps), total)
    decoder.model.eval()
    decoder.save_adapter(folder)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--people", type=int, default=2)
    parser.add_argument("--replies", type=int, default=400)
    args = parser.parse_args()
    run = filled(args.run)
    curve = Curve(run, args.people, 0)
    for number, speaker in enumerate(curve.most):
        known = {(row["way"], row["replies"]) for row in curve.rows if row["speaker"] == speaker}
        run.decoder.drop_adapter()
        if ("base", 0) in known:
            curve.score_base(speaker)
        else:
            curve.measure(speaker, "base", 0)
        pairs = curve.training[speaker]
        start = curve.trained(f"own-{number}-{args.replies}", pairs, args.replies, None)
        if ("own", args.replies) not in known:
            run.decoder.load_adapter(start)
            curve.measure(speaker, "own", args.replies)
        steps = plan(pairs, TrainConfig(pairs=args.replies), seed=run.config.seed)
        own = list(planned(steps))
        for against in AGAINST:
            way = f"own, preferred to {against}"
            if (way, args.replies) in known:
                continue
            run.decoder.load_adapter(start, trainable=True)
            if against == "others":
                rejected = other_replies(curve, speaker, own)
            else:
                rejected = written_replies(run, own)
            name = f"likeness_curve/preferred-{against}-{number}-{args.replies}"
            preferred(run, steps, rejected, run.path(name))
            curve.measure(speaker, way, args.replies)


if __name__ == "__main__":
    main()
