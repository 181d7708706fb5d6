"""The command line: one thin file for each group of commands."""

from vvae.cli.main import app, main

__all__ = ["app", "main"]
