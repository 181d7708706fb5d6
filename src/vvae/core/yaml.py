"""Small YAML files that people write by hand, read within bounds."""

from __future__ import annotations

from pathlib import Path

import yaml

from vvae.core.errors import ConfigError

__all__ = ["bounded_text", "parse_yaml", "read_yaml"]

LARGEST = 1 << 20


def read_yaml(path: Path, fix: str) -> object:
    """Return what a file says. Aliases (``*name``), which can be made to swell without bound, are
    refused.

    Args:
        fix: what to say it should look like.

    Raises:
        ConfigError: it cannot be read, is too large, or is no YAML; the message names the line.
    """
    return parse_yaml(bounded_text(path, fix), str(path), fix)


def bounded_text(path: Path, fix: str) -> str:
    """Return the text of a small file.

    Raises:
        ConfigError: it cannot be read, or is too large.
    """
    try:
        with path.open("rb") as opened:
            data = opened.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ConfigError("larger than 1 MB", where=str(path), fix=fix)
        return data.decode("utf-8")
    except (OSError, UnicodeDecodeError):
        raise ConfigError("cannot be read", where=str(path), fix=fix) from None


def parse_yaml(text: str, where: str, fix: str) -> object:
    """Return what a text says, as `read_yaml` does of a file.

    Raises:
        ConfigError: it is no YAML, or has aliases.
    """
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ConfigError("YAML aliases (*name) are not read", where=where, fix=fix)
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}:{mark.line + 1}" if mark else where
        raise ConfigError(
            f"not YAML ({getattr(error, 'problem', None) or error})", where=place, fix=fix
        ) from None
    except (ValueError, RecursionError):
        raise ConfigError("not YAML", where=where, fix=fix) from None
