"""JSON schemas: read from what was typed, and answers validated against them."""
