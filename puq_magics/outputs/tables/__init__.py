"""Tables of models, usage and conversations, for a notebook, a terminal and a DataFrame."""
