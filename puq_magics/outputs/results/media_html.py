"""Images, players and transcripts as MIME bundles.

HTML, because only there alternative text works and a player plays in a reopened, untrusted notebook: with ``src`` on
``<audio>`` itself, and only with styles and attributes that a front end's sanitiser keeps. All text in it is
untrusted, and escaped as in Markdown. Nothing in it is active.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from puq_magics.core.text import format_size
from puq_magics.outputs.control_chars import strip_control_chars
from puq_magics.outputs.markdown.feed import escape_inline
from puq_magics.outputs.paths import display_path, relative_link
from puq_magics.outputs.results.footer import Footer, escape_fact
from puq_magics.outputs.results.print_image import PrintableImage, print_bundle

if TYPE_CHECKING:
    from puq_magics.core.media_types import MediaType
    from puq_magics.outputs.results.base import SegmentLike

MimeBundle = dict[str, str]

#: CSS pixels of an image's longer side, by how many there are: as many as go into a row of JupyterLab's.
_MAX_SIDE_PX = {1: 640, 2: 400, 4: 400}
_MAX_SIDE_PX_OF_MANY = 260
#: Characters of an alternative text, and of words that are shown unfolded.
_MAX_ALT_CHARS, _MAX_EXPANDED_CHARS = 1_000, 600
_MAX_LABEL_CHARS = 100
#: Characters of a transcript that are painted again and again while it grows: its last ones.
_MAX_TAIL_CHARS = 3_000
_MAX_SEGMENTS = 2_000
#: Shares of the row that an image may take: two stand in a row, in a narrow one too.
_MAX_WIDTH = {2: "47%", 4: "47%"}
#: Of an image that others stand beside. (In a flexible box they would be stretched to the height of the highest.)
_IMAGE_STYLE = "display: inline-block; vertical-align: top; margin: 0 8px 8px 0"


class _Image(PrintableImage, Protocol):
    """Fields of an image that are shown."""

    path: Path | None
    prompt: str
    revised_prompt: str


def images_bundle(
    images: Sequence[_Image], is_embedded: Sequence[bool], footer: Footer, limit: float
) -> MimeBundle:
    """Return images in a wrapping row; those that are not embedded are linked to their file.

    ``limit`` is the size above which images are not embedded, in megabytes.
    """
    printed = print_bundle([image for image, embed in zip(images, is_embedded, strict=True) if embed])
    shown: list[str] = []
    notices, text_lines = [], []
    for n, (image, embed) in enumerate(zip(images, is_embedded, strict=True), 1):
        position = f"{n} of {len(images)}: " if len(images) > 1 else ""
        source = _source_url(image.data, image.type, image.path, embed=embed)
        if source:
            head = _img_tag_start(image, position, len(images))
            shown += [head, source, '">']
        if not embed:
            notices.append(_describe_location(image.path, len(image.data), limit, bool(source), position))
        text_lines.append(_image_text(image, position))
    saved = [image.path for image, embed in zip(images, is_embedded, strict=True) if embed and image.path]
    below = [
        *(f"<p>{words}</p>" for words in notices),
        _saved_paths_html(saved),
        *_revised_prompts(images),
        footer_html(footer),
    ]
    return {
        "text/html": _join_html(["<div>", *shown, "</div>"] if shown else [], below),
        **printed,
        "text/plain": footer.append_to_text("\n".join(text_lines)),
    }


def speech_bundle(
    audio: bytes,
    kind: MediaType,
    text: str,
    path: Path | None,
    *,
    embed: bool,
    max_embed_mb: float,
    footer: Footer,
) -> MimeBundle:
    """Return a player with the text below it; audio that is not embedded is linked to its file."""
    source = _source_url(audio, kind, path, embed=embed) if audio else ""
    label = speech_label(text)
    player = (
        f'<audio controls preload="metadata" title="{escape(label)}" aria-label="{escape(label)}"'
        ' style="display: block; width: 100%; max-width: 540px; margin-bottom: 6px" src="'
    )
    html = []
    if not embed:
        html.append(f"<p>{_describe_location(path, len(audio), max_embed_mb, bool(source))}</p>")
    html += [_text_html("What is said", text), _saved_paths_html([path] if embed and path else [])]
    html.append(footer_html(footer))
    where = display_path(path) if path else f"{kind.format.upper()}, {format_size(len(audio))}"
    plain = f"[speech: {where if audio else 'nothing came'}]\n{strip_control_chars(text)}".rstrip()
    shown = _join_html([player, source, '"></audio>'] if source else [], html)
    return {"text/html": shown, "text/plain": footer.append_to_text(plain)}


def speech_label(text: str) -> str:
    """Return the label of a player, as plain text on one line."""
    return " ".join(strip_control_chars(f"Speech: {text[:_MAX_ALT_CHARS]}").split())[:_MAX_LABEL_CHARS]


def transcript_bundle(text: str, segments: Sequence[SegmentLike], footer: Footer) -> MimeBundle:
    """Return the text as paragraphs, and the timestamps in a folded table."""
    parts = [paragraphs(text), _segments_table(segments), footer_html(footer)]
    html = "\n".join(part for part in parts if part)
    return {"text/html": html, "text/plain": footer.append_to_text(strip_control_chars(text))}


def partial_transcript_bundle(text: str, status: str) -> MimeBundle:
    """The end of a transcript that is still growing, and how far it is."""
    shown = text
    if len(text) > _MAX_TAIL_CHARS:
        start = text.find(" ", len(text) - _MAX_TAIL_CHARS)
        shown = f"…{text[start if start >= 0 else -_MAX_TAIL_CHARS :]}"
    return {
        "text/html": f"{paragraphs(shown)}\n<p><em>{escape_inline(status)}</em></p>",
        "text/plain": f"{strip_control_chars(shown)}\n[{strip_control_chars(status)}]",
    }


def paragraphs(text: str) -> str:
    """Return untrusted text literally, in paragraphs of safe HTML."""
    blocks: list[list[str]] = [[]]
    for line in strip_control_chars(text).splitlines():
        if line.strip():
            blocks[-1].append(escape_inline(line, len(line)))
        elif blocks[-1]:
            blocks.append([])
    return "\n".join(f"<p>{'<br>'.join(lines)}</p>" for lines in blocks if lines)


def footer_html(footer: Footer) -> str:
    """The footer as an answer in Markdown has it."""
    parts = [f"<strong>⚠ {escape_fact(words)}</strong>" for words in footer.warnings]
    parts += [escape_fact(fact) for fact in footer.facts]
    return f"<p><sub>{' · '.join(parts)}</sub></p>" if parts else ""


def format_duration(seconds: float) -> str:
    """A length of time: ``4.2 s``, ``3:05 min``, ``1:03:05 h``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def _join_html(media: Sequence[str], below: Iterable[str]) -> str:
    """Fragments with media in them, and parts below these; joined once, as each copy of media counts."""
    lines = [part for part in below if part]
    return "".join([*media, *(["\n"] if media and lines else []), "\n".join(lines)])


def _source_url(data: bytes, kind: MediaType, path: Path | None, *, embed: bool) -> str:
    """Return the ``src``: a data URL, or a link to the file; empty without one. Safe in HTML."""
    if embed:
        return f"data:{kind.mime};base64,{b64encode(data).decode('ascii')}"
    link = relative_link(path) if path is not None and path.is_file() else None
    return escape(link or "")


def _describe_location(path: Path | None, size: int, limit: float, linked: bool, position: str = "") -> str:
    """Explain why data is not embedded and where it is; safe HTML."""
    why = f"{format_size(size)}, more than the {limit:g} MB that a display holds (max_embed_mb)"
    if path is None:
        return f"{position}{why}: not shown, and not saved. <code>.save(&quot;…&quot;)</code> writes it."
    if not linked:
        outside = "not shown here, as it was saved outside of the notebook&#39;s folder"
        return f"{position}{why}: {outside}: {_file_link(path)}"
    return f"{position}{_file_link(path)} is {why}: it is linked, not embedded; keep it in the notebook&#39;s folder."


def _saved_paths_html(paths: Sequence[Path]) -> str:
    return f"<p>Saved as {', '.join(map(_file_link, paths))}.</p>" if paths else ""


def _file_link(path: Path) -> str:
    """A file's name; as a link, where the notebook can have one."""
    name, link = escape_inline(display_path(path), 1_000), relative_link(path)
    return name if link is None else f'<a href="{escape(link)}">{name}</a>'


def _img_tag_start(image: _Image, position: str, number: int) -> str:
    """The tag of one of so many images, up to its source."""
    limit = _MAX_SIDE_PX.get(number, _MAX_SIDE_PX_OF_MANY)
    words = " ".join(strip_control_chars((image.prompt or "an image")[:_MAX_ALT_CHARS]).split())
    longer = max(image.width, image.height)
    size, style = "", f"max-width: {_MAX_WIDTH.get(number, '100%')}; {_IMAGE_STYLE}"
    if longer:
        width = max(1, round(image.width * min(1, limit / longer)))
        size = f' width="{image.width}" height="{image.height}"'
        style = f"width: {width}px; height: auto; {style}"
    return f'<img alt="{escape(position + words)}"{size} style="{style}" src="'


def _image_text(image: _Image, position: str) -> str:
    words = (
        f", “{' '.join(strip_control_chars(image.prompt[:_MAX_ALT_CHARS]).split())}”" if image.prompt else ""
    )
    saved = f", {display_path(image.path)}" if image.path else ""
    return f"[image {position}{image}{words}{saved}]"


def _revised_prompts(images: Iterable[_Image]) -> list[str]:
    """The prompts that the model changed, each once."""
    changed = dict.fromkeys(each.revised_prompt for each in images if each.revised_prompt != each.prompt)
    return [_details("Revised prompt", paragraphs(words)) for words in changed if words.strip()]


def _text_html(title: str, text: str) -> str:
    safe = paragraphs(text)
    return _details(title, safe) if len(text) > _MAX_EXPANDED_CHARS else safe


def _details(title: str, safe: str) -> str:
    return f"<details><summary>{title}</summary>\n{safe}\n</details>"


def _segments_table(segments: Sequence[SegmentLike]) -> str:
    if not segments:
        return ""
    rows = "".join(
        f"<tr><td>{_format_timestamp(each.start)}</td><td>{_format_timestamp(each.end)}</td>"
        f'<td style="text-align: left">{escape_inline(each.text, len(each.text))}</td></tr>\n'
        for each in segments[:_MAX_SEGMENTS]
    )
    more = len(segments) - _MAX_SEGMENTS
    rest = f"<p>… and {more:,} more in <code>.segments</code></p>" if more > 0 else ""
    title = (
        "1 segment with its times" if len(segments) == 1 else f"{len(segments):,} segments with their times"
    )
    head = '<thead><tr><th>from</th><th>to</th><th style="text-align: left">words</th></tr></thead>'
    return _details(title, f"<table>{head}<tbody>\n{rows}</tbody></table>{rest}")


def _format_timestamp(seconds: float) -> str:
    minutes, tenths = divmod(round(max(0.0, seconds) * 10), 600)
    return f"{minutes}:{tenths / 10:04.1f}"
