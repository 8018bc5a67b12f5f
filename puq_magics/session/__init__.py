"""Session state of one shell."""
