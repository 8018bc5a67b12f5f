"""Images, players and transcripts as MIME bundles.

HTML, because only there alternative text works and a player plays in a notebook that was opened again without
trust: with ``src`` on ``<audio>`` itself, and of styles and attributes only those that a front end's sanitiser
leaves. All words in it are untrusted, and escaped as those of Markdown are. Nothing in it is active.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from IPython.core.getipython import get_ipython

from puq_magics.outputs.markdown.feed import inline, plain
from puq_magics.outputs.results.footer import Footer

if TYPE_CHECKING:
    from puq_magics.core.media_types import MediaType
    from puq_magics.outputs.results.image import Picture
    from puq_magics.outputs.results.speech import SpeechResult
    from puq_magics.outputs.results.transcript import Spoken, TranscriptResult

Bundle = dict[str, str]

_MEGA = 1_000_000
#: CSS pixels of an image's longer side, by how many there are: as many as go into a row of JupyterLab's.
_LONGER_SIDE = {1: 640, 2: 400, 4: 400}
_ONE_OF_MANY = 260
#: Characters of an alternative text, and of words that are shown unfolded.
_LONGEST_ALT, _LONGEST_SHOWN = 1_000, 600
_LONGEST_LABEL = 100
#: Characters of a transcript that are painted again and again while it grows: its last ones.
_LONGEST_TAIL = 3_000
_MOST_SEGMENTS = 2_000
#: Of an image that others stand beside. (In a flexible box they would be stretched to the height of the highest.)
_BESIDE = "max-width: 100%; display: inline-block; vertical-align: top; margin: 0 8px 8px 0"


def pictures_bundle(
    pictures: Sequence[Picture], embedded: Sequence[bool], footer: Footer, limit: float
) -> Bundle:
    """Images in a row that wraps, each once; those that are not to be ``embedded`` linked where they are saved.

    ``limit`` is the one that the others are beyond, in megabytes.
    """
    shown: list[str] = []
    told, plainly = [], []
    for n, (picture, embed) in enumerate(zip(pictures, embedded, strict=True), 1):
        counted = f"{n} of {len(pictures)}: " if len(pictures) > 1 else ""
        source = _source(picture.data, picture.type, picture.path, embed=embed)
        if source:
            head = _image_head(picture, counted, _LONGER_SIDE.get(len(pictures), _ONE_OF_MANY))
            shown += [head, source, '">']
        if not embed:
            told.append(_where(picture.path, len(picture.data), limit, bool(source), counted))
        plainly.append(_picture_plain(picture, counted))
    saved = [
        picture.path for picture, embed in zip(pictures, embedded, strict=True) if embed and picture.path
    ]
    below = [*(f"<p>{words}</p>" for words in told), _saved(saved), *_revised(pictures), footer_html(footer)]
    return {
        "text/html": _above(["<div>", *shown, "</div>"] if shown else [], below),
        "text/plain": footer.below_plain("\n".join(plainly)),
    }


def speech_bundle(result: SpeechResult, footer: Footer) -> Bundle:
    """A player with the words below it; audio beyond the result's ``max_embed_mb`` linked where it is saved."""
    size, embed = len(result.audio), not result.beyond_limit()
    source = _source(result.audio, result.type, result.path, embed=embed) if size else ""
    label = escape(" ".join(plain(f"Speech: {result.text[:_LONGEST_ALT]}").split())[:_LONGEST_LABEL])
    player = (
        f'<audio controls preload="metadata" title="{label}" aria-label="{label}"'
        ' style="display: block; width: 100%; max-width: 540px; margin-bottom: 6px" src="'
    )
    html = []
    if not embed:
        html.append(f"<p>{_where(result.path, size, result.max_embed_mb, bool(source))}</p>")
    html += [_words("What is said", result.text), _saved([result.path] if embed and result.path else [])]
    html.append(footer_html(footer))
    where = shown_path(result.path) if result.path else f"{result.format.upper()}, {megabytes(size)}"
    said = f"[speech: {where if size else 'nothing came'}]\n{plain(result.text)}".rstrip()
    shown = _above([player, source, '"></audio>'] if source else [], html)
    return {"text/html": shown, "text/plain": footer.below_plain(said)}


def transcript_bundle(result: TranscriptResult, footer: Footer) -> Bundle:
    """The words as paragraphs, and their times in a folded table."""
    parts = [paragraphs(result.text), _segments(result.segments), footer_html(footer)]
    html = "\n".join(part for part in parts if part)
    return {"text/html": html, "text/plain": footer.below_plain(plain(result.text))}


def growing_bundle(text: str, status: str) -> Bundle:
    """The end of a transcript that is still growing, and how far it is."""
    shown = text
    if len(text) > _LONGEST_TAIL:
        start = text.find(" ", len(text) - _LONGEST_TAIL)
        shown = f"…{text[start if start >= 0 else -_LONGEST_TAIL :]}"
    return {
        "text/html": f"{paragraphs(shown)}\n<p><em>{inline(status)}</em></p>",
        "text/plain": f"{plain(shown)}\n[{plain(status)}]",
    }


def paragraphs(text: str) -> str:
    """Untrusted words as they stand, in paragraphs of safe HTML."""
    blocks: list[list[str]] = [[]]
    for line in plain(text).splitlines():
        if line.strip():
            blocks[-1].append(inline(line, len(line)))
        elif blocks[-1]:
            blocks.append([])
    return "\n".join(f"<p>{'<br>'.join(lines)}</p>" for lines in blocks if lines)


def footer_html(footer: Footer) -> str:
    """The footer as an answer in Markdown has it."""
    parts = [f"<strong>⚠ {inline(words)}</strong>" for words in footer.warnings]
    parts += [inline(fact) for fact in footer.facts]
    return f"<p><sub>{' · '.join(parts)}</sub></p>" if parts else ""


def relative_link(path: Path) -> str | None:
    """The URL of a file as an output of the notebook names it; None for one that is not below its folder."""
    relative = _below(path, notebook_folder())
    return quote(relative.as_posix()) if relative is not None else None


def shown_path(path: Path) -> str:
    """A path for people, as plain text: without the folders that go without saying, or that say who they are."""
    below, home = _below(path, notebook_folder()), Path("~").expanduser()
    private = None if below or len(home.parts) < 2 else _below(path, home)
    return " ".join(plain(str(below or (Path("~") / private if private else path))).split())


def _below(path: Path, folder: Path) -> Path | None:
    """The path as seen from a folder; None if it is not in there."""
    try:
        return (path.parent.resolve() / path.name).relative_to(folder.resolve())
    except ValueError:
        return None


def megabytes(size: float) -> str:
    """A size in words: ``980 bytes``, ``51 kB``, ``2.7 MB``."""
    if size < 1000:
        return f"{size:.0f} bytes"
    if size < 999_500:
        return f"{size / 1000:.0f} kB"
    return f"{size / _MEGA:,.1f} MB"


def clock(seconds: float) -> str:
    """A length of time: ``4.2 s``, ``3:05 min``, ``1:03:05 h``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def _above(media: Sequence[str], below: Iterable[str]) -> str:
    """Fragments with media in them, and parts below these; joined once, as each copy of media counts."""
    lines = [part for part in below if part]
    return "".join([*media, *(["\n"] if media and lines else []), "\n".join(lines)])


def _source(data: bytes, kind: MediaType, path: Path | None, *, embed: bool) -> str:
    """What to put into ``src``: the data itself, or a link to its file; empty without one. Safe in HTML."""
    if embed:
        return f"data:{kind.mime};base64,{b64encode(data).decode('ascii')}"
    link = relative_link(path) if path is not None and path.is_file() else None
    return escape(link or "")


def _where(path: Path | None, size: int, limit: float, linked: bool, counted: str = "") -> str:
    """Why data is not in the notebook, and where it is instead; safe HTML."""
    why = f"{megabytes(size)}, more than the {limit:g} MB that a display holds (max_embed_mb)"
    if path is None:
        return f"{counted}{why}: not shown, and not saved. <code>.save(&quot;…&quot;)</code> writes it."
    if not linked:
        outside = "not shown here, as it was saved outside of the notebook&#39;s folder"
        return f"{counted}{why}: {outside}: {_link(path)}"
    return f"{counted}{_link(path)} is {why}: keep the file beside the notebook."


def _saved(paths: Sequence[Path]) -> str:
    return f"<p>Saved as {', '.join(map(_link, paths))}.</p>" if paths else ""


def _link(path: Path) -> str:
    """A file's name; as a link, where the notebook can have one."""
    name, link = inline(shown_path(path), 1_000), relative_link(path)
    return name if link is None else f'<a href="{escape(link)}">{name}</a>'


def _image_head(picture: Picture, counted: str, limit: int) -> str:
    """The tag of an image up to its source."""
    words = " ".join(plain((picture.prompt or "an image")[:_LONGEST_ALT]).split())
    longer = max(picture.width, picture.height)
    size, style = "", _BESIDE
    if longer:
        width = max(1, round(picture.width * min(1, limit / longer)))
        size = f' width="{picture.width}" height="{picture.height}"'
        style = f"width: {width}px; height: auto; {_BESIDE}"
    return f'<img alt="{escape(counted + words)}"{size} style="{style}" src="'


def _picture_plain(picture: Picture, counted: str) -> str:
    words = f", “{' '.join(plain(picture.prompt[:_LONGEST_ALT]).split())}”" if picture.prompt else ""
    saved = f", {shown_path(picture.path)}" if picture.path else ""
    return f"[image {counted}{picture}{words}{saved}]"


def _revised(pictures: Iterable[Picture]) -> list[str]:
    """The prompts that the model changed, each once."""
    changed = dict.fromkeys(each.revised_prompt for each in pictures if each.revised_prompt != each.prompt)
    return [_folded("Revised prompt", paragraphs(words)) for words in changed if words.strip()]


def _words(title: str, text: str) -> str:
    safe = paragraphs(text)
    return _folded(title, safe) if len(text) > _LONGEST_SHOWN else safe


def _folded(title: str, safe: str) -> str:
    return f"<details><summary>{title}</summary>\n{safe}\n</details>"


def _segments(segments: Sequence[Spoken]) -> str:
    if not segments:
        return ""
    rows = "".join(
        f"<tr><td>{_time(each.start)}</td><td>{_time(each.end)}</td>"
        f'<td style="text-align: left">{inline(each.text, len(each.text))}</td></tr>\n'
        for each in segments[:_MOST_SEGMENTS]
    )
    more = len(segments) - _MOST_SEGMENTS
    rest = f"<p>… and {more:,} more in <code>.segments</code></p>" if more > 0 else ""
    title = (
        "1 segment with its times" if len(segments) == 1 else f"{len(segments):,} segments with their times"
    )
    head = '<thead><tr><th>from</th><th>to</th><th style="text-align: left">words</th></tr></thead>'
    return _folded(title, f"<table>{head}<tbody>\n{rows}</tbody></table>{rest}")


def _time(seconds: float) -> str:
    minutes, tenths = divmod(round(max(0.0, seconds) * 10), 600)
    return f"{minutes}:{tenths / 10:04.1f}"


def notebook_folder() -> Path:
    """The folder that links in an output start from: where the kernel started, whatever ``%cd`` did since.

    In a terminal, and without a shell, the working folder.
    """
    shell = get_ipython()
    started = shell.user_ns.get("_dh") if shell is not None and hasattr(shell, "kernel") else None
    return Path(started[0]) if started else Path.cwd()
