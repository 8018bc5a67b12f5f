"""Untrusted code blocks, line by line: fenced ones at any nesting, and indented ones."""

import re
from dataclasses import dataclass, field

from puq_magics.core.fences import OpenFence
from puq_magics.outputs.markdown import code


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
    open_fence: OpenFence = field(init=False)

    def __post_init__(self) -> None:
        self.open_fence = OpenFence(self.fence, self.info)

    def _body(self, line: str) -> str | None:
        depth = self.quote_prefix.count(">")
        quote = re.match(rf"(?:[ ]{{0,3}}>[ ]?+){{{depth}}}", line)
        return None if quote is None else line[quote.end() :]

    def add_line(self, line: str) -> bool:
        """Process a line; False if it is outside the quote that contains the fence, and so ends it."""
        body = self._body(line)
        if body is None:
            return False
        spaces = len(body) - len(body.lstrip(" "))
        text = body[min(self.indent, spaces) :]
        # By CommonMark a line with four spaces more than the block closes nothing.
        if not text.startswith("    ") and self.open_fence.closed_by(text):
            self.closed = True
        else:
            self.lines.append(text)
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
        rest = FencedCode(self.fence, self.info, self.indent, self.quote_prefix, is_unindented=True)
        rest.open_fence = self.open_fence
        return rest


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
