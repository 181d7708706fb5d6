from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.runs import vvae
from vvae.config import load_config
from vvae.core.errors import ConfigError, DataError
from vvae.latent.profile import Ranked
from vvae.latent.space import load_space
from vvae.latent.steering import Steering, steering_from_text
from vvae.pipeline.run import Run
from vvae.serving.cards.card import Card, read_card
from vvae.serving.cards.personas import (
    card_of,
    delete_persona,
    import_card,
    save_persona,
    saved_personas,
)
from vvae.serving.cards.png import plain_image, texts_of, with_texts

SPACE = load_space()
FOREIGN = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        "name": "小雨",
        "description": "{{char}} loves hiking and hiking trips. She plays the guitar.",
        "personality": "shy",
        "scenario": "They met at school.",
        "first_mes": "hey sweetie 😊",
        "mes_example": "<START>\n{{user}}: i love chess\n{{char}}: lol 😊 i went hiking today\n",
        "creator_notes": "loves gardening",
        "system_prompt": "",
        "post_history_instructions": "",
        "alternate_greetings": ["hi"],
        "tags": ["cooking"],
        "creator": "me",
        "character_version": "2",
        "extensions": {"fav": True, "other/app": {"x": [1, 2.50, None]}},
        "unknown": {"kept": "yes"},
    },
    "also": "kept",
}
V2_KEYS = {
    "name",
    "description",
    "personality",
    "scenario",
    "first_mes",
    "mes_example",
    "creator_notes",
    "system_prompt",
}
V2_KEYS |= {
    "post_history_instructions",
    "alternate_greetings",
    "tags",
    "creator",
    "character_version",
    "extensions",
}


@pytest.fixture
def run(served_run: Path) -> Iterator[Run]:
    """The run without kept personas, before and after."""
    found = Run(load_config(served_run / "config.yaml").model_copy(update={"run": str(served_run)}))
    yield found
    for name in saved_personas(found).cards:
        delete_persona(found, name)


def write(path: Path, card: Any) -> Path:
    path.write_text(json.dumps(card, ensure_ascii=False), "utf-8")
    return path


@pytest.mark.parametrize("ending", ["json", "png"])
def test_a_card_comes_back_byte_for_byte(run: Run, tmp_path: Path, ending: str) -> None:
    first, again = tmp_path / f"first.{ending}", tmp_path / f"again.{ending}"
    card_of(run, "ana", samples=0).write(first)
    import_card(run, first, "Ana's twin")
    renamed = card_of(run, "Ana's twin")
    renamed.write(tmp_path / f"second.{ending}")
    delete_persona(run, "Ana's twin")
    _, kept = import_card(run, tmp_path / f"second.{ending}")
    card_of(run, kept.name).write(again)
    assert again.read_bytes() == (tmp_path / f"second.{ending}").read_bytes()
    assert kept.profile(run.space).persona()["catchphrase"] == (
        "oh my gosh",
        "observed",
        None,
        None,
    )


def test_a_speakers_card_has_what_clients_require(run: Run, tmp_path: Path) -> None:
    card = card_of(run, "ana", samples=3)
    assert card.json["spec"] == "chara_card_v3"
    assert card.data["group_only_greetings"] == []
    assert set(card.as_spec("v2").data) >= V2_KEYS
    assert "group_only_greetings" not in card.as_spec("v2").data
    assert 'now and then says "oh my gosh"' in card.data["description"]
    assert card.data["mes_example"].count("<START>") <= 2
    own = card.own
    assert own["slots"]["catchphrase"]["source"] == "observed"
    assert own["slots"]["catchphrase"]["dist"]["oh my gosh"] > 1
    assert own["prior_id"]
    assert own["adapter_sha"]
    assert own["corpus_hash"] == run.prior.corpus
    said = {turn.text for dialogue in run.dialogues.values() for turn in dialogue.turns}
    written = json.dumps({k: v for k, v in card.data.items() if k in ("first_mes", "mes_example")})
    assert not any(text in written for text in said if len(text) > 20), "a card quotes nobody"


def test_a_persona_writes_in_the_form_of_whom_it_was_made_of(run: Run, tmp_path: Path) -> None:
    own = run.profiles["ana"]
    assert own.habits["length"], "form is a speaker's own"
    card = card_of(run, "ana", samples=0)
    path = tmp_path / "ana.json"
    card.write(path)
    assert read_card(path).profile(run.space).habits == own.habits
    kept = save_persona(run, "Ana two", own, Steering())
    assert kept.profile(run.space).habits == own.habits
    habits = {"length": {"short": 3, "no such label": 5, "long": -1}, "mood": {"x": 1}, "case": 7}
    odd = card.with_own({**card.own, "habits": habits})
    assert odd.profile(run.space).habits == {"length": (Ranked("short", 3),)}
    delete_persona(run, "Ana two")


def test_a_foreign_card_is_read_keeps_its_nulls_and_loses_nothing(run: Run, tmp_path: Path) -> None:
    path, kept = import_card(run, write(tmp_path / "card.json", FOREIGN))
    values = {name: slot.value for name, slot in kept.profile(run.space).persona()}
    assert values["hobby"] == "hiking", (
        "said more often than the guitar; chess is the user's, the notes are about the card"
    )
    assert values["emoji"] == "😊"
    assert "catchphrase" not in values
    back = json.loads(path.read_text("utf-8"))
    assert back["data"]["extensions"].pop("vvae")["slots"]["hobby"]["value"] == "hiking"
    assert back == FOREIGN
    v3 = card_of(run, "小雨", spec="v3")
    assert v3.data["unknown"] == {"kept": "yes"}
    assert v3.data["extensions"]["other/app"] == {"x": [1, 2.5, None]}


def test_v1_becomes_v2(tmp_path: Path) -> None:
    v1 = {
        "name": "Old",
        "description": "d",
        "personality": "p",
        "scenario": "",
        "first_mes": "hi",
        "mes_example": "",
    }
    card = read_card(write(tmp_path / "v1.json", v1))
    assert card.json["spec"] == "chara_card_v2"
    assert set(card.data) == V2_KEYS


def test_the_image_keeps_its_pixels_and_its_other_chunks(tmp_path: Path) -> None:
    image = with_texts(plain_image("a"), {"Comment": b"mine", "chara": b"old"})
    card = Card(FOREIGN, image)
    card.write(tmp_path / "card.png")
    data = (tmp_path / "card.png").read_bytes()
    texts = texts_of(data)
    assert texts["Comment"] == b"mine"
    assert json.loads(base64.b64decode(texts["chara"]))["spec"] == "chara_card_v2"
    assert json.loads(base64.b64decode(texts["ccv3"]))["spec"] == "chara_card_v3"
    assert data.count(b"tEXtchara") == 1
    from PIL import Image

    with Image.open(tmp_path / "card.png") as opened:
        opened.load()
        assert opened.size == (400, 600)
        assert set(opened.info) == {"Comment", "chara", "ccv3"}
    assert read_card(tmp_path / "card.png").as_spec("v2").json["data"] == FOREIGN["data"]


def test_a_persona_that_was_set_by_hand_is_a_card_too(run: Run) -> None:
    steering = steering_from_text(
        "tone=playful; topic=auto; nickname=none; catchphrase.rate=0.1; seed=3"
    )
    save_persona(run, "Playful Ana", run.profiles["ana"], steering)
    card = saved_personas(run).cards["Playful Ana"]
    assert card.steering(run.space) == steering
    persona = card.profile(run.space).persona()
    assert (persona.value("tone"), persona.value("catchphrase")) == ("playful", "oh my gosh")
    with pytest.raises(ConfigError, match="is a speaker"):
        save_persona(run, "ben", run.profiles["ana"], steering)
    for name in ("", " ", "a\nb", "x" * 101):
        with pytest.raises(ConfigError, match="1 to 100"):
            save_persona(run, name, run.profiles["ana"], steering)
    save_persona(run, "../../out", run.profiles["ana"], steering)
    assert {path.parent.name for path in run.folder.rglob("*out*.json")} == {"personas"}


BROKEN = {
    "empty": b"",
    "prose": b"hello",
    "list": b"[1]",
    "no spec": b'{"data": {"name": "x"}}',
    "nameless": b'{"spec": "chara_card_v2", "data": {"name": " "}}',
    "surrogate": b'{"spec": "chara_card_v2", "data": {"name": "\\ud800"}}',
    "deep": b"[" * 100_000,
    "not utf-8": b"\xff\xfe{}",
    "no card in it": plain_image("x"),
    "torn": plain_image("x")[:-20],
    "damaged": plain_image("x")[:60] + b"\0" + plain_image("x")[61:],
    "not base64": with_texts(plain_image("x"), {"chara": b"%%%"}),
    "long chunk": plain_image("x")[:8] + b"\xff\xff\xff\xffIHDR",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_card_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (path := tmp_path / "card").write_bytes(BROKEN[name])
    with pytest.raises(DataError) as refused:
        read_card(path)
    assert "\n" not in str(refused.value)


json_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
fields = st.one_of(
    st.sampled_from(sorted(V2_KEYS)), st.sampled_from(["character_book", "nickname", "x"])
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(fields, json_values), json_values)
def test_any_card_is_refused_or_kept_whole(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any], own: Any
) -> None:
    folder = tmp_path_factory.mktemp("any")
    extensions = {"extensions": {"vvae": own}} if isinstance(own, dict) else {}
    card = {"spec": "chara_card_v3", "spec_version": "3.0", "data": {**data, **extensions}}
    try:
        kept = read_card(write(folder / "a.json", card))
    except DataError:
        return
    assert {k: v for k, v in kept.data.items() if k in card["data"]} == card["data"]
    kept.profile(SPACE)
    kept.write(folder / "b.png")
    back = read_card(folder / "b.png")
    assert back.text() == kept.as_spec("v3").text()


def test_the_commands(run: Run, tmp_path: Path) -> None:
    exported = vvae(
        "card",
        "export",
        str(run.folder),
        "--speaker",
        "ana",
        "--samples",
        "0",
        "-o",
        str(tmp_path / "a.png"),
    )
    assert exported.returncode == 0, exported.stderr
    assert zlib.crc32((tmp_path / "a.png").read_bytes())
    imported = vvae(
        "card", "import", str(tmp_path / "a.png"), "--run", str(run.folder), "--name", "Twin"
    )
    assert imported.returncode == 0, imported.stderr
    assert "Twin: " in imported.stdout
    assert "catchphrase=oh my gosh" in imported.stdout
    assert "drawn from the prior in use: " in imported.stdout
    clash = vvae("card", "import", str(tmp_path / "a.png"), "--run", str(run.folder))
    assert clash.returncode == 2
    assert "is a speaker of this run" in clash.stderr
    nobody = vvae("card", "export", str(run.folder), "--speaker", "nobody", "--samples", "0")
    assert nobody.returncode == 2
    assert "no speaker is named 'nobody'" in nobody.stderr
