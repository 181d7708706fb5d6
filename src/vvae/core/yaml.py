"""Small YAML files that people write by hand, read within bounds."""

from __future__ import annotations

from pathlib import Path

import yaml

from vvae.core.errors import ConfigError

__all__ = ["read_yaml"]

LARGEST = 1 << 20


def read_yaml(path: Path, fix: str) -> object:
    """Return what a file says. Aliases (``*name``), which can be made to swell without bound, are
    refused.

    Args:
        fix: what to say it should look like.

    Raises:
        ConfigError: it cannot be read, is too large, or is no YAML.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ConfigError("larger than 1 MB", where=str(path), fix=fix)
        text = path.read_text("utf-8")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ConfigError("YAML aliases (*name) are not read", where=str(path), fix=fix)
        return yaml.safe_load(text)
    except (OSError, UnicodeDecodeError):
        raise ConfigError("cannot be read", where=str(path), fix=fix) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError("not YAML", where=str(path), fix=fix) from None
