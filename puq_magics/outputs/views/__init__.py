"""Views of a call in progress: notebook, terminal, media and transfers."""
