"""q(z | x, c): what reads z in a reply, by rules or by a language model."""
