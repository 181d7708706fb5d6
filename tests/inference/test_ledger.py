"""The ledger: every attempt on record, whatever happens to the process, and whoever else writes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.endurance import shared_ledger
from vvae.core.errors import DataError
from vvae.inference.endpoint.ledger import Answer, Ledger

ANSWER = Answer('{"tone": null}', "stop", 10, 2)


def test_an_attempt_is_on_record_before_it_is_sent_and_after_it_ended(tmp_path: Path) -> None:
    async def use(ledger: Ledger) -> None:
        first = await ledger.begin("a", "account")
        with Ledger(ledger.path) as other:
            assert other.outcomes() == {"interrupted": 1}
        await ledger.end(first, "a", "timeout")
        assert ledger.answer("a") is None
        assert ledger.last_outcome("a") == "timeout"
        second = await ledger.begin("a", "account")
        await ledger.end(second, "a", "ok", ANSWER)

    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        asyncio.run(use(ledger))
        assert ledger.answer("a") == ANSWER
        assert ledger.spent("account") == (2, 10, 2)
        assert ledger.spent("other account") == (0, 0, 0)
        assert ledger.outcomes() == {"timeout": 1, "ok": 1}
    assert (tmp_path / "ledger.sqlite").stat().st_mode & 0o077 == 0


def test_an_answer_is_forgotten_and_what_it_cost_is_not(tmp_path: Path) -> None:
    said = Answer('{"hobby": "deep-sea diving"}', "stop", 10, 2)

    async def ask(ledger: Ledger) -> None:
        await ledger.end(await ledger.begin("a", "account"), "a", "ok", said)

    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        asyncio.run(ask(ledger))
        held = [path.read_bytes() for path in tmp_path.iterdir()]
        assert any(b"deep-sea diving" in content for content in held)
        ledger.forget(["a", "not there"])
        assert ledger.answer("a") is None
        assert ledger.spent("account") == (1, 10, 2)
        held = [path.read_bytes() for path in tmp_path.iterdir()]
        assert not any(b"deep-sea diving" in content for content in held)


def test_another_file_is_no_ledger(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("no database at all, but rather a long text" * 100)
    with pytest.raises(DataError, match="no ledger"):
        Ledger(tmp_path / "x")


def test_processes_share_a_ledger(tmp_path: Path) -> None:
    """For two seconds; `python -m tests.endurance` does it for a minute."""
    found = shared_ledger(tmp_path, 2.0)
    assert not found["failed"]
    assert found["written"] == found["attempts"] > 100
