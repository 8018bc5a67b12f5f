"""Link targets of an untrusted writer: only web pages, mail and places on this page."""

import re
from urllib.parse import quote

from puq_magics.outputs.markdown.code import PUNCTUATION_ENTITIES

_URL = r"(?:[^\s()<>]|\([^\s()<>]{0,500}\)){0,2000}"
_TITLE = r"""(?:"[^"\\\n]{0,300}"|'[^'\\\n]{0,300}')"""

#: ``(target "title")`` right after ``]``.
_INLINE = re.compile(
    rf"\([ \n]{{0,20}}(?:<([^\s<>]{{0,2000}})>|({_URL}))(?:[ \n]{{1,20}}({_TITLE}))?[ \n]{{0,20}}\)"
)
#: The same, unfinished.
_INLINE_SO_FAR = re.compile(
    rf"\([ \n]{{0,20}}(?:<[^\s<>]{{0,2000}}>?|{_URL}(?:\([^\s()<>]{{0,500}})?)"
    r"""(?:[ \n]{1,20}(?:"[^"\\\n]{0,300}"?|'[^'\\\n]{0,300}'?)?)?[ \n]{0,20}\Z"""
)
_DEFINITION = re.compile(
    rf"[ ]{{0,3}}\[([^\[\]\\`$<>&@!~^|\n][^\[\]\\`$<>&@!~|\n]{{0,100}})\]:[ \t]*"
    rf"(?:<([^\s<>]{{1,2000}})>|([^\s<>]{{1,2000}}))(?:[ \t]+({_TITLE}))?[ \t]*\Z"
)
_DEFINITION_SO_FAR = re.compile(r"[ ]{0,3}\[[^\[\]\n]{0,100}\]:[^\n]{0,2000}\Z")
_ALLOWED = re.compile(r"(?:https?://[^/\s]|mailto:[^/\s]|#)", re.I)
_ENCODE = re.compile(
    r"[^A-Za-z0-9\-._~:/?#&'+,;=%@!\u00a1-\U0010ffff]|@(?=@)|[\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]"
)


def safe_url(url: str) -> str | None:
    """Return the link target in a form that every parser takes as a whole, or None when it is not allowed."""
    if not _ALLOWED.match(url):
        return None
    return _ENCODE.sub(lambda found: quote(found[0], safe=""), url)


def _title(quoted: str | None) -> str:
    return f' "{quoted[1:-1].translate(PUNCTUATION_ENTITIES)}"' if quoted else ""


def parse_target(text: str, position: int) -> tuple[str, int] | None:
    """Read ``(target "title")`` at ``position``; return its safe form and where it ends, None if it is not one."""
    match = _INLINE.match(text, position)
    if match is None:
        return None
    url = safe_url(match[1] if match[1] is not None else match[2])
    return None if url is None else (f"({url}{_title(match[3])})", match.end())


def is_unfinished_target(text: str, position: int) -> bool:
    """Return True if the text ends inside what may become ``(target "title")``."""
    return _INLINE_SO_FAR.match(text, position) is not None


def safe_definition(line: str) -> str | None:
    """Return the safe form of a link reference definition (``[label]: target "title"``), None if it is not one."""
    match = _DEFINITION.match(line)
    if match is None:
        return None
    url = safe_url(match[2] or match[3])
    return None if url is None else f"[{match[1]}]: {url}{_title(match[4])}"


def is_unfinished_definition(line: str) -> bool:
    """Return True if the line may become a link reference definition."""
    return _DEFINITION_SO_FAR.match(line) is not None
