"""A frozen language model behind an OpenAI-compatible endpoint as encoder."""
