from __future__ import annotations

import pytest

from vvae.core.dialogue import Dialogue, Message, Pair, Turn
from vvae.core.errors import ConfigError, DataError
from vvae.corpus.pairs import PairsConfig, pairs_with_account
from vvae.encoders.rules.catchphrase import (
    CatchphraseConfig,
    background_rate,
    candidates,
    log_odds,
    mine,
)
from vvae.encoders.rules.encoder import RulesConfig, RulesEncoder
from vvae.encoders.rules.heads import load_head
from vvae.latent.readers import reader
from vvae.latent.readers.lexical import (
    read_catchphrase,
    read_cue,
    read_emoji,
    read_hobby,
    read_nickname,
)
from vvae.latent.space import LatentSpace, Signs, load_space


@pytest.mark.parametrize(
    ("reply", "hobby"),
    [
        ("I love hiking in the hills", "hiking"),
        ("honestly i've been playing the guitar since i was six", "guitar"),
        ("my favorite hobby is rock climbing", "climbing"),
        ("i also hike a lot when it is warm", "hiking"),
        ("we usually volunteer on sundays", "volunteering"),
        ("chess is kind of my thing", "chess"),
        ("knitting in my free time mostly", "knitting"),
        ("i also love fish and chips", None),
        ("i do have a television", None),
        ("i have to walk my dogs now", None),
        ("i never hike", None),
        ("paint it black, i paint that over", None),
        ("I don't like hiking", None),
        ("if i could i would go skiing", None),
        ("the hike was long", None),
        ("do you like hiking?", None),
        ("we went swimming", "swimming"),
        ("我特别喜欢打篮球", "basketball"),
        ("周末我经常去爬山", "hiking"),
        ("我不喜欢唱歌", None),
        ("你喜欢看电影吗", None),
        ("I love you", None),
    ],
)
def test_hobbies_are_read_where_somebody_likes_or_does_them(reply: str, hobby: str | None) -> None:
    span = read_hobby(reply)
    assert (span.value if span else None) == hobby


@pytest.mark.parametrize(
    ("reply", "nickname"),
    [
        ("thanks man!", "man"),
        ("Dude, no way", "dude"),
        ("good night, sweetheart", "sweetheart"),
        ("he is a good man", None),
        ("man, that hurts", None),
        ("my brother came", None),
        ("Hey Tyler!", "Tyler"),
        ("Hi There", None),
        ("亲爱的，今晚想我了吗", "亲爱的"),
        ("谢谢老板！", "老板"),
        ("我的老板让我加班", None),
        ("宝贝你在干嘛", "宝贝"),
    ],
)
def test_nicknames_are_what_one_calls_the_other(reply: str, nickname: str | None) -> None:
    span = read_nickname(reply)
    assert (span.value if span else None) == nickname


def test_the_emoji_used_most_is_read() -> None:
    span = read_emoji("hm :) 😂😂")
    assert span is not None
    assert (span.value, span.start) == ("😂", 6)
    assert read_emoji("nothing") is None


def test_candidates_are_set_phrases_and_no_content() -> None:
    found = candidates(
        "Oh my gosh! Fair enough, the pizza was cold. To be honest with you\nno worries"
    )
    assert {"oh my gosh", "fair enough", "to be honest"} <= found
    assert not any("pizza" in phrase or "cold" in phrase for phrase in found)
    assert {"真的假的", "哈哈"} <= candidates("真的假的？今天哈哈哈去吃火锅了")


@pytest.mark.parametrize(
    ("phrase", "said", "not_said"),
    [
        ("中", "中啊，明天见", "我中午在公司吃"),
        ("害", "害，别提了", "我害怕打针"),
        ("我去", "我去！真的假的", "我去年买的"),
        ("冲", "冲冲冲😂", "冲突了"),
        ("666", "6666666", "666路公交"),
        ("牛", "牛啊", "牛奶喝完了"),
    ],
)
def test_a_short_chinese_phrase_is_no_part_of_a_word(phrase: str, said: str, not_said: str) -> None:
    for reply, there in ((said, True), (not_said, False)):
        assert (phrase in candidates(reply)) is there
        assert (read_catchphrase(reply, [phrase]) is not None) is there
        assert reader("catchphrase").shows(phrase, reply) is there


def test_log_odds_is_monroes_worked_out_by_hand() -> None:
    # y = 10 of 100, y' = 10 of 900, strength 100: a = 100 * 20 / 1000 = 2 own: log(12 / (100 + 100
    # - 12)) = log(12 / 188); rest: log(12 / (900 + 100 - 12)) = log(12 / 988) delta = log(988 /
    # 188) = 1.65925; variance = 1/12 + 1/12
    assert log_odds(10, 100, 10, 900, 100) == pytest.approx(1.65925 / (1 / 6) ** 0.5, rel=1e-4)
    assert log_odds(10, 100, 90, 900, 100) == pytest.approx(0, abs=1e-9)


def habit(speaker: str, listener: str, number: int, text: str, split: str = "train") -> Pair:
    return Pair(f"d{number}#1", f"d{number}", 1, 0, speaker, (listener,), split, text)


def test_the_language_at_large_is_among_the_others() -> None:
    """One friend's thirty replies prove nothing; that hardly anybody says it does."""
    says = [habit("ana", "ben", i, "fair enough, ok then") for i in range(12)]
    says += [habit("ana", "ben", 100 + i, "we had soup") for i in range(60)]
    friend = [habit("ben", "ana", 300 + i, "we had bread") for i in range(30)]

    def first(background: float) -> list[str]:
        config = CatchphraseConfig(background=background)
        return [c.phrase for c in mine([*says, *friend], {}, config).get("ana", ())]

    assert first(0.0) == []
    assert "fair enough" in first(2000.0)
    assert background_rate("i think") > 20 * background_rate("fair enough") > 0
    assert background_rate("反正") > background_rate("真的假的") > 0


def test_a_catchphrase_needs_partners_topics_and_the_training_side() -> None:
    others = [habit("zoe", "yan", 1000 + i, "we had soup today") for i in range(300)]
    config = CatchphraseConfig(min_rate=0.0)

    def lists(pairs: list[Pair], topics: dict[str, str] | None = None) -> list[str]:
        return [c.phrase for c in mine([*pairs, *others], topics or {}, config).get("ana", ())]

    says = [habit("ana", f"p{i % 4}", i, "fair enough, ok then") for i in range(12)]
    quiet = [habit("ana", f"p{i % 4}", 100 + i, "we had soup") for i in range(40)]
    assert "fair enough" in lists([*says, *quiet])
    to_one = [habit("ana", "p0", i, "fair enough, ok then") for i in range(12)]
    assert lists([*to_one, *quiet]) == []
    only_partner = [habit("ana", "p0", 100 + i, "we had soup") for i in range(40)]
    assert "fair enough" in lists([*to_one, *only_partner]), (
        "with one partner in all, one is enough"
    )
    one_topic = {f"d{i}": "the same prompt" for i in range(200)}
    assert lists([*says, *quiet], one_topic) == []
    held_out = [habit("ana", f"p{i % 4}", i, "fair enough, ok then", "heldout") for i in range(12)]
    assert lists([*held_out, *quiet]) == []


def test_only_the_speakers_own_catchphrase_counts() -> None:
    assert read_catchphrase("oh no, not again", ["for sure", "oh no"]) is not None
    assert read_catchphrase("fair enough", ["for sure", "oh no"]) is None


@pytest.fixture(scope="module")
def fitted(corpus: list[Dialogue]) -> tuple[RulesEncoder, list[Pair]]:
    pairs, _ = pairs_with_account(corpus, PairsConfig(), seed=0)
    topics = {d.id: str(d.get("prompt")) for d in corpus}
    config = RulesConfig(catchphrase=CatchphraseConfig(min_z=1.5, strength=20.0))
    return RulesEncoder.fit(pairs, load_space(), config, topics=topics), pairs


def test_the_encoder_finds_the_habits_of_the_corpus(
    fitted: tuple[RulesEncoder, list[Pair]],
) -> None:
    encoder, pairs = fitted
    phrases = {speaker: [c.phrase for c in found] for speaker, found in encoder.lists.items()}
    assert "oh my gosh" in phrases["ana"]
    assert "fair enough" in phrases["ben"]
    assert "for sure" in phrases["cleo"]
    assert "dan" not in phrases
    for pair, encoding in zip(pairs, encoder.encode(pairs), strict=True):
        assert encoding.status == "ok"
        for name, slot in encoding.persona:
            assert slot.source == "observed"
            assert slot.evidence is not None
            start, end = slot.evidence
            assert 0 <= start < end <= len(pair.response)
            assert 0 < (slot.confidence or 0) <= 1
            if name in ("catchphrase", "emoji"):
                assert pair.response[start:end].casefold().split() == slot.value.casefold().split()


def test_a_reply_is_read_alike_alone_in_company_and_after_a_reload(
    fitted: tuple[RulesEncoder, list[Pair]],
) -> None:
    encoder, pairs = fitted
    together = list(encoder.encode(pairs[:40]))
    again = RulesEncoder.from_state(encoder.state())
    assert again.id == encoder.id
    assert [next(again.encode([pair])) for pair in pairs[:10]] == together[:10]


@pytest.mark.parametrize(
    ("reply", "tone", "cue"),
    [
        ("ugh, my bus is late again", "annoyed", "ugh"),
        ("你凭什么管我", "annoyed", "凭什么"),
        ("I can’t wait to see you", "excited", "can’t wait"),
        ("haha jk, you goofball, congrats", "playful", "jk"),
        ("i am not fed up", None, None),
        ("jk i am so fed up", None, None),
        ("haha lol", None, None),
        ("唐突", None, None),
    ],
)
def test_words_that_say_a_tone_by_themselves(reply: str, tone: str | None, cue: str | None) -> None:
    span = read_cue(reply, load_space().by_name["tone"])
    assert (span.value if span else None) == tone
    if span:
        assert reply[span.start : span.end] == cue


@pytest.mark.parametrize(
    ("reply", "dimension", "value", "evidence"),
    [
        ("sorry, I'm just so lazy", "personality", "lazy", "I'm just so lazy"),
        ("i am a bit of an introvert haha", "personality", "introverted", None),
        ("我这个人比较内向", "personality", "introverted", "我这个人比较内向"),
        ("my roommate is so lazy", "personality", None, None),
        ("you are such an introvert", "personality", None, None),
        ("i'm not lazy", "personality", None, None),
        ("ooh that sounds fun, an adventure", "personality", None, None),
        ("my mom called my dad", "relationship", None, None),
        ("thanks mom, see you at eight", "relationship", "family", "thanks mom"),
        ("妈你怎么偷看我日记", "relationship", "family", "妈你"),
        ("nice to meet you too!", "relationship", "stranger", "nice to meet you"),
    ],
)
def test_of_people_only_what_is_said_in_words_counts(
    reply: str, dimension: str, value: str | None, evidence: str | None
) -> None:
    span = read_cue(reply, load_space().by_name[dimension])
    assert (span.value if span else None) == value
    if span and evidence:
        assert reply[span.start : span.end] == evidence


def test_meaning_is_read_in_both_languages(fitted: tuple[RulesEncoder, list[Pair]]) -> None:
    encoder, _ = fitted
    replies = {
        "I'm so sorry, that must be so hard. I'm here for you": ("tone", "tender"),
        "别难过了，我会一直陪着你的": ("tone", "tender"),
        "did you see that new movie on netflix": ("topic", "film and television"),
        "今晚打王者荣耀吗，开黑": ("topic", "games"),
    }
    for number, (text, (dimension, label)) in enumerate(replies.items()):
        persona = next(encoder.encode([habit("ana", "ben", number, text)])).persona
        assert persona.value(dimension) == label, text


@pytest.mark.parametrize(
    ("reply", "tone"),
    [
        ("i'm sad that the show ended", "sad"),
        ("hahaha that is hilarious", "playful"),
        ("thanks for all your help today", "grateful"),
        ("you did a fantastic job on that painting", "admiring"),
        ("你怎么可以这样骗我", "annoyed"),
        ("the bus leaves at nine", None),
    ],
)
def test_a_trained_head_reads_the_tone(
    fitted: tuple[RulesEncoder, list[Pair]], reply: str, tone: str | None
) -> None:
    encoder, _ = fitted
    slot = next(encoder.encode([habit("ana", "ben", 0, reply)])).persona.slots.get("tone")
    assert (slot and slot.value) == tone
    if slot:
        assert slot.confidence
        assert 0 < slot.confidence <= 1


def test_a_head_names_only_labels_of_the_space(fitted: tuple[RulesEncoder, list[Pair]]) -> None:
    """Who drops a label of a dimension does not get it from the head, nor the next best in its
    place.
    """
    space = load_space()
    tone = space.by_name["tone"]
    labels = {name: signs for name, signs in (tone.labels or {}).items() if name != "grateful"}
    small = LatentSpace("small", (tone.model_copy(update={"labels": labels}),))
    encoder = RulesEncoder.fit(fitted[1], small)
    said = habit("ana", "ben", 0, "thanks for all your help today")
    assert next(encoder.encode([said])).persona.value("tone") is None


def test_the_mood_is_in_what_both_said_last(fitted: tuple[RulesEncoder, list[Pair]]) -> None:
    """A reply that says little has the mood of the turns before it; one that speaks for itself
    outweighs them; what lies further back does not count.
    """
    encoder, _ = fitted
    texts = (
        "you are so mean, i hate this, it is disgusting",
        "that is the worst and most annoying thing ever",
        "ok",
        "thank you so much for the lovely gift",
        "the bus leaves at nine",
        "it is at the corner",
        "yes",
        "the other one too",
    )
    turns = tuple(Turn(i, ("ana", "ben")[i % 2], (Message(t),)) for i, t in enumerate(texts))
    dialogue = Dialogue("d", turns)
    pairs = [
        Pair(f"d#{turn.id}", "d", turn.id, 0, turn.speaker, ("ana",), "train", turn.text)
        for turn in turns
    ]
    read = [e.persona.value("vibe") for e in encoder.encode(pairs, {"d": dialogue})]
    assert read[1:4] == ["tense", "tense", "warm"]
    assert read[6:] == [None, None]
    alone = [e.persona.value("vibe") for e in encoder.encode(pairs)]
    assert alone[2] is None, "without the conversation there is only the reply"


def test_a_label_hears_what_its_head_knows() -> None:
    vibe = load_space().by_name["vibe"]
    signs = Signs(examples=("so nice",), heard=("tendr",))
    wrong = LatentSpace("wrong", (vibe.model_copy(update={"labels": {"warm": signs}}),))
    with pytest.raises(ConfigError, match=r"hears 'tendr'.*did you mean 'tender'"):
        RulesEncoder.fit([], wrong)


def test_a_card_says_of_every_label_how_often_it_is_right() -> None:
    head = load_head("tone")
    assert set(head.labels) <= set(load_space().by_name["tone"].labels or {})
    assert head.card["learnt from"]
    for label, entry in head.card["labels"].items():
        for script, figures in entry.items():
            assert label in head.thresholds[script]
            assert figures["threshold"] is None or figures["precision"] >= 0.45


def test_a_head_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no trained head 'tune'.*did you mean 'tone'"):
        load_head("tune")


def test_no_evidence_is_null(fitted: tuple[RulesEncoder, list[Pair]]) -> None:
    encoder, _ = fitted
    read = next(encoder.encode([habit("dan", "ben", 0, "ok")])).persona
    by_name = load_space().by_name
    assert {by_name[name].axis for name, _ in read} == {"form"}, "which every reply has"


def test_a_foreign_state_is_refused() -> None:
    with pytest.raises(DataError, match="not an encoder state"):
        RulesEncoder.from_state('{"rules": 0}')
