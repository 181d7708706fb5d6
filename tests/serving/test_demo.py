"""`vvae demo-chat`: somebody to talk to without training, and no word that hides it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.browser import needs_browser, opened_page
from tests.support.served import Served, free_port


@needs_browser
def test_the_page_can_be_tried_without_training(tmp_path: Path) -> None:
    """The real small model, the real corpus, the real page."""
    from playwright.sync_api import expect

    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "vvae.cli", "demo-chat", "run", "--port", str(port)],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    served = Served(process, port)
    try:
        served.wait(400)
        messages = [{"role": "user", "content": "hey, how was your day?"}]
        body = {"model": "few-shot", "messages": messages, "max_tokens": 12, "seed": 1}
        answer = served.post(body).json()
        assert "nothing was trained" in answer["vvae"]["notes"][-1]
        assert answer["choices"][0]["message"]["content"]
        drawn = {n for n, slot in answer["vvae"]["z"].items() if slot["source"] == "sampled"}
        assert not drawn, "a prompted model is told what is known of the person alone"
        told = served.post(body | {"persona": {"hobby": "chess"}, "max_tokens": 1}).json()
        assert told["vvae"]["z"]["hobby"]["value"] == "chess"
        assert answer["usage"]["prompt_tokens"] > 80, "the profile and some replies are told"
        with opened_page() as page:
            page.goto(served.url)
            expect(page.locator("#about")).to_contain_text("Nothing was trained for this")
            name = answer["vvae"]["speaker"]
            expect(page.locator("#whom")).to_have_text(name)
            assert name.isalpha(), "a name, not an id"
    finally:
        process.terminate()
        process.communicate(timeout=60)
