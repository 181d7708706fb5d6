"""Who agreed to what: a file beside the chats, which training holds to.

::

    ana:   {agreed: [learn], how: "asked by message, 2026-05-03"}  # to be learnt
    Robin: {agreed: [context]}    # to stand before others' replies
    Quinn: {agreed: []}                                              # nothing: `vvae forget Quinn`

Names are those of the chats as they were brought in.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from vvae.core.errors import ConfigError
from vvae.core.yaml import read_yaml

__all__ = ["CONSENT", "Agreement", "check_consent", "read_consent"]

CONSENT = "consent.yaml"


class Agreement(BaseModel):
    """A person's agreement: what they agreed to, and how that is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agreed: tuple[Literal["learn", "context"], ...]
    how: str = ""


class _File(RootModel[dict[str, Agreement]]):
    pass


def read_consent(path: Path) -> dict[str, Agreement]:
    """Return the agreements of a consent file by name.

    Raises:
        ConfigError: it is no such file.
    """
    fix = "write NAME: {agreed: [learn]} for each person; learn, context or nothing"
    try:
        return _File.model_validate(read_yaml(path, fix)).root
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'.'.join(map(str, first['loc'][:1]))}: {first['msg']}"
        raise ConfigError(what, where=str(path), fix=fix) from None


def check_consent(
    agreements: Mapping[str, Agreement] | None,
    learnt: Collection[str],
    present: Collection[str],
    *,
    required: bool = False,
    where: str = CONSENT,
) -> None:
    """Refuse to train on people who did not agree.

    Args:
        agreements: what the consent file says; None where there is none.
        learnt: whom a model is trained to talk like: each must have agreed to `learn`.
        present: everybody who writes in the chats: who agreed to nothing must not be there.
        required: there must be a file, and everybody must be in it.

    Raises:
        ConfigError: somebody did not agree; the message names the first.
    """
    if agreements is None:
        if required:
            fix = "write NAME: {agreed: [learn]} for each person (docs/privacy.md)"
            raise ConfigError("no consent file", where=where, fix=fix)
        return
    for name in sorted(learnt):
        if name not in agreements or "learn" not in agreements[name].agreed:
            fix = (
                f"ask, and write {name}: {{agreed: [learn]}}; or choose others with pairs.speakers"
            )
            raise ConfigError(f"{name!r} has not agreed to be learnt", where=where, fix=fix)
    for name in sorted(present):
        if (name in agreements or required) and not (
            name in agreements and agreements[name].agreed
        ):
            problem = "agreed to nothing" if name in agreements else "is not in the file"
            raise ConfigError(
                f"{name!r} {problem}", where=where, fix=f"vvae forget {name!r} FOLDER, or ask"
            )
