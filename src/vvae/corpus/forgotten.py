"""The names of people who were taken out of a folder and must not come back when its chats are read
again.
"""

from __future__ import annotations

import json
import secrets
from hashlib import blake2b
from pathlib import Path

from vvae.core.errors import DataError
from vvae.core.files import write_text

__all__ = ["FORGOTTEN", "Forgotten"]

FORGOTTEN = "forgotten.json"


class Forgotten:
    """A folder's set of names, as salted hashes: who guesses a name can see that it is there,
    nobody can read it.

    Raises:
        DataError: the file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FORGOTTEN
        self._salt, self._hashes = secrets.token_hex(16), set[str]()
        if self._path.exists():
            try:
                data = json.loads(self._path.read_text("utf-8"))
                self._salt, self._hashes = str(data["salt"]), set(data["names"])
                bytes.fromhex(self._salt)
            except (OSError, ValueError, KeyError, TypeError):
                fix = "restore it: it keeps people from coming back"
                raise DataError("damaged", where=str(self._path), fix=fix) from None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._hash(name) in self._hashes

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def add(self, *names: str) -> None:
        """Add names, on disk."""
        self._hashes |= set(map(self._hash, names))
        write_text(
            self._path, json.dumps({"salt": self._salt, "names": sorted(self._hashes)}) + "\n"
        )

    def _hash(self, name: str) -> str:
        return blake2b(
            name.encode("utf-8", "replace"), digest_size=16, salt=bytes.fromhex(self._salt)[:16]
        ).hexdigest()
