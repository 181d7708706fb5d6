"""The recipes of docs/extending.md, each as somebody would use it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
from fastapi import APIRouter
from fastapi.testclient import TestClient

import vvae
from tests.decoder.test_attention import forest
from tests.support.runs import write_config
from vvae.core.dialogue import Dialogue, Pair
from vvae.corpus import formats
from vvae.decoder.kernels.attention import KERNELS
from vvae.decoder.kernels.dense import DenseKernel
from vvae.decoder.trees import collate
from vvae.encoders import registry
from vvae.encoders.base import EncoderSettings
from vvae.latent import readers
from vvae.latent.prior import DimensionPrior
from vvae.latent.sampling import fill
from vvae.latent.tables import Encoding
from vvae.metrics import metric
from vvae.serving.http import app as serving
from vvae.serving.http.auth import Keys
from vvae.serving.http.service import Service, ServiceDependency

RECIPES = Path(__file__).parents[1] / "docs" / "extending.md"


@pytest.fixture(autouse=True)
def _registries_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (readers, registry, metric):
        monkeypatch.setattr(module, "_REGISTRY", dict(module._REGISTRY))


def test_every_recipe_has_a_test_here() -> None:
    titles = re.findall(r"^## (.+)$", RECIPES.read_text("utf-8"), re.M)
    tested = [name for name in globals() if name.startswith("test_recipe")]
    assert len(titles) == len(tested) == 7


def test_recipe_sampling_from_values_of_ones_own() -> None:
    even = DimensionPrior({"playful": 1, "tender": 1}, nulls=0)
    drawn = Counter(
        fill(vvae.Persona(), even, "tone", f"d{i}#4", seed=0)["tone"].value  # type: ignore[union-attr]
        for i in range(400)
    )
    assert drawn.keys() == {"playful", "tender"}
    assert 150 < drawn["playful"] < 250


def find_number(reply: str, phrases: Sequence[str]) -> vvae.Span | None:
    match = re.search(r"\d+", reply)
    return vvae.Span(match[0], *match.span()) if match else None


def test_recipe_a_reader_is_read_rejected_and_named_by_a_space(corpus: list[Dialogue]) -> None:
    vvae.register_reader(
        vvae.Reader(
            "number",
            read=find_number,
            ground=lambda value, reply, phrases: find_number(reply, phrases) or "not in the reply",
            asked_as="copied from the reply, digit by digit",
        )
    )
    lucky = {"scope": "speaker", "reader": "number", "description": "a lucky number"}
    space = vvae.LatentSpace.from_dict({"axes": {"games": {"lucky number": lucky}}})
    turns = tuple(
        vvae.Turn(i, "ab"[i % 2], (vvae.Message(text),))
        for i, text in enumerate(("pick one", "7 of course", "why", "no idea"))
    )
    pairs = vvae.make_pairs([vvae.Dialogue("d", turns)])
    encoder = vvae.RulesEncoder.fit(pairs, space)
    read = [encoding.persona["lucky number"] for encoding in encoder.encode(pairs)]
    assert [slot and slot.value for slot in read] == ["7", None, None]
    with pytest.raises(vvae.UserError, match="no reader 'numbr'"):
        vvae.LatentSpace.from_dict(
            {"axes": {"games": {"lucky number": {**lucky, "reader": "numbr"}}}}
        )


class Loud:
    """Reads a tone in what is written in capitals."""

    id = "loud-1"

    def __init__(self) -> None:
        self.rejected: Counter[str] = Counter()

    def encode(
        self, pairs: Sequence[Pair], dialogues: Mapping[str, Dialogue], *, progress: Any = None
    ) -> Iterator[Encoding]:
        for pair in pairs:
            loud = pair.response.isupper()
            slots = {"tone": vvae.Slot("loud", "observed")} if loud else {}
            yield Encoding(pair.pair_id, self.id, vvae.Persona().with_slots(slots))

    def state(self) -> str:
        return "{}"

    def accounts(self) -> dict[str, Any]:
        return {}

    def about(self) -> str | None:
        return None

    def check_errors(self, missing: int, total: int, outcomes: Mapping[str, int]) -> None:
        return None


class LoudSettings(EncoderSettings):
    kind: Literal["loud"] = "loud"

    def key(self, space: vvae.LatentSpace) -> list[Any]:
        return [self, space.to_dict(), 1]

    def fit(self, pairs: Sequence[Pair], space: vvae.LatentSpace, **_: Any) -> Loud:
        return Loud()

    def load(self, state: str, *, ledger: Path, where: str = "encoder.json") -> Loud:
        return Loud()


def test_recipe_an_encoder_is_named_by_a_config_and_its_prior_is_counted(
    tmp_path: Path, corpus: list[Dialogue]
) -> None:
    registry.register("loud", LoudSettings)
    tone = {"scope": "turn", "reader": "prototype", "labels": {"loud": ["HEY"], "calm": ["hey"]}}
    space = tmp_path / "space.yaml"
    space.write_text(
        json.dumps({"axes": {"talk": {"tone": {**tone, "description": "how it sounds"}}}})
    )
    capitals = [
        Dialogue(
            d.id,
            tuple(
                vvae.Turn(t.id, t.speaker, tuple(vvae.Message(m.text.upper()) for m in t.messages))
                for t in d.turns
            ),
        )
        for d in corpus[:24]
    ]
    config = write_config(
        tmp_path,
        capitals + corpus[24:],
        tmp_path / "no model is needed",
        encoder={"kind": "loud"},
        space=str(space),
    )
    run = vvae.Run.open(config).make(until="prior")
    assert run.prior["tone"].counts.keys() == {"loud"}
    assert 0.3 < run.prior["tone"].rate < 0.7
    assert run.prior.encoder == "loud-1"


def test_recipe_a_format_is_one_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "ircish.py"
    module.write_text(
        "from vvae.corpus.formats import Person, Sent\n"
        "from vvae.core.dialogue import Message\n\n"
        "def recognise(file):\n"
        "    return 'lines <name> text' if file.head.startswith('<') else None\n\n"
        "def read(files, hints):\n"
        "    for file in files:\n"
        "        for line in file.lines():\n"
        "            name, _, text = line.text.partition('> ')\n"
        "            person = Person(name[1:], name[1:])\n"
        "            yield Sent(file.where, person, Message(text.strip()), None)\n"
    )
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(tmp_path)])
    formats.formats.cache_clear()
    try:
        (tmp_path / "chat.log").write_text("<ana> hi\n<ben> hello you\n")
        (found,) = formats.find(tmp_path / "chat.log")
        assert found.format == "ircish"
        texts = [record.message.text for _, record in formats.read([found])]  # type: ignore[union-attr]
        assert texts == ["hi", "hello you"]
    finally:
        formats.formats.cache_clear()


def test_recipe_a_metric_stands_among_those_of_replies() -> None:
    @vvae.reply_metric("shouting", title="shouts", unit="%")
    def shouting(reply: Any, yardstick: Any) -> float:
        return float(reply.text.isupper())

    assert shouting in metric.metrics_of("reply")
    assert metric.get("shouting").title == "shouts"
    with pytest.raises(vvae.UserError, match="already"):
        vvae.reply_metric("shouting", title="again", unit="%")(lambda reply, yardstick: 0.0)


def test_recipe_a_kernel_is_held_against_the_dense_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class HalfHeads(DenseKernel):
        """The dense kernel, on half of the heads at a time."""

        name = "half heads"

        def attend(self, query: Any, key: Any, value: Any, plan: Any, **settings: Any) -> Any:
            halves = zip(*(x.chunk(2, 1) for x in (query, key, value)), strict=True)
            attend = super().attend
            return torch.cat([attend(q, k, v, plan, **settings) for q, k, v in halves], 2)

    kernel, batch = HalfHeads(), collate(forest())
    monkeypatch.setitem(KERNELS, kernel.name, kernel)
    config = SimpleNamespace(hidden_size=64, num_attention_heads=4, head_dim=16)
    assert kernel.refuses(config) is None
    n = len(batch.ids)
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, heads, n, 16) for heads in (4, 2, 2))
    ours, theirs = (
        one.attend(
            q,
            k,
            v,
            one.plan(batch, torch.device("cpu"), torch.float32),
            scaling=0.25,
            softcap=None,
            dropout=0.0,
        )
        for one in (kernel, KERNELS["dense"])
    )
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_recipe_a_route_takes_the_service_and_stands_behind_the_same_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    router = APIRouter()

    @router.get("/v1/status-word")
    async def status_word(service: ServiceDependency) -> dict[str, str]:
        return {"word": service.status}

    monkeypatch.setattr(serving, "ROUTERS", (*serving.ROUTERS, router))
    service = Service.__new__(Service)
    monkeypatch.setattr(Service, "status", property(lambda self: "ok"))
    client = TestClient(serving.application(service, keys=Keys("a-key-that-is-long-enough")))
    assert client.get("/v1/status-word").status_code == 401
    allowed = {"Authorization": "Bearer a-key-that-is-long-enough"}
    assert client.get("/v1/status-word", headers=allowed).json() == {"word": "ok"}
