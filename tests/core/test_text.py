from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vvae.core.text import emoji_spans, estimated_tokens, find_phrase, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("hi :) there :-D", [":)", ":-D"]),
        ("yes:) fine;)", [":)", ";)"]),
        ("see http://x.y at 10:30 (10:3)", []),
        ("ok 👩‍🚀👍🏽 [捂脸] (^_^)", ["👩\u200d🚀", "👍🏽", "[捂脸]", "(^_^)"]),
        ("( ´ ▽ ` )ﾉ ʕ•ᴥ•ʔ ¯\\_(ツ)_/¯", ["( ´ ▽ ` )ﾉ", "ʕ•ᴥ•ʔ", "¯\\_(ツ)_/¯"]),
        ("(laughs) (e.g. foo-bar) (not-so-good) x: y, a/b 3/4", []),
        ("lol XD >.< T_T <3", ["XD", ">.<", "T_T", "<3"]),
        ("好的[微笑]哈哈😂😂", ["[微笑]", "😂", "😂"]),
        ("[link] [1] [see here]", []),
        ("🏳️‍🌈 👨‍👩‍👧‍👦", ["🏳️‍🌈", "👨‍👩‍👧‍👦"]),
        ("it’s 8x (faster), 8s left, size XS, XP", []),
        ("it’s xD XDD 8-) :’) :'(", ["xD", "XDD", "8-)", ":’)", ":'("]),
        ("[图片] [Photo] [视频]", []),
    ],
)
def test_faces_of_all_kinds_are_found_whole(text: str, found: list[str]) -> None:
    spans = emoji_spans(text)
    assert [span.value for span in spans] == found
    assert all(text[span.start : span.end] == span.value for span in spans)


@given(st.text())
def test_spans_are_ordered_and_apart(text: str) -> None:
    spans = emoji_spans(text)
    assert all(a.end <= b.start for a, b in pairwise(spans))


@pytest.mark.parametrize(
    ("phrase", "text", "stands"),
    [
        ("no", "I know", False),
        ("No", "oh NO!", True),
        ("oh my gosh", "Oh  my\ngosh", True),
        ("i'm dead", "I’m dead", True),
        ("haha", "hahaha", False),
        ("真的假的", "这是真的假的啊", True),
        (":)", "ok:)", True),
        ("c", "c++", True),
        ("é", "café", False),
        ("ok", "好ok的", True),
        ("ok", "book", False),
    ],
)
def test_phrases_stand_at_word_boundaries_or_anywhere_without(
    phrase: str, text: str, stands: bool
) -> None:
    assert (find_phrase(phrase, text) is not None) is stands


@given(st.text(min_size=1), st.text())
def test_a_found_span_lies_in_the_text(phrase: str, text: str) -> None:
    span = find_phrase(phrase, f"{text} {phrase} {text}")
    assert span is None or 0 <= span.start < span.end <= len(f"{text} {phrase} {text}")


def test_words_of_both_kinds_of_script() -> None:
    assert words("Don’t stop, 我爱你!") == ["don't", "stop", "我", "爱", "你"]


def test_estimated_tokens_count_scripts_apart() -> None:
    assert estimated_tokens("你好吗") == 3 + 6
    assert estimated_tokens("a" * 7) == 2 + 6
