"""Conversations: turns, branches, storage and export."""
