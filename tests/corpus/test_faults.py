"""Inputs that came in wrong once, by kind of fault: what is said, by whom, and what is left out."""

from __future__ import annotations

import json
import re
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.support.exports import EXPORTERS, Line, android, element, messenger, qq, telegram
from tests.support.runs import vvae
from vvae.core.dialogue import Dialogue, Message, Turn
from vvae.core.errors import DataError
from vvae.corpus.formats import Sent, find, read
from vvae.corpus.formats.dates import written
from vvae.corpus.formats.imessage import typedstream_text
from vvae.corpus.formats.phrases import any_of
from vvae.corpus.importing import DIALOGUES, Intake, bring_in
from vvae.corpus.pairs import make_pairs
from vvae.corpus.tables import read_dialogues

CHATS = Path(__file__).parent.parent / "chats"
START = 1_579_996_800  # 2020-01-26, which tells the day from the month


def brought(path: Path, out: Path) -> tuple[list[Dialogue], dict[str, Any]]:
    summary = bring_in(find(path), out / "chats", Intake(private=False))
    return read_dialogues(out / "chats" / DIALOGUES), summary


def said(dialogues: list[Dialogue]) -> list[list[str]]:
    """Each dialogue as lines of who and what; a message without words is its kind."""
    return [
        [
            f"{turn.speaker}: {m.text or f'<{m.kind}>'}"
            for turn in dialogue.turns
            for m in turn.messages
        ]
        for dialogue in dialogues
    ]


NOBODY = "somebody came or went"
EXPECTED: dict[str, tuple[list[list[str]], dict[str, int]]] = {
    "whatsapp/ios-group-notices": (
        [
            [
                "Dora: who rows on sunday?",
                "Emil: me, 8am",
                "+1 (777) 555‑0101: hi all, count me in",
                "Emil: nice name",
            ]
        ],
        {"system line": 5, NOBODY: 2},
    ),
    "whatsapp/ios-documents": (
        [
            [
                "Lena Office: <file>",
                "Lena Office: this is the contract",
                "Omar: <file>",
                "Omar: april bills",
                "Omar: <file>",
                "Lena Office: look at the balcony",
                "Omar: <call>",
                "Omar: <location>",
                "Lena Office: lovely",
            ],
            ["Omar: signed", "Lena Office: great"],
        ],
        {"system line": 1},
    ),
    "whatsapp/old-ios-2016": (
        [["Nora: hi", "Piet: morning", "Nora: coffee at ten?", "Piet: yes"]],
        {},
    ),
    "whatsapp/android-colon-notices": (
        [
            [
                "Ana: hi @Ben Lund are you coming?",
                "Ben Lund: yes",
                "Ben Lund: <poll>",
                "Ana: <location>",
                "Ben Lund: <location>",
                "Ana: <media>",
                "Ben Lund: <media>",
                "Ana: the caption of the video",
            ],
            ["Ana: <media>", "Ben Lund: ok", "Ben Lund: <sticker>", "Ana: see you"],
        ],
        {"system line": 5},
    ),
    "whatsapp/android-captions": (
        [
            [
                "Noa: look",
                "Timo: wow",
                "Noa: this is where we slept the first night",
                "Timo: <deleted>",
                "Timo: nice place",
            ]
        ],
        {},
    ),
    "whatsapp/android-omitted-caption": (
        [
            [
                "Noa: look at this",
                "Timo: wow",
                "Noa: <media>",
                "Timo: <deleted>",
                "Timo: <call>",
                "Noa: <file>",
                "Timo: ok",
            ]
        ],
        {},
    ),
    "table/weflow-weclone": (
        [
            [
                "陈雨: 在吗",
                "李默: 在",
                "陈雨: <image>",
                "李默: 好看",
                "陈雨: 那走吧",
                "李默: 走, 五分钟",
            ]
        ],
        {},
    ),
    "meta/messenger-notices": (
        [
            [
                "Ana Ruiz: who brings bread?",
                "Ben Lund: me",
                "Cleo Marsh: i bring cheese",
                "Cleo Marsh: <call>",
                "Ben Lund: oh well",
                "Cleo Marsh: see you",
            ]
        ],
        {"system line": 8, NOBODY: 2},
    ),
    "table/dce-csv-old": ([["noa: anyone here?", "timo: yes", "noa: late"]], {}),
    "openai/openai-tools": (
        [
            ["user: is it raining in Oslo?", "assistant: yep, pouring"],
            ["user: look at this", "assistant: cute!", "user: and now?", "assistant: still cute"],
            ["user: hi", "assistant: hey"],
        ],
        {"instructions and tools": 3},
    ),
    "sharegpt/sharegpt-tools": (
        [
            ["human: book a table", "gpt: done, at eight"],
            ["human: hi", "gpt: hey"],
            ["human: thanks", "assistant: np"],
        ],
        {"instructions and tools": 4},
    ),
    "sharegpt/conversations-role": (
        [["user: hi", "assistant: hey"], ["user: tea?", "assistant: always"]],
        {},
    ),
    "sharegpt/list-of-lists": ([["human: foo", "gpt: bar"], ["human: baz", "gpt: qux"]], {}),
    "alpaca/alpaca": (
        [
            ["user: yo", "assistant: what's up", "user: hi there", "assistant: hey"],
            ["user: tea?", "assistant: always"],
        ],
        {},
    ),
    "slack/slackdump": (
        [
            ["U3: lunch?", "Noa Hart: yes", "U3: 12 then"],
            [
                "Noa Hart: morning 👋🏼 @crew <3",
                "timo: here is the plan",
                "Noa Hart: only in the blocks",
                "timo: ok @Noa Hart see the doc",
            ],
        ],
        {"sent by a bot": 1, "a message without sender": 1},
    ),
    "table/linkedin-iso": (
        [
            ["Noa Hart: how are you?", "Me Myself: all well", "Noa Hart: glad to hear"],
            ["Timo Berg: call at five?", "Me Myself: sure"],
        ],
        {},
    ),
    "kakaotalk/kakao-pc": ([["하늘: 안녕", "도윤: ㅎㅇ"]], {}),
    "line/line": (
        [
            ["Aoi: hello", "Ren: two\nlines", "Aoi: <sticker>"],
            ["Ren: morning", "Aoi: <call>"],
        ],
        {"taken back": 1},
    ),
    "imessage/imessage-exporter": (
        [["+15550100: are you home", "Me: almost", "+15550100: <image>"]],
        {},
    ),
    "sms/sms-backup": ([["Noa: home? 😆", "Me: almost"]], {}),
    "signal/signal-desktop": ([["Noa: hi", "Me: yo"]], {}),
    "google_chat/google-chat": ([["Noa: hi", "Me: yo"]], {"deleted, by nobody knows whom": 1}),
    "qq/qq-chat-exporter": ([["小林: 在吗", "王芳: 在"]], {}),
    "weflow/weflow-json": ([["陈雨: 在吗", "李默: 在"]], {}),
    "assistants/chatgpt": ([["user: hi", "assistant: hey"]], {}),
    "sillytavern/sillytavern": ([["Me: hi", "Vera: hey"]], {}),
    "discord/dce-reversed": ([["noa: one?", "timo: two", "noa: three", "timo: four"]], {}),
}


@pytest.mark.parametrize("case", EXPECTED)
def test_what_came_in_wrong_once(case: str, tmp_path: Path) -> None:
    dialogues, summary = brought(CHATS / case, tmp_path)
    expected, left_out = EXPECTED[case]
    assert sorted(said(dialogues)) == sorted(expected)
    assert summary["left_out"] == left_out
    assert summary["malformed"] == {}
    assert summary["messages"] == sum(map(len, expected)) + sum(left_out.values())


# --- order ----------------------------------------------------------------------------------------

TALK = [Line(("Ana", "Ben")[i % 2], START + 60 * i, f"m{i}") for i in range(8)]


def test_a_few_messages_out_of_place_are_sorted_and_counted(tmp_path: Path) -> None:
    late = [*TALK[:3], *TALK[4:6], TALK[3], *TALK[6:]]
    dialogues, summary = brought(android(tmp_path, late), tmp_path)
    assert [m.text for d in dialogues for t in d.turns for m in t.messages] == [
        f"m{i}" for i in range(8)
    ]
    assert (summary["out_of_order"], summary["newest_first"]) == (1, 0)


def test_encrypted_messenger_files_come_in_either_order(tmp_path: Path) -> None:
    rows = [
        {"senderName": x.speaker, "text": x.text, "timestamp": x.at * 1000, "type": "text"}
        for x in TALK
    ]
    for name, told in (("oldest", rows), ("newest", rows[::-1])):
        folder = tmp_path / name
        folder.mkdir()
        data = {"participants": ["Ana", "Ben"], "threadName": "Ben_1", "messages": told}
        (folder / "Ben_1.json").write_text(json.dumps(data))
        dialogues, _ = brought(folder / "Ben_1.json", folder)
        assert said(dialogues) == [[f"{x.speaker}: {x.text}" for x in TALK]]


def test_dates_of_a_table_that_is_told_backwards_tell_their_order(tmp_path: Path) -> None:
    days = ("05/04", "02/04", "11/03", "07/03", "03/03")  # by month first, back and forth
    rows = [f"{day}/2024 10:00,{'Ana' if i % 2 else 'Ben'},m{i}\n" for i, day in enumerate(days)]
    path = tmp_path / "t.csv"
    path.write_text("date,speaker,text\n" + "".join(rows))
    found = [r for _, r in read(find(path)) if isinstance(r, Sent)]
    assert [r.message.time for r in found[:2]] == ["2024-04-05T10:00:00", "2024-04-02T10:00:00"]
    dialogues = bring_in(find(path), tmp_path / "c", Intake(private=False, gap=10**6))
    assert dialogues["newest_first"] == 1
    (dialogue,) = read_dialogues(tmp_path / "c" / DIALOGUES)
    assert [turn.text for turn in dialogue.turns] == ["m4", "m3", "m2", "m1", "m0"]


# --- nothing invented -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "notice",
    [
        'Ana hat den Gruppennamen von "Reise" zu "Reise: Rom" geändert',
        'Ana cambió el nombre del grupo de "Viaje" a "Viaje: Roma"',
        "Ana added Dan",
        "Ana: Ana pinned a message",
        "Your security code with Ben changed. Tap to learn more.",
        "Ana changed the group description to the following words: be nice",
    ],
)
def test_a_notice_is_nobody(notice: str, tmp_path: Path) -> None:
    lines = [f"26/01/2020, 10:0{i} - {x.speaker}: {x.text}\n" for i, x in enumerate(TALK)]
    lines.insert(4, f"26/01/2020, 10:04 - {notice}\n")
    (path := tmp_path / "chat.txt").write_text("".join(lines))
    dialogues, summary = brought(path, tmp_path)
    assert {name for d in dialogues for name in d.speakers} == {"Ana", "Ben"}
    assert summary["kept"] == 8
    assert sum(summary["left_out"].values()) == 1


@pytest.mark.parametrize(
    ("text", "kind", "caption"),
    [
        ("<Medien ausgeschlossen>\nschau", "media", "schau"),
        ("plan, v2 & more's.pdf (archivo adjunto)\nmira", "file", "mira"),
        ("PTT-20240325-WA0003.opus (слово неизвестное)", "audio", ""),
        ("IMG-20240325-WA0001.jpg <attached>", "image", ""),
        ("Voice call, No answer", "call", ""),
        ("Videollamada, 5 min", "call", ""),
        ("Standort: https://maps.google.com/?q=1,2", "location", ""),
        ("ENCUESTA:\n¿Cuándo?\nOPCIÓN: hoy (1 voto)\nOPCIÓN: nunca (0 votos)", "poll", ""),
        ("Diese Nachricht wurde von Admin Ben gelöscht.", "deleted", ""),
        ("video call, tonight? i have time", "text", "video call, tonight? i have time"),
        ("see plan.pdf (the final one)", "text", "see plan.pdf (the final one)"),
        ("location: the usual place", "text", "location: the usual place"),
        ("Ben is tired of this", "text", "Ben is tired of this"),
    ],
)
def test_what_the_app_writes_is_no_speech_and_speech_is(
    text: str, kind: str, caption: str, tmp_path: Path
) -> None:
    lines = ["26/01/2020, 10:00 - Ana: hi\n", "26/01/2020, 10:01 - Ben: IMG-20200126-WA0009.jpg "]
    lines += ["(слово неизвестное)\n", f"26/01/2020, 10:02 - Ben: {text}\n"]
    (path := tmp_path / "chat.txt").write_text("".join(lines))
    *_, (_, record) = read(find(path))
    assert isinstance(record, Sent)
    assert (record.message.kind, record.message.text) == (kind, caption)
    assert record.shown == ("" if caption == text else text)


@pytest.mark.parametrize(
    ("text", "is_speech"),
    [
        ("Ana Ruiz hat eine Umfrage erstellt: Wohin?", False),
        ("Ana Ruiz změnila motiv na Láska.", False),
        ("Reacted ❤ to your message ", False),
        ("You missed a call from Ben.", False),
        ("Liked a message", False),
        ("i liked a message of yours", True),
        ("Hat mit ❤ auf deine Nachricht reagiert", False),
        ("omg she sent a photo", True),
        ("yeah he left the group!", True),
        ("You loved the group project", True),
        ("You turned off the oven", True),
        ("mom added me to the group", True),
        ("Ana Ruiz here, about the flat. Are you free tomorrow?", True),
        ("ana ruiz is my name", True),
    ],
)
def test_messengers_own_lines_by_structure(text: str, is_speech: bool, tmp_path: Path) -> None:
    talk = [
        Line("Ana Ruiz", START, "hi"),
        Line("Ben", START + 9, "yo"),
        Line("Ana Ruiz", START + 19, text),
    ]
    dialogues, summary = brought(messenger(tmp_path, talk), tmp_path)
    assert summary["kept"] == 2 + is_speech
    assert (
        text.strip() in [line.split(": ", 1)[1].strip() for line in said(dialogues)[0]]
    ) is is_speech


def test_quotations_and_recalls_of_qq_are_nobodys_words(tmp_path: Path) -> None:
    path = qq(
        tmp_path,
        [Line("小林", START, "在吗"), Line("王芳", START + 9, "x"), Line("小林", START + 19, "y")],
    )
    data = json.loads(path.read_text())
    first, second, third = data["messages"]
    second["content"]["text"] = "[回复 小林: 在吗]\n在的[/捂脸][图片: a.png]"
    second["content"]["elements"].append(
        {"type": "reply", "data": {"referencedMessageId": first["id"]}}
    )
    third["recalled"] = True
    path.write_text(json.dumps(data))
    records = [record for _, record in read(find(path)) if isinstance(record, Sent)]
    assert [(r.message.text, r.message.kind, r.message.reply_to) for r in records] == [
        ("在吗", "text", None),
        ("在的[捂脸]", "text", "m0"),
        ("", "deleted", None),
    ]


def test_a_transcribed_voice_message_keeps_its_words(tmp_path: Path) -> None:
    rows = [
        {"_type": "header", "chatlab": {"version": "0.0.2"}, "meta": {"type": "private"}},
        *(
            {
                "_type": "message",
                "sender": who,
                "timestamp": START + i,
                "type": kind,
                "content": text,
            }
            for i, (who, kind, text) in enumerate(
                [("a", 2, "[语音消息] 我到家了"), ("b", 2, "[语音消息]"), ("a", 2, "media/1.mp3")]
            )
        ),
    ]
    (path := tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    texts = [r.message.text for _, r in read(find(path)) if isinstance(r, Sent)]
    assert texts == ["我到家了", "", ""]


def test_edits_and_replies_of_a_matrix_room(tmp_path: Path) -> None:
    path = element(tmp_path, [Line("Ana", START, "hi"), Line("Ben", START + 9, "x")])
    data = json.loads(path.read_text())
    answer = data["messages"][-1]
    answer["content"] |= {
        "body": "> <@0:example.org> hi\n\nyo",
        "m.relates_to": {"m.in_reply_to": {"event_id": "$m0"}},
    }
    data["messages"].append(
        answer
        | {
            "event_id": "$e",
            "content": {
                "msgtype": "m.text",
                "body": "* hello",
                "m.new_content": {"body": "hello"},
                "m.relates_to": {"rel_type": "m.replace", "event_id": "$m0"},
            },
        }
    )
    path.write_text(json.dumps(data))
    dialogues, summary = brought(path, tmp_path)
    assert said(dialogues) == [["Ana: hello", "Ben: yo"]]
    assert dialogues[0].turns[0].messages[0].edited
    assert dialogues[0].turns[1].messages[0].reply_to == "$m0"
    assert summary["left_out"] == {"an edit, read with its message": 1}


# --- refusals -------------------------------------------------------------------------------------

PACKAGE = '[{"ID": 1, "Timestamp": "t", "Contents": "x", "Attachments": ""}]'
SKYPE = (
    '{"userId": "8:x", "exportDate": "2019", "conversations": [{"id": "8:y", "MessageList": []}]}'
)


@pytest.mark.parametrize(
    ("name", "text", "what", "fix"),
    [
        ("messages.json", SKYPE, "Skype", "table"),
        ("messages.json", PACKAGE, "Discord", "Json"),
        ("x.html", "<html><div class=chatlog__message-group>", "DiscordChatExporter", "JSON"),
        ("x.txt", "=" * 62 + "\nGuild: x\n", "DiscordChatExporter", "JSON"),
        ("direct-messages.js", "window.YTD.direct_messages.part0 = [", "an archive of X", "table"),
        ("msgstore.db.crypt15", "xx", "a backup of WhatsApp", "Export chat"),
        ("chat.pdf", "%PDF-1.7", "a document", "JSON"),
        ("who.csv", "who,what\na,b\n", "the columns who,what", "speaker=COLUMN"),
        ("x.html", "<!DOCTYPE html><p>hi</p>", "of no chat that is known", "JSON"),
        ("messages.csv", "viber,x\n", "a table with the columns", "speaker=COLUMN"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_app_and_the_way_out(
    name: str, text: str, what: str, fix: str, tmp_path: Path
) -> None:
    (path := tmp_path / name).write_text(text)
    with pytest.raises(DataError) as error:
        find(path)
    assert what in str(error.value)
    assert fix in str(error.value)
    assert "--format (" not in str(error.value)


def test_where_json_breaks_is_said(tmp_path: Path) -> None:
    path = telegram(tmp_path, TALK)
    good = path.read_text()
    path.write_text(good.replace('"text": "m2"', '"text":\n  m2'))
    with pytest.raises(DataError, match=r"result\.json:2:3: no JSON from here on"):
        list(read(find(path)))
    path.write_text(good[: len(good) // 2])
    with pytest.raises(DataError, match="ends too early"):
        list(read(find(path)))


def test_nobody_is_told_to_raise_a_limit_where_nothing_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("time,speaker,text\n" + "soon,Ana,hi\n" * 9)
    with pytest.raises(DataError, match="9 of 9 messages") as error:
        brought(path, tmp_path)
    assert "--explain" in str(error.value)
    assert "--malformed-limit" not in str(error.value)


# --- groups ---------------------------------------------------------------------------------------


def test_to_whom_a_message_of_a_group_answers() -> None:
    turns = (
        Turn(0, "Ana", (Message("who comes?", id="1"),)),
        Turn(1, "Ben", (Message("me", id="2"),)),
        Turn(2, "Cleo", (Message("me too", id="3", reply_to="1"),)),
        Turn(3, "Ana", (Message("@Ben bring bread", id="4"),)),
        Turn(4, "Ben", (Message("Cleo, and you?", id="5"),)),
        Turn(5, "Cleo", (Message("nothing", id="6"),)),
    )
    pairs = make_pairs([Dialogue(f"d{i}", turns) for i in range(9)])
    listeners = [pair.listeners for pair in pairs if pair.dialogue == pairs[0].dialogue]
    assert listeners == [("Ana",), ("Ana",), ("Ben",), ("Cleo",), ("Ana", "Ben")]


# --- the command line -----------------------------------------------------------------------------


def test_explain_shows_samples_and_who_shows_partners(tmp_path: Path) -> None:
    path = CHATS / "whatsapp" / "android-group"
    explained = vvae("import", str(path), "--explain").stdout
    assert "left out: system line" in explained
    assert 'Ana created group "Trip"' in explained
    assert "1 may be something else" in explained
    who = vvae("import", str(path), "--who").stdout
    row = next(line for line in who.splitlines() if "│ Ben " in line)
    assert "Mum: home" in row
    shutil.copytree(CHATS / "meta" / "messenger-notices", tmp_path / "e")
    imported = vvae("import", str(tmp_path / "e"), "-o", str(tmp_path / "chats")).stdout
    assert "turned round: 1" in imported


# --- archived strings -----------------------------------------------------------------------------

PLAIN = (
    "040b73747265616d747970656481e803840140848484124e5341747472696275746564537472696e67008484084e534f"
    "626a656374008592848484084e53537472696e67019484012b"
)
MUTABLE = (
    "040b73747265616d747970656481e803840140848484194e534d757461626c6541747472696275746564537472696e67"
    "008484124e5341747472696275746564537472696e67008484084e534f626a6563740085928484840f4e534d75746162"
    "6c65537472696e67018484084e53537472696e67019584012b"
)
BEHIND = "86840269490102928484840c4e5344696374696f6e617279009484016901928496961d"


@pytest.mark.parametrize("head", [PLAIN, MUTABLE])
@pytest.mark.parametrize(
    ("length", "text"),
    [("02", "hi"), ("24", "Café ☕ ïûò vu 日本語!!"), ("81c800", "你好" * 33 + "ab")],
)
def test_strings_as_macs_archive_them(head: str, length: str, text: str) -> None:
    data = text.encode("utf-8")
    size = len(data).to_bytes(1, "little").hex() if len(length) == 2 else length
    archived = bytes.fromhex(head + size) + data + bytes.fromhex(BEHIND)
    assert typedstream_text(archived) == text


@given(st.binary(max_size=200))
def test_no_archive_is_no_text(data: bytes) -> None:
    found = typedstream_text(data)
    assert found is None or b"NSString" in data


# --- found by reviewers ---------------------------------------------------------------------------


def records(path: Path) -> list[tuple[str, str, str]]:
    """(who, kind, text) of each message."""
    found = (record for _, record in read(find(path)) if isinstance(record, Sent))
    return [(r.person.name, r.message.kind or "", r.message.text) for r in found]


@pytest.mark.parametrize("name", ["whatsapp", "meta", "line"])
def test_every_phrase_matches_itself(name: str) -> None:
    text = resources.files("vvae.corpus.formats").joinpath(f"{name}.yaml").read_text("utf-8")
    for key, phrases in yaml.safe_load(text).items():
        for phrase in phrases if isinstance(phrases, list) else []:
            said = phrase.replace("NAME", "Ana Ruiz").replace("WHO", "Ben")
            said = re.sub(r"\bN\b", "24", said.replace("TITLE", "❤"))
            assert any_of([phrase], name="Ana Ruiz").fullmatch(said), (key, phrase)


def test_the_table_that_wechatmsg_writes(tmp_path: Path) -> None:
    rows = (
        "localId,TalkerId,Type,SubType,IsSender,CreateTime,Status,StrContent,StrTime,Remark,NickName,Sender",
        "1,2,1,0,0,1700000000,4,你好,2023-11-15 06:13:20,小明,M,wxid_f",
        "2,2,1,0,1,1700000060,2,嗨,2023-11-15 06:14:20,我,me,wxid_me",
        '3,2,3,0,0,1700000120,2,"<?xml version=""1.0""?><msg/>",2023-11-15 06:15:20,小明,M,wxid_f',
        "5,2,10000,0,0,1700000240,2,你已添加了小明,2023-11-15 06:17:20,小明,M,wxid_f",
    )
    (path := tmp_path / "x.csv").write_text("\n".join(rows))
    assert records(path) == [("小明", "text", "你好"), ("我", "text", "嗨"), ("小明", "image", "")]


def test_two_chats_of_one_file_name_stay_two(tmp_path: Path) -> None:
    for folder, who in (("fam", "엄마"), ("work", "부장")):
        lines = [Line(who if i % 2 else "나", START + 60 * i, f"{folder}{i}") for i in range(4)]
        (tmp_path / "e" / folder).mkdir(parents=True)
        EXPORTERS["kakaotalk on Android"][1](tmp_path / "e" / folder, lines)
    dialogues, _ = brought(tmp_path / "e", tmp_path)
    assert sorted(d.speakers for d in dialogues) == [("나", "부장"), ("나", "엄마")]


def test_line_on_a_computer(tmp_path: Path) -> None:
    (path := tmp_path / "chat.txt").write_text(
        "2024.01.13 Saturday\n21:30 Mr. Tanaka Photos\n21:31 Jessie nice\n21:32 Mr. Tanaka Thanks\n"
        "21:33 Jessie 1:04:49\n21:34 Zoe once\n21:35 Jessie left the group.\n"
    )
    assert records(path) == [
        ("Mr. Tanaka", "image", ""),
        ("Jessie", "text", "nice"),
        ("Mr. Tanaka", "text", "Thanks"),
        ("Jessie", "call", ""),
        ("Zoe", "text", "once"),
    ]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Grandma invited us for dinner", "text"),
        ("Voice Call me later", "text"),
        ("보이스톡 하자", "text"),
        ("파일: 내가 보낼게", "text"),
        ("보이스톡 0:17", "call"),
        ("파일: plan.pdf", "file"),
    ],
)
def test_speech_in_kakaotalk_is_no_notice(text: str, kind: str, tmp_path: Path) -> None:
    path = EXPORTERS["kakaotalk"][1](tmp_path, [Line("Mom", START, text), Line("나", START, "x")])
    assert records(path)[0] == ("Mom", kind, text if kind == "text" else "")


@pytest.mark.parametrize(
    ("shown", "quoted", "text"),
    [
        ("[回复 : [图片]]\n不错", "[图片]", "不错"),
        ("[回复 B: 笑死[/捂脸]了]\n哈哈", "笑死[/捂脸]了", "哈哈"),
        ("[回复 B: 第一行\n第二行]\n多行", "第一行\n第二行", "多行"),
    ],
)
def test_what_qq_quotes(shown: str, quoted: str, text: str, tmp_path: Path) -> None:
    path = qq(tmp_path, [Line("A", START, "x")])
    data = json.loads(path.read_text())
    content = data["messages"][0]["content"]
    content["text"] = shown
    content["elements"].append({"type": "reply", "data": {"content": quoted}})
    path.write_text(json.dumps(data))
    assert records(path) == [("A", "text", text)]


def test_reactions_between_phones_are_no_speech(tmp_path: Path) -> None:
    said = [
        Line("Noa", START, "nice"),
        Line("Tim", START + 9, "Loved “nice”"),
        Line("Tim", START + 19, "Loved it"),
    ]
    for app in ("sms", "imessage text"):
        (home := tmp_path / app.split()[0]).mkdir()
        assert [t for *_, t in records(EXPORTERS[app][1](home, said))] == ["nice", "Loved it"]


def test_answers_of_assistants_are_what_was_shown(tmp_path: Path) -> None:
    talk = [Line("user", START, "hi"), Line("assistant", START, "x"), Line("user", START, "y")]
    path = EXPORTERS["chatgpt"][1](tmp_path, talk)
    data = json.loads(path.read_text())
    nodes = data[0]["mapping"]
    thoughts = (
        '<details type="reasoning" done="true"><summary>Thought</summary>\n> hm\n</details>\nhello'
    )
    nodes["1"]["message"]["content"]["parts"] = [thoughts, "\ue200cite\ue202turn0\ue201"]
    spoken = {"content_type": "audio_transcription", "text": "spoken words"}
    nodes["2"]["message"]["content"] = {"content_type": "multimodal_text", "parts": [spoken]}
    path.write_text(json.dumps(data))
    dialogues, _ = brought(path, tmp_path)
    assert said(dialogues) == [["user: hi", "assistant: hello", "user: spoken words"]]


def test_a_clock_without_a_blank_before_its_half() -> None:
    assert written("January 5, 2024 6:03pm") == (1704477780.0, "2024-01-05T18:03:00")


def test_completions_that_were_written_come_in_again(tmp_path: Path) -> None:
    row = {
        "prompt": [{"role": "user", "content": "hi"}],
        "completion": [{"role": "assistant", "content": "yo"}],
    }
    (path := tmp_path / "x.jsonl").write_text(
        json.dumps(row) + '\n{"prompt": "a", "completion": "b"}\n'
    )
    dialogues, _ = brought(path, tmp_path)
    assert said(dialogues) == [["user: hi", "assistant: yo"], ["user: a", "assistant: b"]]
