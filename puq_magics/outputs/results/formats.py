"""Display formats of an answer: text, code, JSON or HTML; and its data as a table.

Each is safe for any text: text and JSON are shown literally, code in blocks that every parser reads as code, and HTML
without anything that runs, loads or navigates except by a click on a plain link.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from puq_magics.core.errors import ConfigurationError, InputError
from puq_magics.core.fences import OpenFence
from puq_magics.outputs.control_chars import strip_control_chars
from puq_magics.outputs.markdown import code as markdown_code
from puq_magics.outputs.markdown.feed import fold
from puq_magics.outputs.plain_text import plain_text_bundle
from puq_magics.outputs.results.footer import Footer
from puq_magics.outputs.tables.table import missing_package_error

if TYPE_CHECKING:
    from pandas import DataFrame

Format: TypeAlias = Literal["text", "code", "json", "html"]

#: Elements that only say how words look or hang together. No style, no class, no id: nothing can lie over the page.
_ALLOWED_TAGS = """
a abbr b blockquote br caption cite code col colgroup dd del details dfn div dl dt em figcaption figure
h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre q s samp section small span strong sub summary sup
table tbody td tfoot th thead tr u ul var
"""
_ALLOWED_ATTRIBUTES = {
    "*": {"title", "lang", "dir"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "ol": {"start", "reversed"},
    "td": {"colspan", "rowspan", "align"},
    "th": {"colspan", "rowspan", "align", "scope"},
    "details": {"open"},
}
#: Pictures come with the answer or not at all: one that is loaded tells its server who reads.
_DATA_IMAGE_URL = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]*\Z", re.I)
_ALLOWED_LINK = re.compile(r"(?:https?://|mailto:)", re.I)
_TAG = re.compile(r'(<(?:[^">]|"[^"]*")*>)')
#: A picture of which nothing is left to see.
_EMPTY_IMG = re.compile(r"<img(?![^>]*\s(?:src|alt)=)[^>]*>")
#: What the front end's search for formulas looks for; formulas can hold links that run code.
_MATH_DELIMITER = re.compile(r"[$\\]")


def check_format_support(name: str) -> None:
    """Raise ConfigurationError where a format cannot be shown here: before the call, as the answer costs."""
    if name == "html":
        _sanitizer()


# -- bundles


def text_bundle(text: str, footer: Footer) -> dict[str, str]:
    """Show the answer literally, in a monospaced font: no Markdown, no formulas."""
    return plain_text_bundle(footer.append_to_text(strip_control_chars(text)))


def code_bundle(
    blocks: Sequence[tuple[str, str]], footer: Footer, attempts: Sequence[str] = ()
) -> dict[str, str]:
    """Blocks of code, each a language (or "") and its lines; earlier ``attempts`` are folded below them."""
    clean = [(markdown_code.parse_language(language), strip_control_chars(code)) for language, code in blocks]
    fences = [_fenced(language, code) for language, code in clean]
    folded = [
        fold(f"Attempt {number}, which was not valid", _fenced("", strip_control_chars(text)))
        for number, text in enumerate(attempts, 1)
    ]
    return {
        "text/markdown": footer.append_to_markdown("\n\n".join([*fences, *folded])),
        "text/plain": footer.append_to_text("\n\n".join(code for _, code in clean)),
    }


def _fenced(language: str, code: str) -> str:
    return "\n".join(markdown_code.code_block(language, code.split("\n")))


def json_bundle(data: Any, footer: Footer, attempts: Sequence[str] = ()) -> dict[str, str]:
    """Data as JSON on several lines."""
    return code_bundle([("json", format_json(data))], footer, attempts)


def html_bundle(text: str, footer: Footer) -> dict[str, str]:
    """An answer's HTML without all that acts. Raises ConfigurationError without a sanitiser."""
    line = footer.to_text()
    below = f"<p><small>{_escape_math(escape(line))}</small></p>" if line else ""
    return {
        "text/html": f"<div>{sanitize_html(text)}</div>{below}",
        "text/plain": footer.append_to_text(strip_control_chars(text)),
    }


def format_json(data: Any) -> str:
    """JSON with two spaces a level, all letters as they are."""
    # Half a surrogate pair has no UTF-8; a message of the kernel could not be sent.
    return json.dumps(data, indent=2, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8")


def clean_cell_source(code: str) -> str:
    """Return code for a cell, without characters that make it look different from what it runs."""
    return strip_control_chars(code).strip("\n")


# -- HTML


def _sanitizer() -> Any:
    try:
        import nh3
    except ImportError:
        raise ConfigurationError(
            "showing an answer's HTML needs nh3, which removes active content.",
            hint="Install it: %pip install 'puq_magics[html]'; or ask for -f text.",
        ) from None
    return nh3


def sanitize_html(text: str) -> str:
    """Return HTML of an untrusted writer of which nothing active remains.

    No scripts, styles, forms, frames, pictures from elsewhere, formulas, or attributes beyond a few; links lead to
    https, http and mail addresses only. Raises ConfigurationError without the package nh3.
    """
    clean: str = _sanitizer().clean(
        strip_outer_fence(strip_control_chars(text)),
        tags=set(_ALLOWED_TAGS.split()),
        clean_content_tags={"script", "style", "template", "noscript", "title", "svg", "math"},
        attributes={tag: set(names) for tag, names in _ALLOWED_ATTRIBUTES.items()},
        attribute_filter=_filter_attribute,
        url_schemes={"http", "https", "mailto", "data"},
        strip_comments=True,
        link_rel="noopener noreferrer nofollow",
    )
    parts = _TAG.split(clean)  # every second one is a tag
    return "".join(_EMPTY_IMG.sub("", part) if n % 2 else _escape_math(part) for n, part in enumerate(parts))


def strip_outer_fence(text: str) -> str:
    """Return the HTML of an answer that is one fenced block; any other answer as it is."""
    lines = text.strip().split("\n")
    fence = OpenFence.from_line(lines[0])
    if fence is None or fence.language not in ("", "html", "xhtml") or len(lines) < 2:
        return text
    closing = next((n for n, line in enumerate(lines[1:], 1) if fence.closed_by(line)), None)
    return "\n".join(lines[1:-1]) if closing == len(lines) - 1 else text


def _filter_attribute(_tag: str, name: str, value: str) -> str | None:
    if name == "src":
        return value if _DATA_IMAGE_URL.match(value) else None
    if name == "href":
        return value if _ALLOWED_LINK.match(value) else None
    if name in ("width", "height", "colspan", "rowspan", "start"):
        return value if re.fullmatch(r"\d{1,4}", value) else None
    return value


def _escape_math(text: str) -> str:
    """Escape text between tags so that no formula is found in it: a tag separates each delimiter."""
    return _MATH_DELIMITER.sub(lambda match: f"<span>&#{ord(match[0])};</span>", text)


# -- tables


def json_to_dataframe(data: Any) -> DataFrame:
    """Return JSON data as a pandas DataFrame.

    A list of objects gives a row each; an object whose values are all lists a column each; an object that holds one
    list of objects and nothing else that list; any other object one row; a list of values one column, ``value``.
    Objects within a row become columns like ``address.city``. Raises `InputError` for what is no table, and
    ConfigurationError without pandas.
    """
    try:
        from pandas import DataFrame, json_normalize
    except ImportError:
        raise missing_package_error("pandas", "A table") from None
    if isinstance(data, Mapping):
        values = list(data.values())
        if len(values) == 1 and _is_list_of_objects(values[0]):
            data = values[0]
        elif values and _are_equal_columns(values):
            return DataFrame(dict(data))
        else:
            data = [data]
    if not isinstance(data, list):
        raise InputError(
            f"A {type(data).__name__} is no table.",
            hint="Ask for a list of objects: --schema '[name, age int]'.",
        )
    if _is_list_of_objects(data):
        return json_normalize(data)
    if data and all(isinstance(row, list) for row in data):
        return DataFrame(data)
    return DataFrame({"value": data})


def _is_list_of_objects(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _are_equal_columns(values: Sequence[object]) -> bool:
    """True for lists of the same length that contain no objects."""
    lists = [value for value in values if isinstance(value, list) and not _is_list_of_objects(value)]
    return len(lists) == len(values) and len({len(column) for column in lists}) == 1
