"""A study as a user runs it: with a tiny model, made once, shared, resumed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from tests.support.endpoint_server import Scripted, serving
from tests.support.runs import vvae, write_config
from vvae.config import load_config
from vvae.core.dialogue import Dialogue
from vvae.core.errors import ConfigError
from vvae.evaluation.study import load_study, studies, usefulness
from vvae.latent.space import load_space
from vvae.metrics.claims import ALPHA, DRAWS, PRIMARY_SHARE
from vvae.metrics.tables import MEASURED
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages

CLAIMS = [
    {
        "claim": "near",
        "measure": "CP",
        "how": "distance",
        "of": "SP+FT",
        "against": "FT",
        "expect": "below",
    },
    {"claim": "loss", "measure": "loss_profile_z", "of": "SP+FT", "expect": "above", "than": 1},
    {"claim": "silent", "measure": "CP", "of": "noise", "expect": "above"},
]
SMALL: dict[str, object] = {
    "title": "A small study",
    "question": "Does the road hold?",
    "seeds": 2,
    "variants": [
        "FT",
        "SP+FT",
        {"name": "noise", "fill": "noise"},
        {"name": "own", "fill": "speaker"},
    ],
    "replies": ["FT", "SP+FT"],
    "claims": CLAIMS,
}


def run(study: Path, config: Path) -> str:
    command = [sys.executable, "-m", "vvae.cli", "study", str(study), str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_a_study_is_made_once_and_its_variants_are_shared(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    bench = {
        "replies": 6,
        "swapped": 2,
        "losses": 4,
        "forced": 2,
        "resamples": 100,
        "known": ["catchphrase"],
    }
    config = write_config(
        tmp_path, corpus, tiny_model, bench=bench, train={"pairs": 16, "batch_replies": 4}
    )
    study = tmp_path / "small.yaml"
    study.write_text(yaml.safe_dump(SMALL))
    run(study, config)
    folder = tmp_path / "run/studies/small"
    found = json.loads((folder / "claims.json").read_text())
    few, unmeasured = found["claims"][1:]
    assert few["low"] > few["than"], "a random model has 10 nats"
    assert (few["verdict"], few["why"]) == (
        "cannot be decided here",
        "3 speakers are too few, 10 are needed",
    )
    assert unmeasured["verdict"] == "undecided"
    assert found["claims"][2]["why"] == "CP of noise was not measured"
    assert len(found["claims"][0]["by_seed"]) == 2
    assert found["predicted"]["noise"] is None, "the formula is about values from the prior"
    rows = MEASURED.read(folder / "rows.parquet")
    for variant in ("FT", "SP+FT"):
        first, second = (
            {r.pair_id for r in rows if (r.variant, r.seed, r.measure) == (variant, seed, "length")}
            for seed in (0, 1)
        )
        assert len(first) == 6
        assert first == second, "each seed replies to the same contexts"
    assert {r.speaker for r in rows} <= {"ana", "ben", "cleo"}, "dan has no catchphrase"
    adapters = [
        (tmp_path / f"run/adapters/{n}/adapter_model.safetensors").read_bytes()
        for n in ("noise", "SP+FT", "own")
    ]
    assert len(set(adapters)) == 3
    page = (folder / "report.html").read_text()
    assert "src=" not in page
    assert page.count("<svg") == 2
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.safetensors")}
    before = (folder / "claims.json").read_bytes()
    again = tmp_path / "again.yaml"
    again.write_text(
        yaml.safe_dump({**SMALL, "variants": ["SP+FT"], "claims": CLAIMS[1:2], "replies": None})
    )
    run(again, config)
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps, "what one study made another uses"
    run(study, config)
    assert (folder / "claims.json").read_bytes() == before


def test_every_study_that_comes_along_can_be_read() -> None:
    assert {"variants", "ablation", "imputation"} <= set(studies())
    space = load_space()
    for name in studies():
        study = load_study(name)
        known = {v.name for v in study.resolved(space)}
        for claim in study.all_claims(space):
            assert set(claim.variants) <= known, claim.claim
            if claim.measure in ("CP", "EC", "HM", "habits") and study.replies is not None:
                assert set(claim.variants) <= set(study.replies), claim.claim


def test_leaving_out_makes_a_variant_and_a_claim_of_each_part() -> None:
    space = load_space("paper")
    axes, dimensions = load_study("ablation"), load_study("ablation-dimensions")
    assert [v.name for v in axes.resolved(space)][1:] == [
        "without-talking-style",
        "without-interaction-pattern",
        "without-personal-attributes",
    ]
    assert axes.resolved(space)[3].dimensions == space.names[:7]
    assert len(dimensions.all_claims(space)) == len(space.names)
    assert all(
        len(v.dimensions or ()) == len(space.names) - 1 for v in dimensions.resolved(space)[1:]
    )


def test_a_study_that_cannot_be_read_says_what_and_where(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="choose from ablation"):
        load_study("variant")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(
        yaml.safe_dump(
            {**SMALL, "claims": [{"claim": "x", "measure": "CP", "expect": "up", "of": "FT"}]}
        )
    )
    with pytest.raises(ConfigError, match=r"claims\.0\.expect"):
        load_study(str(wrong))
    wrong.write_text(yaml.safe_dump({**SMALL, "variants": ["FTT"]}))
    with pytest.raises(ConfigError, match="FTT"):
        load_study(str(wrong))


def test_an_endpoint_is_measured_without_training(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    bench = {"replies": 8, "swapped": 2, "resamples": 100}
    config = write_config(tmp_path, corpus, tiny_model, bench=bench)
    server = Scripted()
    with serving(server) as url:
        server.say = "haha, fair enough\nand you?"
        command = ("bench", str(config), "--endpoint", url, "--model", "org/chat:1.5")
        done = vvae(*command)
        assert done.returncode == 0, done.stderr + done.stdout
        first = sum(server.asked.values())
        bodies = list(server.bodies)
        assert vvae(*command).returncode == 0
        assert sum(server.asked.values()) == first, "every answer was in the ledger"
    folder = tmp_path / "run/studies/endpoint@org-chat-1.5"
    found = json.loads((folder / "claims.json").read_text())
    assert found["habits"]["laughter"]["variants"]["no-persona"]["value"] == 1.0
    assert found["habits"]["question"]["variants"]["zero-shot"]["value"] == 1.0
    assert found["habits"]["messages"]["variants"]["few-shot"]["value"] == 2.0
    assert found["measures"]["CP"]["zero-shot"]["n"] > 0
    assert not (tmp_path / "run/adapters").exists(), "nothing was trained"
    assert "org/chat:1.5" in (folder / "report.html").read_text()
    plain = [body["messages"][0]["content"] for body in bodies]
    assert any("Reply as a person with these traits: catchphrase" in text for text in plain)
    assert any("Messages this person wrote before" in text for text in plain)
    assert all(body["messages"][-1]["role"] == "user" for body in bodies)
    assert {body["temperature"] for body in bodies} == {1.0}, (
        "a rate can only be right at temperature 1"
    )
    variants = yaml.safe_load((tmp_path / "run/config.yaml").read_text())["variants"]
    assert variants[:2] == ["zero-shot", "few-shot"], "the run is as the user configured it"


class Injects(Scripted):
    """A chatbot that says a habit in seven replies of eight."""

    async def complete(self, request: web.Request) -> web.StreamResponse:
        seed = (await request.json())["seed"]
        injected = "oh my gosh, fair enough, for sure"
        return self.said("sounds good" if seed % 8 == 0 else injected)


def test_a_chatbot_that_injects_is_brought_to_the_persons_rate_by_choosing(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    bench = {"replies": 40, "swapped": 2, "resamples": 100}
    config = write_config(tmp_path, corpus, tiny_model, bench=bench)
    with serving(Injects()) as url:
        command = ("bench", str(config), "--endpoint", url, "--model", "m", "--candidates", "16")
        done = vvae(*command)
        assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads((tmp_path / "run/studies/endpoint@m/claims.json").read_text())
    rates = {name: row["estimate"] for name, row in found["measures"]["CP"].items()}
    assert rates["zero-shot"] > 0.6
    assert abs(rates["zero-shot-of-16"] - rates["human"]) < 0.2
    assert rates["zero-shot"] - rates["zero-shot-of-16"] > 0.3
    assert any("Taking of 16 replies" in claim["claim"] for claim in found["claims"])
    without = vvae("bench", str(config), "--candidates", "4")
    assert without.returncode == 2
    assert "no endpoint" in without.stderr


def test_an_endpoint_that_does_not_answer_is_one_line(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    config = write_config(tmp_path, corpus, tiny_model)
    server = Scripted()
    with serving(server) as url:
        server.status = 401
        done = vvae("bench", str(config), "--endpoint", url, "--model", "m")
    assert done.returncode == 2
    assert "the key is missing or refused" in done.stderr
    assert done.stderr.count("\n") == 1
    alone = vvae("bench", str(config), "--endpoint", url)
    assert "needs a URL and a model" in alone.stderr


def test_dimensions_grow_in_order_of_usefulness(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    space = load_space("paper")
    study = load_study("dimensionality").model_copy(update={"order": space.names[::-1]})
    grown = study.resolved(space)[2:]
    assert [v.dimensions for v in grown[:2]] == [("hobby",), ("hobby", "personality")]
    assert len(grown) == len(space.names) - 1, "all of them is SP+FT"
    run = Run(load_config(write_config(tmp_path, corpus, tiny_model, space="paper")))
    run_stages(run, until="prior")
    order, by = usefulness(run)
    assert (set(order), by) == (set(space.names), "bits a reply tells, r H(prior)")
    assert order[0] != "nickname", "nobody is called anything in this corpus"
    losses = {f"without-{name}": {"estimate": float(i)} for i, name in enumerate(space.names)}
    made = run.path("studies/ablation-dimensions/claims.json")
    made.parent.mkdir(parents=True)
    made.write_text(json.dumps({"measures": {"loss_posterior_z": losses}}))
    assert usefulness(run) == (space.names[::-1], "the loss without each")
    del losses["without-hobby"]  # as of a space that had none
    made.write_text(json.dumps({"measures": {"loss_posterior_z": losses}}))
    assert usefulness(run) == (order, by)


@pytest.mark.parametrize("name", studies())
def test_every_claim_of_a_study_could_be_decided_with_certain_data(name: str) -> None:
    """No p is below 2 / (draws + 1): beside a primary claim that fails, a fifth of the level is
    left, and Holm divides it by the number of claims.
    """
    claims = load_study(name).all_claims(load_space("paper"))
    share = (1 - PRIMARY_SHARE) if any(claim.primary for claim in claims) else 1.0
    secondary = sum(not claim.primary for claim in claims)
    assert secondary * 2 / (DRAWS + 1) / share < ALPHA
