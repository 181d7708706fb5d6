"""V-VAE: chat models that talk like particular people, with knobs one can read."""

__all__ = ["__version__"]

__version__ = "0.1.0"
