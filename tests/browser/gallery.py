"""``python tests/browser/gallery.py OUT``: pictures of all that people see, a sheet for each surface.

JupyterLab and Notebook 7 at 1280 and 700 pixels, light and dark, and a terminal of 80 and 120 columns. The sheets
are ``OUT/*.png``, the single pictures lie in ``OUT/shots``. ``--only stream tables`` makes these surfaces alone,
``--frontend lab`` one front end.

It asserts nothing: whoever changes what people see looks at it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import get_args

from gallery_terminal import AUDITED, SILENT_ROUTER, TERMINAL_SURFACES, picture_terminal
from lab import Frontend, LabNotebook, WaitTimeout, browse, notebooks, serve

THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
WIDTHS = (1280, 700)
HEIGHT = 900
_TALL = 4_600  # a screenshot shows no more of a cell than the window does
_SETTLE_TIMEOUT = 10.0  # seconds for a page to lay itself out
_TWO_FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
#: What comes into view for the first time is laid out only then, and moves what is below.
_BRING_INTO_VIEW = """async ([path, index]) => {
  window.puqHarness.cellNode(path, index).scrollIntoView();
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
}"""
_LIVE_TIMEOUT = 20.0  # seconds for the text that a live picture waits for

SETUP = """\
%load_ext puq_magics
%puq_sandbox --pace 0
import dataclasses, math
topic, answers = "a kite", [3, 4, 5]
@dataclasses.dataclass
class Person:
    name: str
    age: int
"""
REVIEWS = """\
import pandas as pd
texts = ["A fine film.", "Too long.", None, "I laughed, I cried.", "Not for me.", "Again!", "Dull.", "A gem."]
reviews = pd.DataFrame({"text": texts, "stars": [5, 2, 3, 5, 2, 5, 1, 4]})"""
WEATHER = '''\
def weather(city: str, unit: str = "celsius") -> dict:
    """Return the weather of a city."""
    if city == "Atlantis":
        raise LookupError("there is no such city")
    return {"city": city, unit: 12, "rain": False}'''
POLICY = '''\
%%writefile lesson.toml
models = ["sandbox/chat"]
max_tokens = 300
questions = 1
media = false
solutions = ["return a + b"]
message = "Ask your tutor."
[messages]
models = "In this lesson we use the small model only."'''
RICH = "Explain what a notebook cell is, with a table, some code and a formula."


@dataclass(frozen=True)
class Surface:
    """Cells that are shown together. A live one is pictured while its last cell runs, once ``until`` is there."""

    cells: tuple[str, ...]
    until: str = ""
    #: Text to type into the last cell, with Tab behind it, instead of running it.
    tab: str = ""
    #: Words to type into the search field of the chooser before the picture.
    search: str = ""
    #: Cells that the last one adds below it; they are run and pictured, too.
    added_cells: int = 0


def shown(*cells: str) -> Surface:
    return Surface(cells)


#: In the order in which their cells run: later ones see what earlier ones did.
SURFACES: dict[str, Surface] = {
    "answer": shown(f"%%puq_chat\n{RICH}"),
    "answer-tour": shown("%%puq_chat sandbox/tour -q -o tour\nA tour.", "tour"),
    "answer-reasoning": shown("%puq_chat -m sandbox/think Why is the sky blue?"),
    "conversation": shown(
        "%puq_chat -c trip Plan two days in Rome",
        "%puq_chat -c trip And what about a third day?",
        "%puq_chats",
        "%puq_chats trip",
    ),
    "answer-formats": shown(
        '%puq_chat --schema "name, age int" -m sandbox/clumsy Invent a person',
        "%puq_chat --schema Person Invent a person",
        "%puq_chat -f html A card about {{topic}}",
        "%puq_chat -f text A sentence about {{topic}}",
    ),
    "tools": shown(
        WEATHER,
        "%puq_chat --tools-auto weather -o dry Is it dry in Oslo and Atlantis?",
        "%puq_chat --tools-auto weather --rounds 1 Look at Oslo forever",
        """%puq_chat --param 'tools=[{"type":"function","function":{"name":"weather"}}]' Is it dry?""",
        "dry",
    ),
    "dry-run": shown(f"%puq_chat --dry-run -s 'Be brief.' -t 0 {RICH} It is about {{{{topic}}}}."),
    "map": shown(
        REVIEWS,
        '%%puq_map reviews --schema "mood good|bad, score int" -o rated\nRate this review: {{text}}',
        "rated.head(3)",
        "%%puq_map reviews --limit 3\nSummarize: {{text}} {{stars}}",
        "%%puq_map reviews --dry-run\nSummarize: {{text}}",
    ),
    "compare": shown(
        "%%puq_compare -m sandbox/tour -m sandbox/short -m sandbox/fail -o both\nWhat is a cell?"
    ),
    "compare-blind": shown(
        "%%puq_compare --vary style=terse,florid --blind\nDescribe the sea in a {{style}} style.",
        "%puq_compare --vote A",
        "%puq_compare --votes",
    ),
    "grid": shown(
        REVIEWS,
        "%%puq_grid -m sandbox/chat -m sandbox/short --vary tone=kind,strict --over reviews -o study\n"
        "{{tone}}: {{text}}",
        "study.score(lambda answer: len(answer) % 2 == 0)",
        "study.show(3)",
        "study.compare('model')",
    ),
    "image": shown("%puq_image A red kite over green hills"),
    "images-2": shown("%puq_image -n 2 --size 1536x1024 A red kite over green hills"),
    "images-4": shown("%puq_image -n 4 A red kite over green hills"),
    "speech": shown("%puq_speak --voice alloy -o hello Hello, and welcome to the sandbox."),
    "speech-live": Surface(
        ("%puq_sandbox --pace 3", f"%puq_speak {'The cat sat on the mat. ' * 40}"), until="Receiving audio"
    ),
    "image-edited": shown(
        "%puq_sandbox --pace 0\n%puq_image -q -o kite A red kite", "%puq_image -a kite Make it night"
    ),
    "transcript": shown("%puq_transcribe --response-format verbose_json hello"),
    "recorder": shown("%puq_transcribe --record"),
    "fix": shown("1 / (len(answers) - 3)", "%puq_fix"),
    "hints": shown("len(5) + answers[0]", "%puq_fix --hint", "%puq_fix --hint", "%puq_fix --hint"),
    "models": shown("%puq_models", "%puq_models --kind image", "%puq_models nothing"),
    "chooser": shown("%puq_choose"),
    "chooser-search": Surface(("%puq_choose",), search="sho"),
    "usage": shown("%puq_usage"),
    "audit": shown(AUDITED, "%puq_audit audited.ipynb"),
    "status": shown("%puq", "%puq_balance", "%puq_sandbox status"),
    "help": shown("%puq_chat?", "%puq_usage?"),
    "cassette": shown(
        "%puq_cassette record lesson",
        "%puq_chat -q Hello",
        "%puq_cassette replay --pace 0 lesson",
        "%puq_cassette",
        "%puq_chat Hello",
        "%puq_chat Hello there",
        "%puq_cassette off",
    ),
    "errors": shown(
        "%puq_chat --modle sandbox/chat hello",
        "%puq_chat -m sandbox/shrt hello",
        "%puq_chat Tell me of {{topci}}",
        "%puq_image --size big A kite",
        "%puq_transcribe talk.mp3",
        "%puq_chat -m sandbox/forbidden hello",
        "%puq_chat -m sandbox/fail hello",
        "%puq_sandbox --fail 402\n%puq_chat hello",
        "%puq_sandbox --fail 0\n%config PuqMagics.chat_model = ''\n%puq_chat --no-such hello",
    ),
    "completion-model": Surface(("",), tab="%puq_chat -m "),
    "completion-options": Surface(("",), tab="%puq_chat --"),
    "completion-cell": Surface(("",), tab="%%puq_chat "),
    "completion-subcommands": Surface(("",), tab="%puq_sandbox "),
    "completion-voices": Surface(("",), tab="%puq_speak --voice "),
    "completion-variables": Surface(("",), tab="%%puq_chat\nTell me of {{"),
    "stream": Surface(("%puq_sandbox --pace 40", "%%puq_chat sandbox/tour\nA tour."), until="Lists"),
    "map-running": Surface(
        (
            f"%puq_sandbox --pace 8\n{REVIEWS}",
            "%%puq_map reviews --workers 1\nIs this {{text}} any good? {{stars}}",
        ),
        until="left",
    ),
    "compare-running": Surface(
        ("%puq_sandbox --pace 40", "%%puq_compare -m sandbox/tour -m sandbox/short\nWhat is a cell?"),
        until="Lists",
    ),
    "tools-asking": Surface(
        (WEATHER, "%puq_chat --tools weather Is it dry in Oslo and Bergen?"), until="weather(city="
    ),
    "stall": Surface(("%puq_sandbox --pace 0", "%puq_chat -m sandbox/stall hello"), until="without a word"),
    "waiting": Surface((SILENT_ROUTER, "%puq_chat -m some/model hello"), until="Waiting"),
    "waiting-image": Surface(("%puq_image -m some/image -n 4 hello",), until=" s"),
    "retry": Surface(
        ("%puq_sandbox --fail 503:9\n%config PuqMagics.max_retries = 9", "%puq_chat hello"),
        until="trying again",
    ),
    "answer-code": Surface(
        ("%puq_sandbox --fail 0", "%puq_chat -f code A function that counts words"), added_cells=1
    ),
    "policy": shown(  # the last one: a policy stays in force
        POLICY,
        "%puq_policy lesson.toml",
        "%puq_chat -m sandbox/short Hello",
        "%puq_chat Write the solution: return a + b",
        "%puq_image A kite",
        "%puq_chat Once more",
        "%puq",
    ),
}


def picture_frontend(frontend: Frontend, names: Sequence[str], out: Path) -> None:
    """Picture all surfaces in one front end, with a server, a kernel and a browser of its own."""
    start = monotonic()
    with (
        TemporaryDirectory() as home,
        serve(Path(home)) as server,
        browse(server.origin, Path(home) / "browser") as chromium,
        notebooks(server, chromium) as lab,
    ):
        picture_notebook(lab, frontend, names, out)
    print(f"{frontend}: {monotonic() - start:.0f} s", flush=True)


def picture_notebook(
    lab: Callable[..., LabNotebook], frontend: Frontend, names: Sequence[str], out: Path
) -> None:
    """Run all cells once, in one notebook, and picture them in each view."""
    sources = [SETUP]
    places, place = {}, 1
    for name in names:
        sources += SURFACES[name].cells
        places[name] = range(place, place + len(SURFACES[name].cells) + SURFACES[name].added_cells)
        place = places[name].stop
    notebook = lab(*sources, frontend=frontend)
    gallery = _Notebook(notebook, out / "shots")
    notebook.run_cell(0)
    settled = []
    for name in names:
        surface, cells = SURFACES[name], places[name]
        if surface.tab:
            gallery.picture_completion(name, surface.tab, cells[-1])
        elif surface.until:
            gallery.picture_live(name, surface.until, cells)
        else:
            gallery.run(cells)
            if surface.search:
                notebook.page.locator(".puq-chooser input").last.fill(surface.search)
            settled.append((name, cells))
    for view in gallery.views(height=_TALL, settle=True):
        for name, cells in settled:
            gallery.picture(name, cells, view)


class _Notebook:
    """A notebook that is pictured in several views, without running anything again."""

    def __init__(self, notebook: LabNotebook, folder: Path) -> None:
        self._notebook = notebook
        self._page = notebook.page
        self._folder = folder
        self._theme = ""
        if notebook.frontend == "lab":
            self._page.keyboard.press("Control+b")  # the sidebar

    def views(self, *, height: int = HEIGHT, settle: bool = False) -> Iterator[str]:
        """Show the notebook in one view after the other."""
        for theme in THEMES if self._theme != "dark" else reversed(THEMES):
            self._set_theme(theme)
            for width in WIDTHS:
                self._page.set_viewport_size({"width": width, "height": height})
                self._page.mouse.move(0, 0)  # hovers over nothing
                self._page.evaluate(_TWO_FRAMES)
                if settle:
                    with suppress(WaitTimeout):  # on a busy machine
                        self._notebook.wait_until_stable(timeout=_SETTLE_TIMEOUT)
                yield f"{width}-{theme}"

    def run(self, cells: Iterable[int]) -> None:
        """Run cells to their end; what they show is rendered when it is pictured."""
        for index in cells:
            self._notebook.run_cell(index, wait=False)
            self._notebook.wait_idle(rendered=False)

    def picture(self, name: str, cells: Sequence[int], view: str) -> None:
        for index in cells:
            self._page.evaluate(_BRING_INTO_VIEW, [self._notebook.path, index])
            self._notebook.screenshot(self._path(name, view, index), index)

    def picture_live(self, name: str, until: str, cells: Sequence[int]) -> None:
        """Picture a cell that is running, then stop it and picture what it leaves."""
        *before, last = cells
        self.run(before)
        self._notebook.run_cell(last, wait=False)
        try:
            self._notebook.wait_text(last, until, timeout=_LIVE_TIMEOUT)
        except WaitTimeout:
            print(f"{name}: {until!r} did not come")
        for view in self.views(height=_TALL):
            self.picture(name, [last], view)
        self._notebook.interrupt()
        self._notebook.wait_idle(rendered=False)
        self.picture(f"{name}-interrupted", [last], view)

    def picture_completion(self, name: str, text: str, index: int) -> None:
        editor = self._page.locator(".jp-CodeCell .cm-content").nth(index)
        popup = self._page.locator(".jp-Completer:not(.lm-mod-hidden)")
        for view in self.views():
            self._notebook.set_source(index, "")
            editor.scroll_into_view_if_needed()
            editor.click()
            self._page.keyboard.insert_text(text)
            self._page.keyboard.press("Tab")
            popup.wait_for()
            self._page.keyboard.press("ArrowDown")
            self._page.evaluate(_TWO_FRAMES)
            self._page.screenshot(path=self._path(name, view, index))
            self._page.keyboard.press("Escape")
        self._notebook.set_source(index, "")

    def _set_theme(self, theme: str) -> None:
        if theme == self._theme:
            return
        self._theme = theme
        self._page.evaluate(
            "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", THEMES[theme]
        )
        self._page.locator(f"body[data-jp-theme-light={str(theme == 'light').lower()}]").wait_for(
            state="attached"
        )

    def _path(self, name: str, view: str, index: int) -> Path:
        return self._folder / name / f"{self._notebook.frontend}-{view}-{index:03}.png"


# Sheets ----------------------------------------------------------------------------------------------------

_SHEET_STYLE = """
body { margin: 12px; background: #999; font: 14px sans-serif; width: max-content }
.sheet { display: grid; grid-template-columns: max-content max-content; gap: 12px; align-items: start }
figure { margin: 0 } figcaption { padding: 2px 6px; background: #ffd }
img { display: block; margin-bottom: 2px }
pre { margin: 0; padding: 6px; background: #1a1a1a; color: #ddd; font: 14px/17px "DejaVu Sans Mono", monospace }
"""


def write_sheets(out: Path) -> None:
    """Print a sheet for each surface that has pictures, and an index of all."""
    folders = sorted(path for path in (out / "shots").iterdir() if path.is_dir())
    with TemporaryDirectory() as home, browse("", Path(home)) as chromium:
        page = chromium.context.new_page()
        page.set_viewport_size({"width": 1400, "height": 900})
        for folder in folders:
            html = out / "shots" / f"{folder.name}.html"
            html.write_text(_sheet_html(folder), encoding="utf-8")
            page.goto(html.as_uri())
            page.locator("body").screenshot(path=out / f"{folder.name}.png")
    links = "".join(f"<h2>{f.name}</h2><img src='{f.name}.png' style='max-width: 100%'>" for f in folders)
    (out / "index.html").write_text(f"<!doctype html><title>Gallery</title>{links}", encoding="utf-8")


def _sheet_html(folder: Path) -> str:
    groups: dict[str, list[Path]] = {}
    for shot in sorted(folder.iterdir()):
        groups.setdefault(shot.stem.rsplit("-", 1)[0], []).append(shot)
    views = [
        f"{frontend}-{width}-{theme}"
        for frontend in get_args(Frontend)
        for width in WIDTHS
        for theme in THEMES
    ]
    order = [view for view in views if view in groups] + [name for name in groups if name not in views]
    figures = "".join(
        f"<figure><figcaption>{escape(f'{folder.name}: {name}')}</figcaption>{''.join(map(_figure, groups[name]))}"
        "</figure>"
        for name in order
    )
    return f"<!doctype html><meta charset=utf-8><style>{_SHEET_STYLE}</style><div class=sheet>{figures}</div>"


def _figure(shot: Path) -> str:
    if shot.suffix == ".html":
        return f"<pre>{shot.read_text(encoding='utf-8')}</pre>"
    return f"<img src='{escape(f'{shot.parent.name}/{shot.name}')}'>"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=lambda path: Path(path).resolve())
    known = {*SURFACES, *TERMINAL_SURFACES}
    parser.add_argument("--only", nargs="+", metavar="SURFACE", default=[], help="these surfaces alone")
    parser.add_argument("--frontend", choices=(*get_args(Frontend), "terminal"))
    args = parser.parse_args()
    if unknown := set(args.only) - known:
        parser.error(f"no surface {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    chosen = [name for name in SURFACES if not args.only or name in args.only]
    terminal = [name for name in TERMINAL_SURFACES if not args.only or name in args.only]
    (args.out / "shots").mkdir(parents=True, exist_ok=True)
    start = monotonic()
    with ThreadPoolExecutor() as pool:  # each waits most of the time
        jobs = [
            pool.submit(picture_frontend, frontend, chosen, args.out)
            for frontend in get_args(Frontend)
            if chosen and args.frontend in (None, frontend)
        ]
        if terminal and args.frontend in (None, "terminal"):
            jobs.append(pool.submit(picture_terminal, terminal, args.out / "shots"))
        for job in as_completed(jobs):
            job.result()
    write_sheets(args.out)
    print(f"{len(list(args.out.glob('*.png')))} sheets in {args.out}, {monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
