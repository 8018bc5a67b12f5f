"""Sources of an answer: the pages and files that its model names beside the text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from puq_magics.core.text import one_line

#: Members that list sources, and what an entry has as its address and its title. The numbers that a text quotes,
#: such as [2], are places in ``citations``.
_LISTS = ("citations", "annotations", "search_results", "sources")
_WRAPPERS = ("url_citation", "file_citation", "file_path", "web", "source", "document")
_ADDRESSES = ("url", "uri", "link", "href")
_TITLES = ("title", "name", "filename", "document_title", "filepath", "file_id")
_MAX_SHOWN = 100
_MAX_ADDRESS_CHARS = 2_000


class Source(NamedTuple):
    """A page or a file; either member may be empty."""

    title: str
    url: str


def find_sources(answer: Mapping[str, Any], message: Mapping[str, Any]) -> tuple[Source, ...]:
    """Return the sources of an answer's JSON and its first message, each once, in the order of the first list."""
    lists = [list(_read_list(value)) for value in _iter_lists(answer, message)]
    titles = {source.url: source.title for sources in reversed(lists) for source in sources if source.title}
    first = next(filter(None, lists), [])
    return tuple(dict.fromkeys(Source(each.title or titles.get(each.url, ""), each.url) for each in first))


def _iter_lists(answer: Mapping[str, Any], message: Mapping[str, Any]) -> Iterator[list[Any]]:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    context = message.get("context")
    for place in (message, answer, context if isinstance(context, Mapping) else {}):
        yield from (value for name in _LISTS if isinstance(value := place.get(name), list))
    of_parts = [part[name] for name in _LISTS for part in parts if isinstance(part, Mapping) and name in part]
    yield [entry for value in of_parts if isinstance(value, list) for entry in value]


def _read_list(entries: list[Any]) -> Iterator[Source]:
    for entry in entries:
        if isinstance(entry, str):
            source = Source("", entry) if entry.startswith("http") else Source(entry, "")
        elif isinstance(entry, Mapping):
            places = [*(each for name in _WRAPPERS if isinstance(each := entry.get(name), Mapping)), entry]
            source = Source(_first_text(_TITLES, places), _first_text(_ADDRESSES, places))
        else:
            continue
        if source.title.strip() or source.url.strip():
            yield source


def _first_text(names: Sequence[str], places: Sequence[Mapping[str, Any]]) -> str:
    values = (place.get(name) for place in places for name in names)
    return next((value for value in values if isinstance(value, str) and value), "")


def sources_to_markdown(sources: Sequence[Source]) -> str:
    """Return a folded, numbered list of the sources as safe Markdown; empty without any."""
    from puq_magics.outputs.markdown.feed import fold, list_links

    lines = list_links(sources[:_MAX_SHOWN])
    listed = "\n".join([*lines, *_rest(sources)])
    return fold(f"Sources ({len(sources):,})", listed) if sources else ""


def sources_to_text(sources: Sequence[Source]) -> str:
    """Return a numbered list of the sources as plain text; empty without any."""
    from puq_magics.outputs.control_chars import strip_control_chars

    lines = [
        f"{number}. {one_line(': '.join(filter(None, source)), _MAX_ADDRESS_CHARS)}"
        for number, source in enumerate(sources[:_MAX_SHOWN], 1)
    ]
    return strip_control_chars("\n".join(["Sources:", *lines, *_rest(sources)])) if sources else ""


def _rest(sources: Sequence[Source]) -> list[str]:
    left_out = len(sources) - _MAX_SHOWN
    return [f"\n{left_out:,} more are in .raw"] if left_out > 0 else []
