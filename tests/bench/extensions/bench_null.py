"""An extension that does nothing: what ``%load_ext`` itself costs."""


def load_ipython_extension(shell: object) -> None:
    """Register nothing."""
