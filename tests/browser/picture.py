"""``python tests/browser/picture.py FILE.png``: the README's picture, of two notebooks in a real JupyterLab.

On the left a scripted answer above that of a small real model, on the right an image, a player and the chooser. It
needs the extras ``lab``, ``browser`` and ``local``, and the weights (``python -m puq_magics.sandbox fetch``).
"""

from __future__ import annotations

import os
import sys
from base64 import b64encode
from pathlib import Path
from tempfile import TemporaryDirectory

from lab import Chromium, LabNotebook, browse, notebooks, serve

START = "%load_ext puq_magics\n%puq_sandbox"
LEFT = (
    START + " --local",
    "%%puq_chat sandbox/chat\nExplain entropy in two sentences, with a formula.",
    "%%puq_chat -t 0 --max-tokens 90\nExplain entropy in two sentences.",
    "answer = _puq\nanswer.usage.completion_tokens, answer.text.split()[:4]",
)
RIGHT = (
    START + " --local",
    "%puq_image --size 480x200 A lighthouse on a quiet evening",
    "%puq_speak Notebooks can talk, too.",
    "%puq_choose",
)
WIDTH, HEIGHT = 700, 1200  # CSS pixels of each half


def main(target: Path) -> None:
    weights = {"PUQ_WEIGHTS": os.environ["PUQ_WEIGHTS"]} if "PUQ_WEIGHTS" in os.environ else {}
    with TemporaryDirectory() as name, serve(Path(name), weights) as server:
        folder = Path(name) / "browser"
        with browse(server.origin, folder) as chromium, notebooks(server, chromium) as lab:
            halves = []
            for side, cells in (("ask.ipynb", LEFT), ("media.ipynb", RIGHT)):
                halves.append(take_half(lab(*cells, name=side), Path(name) / f"{side}.png"))
            join(chromium, halves, target)


def take_half(notebook: LabNotebook, path: Path) -> Path:
    """Run the notebook, and take its first screenful without sidebars."""
    notebook.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    notebook.page.keyboard.press("Control+b")  # the left sidebar
    notebook.run_all(timeout=180)
    notebook.wait_until_stable()
    notebook.page.locator(".jp-WindowedPanel-outer").first.evaluate("area => area.scrollTo(0, 0)")
    notebook.wait_until_stable()
    notebook.screenshot(path)
    notebook.close()
    return path


def join(chromium: Chromium, halves: list[Path], target: Path) -> None:
    """Draw the halves side by side."""
    page = chromium.context.new_page()
    page.set_viewport_size({"width": 2 * WIDTH + 12, "height": HEIGHT})
    images = "".join(
        f'<img src="data:image/png;base64,{b64encode(half.read_bytes()).decode()}">' for half in halves
    )
    page.set_content(f'<body style="margin: 0; display: flex; gap: 12px; background: #888">{images}</body>')
    page.screenshot(path=target)
    page.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
