"""The sanitiser: model text made safe, healed while it streams, and readable in every front end."""
