"""Sound: what speaks, and what knows its own speech again."""
