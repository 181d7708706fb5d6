"""The page of `vvae serve`, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import needs_browser, opened_page
from tests.support.served import KEY, Served, serving

pytestmark = needs_browser


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


def done(page: Any, turns: int, chips: int = 9) -> None:
    """So many turns are there, and the last one is written."""
    from playwright.sync_api import (
        expect,
    )  # its own waiting asks for no eval, which the page's policy forbids

    expect(page.locator(".turn")).to_have_count(turns)
    expect(page.locator("#send")).to_be_visible()
    expect(page.locator(".turn:last-child .z button")).to_have_count(chips)


def chip(page: Any, name: str) -> str:
    return str(
        page.locator(".turn:last-child .z button").filter(has_text=f"{name}: ").first.inner_text()
    )


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
        assert "catchphrase: " in chip(page, "catchphrase")
        page.select_option("#knob-topic .mode", "auto")
        page.fill("#knob-tone .text", "playful")
        say(page, "did you see that new movie on netflix?")
        assert chip(page, "topic") == "topic: film and television"
        assert chip(page, "tone") == "tone: playful"
        expect(page.locator("#timeline .lane")).to_have_count(3)
        expect(page.locator("#timeline .lane").first.locator(".cell")).to_have_count(2)
        page.keyboard.press("Alt+r")
        done(page, 4)
        page.keyboard.press("Alt+n")
        expect(page.locator(".turn")).to_have_count(0)
    assert all(url.startswith((server.url, "data:")) for url in asked), "nothing from elsewhere"


def test_one_knob_is_moved_and_the_others_stay(server: Served) -> None:

    from playwright.sync_api import expect

    with opened_page(viewport={"width": 1200, "height": 800}) as page:
        opened(page, server.url)
        say(page, "hello")
        before = {
            b.split(": ")[0]: b
            for b in page.locator(".turn:last-child .z button").all_inner_texts()
        }
        page.locator(".turn:last-child .z button").filter(has_text="vibe: ").click()
        page.keyboard.type("gloomy")
        page.keyboard.press("Enter")
        expect(page.locator(".z button").filter(has_text="vibe: gloomy")).to_have_count(1)
        done(page, 2)
        after = {
            b.split(": ")[0]: b
            for b in page.locator(".turn:last-child .z button").all_inner_texts()
        }
        assert after == before | {"vibe": "vibe: gloomy"}


def test_two_adapters_side_by_side_and_going_on_with_one(server: Served) -> None:
    from playwright.sync_api import expect

    with opened_page(viewport={"width": 1200, "height": 800}) as page:
        opened(page, server.url)
        page.select_option("#beside", "P+FT")
        page.fill("#text", "hello")
        page.press("#text", "Enter")
        done(page, 2, 18)
        expect(page.locator(".answers.two .who")).to_contain_text(["SP+FT", "P+FT"])
        page.get_by_role("button", name="Go on with this").click()
        expect(page.locator(".answer.left .who")).to_contain_text("SP+FT")


def test_a_persona_is_kept_chosen_and_deleted(server: Served, served_run: Path) -> None:
    from playwright.sync_api import expect

    with opened_page(viewport={"width": 1200, "height": 800}) as page:
        opened(page, server.url)
        page.select_option("#speaker", "ana")
        page.fill("#knob-tone .text", "tender")
        page.fill("#knob-catchphrase .rate", "0.05")
        page.fill("#name", "Tender Ana")
        page.click("#save")
        expect(page.locator("#state")).to_have_text("Tender Ana is kept")
        card = json.loads((served_run / "personas" / "Tender Ana.json").read_text("utf-8"))
        assert (
            card["data"]["extensions"]["vvae"]["steering"] == "tone=tender; catchphrase.rate=0.05"
        )
        page.reload()
        opened(page, server.url)
        page.select_option("#speaker", "Tender Ana")
        say(page, "hi")
        assert chip(page, "tone") == "tone: tender"
        assert server.client().models.retrieve("Tender Ana").id == "Tender Ana"
        page.click("#delete")
        expect(page.locator("#state")).to_have_text("Tender Ana is deleted")
        expect(page.locator("#knob-tone .text")).to_have_value("")
        assert not (served_run / "personas" / "Tender Ana.json").exists()


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


def test_a_phone_has_no_sideways_scroll_and_the_knobs_behind_a_button(server: Served) -> None:
    from playwright.sync_api import expect

    with opened_page(viewport={"width": 360, "height": 700}, color_scheme="dark") as page:
        opened(page, server.url)
        say(page, "a" * 200)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        expect(page.locator("#panel")).to_be_hidden()
        page.click("#show-panel")
        expect(page.locator("#knob-tone .text")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_page_asks_for_the_key(served_run: Path) -> None:
    with (
        serving(served_run, "--variant", "P+FT", VVAE_API_KEY=KEY) as served,
        opened_page() as page,
    ):
        page.goto(served.url)
        page.wait_for_selector("#ask-key[open]")
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        page.wait_for_selector("#knobs tbody tr")
