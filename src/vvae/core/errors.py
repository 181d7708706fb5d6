"""The one error tree.

::

    VVAEError
    └── UserError            the user can mend it: one line (what, where, fix), exit code 2
        ├── ConfigError      a key or value of a configuration or latent-space file
        ├── DataError        the chats: missing, empty, malformed, too small
        ├── EndpointError    a server that refuses or fails; a budget that is spent
        ├── ModelError       a model that cannot be found or loaded
        └── TemplateError    a chat template that cannot carry context and z
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "ConfigError",
    "DataError",
    "EndpointError",
    "ModelError",
    "TemplateError",
    "UserError",
    "VVAEError",
    "choose_from",
]


class VVAEError(Exception):
    """A base class of every error this package raises on purpose."""


class UserError(VVAEError):
    """A mistake the user can mend, said in one line.

    Args:
        what: what is wrong.
        where: file, line, key or record, as exact as known.
        fix: what to do about it.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        parts = [f"{where}: {what}" if where else what, fix]
        super().__init__(" — ".join(" ".join(part.split()) for part in parts if part))


class ConfigError(UserError):
    """A configuration or latent-space file says something that cannot be used."""


class DataError(UserError):
    """A fault of the chats: they are missing, malformed or too small."""


class EndpointError(UserError):
    """A model's server cannot be reached, refuses or keeps failing,
    or the budget for it is spent.
    """


class ModelError(UserError):
    """A model cannot be found or loaded."""


class TemplateError(UserError):
    """A chat template cannot carry the conversation and z."""


def choose_from(given: str, known: Iterable[str], *, shown: int | None = None) -> str:
    """Return the fix for a name that is not known: which one may be meant, and which there are.

    Args:
        shown: list only so many of them.

    >>> choose_from("Playfull", ["serious", "playful"])
    "did you mean 'playful'? choose from serious, playful"
    >>> choose_from("Zoe", ["Ana", "Ben", "Cleo"], shown=2)
    'choose from Ana, Ben, ...'
    """
    names = list(known)
    folded = {name.casefold(): name for name in names}
    close = get_close_matches(given.casefold(), folded, n=1)
    listed = ", ".join([*names[:shown], *(["..."] if names[:shown] != names else [])]) or "none"
    hint = f"did you mean {folded[close[0]]!r}? " if close else ""
    return f"{hint}choose from {listed}"
