"""`python -m vvae.cli`, for torchrun and accelerate."""

from vvae.cli.main import main

__all__: list[str] = []

main()
