from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import phonenumbers
import polars as pl
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.exports import EXPORTERS, Line, android, discord, slack, table, telegram
from tests.support.planted import LOCALES, planted
from vvae.config import load_config
from vvae.corpus.formats import find
from vvae.corpus.importing import Intake, bring_in, mapping_path
from vvae.corpus.privacy.names import Pseudonyms, name_replacer
from vvae.corpus.privacy.patterns import KINDS, find_items, masked
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages

PLACEHOLDER = regex.compile(f"<(?:{'|'.join(KINDS)})>")
WORD = regex.compile(r"[\p{L}\p{N}]+")
PATTERN_KINDS = ("email", "phone", "card", "iban", "id", "url", "ip", "key")


def test_made_up_items_of_five_countries_are_found() -> None:
    found: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    lost = words = wrong = 0
    for one in planted(1800, 1800, seed=11):
        out = masked(one.text)[0]
        left = set(WORD.findall(PLACEHOLDER.sub(" ", out)))
        around = set(WORD.findall(f"{one.before} {one.after}"))
        if one.kind is None:
            wrong += out != one.text
            continue
        asked[one.kind] += 1
        parts = {part for part in WORD.findall(one.item) if len(part) > 2} - around
        found[one.kind] += not (parts & left) and one.item not in out
        lost, words = lost + len(around - left), words + len(around)
    assert all(found[kind] >= 0.99 * asked[kind] for kind in PATTERN_KINDS), (found, asked)
    assert found["address"] >= 0.95 * asked["address"]
    assert wrong <= 2
    assert lost <= 0.01 * words


def test_phone_numbers_of_every_country_are_found() -> None:
    missed, asked = [], 0
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE):
            number = phonenumbers.example_number_for_type(region, kind)
            for form in ("INTERNATIONAL", "NATIONAL", "E164") if number is not None else ():
                assert number is not None
                text = phonenumbers.format_number(
                    number, getattr(phonenumbers.PhoneNumberFormat, form)
                )
                if sum(c.isdigit() for c in text) >= 7:
                    asked += 1
                    out = masked(f"call me on {text} tonight")[0]
                    if any(c.isdigit() for c in out):
                        missed.append(text)
    assert asked > 1000
    assert len(missed) <= 0.01 * asked, missed


@pytest.mark.parametrize(
    "text",
    [
        "meet at 10:30 on 2024-05-03, room 204",
        "12.05.2024 - 14.05.2024 or 3/4/24",
        "score 3-1, 2-0, 4-2",
        "I have 10000000 reasons and 1 000 000 fans",
        "2019-2020 was 1,234,567 times better",
        "pi is 3.14159265",
        "5 minutes down the road, 40 mph",
        "they pay 300-500k, on an iPhone14 with 20000mAh",
        "我今天走了10000步，好累",
    ],
)
def test_dates_amounts_and_scores_are_left(text: str) -> None:
    assert masked(text)[0] == text


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("电话13812345678吧，身份证11010519491231002X", ["phone", "id"]),
        ("my password is hunter22", ["key"]),
        ("sk-proj-abcdefghijklmnop and eyJhbGciOiJI.eyJzdWIiOiIx.abc", ["key", "key"]),
        ("live at 742 Evergreen Terrace, Springfield, OR 97403", ["address"]),
        ("我住在北京市朝阳区建国路88号", ["address"]),
        ("go to drive.google.com/open?id=1HnlOK4n0YA9y1", ["url"]),
        ("IBAN GB33 BUKB 2020 1555 5555 55 please", ["iban"]),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", ["key"]),
    ],
)
def test_items_in_chat(text: str, kinds: list[str]) -> None:
    assert [item.kind for item in find_items(text)] == kinds


@settings(deadline=None)
@given(st.text(st.sampled_from("0123456789 -+()/.@:xAa市路号Z\n"), max_size=60))
def test_a_text_without_its_items_holds_none(text: str) -> None:
    once, kinds = masked(text)
    again, more = masked(once)
    assert len(PLACEHOLDER.findall(once)) == kinds.total()
    assert not {"email", "card", "iban"} & set(more)
    assert len(again) <= len(once) + 10 * more.total()


# --- names ----------------------------------------------------------------------------------------


def test_names_and_their_parts_are_replaced_at_word_boundaries() -> None:
    replace = name_replacer(
        {"Ana García": "Robin", "李小明": "小安", "Will Smith": "Quinn"}, kept=["Ben Smith"]
    )
    assert replace("ANA, ask García; not Anatol")[0] == "Robin, ask Robin; not Anatol"
    assert replace("小明来了")[0] == "小安来了"
    assert replace("will you ask Will? he will")[0] == "will you ask Quinn? he will"
    assert replace("Mr Smith") == ("Mr Smith", 0)  # also the name of somebody who stays


def test_a_name_beside_chinese_is_a_name() -> None:
    replace = name_replacer({"Kevin": "Robin", "Ana": "Quinn"})
    assert replace("今天和Kevin吃饭，kevin老师")[0] == "今天和Robin吃饭，Robin老师"
    assert replace("问问Ana吧")[0] == "问问Quinn吧"
    assert replace("Kevina aKevin kevin2") == ("Kevina aKevin kevin2", 0)


@pytest.mark.parametrize("name", [".", "~", "🌸", "A", "安", "Deleted Account"])
def test_a_name_that_is_hardly_one_leaves_texts_as_they_are(name: str) -> None:
    replace = name_replacer({name: "Robin"})
    text = "i deleted my account 🌸. A bit of 安全~ and a day..."
    assert replace(text) == (text, 0)
    if name != "Deleted Account":
        assert replace(f"hi @{name}")[0] == "hi @Robin"


def test_what_is_added_to_a_contact_is_no_name_in_small_letters() -> None:
    replace = name_replacer(
        {"Tom Football": "Sasha", "Anna Uni": "Robin", "Ben (New Number)": "Kai"}
    )
    text = "football at uni, what's the new number of tom and anna and ben"
    assert replace(text)[0] == "football at uni, what's the new number of Sasha and Robin and Kai"


def test_names_of_other_scripts_are_no_parts_of_words() -> None:
    replace = name_replacer({"ゆい": "Robin", "Straße": "Kai"})
    assert replace("ゆいいつの人") == ("ゆいいつの人", 0)
    assert replace("ゆい、元気？")[0] == "Robin、元気？"
    assert replace("STRASSE straße Straße")[0] == "Kai Kai Kai"


def test_a_telephone_number_is_a_name() -> None:
    assert name_replacer({"+15551234567": "Robin"})("call +15551234567 now")[0] == "call Robin now"


names = st.lists(
    st.text(st.characters(categories=("Lu", "Ll", "Lo")), min_size=3, max_size=8),
    min_size=1,
    unique=True,
)


@settings(deadline=None)
@given(names)
def test_pseudonyms_are_stable_distinct_and_nobodys_name(people: list[str]) -> None:
    first, second = Pseudonyms(taken=people), Pseudonyms(taken=people)
    given_ = [first.of(name) for name in people]
    assert given_ == [second.of(name) for name in people] == [first.of(name) for name in people]
    assert len(set(given_)) == len(people)
    assert not {name.casefold() for name in given_} & {name.casefold() for name in people}


# --- the whole road -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted_export(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with a chat of each locale, each as another app exports it, with 1,000 items in all;
    and the items.
    """
    folder = tmp_path_factory.mktemp("export")
    said = planted(1000, 200, seed=5)
    apps = (android, telegram, discord, slack, table)
    people = (
        ("Marta Quesada", "Ben Oduya"),
        ("Lucía Ferrán", "Ben Oduya"),
        ("Jörg Unruh", "Ben Oduya"),
    )
    for at, (locale, app) in enumerate(zip(LOCALES, apps, strict=True)):
        (home := folder / locale).mkdir()
        mine = [one for one in said if one.locale == locale]
        rows = [
            Line(
                people[at % 3][i % 2],
                1_700_000_000 + 86_400 * (i // 12) + 40 * i,
                " ".join(one.text.split()),
            )
            for i, one in enumerate(mine)
        ]
        app(home, rows)
    return folder, [" ".join(one.item.split()) for one in said if one.kind]


NEW_APPS = (
    *("qq", "qq in pieces", "weflow", "weflow text", "imessage", "imessage text", "signal"),
    *("signal markdown", "telegram pages", "sillytavern", "sms", "line", "kakaotalk"),
    *("kakaotalk on Android", "google chat", "element", "messenger", "messenger pages", "weclone"),
)


@pytest.mark.parametrize("app", NEW_APPS)
def test_none_of_the_items_comes_through_another_app(app: str, tmp_path: Path) -> None:
    said = planted(360, 60, seed=NEW_APPS.index(app))
    lines = [
        Line(
            ("Marta Quesada", "Ben Oduya")[i % 2],
            1_700_000_000 + 60 * i,
            f"Marta, {' '.join(one.text.split())}" if i % 20 == 0 else " ".join(one.text.split()),
        )
        for i, one in enumerate(said)
    ]
    path = EXPORTERS[app][1](tmp_path, lines)
    if app == "sms":  # an SMS is somebody's or one's own
        own = r'address="Marta Quesada" \1 type="2"'
        path.write_text(re.sub(r'address="Ben Oduya" (date="\d+") type="1"', own, path.read_text()))
    options = Intake(learn=() if app in ("weclone", "sms") else ("Ben Oduya",))
    summary = bring_in(find(path), tmp_path / "chats", options)
    assert summary["kept"] + summary["left_out"].get("nothing but links", 0) == len(lines)
    text = everything_in(tmp_path / "chats")
    items = [" ".join(one.item.split()) for one in said if one.kind]
    left = [item for item in items if item in text]
    assert len(items) == 360
    assert not [item for item in left if "," not in item]  # of an address a part may stay
    assert len(left) <= 3
    assert app == "weclone" or not [name for name in ("Marta", "Quesada") if name in text]


def everything_in(folder: Path) -> str:
    """All text of all files under a folder, tables among them."""
    parts: list[str] = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix == ".parquet":
            parts.append(
                json.dumps(pl.read_parquet(path).to_dicts(), ensure_ascii=False, default=str)
            )
        else:
            parts.append(path.read_bytes().decode("utf-8", "replace"))
    return "\n".join(parts)


def test_none_of_a_thousand_items_and_no_name_is_in_any_file_log_or_report(
    planted_export: tuple[Path, list[str]], tiny_model: Path, tmp_path: Path
) -> None:
    export, items = planted_export
    chats = tmp_path / "chats"
    command = [
        sys.executable,
        "-m",
        "vvae.cli",
        "import",
        str(export),
        "-o",
        str(chats),
        "--learn",
        "Ben Oduya",
    ]
    log = subprocess.run(command, capture_output=True, text=True, check=False)
    assert log.returncode == 0, log.stderr
    config = tmp_path / "c.yaml"
    config.write_text(
        f"""
run: {tmp_path}/run
data: {{path: {chats}}}
pairs: {{heldout: 0.4, min_train_dialogues: 1, min_heldout_replies: 2}}
decoder: {{model: {tiny_model}, precision: fp32, lora: {{r: 2, alpha: 4}}}}
train: {{pairs: 16}}
variants: [SP+FT]
generate: {{max_new_tokens: 8}}
bench: {{replies: 12, swapped: 0, losses: 4, forced: 0, resamples: 100}}
"""
    )
    run_stages(Run(load_config(config)))
    text = everything_in(chats) + everything_in(tmp_path / "run") + log.stdout + log.stderr
    left = [item for item in items if item in text]
    assert len(items) == 1000
    assert not [
        item for item in left if "," not in item
    ]  # of an address a part may stay, but not the whole
    assert len(left) <= 5
    assert not [
        name for name in ("Marta", "Quesada", "Lucía", "Ferrán", "Jörg", "Unruh") if name in text
    ]
    assert "Ben Oduya" in text
    assert "<phone>" in text


def test_the_mapping_is_its_owners_alone_beside_the_chats_and_can_be_deleted(
    tmp_path: Path,
) -> None:
    rows = [
        Line(("Ana Ruiz", "Ben")[i % 2], 1_577_900_000 + 60 * i, f"hello {i}") for i in range(8)
    ]
    rows.append(Line("Ben", 1_577_900_000 + 26 * 86400, "the 26th"))
    found = find(android(tmp_path, rows))
    chats = tmp_path / "chats"
    bring_in(found, chats, Intake())
    mapping = mapping_path(chats)
    assert mapping.parent == chats.parent
    assert mapping.stat().st_mode & 0o777 == 0o600
    first = (chats / "dialogues.parquet").read_bytes()
    assert set(json.loads(mapping.read_text())) == {"Ana Ruiz", "Ben"}
    mapping.unlink()
    bring_in(found, chats, Intake())
    assert (chats / "dialogues.parquet").read_bytes() == first
