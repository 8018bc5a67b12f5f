"""Functions that a model may call: their description, the check of arguments, running them, their results."""
