"""Character cards, and the personas kept in a run."""
