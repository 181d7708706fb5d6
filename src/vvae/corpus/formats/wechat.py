"""What the exporters of WeChat have in common: names of kinds, placeholders, quotations.

Words in brackets are kept where they stand for an emoji ([捂脸]); those that stand for something
that is no text are not.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import NamedTuple

from vvae.corpus.formats.chatlab import transcript

__all__ = ["Quotations", "Said", "said"]

KINDS = {
    **dict.fromkeys(
        ("文本", "文本消息", "text", "1", "引用回复", "(引用回复)", "引用消息"), "text"
    ),
    **dict.fromkeys(("图片", "图片消息", "image", "3"), "image"),
    **dict.fromkeys(("语音", "语音消息", "voice", "34"), "audio"),
    **dict.fromkeys(("视频", "视频消息", "video", "43"), "video"),
    **dict.fromkeys(("动画表情", "表情包", "表情", "sticker", "47"), "sticker"),
    **dict.fromkeys(("位置", "位置消息", "location", "48"), "location"),
    **dict.fromkeys(("语音通话", "视频通话", "通话", "通话消息", "50"), "call"),
    **dict.fromkeys(("系统通知", "系统消息", "拍一拍", "10000", "10002"), "system"),
    **dict.fromkeys(("文件", "文件消息", "file"), "file"),
    **dict.fromkeys(("名片", "名片消息", "42"), "contact"),
    **dict.fromkeys(("链接", "链接消息", "小程序", "小程序消息", "音乐消息", "音乐分享"), "link"),
    **dict.fromkeys(("聊天记录", "聊天记录消息"), "forward"),
}
PLACEHOLDERS = {
    **dict.fromkeys(("图片", "Image"), "image"),
    **dict.fromkeys(("视频", "小视频"), "video"),
    **dict.fromkeys(("语音", "语音消息", "语音消息 - 转文字失败"), "audio"),
    **dict.fromkeys(("动画表情", "表情包"), "sticker"),
    **dict.fromkeys(("语音通话", "视频通话", "通话"), "call"),
    **dict.fromkeys(("链接", "小程序", "音乐", "分享"), "link"),
    "位置": "location",
    "文件": "file",
    "名片": "contact",
    "系统消息": "system",
    "转发的聊天记录": "forward",
    **dict.fromkeys(
        ("转账", "转账收款", "红包", "其他消息", "群公告", "消息", "引用消息"), "media"
    ),
}
PLACEHOLDER = re.compile(r"\[([^\[\]：]{1,20})(?:：[^\[\]]*)?\](.*)", re.DOTALL)
QUOTE = r"\[引用 ?(?:(?P<who>[^：\[\]]{0,60})：)?(?P<what>.*?)\]"
QUOTE_FIRST = re.compile(QUOTE + r"(?P<rest>.+)", re.DOTALL)
QUOTE_LAST = re.compile(r"(?P<rest>.+?)" + QUOTE.replace(".*?", ".*"), re.DOTALL)
NOTICE = re.compile(
    r"(?:你|我|\"[^\"\n]{1,60}\"|“[^”\n]{1,60}”)\s?(?:撤回了一条消息|拍了拍.{0,80}|邀请.{1,200}加入了群聊|修改群名为.{0,80})"
    r"|你刚才撤回了一条消息|[\"“][^\"”\n]{1,60}[\"”]\s?(?:加入了群聊|移出了群聊|退出了群聊)"
)
REMEMBERED = 500


class Said(NamedTuple):
    """What a message says: its kind, its words, and whom it quotes with which words."""

    kind: str
    text: str
    quotes: tuple[str, str] | None = None


def said(kind: str, content: str) -> Said:
    """Return what a message says by its exporter's name of the kind and its content."""
    kind = KINDS.get(kind.strip().casefold(), "media")
    if kind == "audio":
        return Said(kind, transcript(content))
    if kind != "text":
        return Said(kind, "")
    if NOTICE.fullmatch(content):
        return Said("deleted" if "撤回" in content else "system", "")
    if match := QUOTE_FIRST.fullmatch(content) or QUOTE_LAST.fullmatch(content):
        return Said("text", match["rest"].strip(), (match["who"] or "", match["what"]))
    if match := PLACEHOLDER.fullmatch(content):
        found = PLACEHOLDERS.get(match[1].strip())
        if found == "audio":
            return Said(found, transcript(content))
        if found is not None:
            return Said(found, "")
    return Said("text", content)


class Quotations:
    """A memory of the last messages of a chat, by which a quotation is traced to the message."""

    def __init__(self) -> None:
        self._ids: OrderedDict[tuple[str, str], str] = OrderedDict()

    def see(self, name: str, text: str, message_id: str | None) -> None:
        """Remember a message."""
        if message_id and text:
            self._ids[name, text.strip()[:30]] = message_id
            if len(self._ids) > REMEMBERED:
                self._ids.popitem(last=False)

    def find(self, quoted: tuple[str, str] | None) -> str | None:
        """Return the id of a quoted message, or None where it is not known."""
        return self._ids.get((quoted[0].strip(), quoted[1].strip()[:30])) if quoted else None
