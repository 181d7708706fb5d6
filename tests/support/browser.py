"""A real browser, where there is one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-sync",
)


@contextmanager
def opened_page(**settings: Any) -> Iterator[Any]:
    """A page of a headless Chromium; an error in its scripts fails the test."""
    from playwright.sync_api import sync_playwright

    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page(**settings)
        page.on("pageerror", lambda error: errors.append(str(error)))
        try:
            yield page
        finally:
            browser.close()
    assert not errors, errors


def violations(page: Any, *, impacts: tuple[str, ...] = ("serious", "critical")) -> list[str]:
    """What axe-core finds wrong with the page as it stands: a line for each element."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {' '.join(map(str, node['target']))}: "
        + "; ".join(one["message"] for one in (*node["any"], *node["all"], *node["none"]))
        for rule in found
        if rule["impact"] in impacts
        for node in rule["nodes"]
    ]


def assert_readable(address: str) -> None:
    """On a wide screen, a tablet and a phone, in light and dark: axe-core finds nothing serious,
    and the page never scrolls sideways as a whole.
    """
    for scheme in ("light", "dark"):
        for width in (1440, 768, 390):
            viewport = {"width": width, "height": 900}
            with opened_page(viewport=viewport, color_scheme=scheme) as page:
                page.goto(address)
                assert violations(page) == [], (scheme, width)
                assert page.evaluate("document.documentElement.scrollWidth") <= width, scheme
