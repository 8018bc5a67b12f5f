"""Untrusted code as Markdown that every parser reads as code.

Code is written raw only where that is harmless even for a parser that does not see code there; else as ``<code>``
with every character an entity, which looks the same and is safe everywhere. Only fences in the first column are
trusted: all parsers agree on those, and so does the search for formulas that runs before them.
"""

import re

#: What Markdown or HTML could read something into, as entities (for ``str.translate``).
PUNCTUATION_ENTITIES = {ord(c): f"&#{ord(c)};" for c in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"}
_BLOCK_ESCAPES = {**PUNCTUATION_ENTITIES, ord("\n"): "&#10;", ord("\t"): "&#9;"}

# An opening bracket that nothing closes could start the label of a definition that goes on *over* later blocks:
# some parsers let it, right into a fence.
_OPEN_BRACKET = r"\[[^\[\]]*\Z"
_UNSAFE_SPAN = re.compile(rf"[<$`\\|@~&\n]|!\[|\][(:]|ftp:|^ | $|{_OPEN_BRACKET}", re.I)
_UNSAFE_IN_CONTAINER = re.compile(
    r"<[A-Za-z/!?]|!\[|\]\(|^\s*\[[^\[\]]*\]:|^\s*\]:|\$|\\(?:begin|end|[(\[\\])|@@|`|~~~|&#?\w|ftp:"
    rf"|{_OPEN_BRACKET}",
    re.I | re.M,
)
#: What the search for formulas takes for a formula even inside a fence; a literal ``$`` there it leaves alone.
_MATH_IN_FENCE = re.compile(r"\\begin\{[a-z]*\*?\}|\\\\[(\[]|@@\d", re.I)

_INFO = re.compile(r"[\s{.]*([A-Za-z0-9+#._-]{1,40})")
_TICKS = re.compile(r"`{3,}")


def parse_language(info: str) -> str:
    """Return the language of a fence's info string, ``""`` for none; diagrams that front ends draw become text."""
    match = _INFO.match(info)
    if match is None:
        return ""
    word = match[1]
    return "text" if word.lower().startswith("mermaid") else word


def inline_code(content: str, *, joined: bool = False, in_table: bool = False) -> str:
    """Return inline code. ``joined``: it follows a raw backtick or ``$`` without a space."""
    content = content.replace("\n", " ")
    if content.startswith(" ") and content.endswith(" ") and content.strip():
        content = content[1:-1]
    if in_table:
        content = content.replace(r"\|", "|")
    if joined or _UNSAFE_SPAN.search(content):
        return f"<code>{content.translate(PUNCTUATION_ENTITIES)}</code>"
    return f"`{content}`"


def _literal_block(lang: str, lines: list[str]) -> str:
    attribute = f' class="language-{lang.translate(PUNCTUATION_ENTITIES)}"' if lang else ""
    body = "\n".join(lines).translate(_BLOCK_ESCAPES)
    return f"<pre><code{attribute}>{body}</code></pre>"


def code_block(lang: str, lines: list[str]) -> list[str]:
    """Return the lines of a code block in the first column."""
    body = "\n".join(lines)
    if _MATH_IN_FENCE.search(body):
        return [_literal_block(lang, lines)]
    longest = max(map(len, _TICKS.findall(body)), default=2)
    fence = "`" * (longest + 1)
    return [fence + lang, *lines, fence]


def nested_code_block(lang: str, lines: list[str], first: str, rest: str) -> list[str]:
    """Return the lines of a code block in a list or a quote; ``first`` and ``rest`` are the lines' prefixes."""
    if _UNSAFE_IN_CONTAINER.search("\n".join(lines)):
        return [first + _literal_block(lang, lines)]
    return [f"{first}```{lang}", *((rest + line).rstrip() for line in lines), f"{rest}```"]
