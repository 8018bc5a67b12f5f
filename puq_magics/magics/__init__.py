"""Command lines: what `%load_ext` registers."""
