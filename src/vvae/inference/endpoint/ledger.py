"""The ledger of calls to a language model: every attempt accounted, every answer kept, in one
SQLite file.

An attempt is written before it is sent and again when it has ended, so a killed process leaves its
calls in flight on record. What one turn of the event loop wants written goes into one transaction,
made in the loop itself: a commit in WAL mode takes tens of microseconds, a hand-over to a thread
takes more. A process that finds the file locked waits without holding up its calls.
Several processes may share a ledger. It holds answers and hashes of what was asked, never the chat
itself and never a key of an endpoint.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from vvae.core.errors import DataError

__all__ = ["Answer", "Ledger", "Spent"]

FORMAT = 1
BUSY_SECONDS = 120.0
"""How long a write waits for the other processes' writes."""
_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, content TEXT, finish TEXT,
    prompt_tokens INTEGER, completion_tokens INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attempts (
    id INTEGER PRIMARY KEY, key TEXT, account TEXT, started REAL, ended REAL, outcome TEXT,
    prompt_tokens INTEGER DEFAULT 0, completion_tokens INTEGER DEFAULT 0
);
CREATE INDEX IF NOT EXISTS attempts_by_key ON attempts (key);
"""

_Write = Callable[[sqlite3.Connection], Any]


class Answer(NamedTuple):
    """A model's answer: content, finish reason, tokens as the endpoint counts them."""

    content: str | None
    finish: str | None
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Spent(NamedTuple):
    """A sum of the attempts and tokens of an account so far."""

    attempts: int
    prompt_tokens: int
    completion_tokens: int


class Ledger:
    """A ledger file, opened for reading and writing; used as a context manager.

    Raises:
        DataError: the file is no ledger of this format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        try:
            self._reader, self._writer = _opened(path, BUSY_SECONDS), _opened(path, 0.0)
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"no ledger ({error})", where=str(path), fix="move it away; it is made anew"
            ) from None
        self._waiting: list[tuple[_Write, asyncio.Future[Any]]] = []
        self._flush: asyncio.Task[None] | None = None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._reader.close()
        self._writer.close()

    # --- reading ---

    def answer(self, key: str) -> Answer | None:
        """Return the answer to a call, or None when there is none yet."""
        row = self._reader.execute(
            "SELECT content, finish, prompt_tokens, completion_tokens FROM answers WHERE key = ?",
            (key,),
        ).fetchone()
        return None if row is None else Answer(*row)

    def last_outcome(self, key: str) -> str | None:
        """Return how the last finished attempt of a call ended, or None without any."""
        row = self._reader.execute(
            "SELECT outcome FROM attempts WHERE key = ? AND outcome IS NOT NULL ORDER BY id DESC "
            "LIMIT 1",
            (key,),
        ).fetchone()
        return None if row is None else str(row[0])

    def outcomes(self) -> Counter[str]:
        """Return attempts by how they ended; what a killed process left is ``interrupted``."""
        rows = self._reader.execute(
            "SELECT COALESCE(outcome, 'interrupted'), COUNT(*) FROM attempts GROUP BY 1"
        )
        return Counter({str(outcome): int(n) for outcome, n in rows})

    def spent(self, account: str) -> Spent:
        """Return all attempts and tokens of an account: of one endpoint and model."""
        row = self._reader.execute(
            "SELECT COUNT(*), COALESCE(SUM(prompt_tokens), 0), COALESCE(SUM(completion_tokens), 0)"
            " FROM attempts WHERE account = ?",
            (account,),
        ).fetchone()
        return Spent(*map(int, row))

    # --- writing ---

    async def begin(self, key: str, account: str) -> int:
        """Write down that a call is about to be sent; return the attempt's number."""
        now = time.time()
        insert = "INSERT INTO attempts (key, account, started) VALUES (?, ?, ?)"
        return int(await self._write(lambda db: db.execute(insert, (key, account, now)).lastrowid))

    async def end(self, attempt: int, key: str, outcome: str, answer: Answer | None = None) -> None:
        """Write down how an attempt ended, and its answer if there is one, in one transaction."""
        tokens = (0, 0) if answer is None else (answer.prompt_tokens, answer.completion_tokens)
        row = (time.time(), outcome, *tokens, attempt)

        def write(db: sqlite3.Connection) -> None:
            update = (
                "UPDATE attempts SET ended = ?, outcome = ?, prompt_tokens = ?, completion_tokens "
                "= ? WHERE id = ?"
            )
            db.execute(update, row)
            if answer is not None:
                db.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)", (key, *answer))

        await self._write(write)

    def forget(self, keys: Iterable[str]) -> None:
        """Delete answers, from the file too; what they cost stays."""
        self._writer.execute("PRAGMA secure_delete = ON")
        self._writer.executemany("DELETE FROM answers WHERE key = ?", [(key,) for key in keys])
        self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _write(self, write: _Write) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((write, future))
        if self._flush is None:
            self._flush = loop.create_task(self._flushed())
        return future

    async def drain(self) -> None:
        """Wait until everything that is queued is written."""
        if self._flush is not None:
            await asyncio.shield(self._flush)

    async def _flushed(self) -> None:
        """Commits what waits, all of it at once, until nothing waits."""
        try:
            while self._waiting:
                batch: list[tuple[_Write, asyncio.Future[Any]]] = []
                try:
                    await self._locked()
                    batch, self._waiting = self._waiting, []
                    results = self._commit([write for write, _ in batch])
                except Exception as error:
                    batch, self._waiting = batch + self._waiting, []
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(_trouble(error, self.path))
                    continue
                for (_, future), result in zip(batch, results, strict=True):
                    if not future.done():
                        future.set_result(result)
        finally:
            self._flush = None

    async def _locked(self) -> None:
        """Waits for its turn among the processes that write,
        without holding up this one's calls.
        """
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not _busy(error) or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.001)

    def _commit(self, writes: list[_Write]) -> list[Any]:
        try:
            results = [write(self._writer) for write in writes]
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise
        return results


def _busy(error: sqlite3.Error) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _trouble(error: Exception, path: Path) -> DataError:
    return DataError(
        f"cannot be written ({error})", where=str(path), fix="check the disk, then run again"
    )


def _opened(path: Path, patience: float) -> sqlite3.Connection:
    """A connection that waits so many seconds for the writes of other processes."""
    # Polars draws the rows of a table from threads of its own, one at a time.
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    deadline = time.monotonic() + BUSY_SECONDS
    while True:  # the switch to WAL does not wait for other processes that switch
        try:
            db.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if not _busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    db.execute("PRAGMA synchronous = NORMAL")
    with closing(db.execute("PRAGMA user_version")) as cursor:
        version = int(cursor.fetchone()[0])
    if version == 0:
        db.executescript(_TABLES)
        db.execute(f"PRAGMA user_version = {FORMAT}")
    elif version != FORMAT:
        raise sqlite3.DatabaseError(f"format {version}, this version reads {FORMAT}")
    db.execute(f"PRAGMA busy_timeout = {round(1000 * patience)}")
    return db
