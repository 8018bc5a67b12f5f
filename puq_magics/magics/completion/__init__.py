"""Tab completion in the magics."""
