"""A local router that speaks the vendor's API, for learning, teaching and tests.

An island: nothing here knows of the rest of the package, and only ``session/`` starts it.

    with Sandbox() as sandbox:
        requests.get(f"{sandbox.base_url}/v1/models", headers={"Authorization": f"Token {sandbox.token}"})

Its answers are scripted and say so; its images are drawn by a program and say so; its voice is espeak-ng where
that is installed, else tones; it transcribes its own speech, and no other.  It listens on 127.0.0.1 only and
has a token of its own.
"""

from puq_magics.sandbox.server import Sandbox
from puq_magics.sandbox.state import Asked, Settings

__all__ = ["Asked", "Sandbox", "Settings"]
