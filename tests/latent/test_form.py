"""The axis of form: read by rules in every reply, and read back exactly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vvae.latent.readers import reader
from vvae.latent.space import load_space

SPACE = load_space("paper+form")
FORM = tuple(d for d in SPACE.dimensions if d.axis == "form")


def form(reply: str) -> dict[str, str]:
    found = {}
    for dimension in FORM:
        read = reader(dimension.reader).read
        span = read(reply, ()) if read else None
        assert span is not None
        assert (span.start, span.end) == (0, len(reply)), "the evidence is the whole reply"
        found[dimension.name] = span.value
    return found


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("ok", {"length": "a word or two", "case": "lower", "ending": "none"}),
        ("See you there.", {"length": "a word or two", "case": "usual", "ending": "full stop"}),
        ("I'M SO DONE WITH THIS", {"case": "shouted", "length": "short"}),
        ("they work for NASA now", {"case": "lower"}),
        ("I like IKEA", {"case": "usual"}),
        ("AMAZING", {"case": "shouted"}),
        ("omg NO WAY he said that", {"case": "shouted"}),
        ("i like it. Really", {"case": "usual"}),
        ("12:30", {"case": "no letters"}),
        ("sooo good!!!", {"stretching": "some", "ending": "exclamation mark"}),
        ("see the book", {"stretching": "none"}),
        ("lol idk", {"laughter": "lol", "shorthand": "some"}),
        ("hahaha no way", {"laughter": "haha"}),
        ("the hahn family", {"laughter": "none"}),
        ("what about you?", {"question": "asks", "ending": "question mark"}),
        ("what? i am fine", {"question": "asks", "ending": "none"}),
        ("hm...", {"ending": "dots"}),
        ("see you 😊", {"ending": "emoji"}),
        ("see you :)", {"ending": "emoji"}),
        ("ok\nsee you\nbye", {"messages": "three or more"}),
        ("ok\nsee you", {"messages": "two"}),
        ("gonna be late, thx", {"shorthand": "some"}),
        ("好的", {"length": "a word or two", "case": "no letters", "messages": "one"}),
        ("你吃饭了吗", {"question": "asks", "ending": "none"}),
        ("我也不知道怎么办才好啊", {"length": "short", "question": "does not ask"}),
        ("太好了！！！哈哈哈", {"stretching": "some", "laughter": "haha"}),
        ("笑死我了。", {"laughter": "lol", "ending": "full stop"}),
        ("yyds", {"shorthand": "some"}),
        ("aww so cute", {"laughter": "none"}),
        ("eww, www.example.com", {"laughter": "none"}),
        ("room 2335 costs 12330", {"laughter": "none"}),
        ("太好笑了lol", {"laughter": "lol"}),
        ("草www", {"laughter": "haha"}),
        ("ha ha ha", {"laughter": "haha"}),
        ("mwahaha jajaja", {"laughter": "haha"}),
        ("lolol", {"laughter": "lol"}),
        ("what 😆", {"laughter": "lol"}),
        ("in the U.S. R&B and K-pop, the cause of it", {"shorthand": "none"}),
        ("cause i said so", {"shorthand": "some"}),
        ("u去吗", {"shorthand": "some", "question": "asks"}),
        ("我emo了", {"shorthand": "some"}),
        ("k.", {"shorthand": "some"}),
        ("吃了吗😂", {"question": "asks", "ending": "emoji"}),
        ("你吃了吗[捂脸]", {"question": "asks"}),
        ("睡了吗，我刚下班", {"question": "asks"}),
        ("在干嘛呢哈哈", {"question": "asks"}),
        ("没什么，就是累", {"question": "does not ask"}),
        ("你在干什么呢宝", {"question": "asks"}),
        ("怎么了", {"question": "asks"}),
        ("要不要一起吃饭", {"question": "asks"}),
        ("我什么都没说", {"question": "does not ask"}),
        ("怎么可能", {"question": "does not ask"}),
        ("还有什么都可以", {"question": "does not ask"}),
        ("没什么", {"question": "does not ask"}),
        ("我不知道为什么😂", {"question": "does not ask"}),
        ("就这么", {"question": "does not ask"}),
        ("有么", {"question": "asks"}),
        ("等了好几个小时", {"question": "does not ask"}),
        ("多少有点累", {"question": "does not ask"}),
        ("想吃点什么", {"question": "asks"}),
        ("我在IKEA买的", {"case": "usual"}),
        ("我要去W酒店", {"laughter": "none"}),
        ("草\nwww", {"laughter": "haha"}),
        ("'cause i said so", {"shorthand": "some"}),
        ("yes :’)", {"ending": "emoji"}),
    ],
)
def test_what_is_visible_is_read(reply: str, expected: dict[str, str]) -> None:
    found = form(reply)
    assert {name: found[name] for name in expected} == expected


@given(st.text(min_size=1, max_size=200))
def test_every_reply_has_a_form_of_known_labels(reply: str) -> None:
    """There are no nulls, a value is a label of the space, and reading again gives it back."""
    for name, value in form(reply).items():
        dimension = SPACE.by_name[name]
        assert value in (dimension.labels or {})
        assert reader(dimension.reader).shows(value, reply)
        others = set(dimension.labels or {}) - {value}
        assert not any(reader(dimension.reader).shows(other, reply) for other in others)


def test_every_label_has_examples_that_show_it() -> None:
    for dimension in FORM:
        for label, signs in (dimension.labels or {}).items():
            for example in signs.examples:
                assert form(example)[dimension.name] == label, example


def test_the_papers_space_has_no_form() -> None:
    assert load_space("paper").names == load_space("default").names == SPACE.names[: -len(FORM)]
    assert load_space().names == SPACE.names, "where nothing is said it is there"
    assert len(load_space("paper").names) == 9
