"""Chats that are answered by a script, from the request itself."""
