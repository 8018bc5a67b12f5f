"""Code blocks of an untrusted writer, line by line: fenced ones, wherever they stand, and indented ones."""

import re
from dataclasses import dataclass, field

from puq_magics.outputs.markdown import code

_CLOSER = re.compile(r"([ ]*)(`{3,}|~{3,})[ \t]*\Z")
_INNER_OPENER = re.compile(r"[ ]*(?:`{3,}|~{3,})[ ]*[A-Za-z]")
#: Languages in which models write fences inside a fence of the same length.
_NESTING = frozenset({"markdown", "md", "mdx", "myst", "qmd", "rmd"})


@dataclass
class Fence:
    """A fenced block that is being read.

    ``indent`` is its column after the quote's ``marks``; ``before`` is what stands between those and the fence.
    """

    fence: str
    info: str
    indent: int
    marks: str = ""
    before: str = ""
    at_left: bool = True
    lines: list[str] = field(default_factory=list)
    closed: bool = False
    inner: int = 0  # fences open inside this one

    def _body(self, line: str) -> str | None:
        depth = self.marks.count(">")
        if not depth:
            return line
        quote = re.match(rf"(?:[ ]{{0,3}}>[ ]?+){{{depth}}}", line)
        return None if quote is None else line[quote.end() :]

    def takes(self, line: str) -> bool:
        """Take a line; False when it is outside the quote that the fence stands in, and so ends it."""
        body = self._body(line)
        if body is None:
            return False
        found = _CLOSER.match(body)
        if found and found[2].startswith(self.fence) and len(found[1]) - self.indent < 4:
            if not self.inner:
                self.closed = True
                return True
            self.inner -= 1
        elif code.language(self.info).lower() in _NESTING and _INNER_OPENER.match(body):
            self.inner += 1
        spaces = len(body) - len(body.lstrip(" "))
        self.lines.append(body[min(self.indent, spaces) :])
        return True

    def may_close(self, line: str) -> bool:
        """Say whether the line, of which more may come, could turn out to be the closing fence."""
        body = (self._body(line) or "").strip(" ")
        return not body.strip(self.fence[0])

    def safe_lines(self) -> list[str]:
        """Return the block as safe Markdown."""
        lang = code.language(self.info)
        if self.at_left:
            return code.block(lang, self.lines)
        first = self.marks + self.before
        return code.contained_block(lang, self.lines, first, self.marks + " " * self.indent)

    def continued(self) -> "Fence":
        """Return the same fence for the rest of its lines, to stand by itself."""
        return Fence(self.fence, self.info, self.indent, self.marks, at_left=True, inner=self.inner)


class Indented(Fence):
    """A block of code by indentation; ``column`` is where the text around it starts, 0 outside lists."""

    def __init__(self, column: int = 0) -> None:
        super().__init__("", "", column, before=" " * column, at_left=not column)

    def takes(self, line: str) -> bool:
        """Take a line; False when it is not indented enough, and so ends the code."""
        width = self.indent + 4
        if line.strip() and not line.startswith(" " * width):
            return False
        self.lines.append(line[width:])
        return True

    def may_close(self, line: str) -> bool:
        """Say whether the line, of which more may come, could turn out not to belong to the code."""
        return not line.strip()

    def safe_lines(self) -> list[str]:
        """Return the block as safe Markdown; blank lines at its end are not code."""
        while self.lines and not self.lines[-1].strip():
            self.lines.pop()
        return super().safe_lines()

    def continued(self) -> "Fence":
        """Return the same block for the rest of its lines."""
        rest = Indented(self.indent)
        rest.at_left = True
        return rest
