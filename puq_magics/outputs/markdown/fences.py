"""Untrusted code blocks, line by line: fenced ones at any nesting, and indented ones."""

import re
from dataclasses import dataclass, field

from puq_magics.outputs.markdown import code

_CLOSING_FENCE = re.compile(r"([ ]*)(`{3,}|~{3,})[ \t]*\Z")
_NESTED_OPENING_FENCE = re.compile(r"[ ]*(?:`{3,}|~{3,})[ ]*[A-Za-z]")
#: Languages in which models write fences inside a fence of the same length.
_MARKDOWN_LANGUAGES = frozenset({"markdown", "md", "mdx", "myst", "qmd", "rmd"})


@dataclass
class FencedCode:
    """Fenced block in progress.

    ``indent`` is its column after the quote's ``quote_prefix``; ``prefix`` is the text between those and
    the fence.
    """

    fence: str
    info: str
    indent: int
    quote_prefix: str = ""
    prefix: str = ""
    is_unindented: bool = True
    lines: list[str] = field(default_factory=list)
    closed: bool = False
    nested_fences: int = 0  # fences open inside this one

    def _body(self, line: str) -> str | None:
        depth = self.quote_prefix.count(">")
        if not depth:
            return line
        quote = re.match(rf"(?:[ ]{{0,3}}>[ ]?+){{{depth}}}", line)
        return None if quote is None else line[quote.end() :]

    def add_line(self, line: str) -> bool:
        """Process a line; False if it is outside the quote that contains the fence, and so ends it."""
        body = self._body(line)
        if body is None:
            return False
        found = _CLOSING_FENCE.match(body)
        if found and found[2].startswith(self.fence) and len(found[1]) - self.indent < 4:
            if not self.nested_fences:
                self.closed = True
                return True
            self.nested_fences -= 1
        elif code.parse_language(self.info).lower() in _MARKDOWN_LANGUAGES and _NESTED_OPENING_FENCE.match(
            body
        ):
            self.nested_fences += 1
        spaces = len(body) - len(body.lstrip(" "))
        self.lines.append(body[min(self.indent, spaces) :])
        return True

    def may_close(self, line: str) -> bool:
        """Return True if the line, which may be incomplete, could be the closing fence."""
        body = (self._body(line) or "").strip(" ")
        return not body.strip(self.fence[0])

    def safe_lines(self) -> list[str]:
        """Return the block as safe Markdown."""
        lang = code.parse_language(self.info)
        if self.is_unindented:
            return code.code_block(lang, self.lines)
        first = self.quote_prefix + self.prefix
        return code.nested_code_block(lang, self.lines, first, self.quote_prefix + " " * self.indent)

    def reopened(self) -> "FencedCode":
        """Return the same fence for its remaining lines, as a block of its own."""
        return FencedCode(
            self.fence,
            self.info,
            self.indent,
            self.quote_prefix,
            is_unindented=True,
            nested_fences=self.nested_fences,
        )


class IndentedCode(FencedCode):
    """A block of code by indentation; ``column`` is where the text around it starts, 0 outside lists."""

    def __init__(self, column: int = 0) -> None:
        super().__init__("", "", column, prefix=" " * column, is_unindented=not column)

    def add_line(self, line: str) -> bool:
        """Process a line; False if it is not indented enough, and so ends the code."""
        width = self.indent + 4
        if line.strip() and not line.startswith(" " * width):
            return False
        self.lines.append(line[width:])
        return True

    def may_close(self, line: str) -> bool:
        """Return True if the line, which may be incomplete, could be outside the code."""
        return not line.strip()

    def safe_lines(self) -> list[str]:
        """Return the block as safe Markdown; blank lines at its end are not code."""
        while self.lines and not self.lines[-1].strip():
            self.lines.pop()
        return super().safe_lines()

    def reopened(self) -> "FencedCode":
        """Return the same block for the rest of its lines."""
        rest = IndentedCode(self.indent)
        rest.is_unindented = True
        return rest
