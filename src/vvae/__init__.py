"""V-VAE."""
