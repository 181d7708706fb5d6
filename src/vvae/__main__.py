"""`python -m vvae`."""

from vvae.cli.main import main

__all__: list[str] = []

main()
