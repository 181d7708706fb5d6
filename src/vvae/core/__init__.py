"""What every package uses: errors, dialogues, text, keyed draws, files, tables, progress."""
