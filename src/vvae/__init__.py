"""V-VAE: chat models that talk like particular people, with knobs one can read.

The modules are the public surface; each names its own in `__all__`. Start at `vvae.pipeline` for the whole road, or
`vvae.persona`, `vvae.prior` and `vvae.bench.human_chat` for its parts.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
