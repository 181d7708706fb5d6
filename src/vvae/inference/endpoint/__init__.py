"""An OpenAI-compatible endpoint: where it is, how it is called,
and the ledger of what was asked.
"""
