"""KakaoTalk's "Export messages": text of Windows, Android and iOS, in Korean and English, and the
table of a Mac (Date, User, Message).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from vvae.core.dialogue import Message
from vvae.corpus.formats import Hints, Malformed, Person, Presence, Record, Sent, Skipped
from vvae.corpus.formats.dates import iso_seconds, written
from vvae.corpus.formats.files import File, torn
from vvae.corpus.formats.phrases import any_of, move_of
from vvae.corpus.formats.table import rows_of

__all__ = ["read", "recognise"]

TITLE = re.compile(r".*(?:카카오톡 대화|KakaoTalk Chats.*|Talk_\d{4}.*\.txt)|Talk Chats with .*")
SAVED = re.compile(r"(?:저장한 날짜|Date Saved) ?: .*")
DIVIDER = re.compile(r"-{5,} (.{6,60}?) -{5,}")
WINDOWS = re.compile(r"\[(?P<who>.+?)\] \[(?P<clock>[^\[\]]{4,12})\] (?P<text>.*)")
TIMED = r"(?:오전|오후)?\s?\d{1,2}:\d{2}\s?(?:[AaPp]\.?[Mm]\.?)?"
DATED = (
    rf"\d{{4}}[년.] ?\d{{1,2}}[월.] ?\d{{1,2}}[일.]?,? {TIMED}|"
    rf"[A-Z][a-z]{{2,8}} \d{{1,2}}, \d{{4}},?(?: at)? {TIMED}"
)
PHONE = re.compile(rf"(?P<time>{DATED})(?:, (?P<rest>.*)|: (?P<notice>.*))?")
DAY = re.compile(r"\d{4}년 \d{1,2}월 \d{1,2}일 .요일|[A-Z][a-z]+day, [A-Z][a-z]+ \d{1,2}, \d{4}")
HEADER = ["date", "user", "message"]
WHOLE = {
    "이모티콘": "sticker",
    "(이모티콘)": "sticker",
    "Emoticon": "sticker",
    "(emoticon)": "sticker",
    "동영상": "video",
    "Video": "video",
    "음성메시지": "audio",
    "음성 메시지": "audio",
    "Voice Note": "audio",
    "지도": "location",
    "연락처": "contact",
    **dict.fromkeys(
        ("삭제된 메시지입니다", "메시지가 삭제되었습니다", "This message was deleted"), "deleted"
    ),
    **dict.fromkeys(("The message has been deleted", "가려진 메시지입니다"), "deleted"),
}
BEGINNING = re.compile(
    r"(?P<image>사진(?: \d+장)?|Photos?|\d+ photos)|(?P<file>(?:파일|File): .+\.\w{1,5})"
    r"|(?P<call>(?:보이스톡|페이스톡|그룹콜|라이브톡)"
    r"(?: (?:해요|부재중|취소|\d{1,2}:\d{2}(?::\d{2})?))?"
    r"|Voice Call(?: \d{1,2}:\d{2})?|Call canceled|Missed call)"
    r"|(?P<link>샵검색: .*|톡게시판 .*)|(?P<location>지도: .*)"
    r"|(?P<contact>연락처: .*|카카오톡 프로필: .*)"
    r"|(?P<picture>[0-9a-f]{16,64}\.(?:jpe?g|png|mp4|gif|webp))"
)
JOINED = any_of(
    (
        *("WHO님이 들어왔습니다", "WHO joined this chatroom"),
        *("NAME님이 WHO님을 초대했습니다", "NAME님이 WHO님을 초대하였습니다"),
    )
)
INVITED = any_of(("NAME invited WHO",))
LEFT = any_of(
    (
        *("WHO님이 나갔습니다", "WHO님을 내보냈습니다", "WHO left this chatroom"),
        "WHO has been removed from this chatroom",
    )
)
NOTICE = any_of(
    (
        *("NAME님이 방장이 되었습니다", "NAME님이 부방장이 되었습니다"),
        *("관리자만 말하기 기능이 활성화되었습니다", "불법촬영물 등 식별 및 게재제한 조치 안내"),
        *("채팅방 관리자가 메시지를 가렸습니다", "관리자가 메시지를 가렸습니다"),
        "운영정책을 위반한 메시지로 신고 접수 시 카카오톡 이용에 제한이 있을 수 있습니다",
        "타인, 기관 등의 사칭에 유의해 주세요NAME",
        *("NAME has been assigned as the admin", "This message has been hidden by the admin"),
    )
)


def recognise(file: File) -> str | None:
    """Return why a file is KakaoTalk's: its title, or the header of its table."""
    lines = [line.strip() for line in file.head.lstrip("\ufeff").split("\n")[:4]]
    if [cell.strip().casefold() for cell in lines[0].split(",")] == HEADER:
        return "the columns of a table of KakaoTalk"
    messages = [PHONE.fullmatch(line) for line in lines]
    if sum(match is not None and " : " in (match["rest"] or "") for match in messages) > 1:
        return "lines of time, name and text of KakaoTalk"
    titled = any(TITLE.fullmatch(line) for line in lines) and any(map(SAVED.fullmatch, lines))
    return "the title of a chat of KakaoTalk" if titled else None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the messages of each file; a file is a chat."""
    for file in files:
        table = file.head.lstrip("\ufeff").split("\n", 1)[0].strip().casefold() == ",".join(HEADER)
        yield from _table(file) if table else _Text(file).records()


def _table(file: File) -> Iterator[Record]:
    rows = rows_of(file)
    next(rows, None)
    for number, cells in rows:
        if not cells:
            continue
        where = f"{file.where}:{number}"
        if len(cells) < 3:
            yield Malformed(where, "a row with too few cells")
        elif any(map(torn, cells)):
            yield Malformed(where, "not UTF-8")
        elif not cells[1].strip():
            yield Skipped("system line", cells[2])
        elif (at := iso_seconds(cells[0])) is not None:
            yield from _records(file.chat, cells[1], cells[2], at, cells[0].replace(" ", "T"))
        elif found := written(cells[0]):
            yield from _records(file.chat, cells[1], cells[2], *found)
        else:
            yield Malformed(where, "a time that cannot be read")


class _Text:
    """Reads the three layouts: a message is a line with a time, continued on lines without."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._chat = file.chat
        self._day = ""
        self._at: float | None = None

    def records(self) -> Iterator[Record]:
        pending: tuple[str, str, str, list[str]] | None = None
        for number, text in self._file.lines():
            if number < 5 and (TITLE.fullmatch(text.strip("\ufeff ")) or SAVED.fullmatch(text)):
                continue
            begun = self._begin(text)
            if begun is None and pending is not None and not _notice(text):
                pending[3].append(text)
                continue
            if pending is not None:
                yield from self._message(number, *pending)
                pending = None
            if isinstance(begun, tuple):
                pending = (*begun, [])
            elif begun is None and _notice(text):
                yield from _notices(self._chat, text, self._at)
            elif begun:
                yield from _notices(self._chat, begun, self._at)
            elif begun is None and text.strip():
                if self._at is not None:  # a notice of several lines
                    yield Skipped("system line", text, doubt=True)
                else:
                    where = f"{self._file.where}:{number}"
                    yield Malformed(where, "a line before the first message")
        if pending is not None:
            yield from self._message(0, *pending)

    def _begin(self, text: str) -> tuple[str, str, str] | str | None:
        """(time, who, text) of a line that begins a message; a notice; empty for a date; None for
        a line that goes on.
        """
        if divider := DIVIDER.fullmatch(text.strip()):
            self._day = divider[1]
            return ""
        if self._day and (match := WINDOWS.fullmatch(text)):
            return f"{self._day} {match['clock']}", match["who"], match["text"]
        if match := PHONE.fullmatch(text):
            rest = match["rest"]
            if rest is None:
                return match["notice"] or ""
            who, colon, said = rest.partition(" : ")
            return (match["time"], who, said) if colon else rest
        return "" if DAY.fullmatch(text.strip()) and not self._day else None

    def _message(
        self, number: int, time: str, who: str, first: str, more: list[str]
    ) -> Iterator[Record]:
        moment, text = written(time), "\n".join([first, *more]).rstrip("\n")
        if moment is None or torn(text + who):
            reason = "a date that does not exist" if moment is None else "not UTF-8"
            yield Malformed(f"{self._file.where}:{number}", reason)
            return
        self._at = moment[0]
        yield from _records(self._chat, who, text, *moment)


def _records(chat: str, who: str, text: str, at: float, time: str) -> Iterator[Record]:
    if _notice(text) or (text.startswith(f"{who} invited ") and text.endswith(".")):
        yield from _notices(chat, text, at)
        return
    plain = text.strip().rstrip(".")
    match = BEGINNING.fullmatch(plain)
    kind = WHOLE.get(plain) or (match.lastgroup if match else None)
    said = text if kind is None else ""
    name = who.strip() or "?"
    kind = {"picture": "image", None: "text" if text.strip() else "media"}.get(kind, kind)
    shown = "" if said == text else text
    doubt = kind in ("location", "contact") and ": " in text
    body = Message(said, time=time, kind=kind)
    yield Sent(chat, Person(name, name), body, at, shown=shown, doubt=doubt)


def _notice(text: str) -> bool:
    plain = text.strip().rstrip(".")
    return len(plain) < 200 and any(p.fullmatch(plain) for p in (JOINED, LEFT, NOTICE))


def _notices(chat: str, text: str, at: float | None) -> Iterator[Record]:
    plain = text.strip().rstrip(".")
    move = move_of(plain, JOINED, LEFT) or move_of(plain, INVITED, LEFT)
    if move is not None and move.who:
        yield Presence(chat, move.who, move.here, at)
        yield Skipped("somebody came or went", text)
    else:
        yield Skipped("system line", text)
