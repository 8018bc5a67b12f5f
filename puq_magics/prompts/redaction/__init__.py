"""Mask secrets in text that leaves this machine: by name, form, position, or because they are known."""
