"""The whole road on a small corpus with a tiny model, as a user runs it: skipped, redone, killed
and resumed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.support.browser import assert_readable, needs_browser, opened_page
from tests.support.runs import spawn, vvae, write_config
from vvae.config import load_config
from vvae.core.dialogue import Dialogue
from vvae.core.errors import ConfigError
from vvae.corpus.tables import PAIRS
from vvae.decoder.model import grouped
from vvae.inference.tokenizer import load_prompter
from vvae.latent.persona import Persona
from vvae.latent.prior import Prior
from vvae.latent.tables import read_encodings, read_profiles
from vvae.metrics.tables import read_replies
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages


def without_timings(run: Path) -> dict[str, object]:
    results = json.loads((run / "results.json").read_text("utf-8"))
    results.pop("timings")
    return dict(results)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, corpus: list[Dialogue], tiny_model: Path
) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    process = spawn(write_config(folder, corpus, tiny_model))
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert output.strip().splitlines()[-1].replace("\n", "").endswith("report.html")
    return folder


def test_what_is_trained_on_can_be_seen(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    """The first replies of the plan, each as it was said, behind its chat and its z."""
    config = write_config(
        tmp_path, corpus, tiny_model, variants=["FT", "P+FT", "continuous", "SP+FT"]
    )
    shown = vvae("train", str(config), "--show", "2")
    assert shown.returncode == 0, shown.stderr
    run = Run(load_config(config))
    assert not run.path("adapters").exists(), "nothing is trained"
    replies = {pair.pair_id: pair for pair in run.pairs if pair.split == "train"}
    prompter = load_prompter(str(tiny_model))
    blocks = re.findall(
        r"^(\S+), (\S+): \d+ tokens before the reply, (\d+) that carry loss\n(.*?│)\n\n",
        shown.stdout,
        re.DOTALL | re.MULTILINE,
    )
    assert [variant for variant, *_ in blocks] == ["FT"] * 2 + ["P+FT"] * 2 + ["SP+FT"] * 2
    assert "continuous: a learnt vector stands for z" in shown.stdout
    for variant, pair_id, tokens, text in blocks:
        prompt, *supervised = text.rstrip("│").split("│")
        reply = prompter.frame.reply(replies[pair_id].response)
        assert "".join(supervised) == reply
        assert int(tokens) == len(prompter.tokens(reply))
        assert variant != "FT" or "[persona]" not in prompt
        assert variant != "SP+FT" or "[persona] " in prompt


def test_the_road_leaves_the_files_of_the_contract(finished: Path) -> None:
    run = finished / "run"
    names = {
        str(p.relative_to(run)) for p in run.rglob("*") if p.is_file() and ".stages" not in p.parts
    }
    trained, all_of_them = (
        ("FT", "P+FT", "SP+FT", "SP+FT@0.5"),
        ("zero-shot", "few-shot", "FT", "P+FT", "SP+FT", "SP+FT@0.5"),
    )
    expected = {
        "config.yaml",
        "dialogues.parquet",
        "import.json",
        "pairs.parquet",
        "encodings.parquet",
        "encoder.json",
    }
    expected |= {"encode.json"}
    expected |= {"prior.json", "profiles.parquet", "results.json", "report.html"}
    expected |= {
        f"adapters/{v}/{f}"
        for v in trained
        for f in ("adapter_config.json", "adapter_model.safetensors", "vvae.json")
    }
    measured = ("replies", "readings", "losses", "phrases")
    expected |= {f"{kind}/{v}.parquet" for v in all_of_them for kind in measured}
    assert names == expected
    results = json.loads((run / "results.json").read_text("utf-8"))
    assert list(results["variants"]) == list(all_of_them)
    r = results["human"]["CP"]["observation_rate"]
    predicted = {name: v["CP"]["predicted"] for name, v in results["variants"].items()}
    assert predicted["SP+FT"] == pytest.approx(r, abs=1e-3)
    assert predicted["SP+FT@0.5"] == pytest.approx(r / (r + (1 - r) / 2), abs=1e-3)
    assert (predicted["P+FT"], predicted["FT"], predicted["zero-shot"]) == (1.0, None, None)
    for variant in results["variants"].values():
        assert variant["loss_profile_z"] > 0
        assert variant["loss_posterior_z"] > 0
        assert variant["n"] == 10
        phrase = variant["forced"]
        own, people = phrase["own"], phrase["people"]
        assert own["value"] == phrase["profile"]
        assert own["low"] <= own["value"] <= own["high"]
        assert people["low"] <= people["value"] <= people["high"]
        assert phrase["read"]["value"] == pytest.approx(phrase["profile"] - phrase["swapped"])
    assert results["primary_forced"]["claim"].endswith("on P(catchphrase)")
    assert results["people_forced"]["low"] <= results["people_forced"]["value"]
    ft = results["variants"]["FT"]
    assert ft["forced"]["read"]["value"] == 0, "FT is shown no z"
    assert ft["loss_profile_z"] == ft["loss_posterior_z"] == ft["loss_none_z"], "FT is shown no z"
    assert ft["loss_known_z"] is None, "it is shown no slot"
    assert "bound" not in ft
    sampled = results["variants"]["SP+FT"]
    assert len({sampled[f"loss_{z}_z"] for z in ("profile", "known", "own", "none")}) > 1
    assert {"known", "written"} <= sampled["forced"].keys()
    bound = sampled["bound"]
    assert bound["draws"] == 4
    assert bound["iwae"] <= bound["elbo"], "more draws, a tighter bound"
    assert bound["elbo"] == pytest.approx(sampled["reconstruction"] + results["kl"], rel=0.1)


def test_prior_profiles_and_shown_personas_fit_together(finished: Path) -> None:
    run = finished / "run"
    prior = Prior.from_json((run / "prior.json").read_text("utf-8"))
    pairs = {p.pair_id: p for p in PAIRS.read(run / "pairs.parquet")}
    train = [
        e for e in read_encodings(run / "encodings.parquet") if pairs[e.pair_id].split == "train"
    ]
    assert prior["catchphrase"].total == len(train)
    assert prior["catchphrase"].observed == sum(e.persona["catchphrase"] is not None for e in train)
    profiles = read_profiles(run / "profiles.parquet")
    replies = {
        v: read_replies(run / f"replies/{v}.parquet") for v in ("P+FT", "SP+FT", "FT", "zero-shot")
    }
    own = {v: [r for r in rs if r.profile == pairs[r.pair_id].speaker] for v, rs in replies.items()}
    assert [r.persona for r in own["P+FT"]] == [r.persona for r in own["SP+FT"]]
    drawn = [r.persona for r in own["SP+FT"]]
    known = [
        persona and Persona({n: s for n, s in persona if s.source == "observed"})
        for persona in drawn
    ]
    assert [r.persona for r in own["zero-shot"]] == known, "a prompt holds nothing that was drawn"
    assert known != drawn
    assert all(r.persona is None for r in own["FT"])
    for reply in own["SP+FT"]:
        assert reply.persona is not None
        for name, slot in reply.persona:
            if slot.source == "observed":
                held = profiles[reply.profile]
                ranked = [
                    *held.values.get(name, ()),
                    *(v for t in held.by_listener.values() for v in t.get(name, ())),
                ]
                assert slot.value in [v.value for v in ranked]
            else:
                assert slot.value in prior[name].counts
    swapped = [r for r in replies["SP+FT"] if r.profile != pairs[r.pair_id].speaker]
    assert 0 < len(swapped) <= 4


def test_further_draws_of_z_are_branches_of_the_same_tree_where_z_is_sampled(
    finished: Path,
) -> None:
    config = load_config(finished / "config.yaml")
    once, thrice = (
        Run(
            config.model_copy(
                update={"train": config.train.model_copy(update={"draws_per_pair": k})}
            )
        )
        for k in (1, 3)
    )
    decoder = once.decoder
    variants = {v.name: v for v in once.variants}
    window = max(grouped(p for p in once.pairs if p.split == "train").values(), key=len)
    tree, wide = (
        run.conditions(variants["SP+FT"]).training_tree(decoder, window, 0)
        for run in (once, thrice)
    )
    assert tree.nodes[0] == wide.nodes[0], "the context stands once"
    assert len(tree.nodes) == 1 + len(window)
    assert len(wide.nodes) == 1 + 3 * len(window)
    branches = [wide.nodes[1 + 3 * i : 4 + 3 * i] for i in range(len(window))]
    assert any(len({node.tokens for node in three}) > 1 for three in branches), (
        "each draw is another"
    )
    assert all(len({(node.cut, node.supervised) for node in three}) == 1 for three in branches)
    assert len(
        thrice.conditions(variants["P+FT"]).training_tree(decoder, window, 0).nodes
    ) == 1 + len(window), "nothing is drawn"


def test_the_report_is_one_page_without_outside_assets(finished: Path) -> None:
    page = (finished / "run" / "report.html").read_text("utf-8")
    assert "src=" not in page
    assert "@import" not in page
    assert page.count("<svg") >= 3
    for name in ("zero-shot", "few-shot", "FT", "P+FT", "SP+FT", "human"):
        assert f"<b>{name}</b>" in page


@needs_browser
def test_everybody_can_read_the_report(finished: Path) -> None:
    path = finished / "run" / "report.html"
    assert_readable(path.as_uri())
    with opened_page(viewport={"width": 390, "height": 800}) as page:
        page.goto(path.as_uri())
        verdict = page.inner_text(".verdict")
        assert "wrote held-out replies of 4 speakers anew, 10 replies by each" in verdict
        assert "Catchphrase presence (CP): people show it 28 times in 97" in verdict
        assert "vvae doctor" in verdict
        assert page.get_by_text("Rates against people").count() == 0, "no figure follows"
        table = page.get_by_role("region", name="Table: how replies are put")
        table.focus()
        page.keyboard.press("End")
        page.keyboard.press("ArrowRight")
        assert table.evaluate("e => e.scrollWidth > e.clientWidth && e === document.activeElement")
        assert "– (" not in table.inner_text(), "what was not measured has no row"
        assert page.locator("main svg[role=img]").count() >= 3


def test_a_second_run_does_nothing_and_a_change_redoes_what_depends_on_it(finished: Path) -> None:
    config = load_config(finished / "config.yaml")
    run = finished / "run"
    stamps = {
        p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file() and p.name != "config.yaml"
    }
    run_stages(Run(config))
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
    fewer = config.model_copy(update={"bench": config.bench.model_copy(update={"resamples": 120})})
    run_stages(Run(fewer))
    changed = {p.name for p, stamp in stamps.items() if p.stat().st_mtime_ns != stamp}
    assert changed == {"results.json", "report.html", "bench.json", "report.json"}
    run_stages(Run(config))


def test_a_removed_file_is_made_again(finished: Path) -> None:
    run = finished / "run"
    before = (run / "prior.json").read_bytes()
    (run / "prior.json").unlink()
    run_stages(Run(load_config(finished / "config.yaml")), until="prior")
    assert (run / "prior.json").read_bytes() == before


def test_a_run_killed_on_the_way_ends_as_if_it_had_not_been(
    finished: Path, tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    config = write_config(tmp_path, corpus, tiny_model)
    run = tmp_path / "run"
    for pattern in ("adapters/P+FT/checkpoints/step-*", "replies/few-shot.parquet"):
        process = spawn(config)
        deadline = time.monotonic() + 200
        while (
            not list(run.glob(pattern)) and process.poll() is None and time.monotonic() < deadline
        ):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"killed before the end, at {pattern}"
    process = spawn(config)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert without_timings(run) == without_timings(finished / "run")
    for path in (finished / "run" / "replies").iterdir():
        assert read_replies(path) == read_replies(run / "replies" / path.name)
    assert not [p for p in run.rglob("*") if p.name.endswith(".part") or "checkpoints" in p.parts]


def test_ctrl_c_says_that_it_goes_on_and_fails(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    process = spawn(write_config(tmp_path, corpus, tiny_model))
    deadline = time.monotonic() + 200
    while not (tmp_path / "run" / "encodings.parquet").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert output.strip().splitlines()[-1] == "vvae: stopped; run the same command again to go on"
    assert "Traceback" not in output


def test_a_moved_run_is_itself(finished: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(finished / "run", tmp_path / "elsewhere")
    result = subprocess.run(
        [sys.executable, "-m", "vvae.cli", "report", str(moved)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(moved / "report.html")
    adapter = json.loads((moved / "adapters" / "FT" / "adapter_config.json").read_text())
    assert (
        adapter["base_model_name_or_path"]
        == yaml.safe_load((moved / "config.yaml").read_text())["decoder"]["model"]
    )


@pytest.mark.parametrize("shard", [False, True], ids=["whole", "sharded"])
def test_two_processes_train_as_one_does(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path, shard: bool
) -> None:
    # Steps of one window and of several, in unequal numbers of batches: somebody has nothing to do.
    shape = {
        "variants": ["SP+FT"],
        "train": {"pairs": 30, "batch_replies": 5, "token_budget": 200, "checkpoint_every": 2},
    }
    together, alone = tmp_path / "together", tmp_path / "alone"
    for folder in (together, alone):
        folder.mkdir()
    several = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "vvae.cli",
    ]
    config = write_config(together, corpus, tiny_model, **shape)
    if shard:
        keys = yaml.safe_load(config.read_text())
        keys["decoder"]["shard"] = True
        config.write_text(yaml.safe_dump(keys))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.run(
        [*several, "train", str(config)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    run_stages(Run(load_config(write_config(alone, corpus, tiny_model, **shape))), until="train")
    made = [json.loads((f / "run/adapters/SP+FT/vvae.json").read_text()) for f in (together, alone)]
    assert len(made[0]["training_loss"]) == len(made[1]["training_loss"]) >= 3
    assert made[0]["training_loss"] == pytest.approx(made[1]["training_loss"], rel=1e-4)
    ours, theirs = (
        load_file(f / "run/adapters/SP+FT/adapter_model.safetensors") for f in (together, alone)
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], atol=2e-4) for name in ours)
    assert not list(together.rglob("*.part"))


def test_variants_that_are_compared_do_not_stop_early(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    train = {
        "pairs": 24,
        "batch_replies": 4,
        "checkpoint_every": 1,
        "patience": 1,
        "validation_pairs": 8,
    }
    several = write_config(tmp_path, corpus, tiny_model, variants=["FT", "SP+FT"], train=train)
    with pytest.raises(ConfigError, match=r"train\.patience"):
        run_stages(Run(load_config(several)), until="train")
    one = Run(
        load_config(write_config(tmp_path, corpus, tiny_model, variants=["SP+FT"], train=train))
    )
    run_stages(one, until="train")
    made = json.loads(one.path("adapters/SP+FT/vvae.json").read_text())
    assert len(made["validation_loss"]) == made["steps"]


def test_an_adapter_is_exported_by_a_command(finished: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "vvae.cli",
        "export",
        str(finished / "run"),
        "--gguf",
        "--merged",
    ]
    done = subprocess.run(
        [*command, "--base", "base.gguf"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    folder = finished / "run" / "export" / "SP+FT"
    assert {p.name for p in folder.iterdir()} == {"adapter.gguf", "Modelfile", "merged"}
    assert "FROM base.gguf" in (folder / "Modelfile").read_text()
    assert (folder / "merged" / "model.safetensors").is_file()
    refused = subprocess.run(command[:-2], capture_output=True, text=True, timeout=60)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
