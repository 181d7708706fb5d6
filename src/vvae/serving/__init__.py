"""Talking to a persona: on a terminal, over HTTP, as a character card."""
