"""The page of `vvae serve`, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import needs_browser, opened_page, violations
from tests.support.served import KEY, Served, serving

pytestmark = needs_browser
OWNER = "the-owner-has-another-one"


@pytest.fixture(scope="module")
def server(served_run: Path) -> Iterator[Served]:
    with serving(served_run, "--max-tokens", "12") as served:
        yield served


def opened(page: Any, url: str) -> Any:
    from playwright.sync_api import expect

    page.goto(url)
    expect(page.locator("#text")).to_be_focused()
    return page


def say(page: Any, text: str) -> None:
    said = page.locator(".turn").count()
    page.fill("#text", text)
    page.press("#text", "Enter")
    done(page, said + 2)


def done(page: Any, turns: int) -> None:
    """So many turns are there, and the last one is written."""
    from playwright.sync_api import (
        expect,
    )  # its own waiting asks for no eval, which the page's policy forbids

    expect(page.locator(".turn")).to_have_count(turns)
    expect(page.locator("#send")).to_be_visible()
    expect(page.locator(".turn:last-child .z .all").first).to_be_visible()


def completions_asked(page: Any) -> list[dict[str, Any]]:
    """The bodies of the requests for a reply, as they come."""
    sent: list[dict[str, Any]] = []
    page.on(
        "request",
        lambda r: sent.append(json.loads(r.post_data)) if r.url.endswith("completions") else 0,
    )
    return sent


def chips(page: Any) -> dict[str, str]:
    """The whole z of the last reply, as its chips say it."""
    last = page.locator(".turn:last-child")
    if last.get_by_role("button", name="all traits").count():
        last.get_by_role("button", name="all traits").first.click()
    texts = last.locator(".z button:not(.all)").all_inner_texts()
    return dict(text.split(": ", 1) for text in texts)


def test_a_first_visit_says_who_speaks_and_what_to_try(server: Served) -> None:
    from playwright.sync_api import expect

    with opened_page(viewport={"width": 1200, "height": 800}) as page:
        opened(page, server.url)
        expect(page.locator("#welcome h2")).to_have_text("You are talking to ana")
        expect(page.locator("#about")).to_contain_text("learnt from")
        expect(page.locator("#starters button")).to_have_count(3)
        page.click("#knob-tone .help")
        expect(page.locator("#help-tone")).to_have_text("how the reply sounds")
        page.locator("#starters button").first.click()
        done(page, 2)
        expect(page.locator("#welcome")).to_be_hidden()


def test_a_chat_by_keyboard_with_z_in_sight(server: Served) -> None:
    from playwright.sync_api import expect

    asked: list[str] = []
    with opened_page(viewport={"width": 1200, "height": 800}) as page:
        page.on("request", lambda request: asked.append(request.url))
        opened(page, server.url)
        page.keyboard.type("hi")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("how was the film?")
        page.keyboard.press("Enter")
        done(page, 2)
        expect(page.locator(".you .bubble")).to_have_text(["hi", "how was the film?"])
        assert set(chips(page)) >= {"catchphrase", "tone", "hobby"}
        page.select_option("#choose-topic", "auto")
        page.select_option("#choose-tone", "=playful")
        say(page, "did you see that new movie on netflix?")
        z = chips(page)
        assert (z["topic"], z["tone"]) == ("film and television", "playful")
        expect(page.locator("#timeline .lane")).to_have_count(3)
        expect(page.locator("#timeline .lane").first.locator(".cell")).to_have_count(2)
        page.keyboard.press("Alt+r")
        done(page, 4)
        expect(page.locator(".turn:last-child .acts")).to_contain_text("2 of 2")
        page.keyboard.press("Alt+n")
        expect(page.locator(".turn")).to_have_count(0)
    assert all(url.startswith((server.url, "data:")) for url in asked), "nothing from elsewhere"


def test_one_knob_is_moved_and_the_others_stay(server: Served) -> None:
    from playwright.sync_api import expect

    with opened_page(viewport={"width": 1200, "height": 800}) as page:
        opened(page, server.url)
        say(page, "hello")
        before = chips(page)
        tone = page.locator(".turn:last-child .z button").filter(has_text="tone: ")
        source = tone.get_attribute("class")
        page.locator(".turn:last-child .z button").filter(has_text="hobby: ").click()
        assert (page.input_value(".menu select").removeprefix("=") or "none") == before["hobby"]
        offered = page.locator(".menu select option").all_inner_texts()
        assert offered[0] == "none"
        assert offered[-1] == "something else …"
        assert len(offered) > 3, "others to choose from, whatever the value is"
        page.get_by_role("button", name="Close", exact=True).click()
        page.locator(".turn:last-child .z button").filter(has_text="vibe: ").click()
        expect(page.locator(".menu select")).to_be_focused()
        page.select_option(".menu select", "gloomy")
        page.get_by_role("button", name="Write again").click()
        expect(page.locator(".z button").filter(has_text="vibe: gloomy")).to_have_count(1)
        done(page, 2)
        assert chips(page) == before | {"vibe": "gloomy"}
        tone = page.locator(".turn:last-child .z button").filter(has_text="tone: ")
        assert tone.get_attribute("class") == source, "what was drawn was not set by anybody"
        assert page.input_value("#choose-vibe") == "=gloomy"


def test_nothing_that_was_said_is_lost(server: Served) -> None:
    """Former versions stay beside the new one, with all that came after them; so do chats over a
    reload, and what was deleted until the next message.
    """
    from playwright.sync_api import expect

    with opened_page(viewport={"width": 1200, "height": 800}) as page:
        opened(page, server.url)
        say(page, "one")
        first = page.locator(".turn .bubble").all_inner_texts()
        say(page, "two")
        say(page, "three")
        whole = page.locator(".turn .bubble").all_inner_texts()
        page.locator(".turn").nth(1).get_by_role("button", name="Again").click()
        done(page, 2)
        page.get_by_role("button", name="The version before").click()
        expect(page.locator(".turn")).to_have_count(6)
        assert page.locator(".turn .bubble").all_inner_texts() == whole
        page.reload()
        opened(page, server.url)
        assert page.locator(".turn .bubble").all_inner_texts() == whole
        page.locator(".turn").nth(2).get_by_role("button", name="Delete").click()
        assert page.locator(".turn .bubble").all_inner_texts() == first
        page.click("#undelete")
        assert page.locator(".turn .bubble").all_inner_texts() == whole
        page.locator(".turn").nth(2).get_by_role("button", name="Edit").click()
        page.keyboard.press("Control+a")
        page.keyboard.type("another two")
        page.get_by_role("button", name="Say this instead").click()
        done(page, 4)
        expect(page.locator(".turn").nth(2).locator(".bubble")).to_have_text("another two")
        expect(page.locator(".turn").nth(2).locator(".acts")).to_contain_text("2 of 2")
        with page.expect_download() as download:
            page.click("#download")
        saved = download.value.path()
        page.uncheck("#keep")
        page.click("#new")
        page.reload()
        opened(page, server.url)
        expect(page.locator(".turn")).to_have_count(0)
        page.set_input_files(
            "#file",
            {"name": "c.json", "mimeType": "application/json", "buffer": saved.read_bytes()},
        )
        expect(page.locator(".turn")).to_have_count(4)
        expect(page.locator("#state")).to_have_text("The chat is open")


def test_a_card_is_opened_and_can_be_talked_to(server: Served, served_run: Path) -> None:
    from playwright.sync_api import expect

    data = {"name": "Zoë", "description": "{{char}} loves chess. I love chess!", "first_mes": "hi"}
    card = json.dumps({"spec": "chara_card_v2", "spec_version": "2.0", "data": data}).encode()
    with opened_page(viewport={"width": 1200, "height": 800}) as page:
        opened(page, server.url)
        for name, content, said in (
            ("x.json", b"{}", "no character card"),
            ("x.json", b"[", "neither a chat"),
            ("zoe.json", card, "Zoë can be talked to"),
        ):
            kind = "application/json"
            page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": content})
            expect(page.locator("#state")).to_contain_text(said)
        expect(page.locator("#whom")).to_have_text("Zoë")
        say(page, "hi")
        assert chips(page)["hobby"] == "chess"
        page.on("dialog", lambda dialog: dialog.accept())
        page.click("#delete")
        expect(page.locator("#state")).to_have_text("Zoë is deleted")


def test_what_is_wrong_is_shown_at_its_field_and_not_sent(server: Served) -> None:
    from playwright.sync_api import expect

    with opened_page(viewport={"width": 1200, "height": 800}) as page:
        sent = completions_asked(page)
        opened(page, server.url)
        page.locator("#panel summary").click()
        page.fill("#seed", "abc")
        page.fill("#text", "hi")
        page.press("#text", "Enter")
        expect(page.locator("#seed:invalid")).to_be_focused()
        assert page.input_value("#text") == "hi", "the text is kept"
        page.fill("#seed", "7")
        page.fill("#temperature", "")
        page.fill("#top-p", "")
        page.fill("#me", "ben")
        say(page, "hi")
    (body,) = sent
    assert {"temperature", "top_p", "max_tokens"}.isdisjoint(body), "empty is the server's"
    assert body["persona"]["seed"] == 7
    assert body["messages"] == [{"role": "user", "content": "hi", "name": "ben"}]


def test_a_server_that_goes_and_comes_is_waited_for(served_run: Path) -> None:
    """The text stays, the page says what it waits for, and the reply comes by itself."""
    from playwright.sync_api import expect

    with (
        serving(served_run, "--variant", "P+FT", "--max-tokens", "8") as served,
        opened_page(viewport={"width": 1200, "height": 800}) as page,
    ):
        opened(page, served.url)
        served.engine.kill()
        page.fill("#text", "hi")
        page.press("#text", "Enter")
        expect(page.locator(".you .bubble")).to_have_text("hi")
        expect(page.locator(".turn:last-child .z .all")).to_be_visible(timeout=60_000)
        page.route("**/v1/chat/completions", lambda route: route.abort())
        page.fill("#text", "again")
        page.press("#text", "Enter")
        expect(page.locator("#state")).to_contain_text("The server does not answer; trying again")
        page.click("#stop")
        expect(page.locator(".turn:last-child .note")).to_have_text("stopped")
        expect(page.locator("#state")).to_have_text("")
        page.fill("#text", "nobody hears this")
        page.press("#text", "Enter")
        expect(page.locator("#state")).to_contain_text("The server does not answer; trying again")
        page.reload()
        expect(page.locator(".turn:last-child .bubble")).to_have_text("nobody hears this")
        page.locator(".turn:last-child").get_by_role("button", name="Delete").click()
        page.unroute("**/v1/chat/completions")
        page.keyboard.press("Alt+r")
        expect(page.locator(".turn:last-child .z .all")).to_be_visible()


def test_only_the_growing_bubble_is_touched(server: Served) -> None:
    """A selection made while a reply is written stays, and so does the focus."""
    with opened_page(viewport={"width": 1200, "height": 800}) as page:
        opened(page, server.url)
        say(page, "مرحبا! hello")
        page.fill("#text", "go on")
        page.press("#text", "Enter")
        page.locator(".bubble").first.select_text()
        done(page, 4)
        assert page.evaluate("getSelection().toString()").strip() == "مرحبا! hello"
        assert page.locator(".bubble").first.get_attribute("dir") == "auto"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 768, 390])
def test_everybody_can_read_and_reach_it(server: Served, scheme: Any, width: int) -> None:
    """Nothing that axe-core finds, of any weight, in no state of the page."""
    every = ("minor", "moderate", "serious", "critical")
    with opened_page(viewport={"width": width, "height": 900}, color_scheme=scheme) as page:
        opened(page, server.url)
        found = violations(page, impacts=every)
        page.select_option("#beside", "P+FT", force=True)
        say(page, "a" * 300)
        chips(page)
        page.locator(".z button").first.click()
        found += violations(page, impacts=every)
        if width < 800:
            page.click("#show-panel")
            found += violations(page, impacts=every)
            page.click("#hide-panel")
        page.click("#tab-review")
        page.wait_for_selector(".value.now")
        found += violations(page, impacts=every)
        assert found == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_two_adapters_side_by_side_and_going_on_with_one(server: Served) -> None:
    from playwright.sync_api import expect

    with opened_page(viewport={"width": 1200, "height": 800}) as page:
        opened(page, server.url)
        page.select_option("#beside", "P+FT")
        say(page, "hello")
        expect(page.locator(".answers.two .who")).to_contain_text(["SP+FT", "P+FT"])
        page.get_by_role("button", name="Go on with this").click()
        expect(page.locator(".answer.left .who")).to_contain_text("SP+FT")


def test_a_persona_is_kept_chosen_and_deleted(server: Served, served_run: Path) -> None:
    from playwright.sync_api import expect

    with opened_page(viewport={"width": 1200, "height": 800}) as page:
        opened(page, server.url)
        page.select_option("#speaker", "ana")
        page.select_option("#choose-tone", "=tender")
        page.click("#knob-catchphrase .help")
        page.select_option("#knob-catchphrase .often select", "0.05")
        page.fill("#name", "Tender Ana")
        page.click("#save")
        expect(page.locator("#state")).to_contain_text("Tender Ana is kept")
        card = json.loads((served_run / "personas" / "Tender Ana.json").read_text("utf-8"))
        assert (
            card["data"]["extensions"]["vvae"]["steering"] == "tone=tender; catchphrase.rate=0.05"
        )
        page.reload()
        opened(page, server.url)
        expect(page.locator("#whom")).to_have_text("Tender Ana")
        assert page.input_value("#knob-catchphrase .often select") == "0.05"
        say(page, "hi")
        assert chips(page)["tone"] == "tender"
        with page.expect_download() as download:
            page.click("#hand-on")
        assert download.value.suggested_filename == "persona Tender Ana.json"
        handed = download.value.path().read_bytes()
        page.on("dialog", lambda dialog: dialog.accept())
        page.click("#delete")
        expect(page.locator("#state")).to_have_text("Tender Ana is deleted")
        assert not (served_run / "personas" / "Tender Ana.json").exists()
        page.set_input_files(
            "#file", {"name": "a.json", "mimeType": "application/json", "buffer": handed}
        )
        expect(page.locator("#state")).to_have_text("Tender Ana can be talked to")
        assert page.input_value("#choose-tone") == "=tender"
        page.click("#delete")
        expect(page.locator("#state")).to_have_text("Tender Ana is deleted")


def test_a_kept_persona_takes_its_knobs_along(server: Served, served_run: Path) -> None:
    from playwright.sync_api import expect

    with opened_page(viewport={"width": 1200, "height": 800}) as page:
        sent = completions_asked(page)
        opened(page, server.url)
        page.locator("#panel summary").click()
        page.select_option("#speaker", "ana")
        page.select_option("#choose-topic", "auto")
        page.fill("#seed", "5")
        page.fill("#name", "Hearing Ana")
        page.click("#save")
        expect(page.locator("#state")).to_contain_text("Hearing Ana is kept")
        page.select_option("#choose-topic", "own")
        say(page, "did you see that new movie?")
        assert sent[-1]["persona"]["topic"]["mode"] in ("fixed", "sample"), "not what was kept"
        page.select_option("#speaker", "ben")
        expect(page.locator("#whom")).to_have_text("ben")
        expect(page.locator("#seed")).to_have_value("")
        assert page.input_value("#choose-topic") == "own"
        page.on("dialog", lambda dialog: dialog.accept())
        page.select_option("#speaker", "Hearing Ana")
        expect(page.locator("#seed")).to_have_value("5")
        assert page.input_value("#choose-topic") == "auto"
        page.click("#delete")
        expect(page.locator("#state")).to_have_text("Hearing Ana is deleted")


def test_a_verdict_stays_with_the_reply_that_it_is_of(server: Served) -> None:
    """The answer comes when the next reply is on the page."""
    from playwright.sync_api import expect

    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route) if route.request.method == "POST" else route.continue_()

    with opened_page(viewport={"width": 1000, "height": 800}) as page:
        opened(page, server.url)
        page.click("#tab-review")
        expect(page.locator(".value.now")).to_have_count(1)
        page.click("#next")
        place = int(page.locator("#place").inner_text().split()[0])
        page.route("**/vvae/review*", hold)
        page.keyboard.press("a")
        page.keyboard.press("a")  # nobody accepts and takes it back in one moment
        page.keyboard.press("ArrowRight")
        expect(page.locator("#place")).to_contain_text(f"{place + 1} of ")
        assert len(held) == 1
        held[0].continue_()
        expect(page.locator("#counts")).to_contain_text("accepted")
        expect(page.locator(".value .said").filter(has_text="accepted")).to_have_count(0)
        page.keyboard.press("ArrowLeft")
        expect(page.locator(".value .said").first).to_contain_text("accepted")


def test_values_are_reviewed_with_their_evidence(server: Served, served_run: Path) -> None:
    from playwright.sync_api import expect

    with opened_page(viewport={"width": 1000, "height": 800}) as page:
        opened(page, server.url)
        page.click("#tab-review")
        expect(page.locator("#chat")).to_be_hidden()
        expect(page.locator(".value.now")).to_have_count(1)
        marked = page.locator("#item mark").inner_text()
        value = page.locator(".value.now > span").nth(1).inner_text()
        assert marked
        page.keyboard.press("a")
        expect(page.locator("#counts")).to_contain_text("1 of 1 accepted")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#place")).to_contain_text("2 of ")
        page.keyboard.press("n")
        expect(page.locator("#counts")).to_contain_text("1 without evidence")
        kept = json.loads((served_run / "review.json").read_text("utf-8"))
        assert sorted(said["verdict"] for own in kept.values() for said in own.values()) == [
            "accepted",
            "null",
        ]
        page.keyboard.press("ArrowLeft")
        expect(page.locator(".value .said").first).to_contain_text("accepted")
        assert value
        page.click("#use")
        expect(page.locator("#changes")).to_contain_text("1 values are other")
        expect(page.locator("#changes")).to_contain_text("vvae train trains it again")
        page.reload()
        page.wait_for_selector("#knobs .knob")
        page.click("#tab-review")
        expect(page.locator("#place")).to_contain_text("3 of ")  # the two before are judged
        page.click("#tab-chat")
        say(page, "hello")


def test_a_phone_has_no_sideways_scroll_and_the_knobs_behind_a_button(server: Served) -> None:
    from playwright.sync_api import expect

    with opened_page(viewport={"width": 360, "height": 700}, color_scheme="dark") as page:
        opened(page, server.url)
        say(page, "a" * 200)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        expect(page.locator("#panel")).to_be_hidden()
        page.click("#show-panel")
        expect(page.locator("#choose-tone")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_page_asks_for_the_key(served_run: Path) -> None:
    from playwright.sync_api import expect

    with (
        serving(served_run, "--variant", "P+FT", VVAE_API_KEY=KEY) as served,
        opened_page() as page,
    ):
        page.goto(served.url)
        for wrong, said in (("schlüssel-für-alle", "plain keyboard"), ("x" * 20, "is wrong")):
            page.wait_for_selector("#ask-key[open]")
            page.fill("#key", wrong)
            page.keyboard.press("Enter")
            expect(page.locator("#key-wrong")).to_contain_text(said)
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        page.wait_for_selector("#knobs .knob")
        page.click("#tab-review")
        expect(page.locator("#state")).to_contain_text("VVAE_OWNER_KEY")  # no key would do


def test_who_has_no_owners_key_goes_on_talking(served_run: Path) -> None:
    from playwright.sync_api import expect

    with (
        serving(served_run, "--max-tokens", "12", VVAE_API_KEY=KEY, VVAE_OWNER_KEY=OWNER) as served,
        opened_page() as page,
    ):
        page.goto(served.url)
        page.wait_for_selector("#ask-key[open]")
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        page.wait_for_selector("#knobs .knob")
        for leave in ("Escape", "Cancel"):
            page.click("#tab-review")
            expect(page.locator("#key-wrong")).to_contain_text("owner's key")
            page.fill("#key", "x" * 20)
            page.keyboard.press("Enter")
            expect(page.locator("#key-wrong")).to_contain_text("is wrong")
            if leave == "Escape":
                page.keyboard.press("Escape")
            else:
                page.get_by_role("button", name="Cancel").click()
            expect(page.locator("#state")).to_contain_text("this needs the owner's key")
            page.click("#tab-chat")
        say(page, "hello")
        page.click("#tab-review")
        page.fill("#key", OWNER)
        page.keyboard.press("Enter")
        expect(page.locator("#place")).to_contain_text(" of ")


def test_the_keyboard_stays_where_it_was_and_speakers_are_told_apart(server: Served) -> None:
    from playwright.sync_api import expect

    with opened_page(viewport={"width": 1200, "height": 800}) as page:
        opened(page, server.url)
        say(page, "hello")
        page.locator("#log").get_by_role("button", name="Again").focus()
        page.keyboard.press("Enter")
        done(page, 2)
        assert page.evaluate("document.activeElement.textContent") == "Again"
        page.keyboard.press("Enter")
        done(page, 2)
        page.get_by_role("button", name="The version before").focus()
        page.keyboard.press("Enter")
        expect(page.locator(".turn:last-child .acts")).to_contain_text("2 of 3")
        assert page.evaluate("document.activeElement.textContent") == "‹"
        page.locator("#log").get_by_role("button", name="Delete").last.click()
        assert page.evaluate("document.activeElement.id") == "undelete"
        page.keyboard.press("Enter")
        first = page.input_value("#speaker")
        other = next(
            value
            for value in page.locator("#speaker option").evaluate_all(
                "all => all.map(o => o.value)"
            )
            if value != first
        )
        page.select_option("#speaker", other)
        expect(page.locator("#whom")).to_have_text(other)
        with page.expect_request("**/v1/chat/completions") as asked:
            say(page, "and you?")
        told = json.loads(asked.value.post_data)["messages"]
        assert [one["role"] for one in told] == ["user", "user", "user"]
        assert told[1]["name"] == first, "somebody else said that"
        page.select_option("#choose-hobby", "other")
        page.fill("#text", "hi")
        page.keyboard.press("Enter")
        expect(page.locator("#knob-hobby .other")).to_be_focused()
        assert page.input_value("#text") == "hi", "nothing was sent"


def test_a_knob_is_never_shown(server: Served) -> None:
    with opened_page(viewport={"width": 1200, "height": 900}) as page:
        opened(page, server.url)
        page.select_option("#candidates", "4")
        page.select_option("#choose-length", "=short")
        page.select_option("#knob-length .often select >> nth=0", "0")
        with page.expect_request("**/v1/chat/completions") as asked:
            say(page, "hello")
        persona = json.loads(asked.value.post_data)["persona"]
        assert persona["length"] == {"mode": "fixed", "value": "short", "rate": 0}


def test_a_rate_is_made_exact_and_a_knob_is_pushed(server: Served) -> None:
    with opened_page(viewport={"width": 1200, "height": 900}) as page:
        opened(page, server.url)
        assert page.locator("#choose-length option").first.inner_text() == "as they write"
        field = page.locator("#candidates").bounding_box()
        assert field is not None
        assert field["x"] + field["width"] <= 1200, "nothing is cut off at the right"
        page.select_option("#candidates", "4")
        page.select_option("#choose-length", "=short")
        page.select_option("#knob-length .often select >> nth=0", "1")
        page.select_option("#choose-tone", "=playful")
        page.select_option("#knob-tone .often select >> nth=1", "2")
        with page.expect_request("**/v1/chat/completions") as asked:
            say(page, "hello")
        persona = json.loads(asked.value.post_data)["persona"]
        assert persona["candidates"] == 4
        assert persona["length"] == {"mode": "fixed", "value": "short", "rate": 1}
        assert persona["tone"] == {"mode": "fixed", "value": "playful", "strength": 2}
        said = page.locator(".turn:last-child .z .who").inner_text()
        assert "reply" in said or "replies" in said, "which of those looked at it is"
        page.fill("#name", "pushed")
        page.click("#save")
        page.wait_for_selector('#speaker option[value="pushed"]', state="attached")
        page.reload()
        page.select_option("#speaker", "pushed")
        page.wait_for_selector("#delete:not([disabled])")
        assert page.input_value("#candidates") == "4"
        assert page.input_value("#knob-tone .often select >> nth=1") == "2"
        assert page.input_value("#knob-length .often select >> nth=0") == "1"
        page.on("dialog", lambda dialog: dialog.accept())
        page.click("#delete")
        page.wait_for_selector('#speaker option[value="pushed"]', state="detached")


def test_a_chat_is_held_against_the_persons_own_replies(server: Served) -> None:
    from playwright.sync_api import expect

    with opened_page(viewport={"width": 1200, "height": 900}) as page:
        opened(page, server.url)
        page.click("#how-like")
        expect(page.locator("#likeness")).to_have_text("Nothing was said yet.")
        say(page, "hello")
        page.click("#how-like")
        expect(page.locator("#likeness")).to_contain_text("own replies are told from others'")
        assert not violations(page)


def test_a_reply_comes_as_somebody_types_it(served_run: Path, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    from tests.serving.test_http import timed

    with (
        serving(timed(served_run, tmp_path), "--max-tokens", "12") as served,
        opened_page(viewport={"width": 1200, "height": 900}) as page,
    ):
        opened(page, served.url)
        page.check("#waits")
        with page.expect_response("**/v1/chat/completions"):
            page.fill("#text", "hello")
            page.press("#text", "Enter")
        expect(page.locator(".turn:last-child .waiting")).to_be_visible()
        expect(page.locator(".turn:last-child .z .all").first).to_be_visible(timeout=20_000)
        expect(page.locator(".turn:last-child .waiting")).to_have_count(0)
