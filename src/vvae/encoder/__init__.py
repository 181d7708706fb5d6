"""Encoders q(z|x,c)."""
