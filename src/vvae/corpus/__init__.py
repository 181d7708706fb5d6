"""From an app's export to dialogues and training pairs,
without other people's names and numbers.
"""
